// Packed causal or full attention with grouped queries; online softmax, so no score is ever stored
// (Dao et al. 2022, FlashAttention, algorithms 1 and 4; grouped queries: Ainslie et al. 2023).
// qkv [T, (Hq + 2 Hkv) D]: rows of q heads, k heads, v heads; query head h reads k, v head h / (Hq / Hkv).
// segments [T, 2]: first token and end of the segment of each token; token t sees keys first..t (causal) or first..end-1.
//   forward               s_ij = scale q_i . k_j;  lse_i = log sum_j exp s_ij;  out_i = sum_j exp(s_ij - lse_i) v_j
//                         out [T, Hq D], lse [T, Hq]; both are kept for backward
//   delta_of              delta_i = dout_i . out_i                       delta [T, Hq]
//   backward_query        with p_ij = exp(s_ij - lse_i), ds_ij = scale p_ij (dout_i . v_j - delta_i):
//                         dq_i = sum_j ds_ij k_j                         written to the q part of dqkv
//   backward_key_value    dk_j = sum_i ds_ij q_i, dv_j = sum_i p_ij dout_i over all query heads of the k, v head;
//                         written to the k and v parts of dqkv
// A thread owns 8 rows and meets the other side 8 at a time: each pass over D loads 4 values of 16 rows for 4 products of
// 4 x 4 matrices, whose columns are the rows it owns; sums stay in the output between passes. The rows of a k, v head are
// its query heads at every token, so that grouped heads share the loads of k and v.
// A block of 8 at the end repeats its last row: all loads of an update precede its stores, so repeats write equal values.
// HEAD = D, a multiple of 4; GROUP threads a workgroup.

struct Dims { tokens: u32, heads: u32, kv_heads: u32, causal: u32, scale: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> segments: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

struct DeltaDims { tokens: u32, heads: u32 }
@group(0) @binding(0) var<uniform> delta_dims: DeltaDims;
@group(0) @binding(1) var<storage, read> delta_dout: array<vec4f>;
@group(0) @binding(2) var<storage, read> delta_out: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

@group(0) @binding(3) var<storage, read> dout: array<vec4f>;
@group(0) @binding(4) var<storage, read> backward_lse: array<f32>;
@group(0) @binding(5) var<storage, read> backward_delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4f>;

const LOW = vec4u(0u, 1u, 2u, 3u);
const HIGH = vec4u(4u, 5u, 6u, 7u);
const VECTORS = HEAD / 4u;
const NOTHING = vec4f(-1e30);

// Four rows, one a column.
fn load_qkv(at: vec4u) -> mat4x4f { return mat4x4f(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]); }
fn load_dout(at: vec4u) -> mat4x4f { return mat4x4f(dout[at.x], dout[at.y], dout[at.z], dout[at.w]); }
fn load_out(at: vec4u) -> mat4x4f { return mat4x4f(out[at.x], out[at.y], out[at.z], out[at.w]); }
fn load_dqkv(at: vec4u) -> mat4x4f { return mat4x4f(dqkv[at.x], dqkv[at.y], dqkv[at.z], dqkv[at.w]); }
fn load_lse(at: vec4u) -> vec4f {
  return vec4f(backward_lse[at.x], backward_lse[at.y], backward_lse[at.z], backward_lse[at.w]);
}
fn load_delta(at: vec4u) -> vec4f {
  return vec4f(backward_delta[at.x], backward_delta[at.y], backward_delta[at.z], backward_delta[at.w]);
}
fn store_out(at: vec4u, rows: mat4x4f) {
  out[at.x] = rows[0];
  out[at.y] = rows[1];
  out[at.z] = rows[2];
  out[at.w] = rows[3];
}
fn store_dqkv(at: vec4u, rows: mat4x4f) {
  dqkv[at.x] = rows[0];
  dqkv[at.y] = rows[1];
  dqkv[at.z] = rows[2];
  dqkv[at.w] = rows[3];
}
fn store_lse(at: vec4u, values: vec4f) {
  lse[at.x] = values.x;
  lse[at.y] = values.y;
  lse[at.z] = values.z;
  lse[at.w] = values.w;
}

fn smallest(v: vec4u) -> u32 { return min(min(v.x, v.y), min(v.z, v.w)); }
fn largest(v: vec4u) -> u32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn columns_times(m: mat4x4f, f: vec4f) -> mat4x4f { return mat4x4f(m[0] * f.x, m[1] * f.y, m[2] * f.z, m[3] * f.w); }
fn inside(at: vec4u, first: u32, end: u32) -> vec4<bool> { return (at >= vec4u(first)) & (at < vec4u(end)); }

// Where a head, counted over q, k and v heads, starts in qkv.
fn place(token: vec4u, head: vec4u) -> vec4u {
  return (token * (dims.heads + 2u * dims.kv_heads) + head) * VECTORS;
}
fn key_place(token: vec4u, kv_head: u32) -> vec4u { return place(token, vec4u(dims.heads + kv_head)); }

fn firsts(t: vec4u) -> vec4u { return vec4u(segments[t.x].x, segments[t.y].x, segments[t.z].x, segments[t.w].x); }
fn ends(t: vec4u) -> vec4u { return vec4u(segments[t.x].y, segments[t.y].y, segments[t.z].y, segments[t.w].y); }

// Four query rows of a k, v head: places in qkv and in [T, Hq] arrays, and the keys first..end-1 that they see.
struct Queries { q: vec4u, at: vec4u, first: vec4u, end: vec4u }

fn queries(row: vec4u, kv_head: u32) -> Queries {
  let shared_by = dims.heads / dims.kv_heads;
  let r = min(row, vec4u(dims.tokens * shared_by - 1u));
  let token = r / shared_by;
  let head = kv_head * shared_by + r % shared_by;
  var end = token + 1u;
  if (dims.causal == 0u) { end = ends(token); }
  return Queries(place(token, head), token * dims.heads + head, firsts(token), end);
}

struct RowSoftmax { top: f32, sum: f32, shrink: f32, a: vec4f, b: vec4f }

// One row's online softmax over 8 more scores: the largest and the sum so far, the factor for what was summed before,
// and the new weights.
fn row_softmax(a: vec4f, b: vec4f, key: u32, first: u32, end: u32, top: f32, sum: f32) -> RowSoftmax {
  let low = inside(key + LOW, first, end);
  let high = inside(key + HIGH, first, end);
  let m = max(select(NOTHING, a, low), select(NOTHING, b, high));
  let now = max(top, max(max(m.x, m.y), max(m.z, m.w)));
  let wa = select(vec4f(0.0), exp(a - now), low);
  let wb = select(vec4f(0.0), exp(b - now), high);
  let shrink = exp(top - now);
  return RowSoftmax(now, sum * shrink + dot(wa + wb, vec4f(1.0)), shrink, wa, wb);
}

struct Softmax { top: vec4f, sum: vec4f, shrink: vec4f, a: mat4x4f, b: mat4x4f }

fn softmax(a: mat4x4f, b: mat4x4f, key: u32, rows: Queries, top: vec4f, sum: vec4f) -> Softmax {
  let x = row_softmax(a[0], b[0], key, rows.first.x, rows.end.x, top.x, sum.x);
  let y = row_softmax(a[1], b[1], key, rows.first.y, rows.end.y, top.y, sum.y);
  let z = row_softmax(a[2], b[2], key, rows.first.z, rows.end.z, top.z, sum.z);
  let w = row_softmax(a[3], b[3], key, rows.first.w, rows.end.w, top.w, sum.w);
  return Softmax(vec4f(x.top, y.top, z.top, w.top), vec4f(x.sum, y.sum, z.sum, w.sum),
    vec4f(x.shrink, y.shrink, z.shrink, w.shrink), mat4x4f(x.a, y.a, z.a, w.a), mat4x4f(x.b, y.b, z.b, w.b));
}

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let blocks = (dims.tokens * (dims.heads / dims.kv_heads) + 7u) / 8u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let x = queries(i % blocks * 8u + LOW, kv_head);
  let y = queries(i % blocks * 8u + HIGH, kv_head);
  let out_x = x.at * VECTORS;
  let out_y = y.at * VECTORS;
  for (var d = 0u; d < VECTORS; d++) {
    store_out(out_x + d, mat4x4f());
    store_out(out_y + d, mat4x4f());
  }
  var top_x = NOTHING;
  var top_y = NOTHING;
  var sum_x = vec4f(0.0);
  var sum_y = vec4f(0.0);
  let last = largest(max(x.end, y.end)) - 1u;
  for (var key = smallest(min(x.first, y.first)); key <= last; key += 8u) {
    let ka = key_place(min(key + LOW, vec4u(last)), kv_head);
    let kb = key_place(min(key + HIGH, vec4u(last)), kv_head);
    var ax = mat4x4f();
    var ay = mat4x4f();
    var bx = mat4x4f();
    var by = mat4x4f();
    for (var d = 0u; d < VECTORS; d++) {
      let qx = load_qkv(x.q + d);
      let qy = load_qkv(y.q + d);
      let a = transpose(load_qkv(ka + d));
      let b = transpose(load_qkv(kb + d));
      ax += a * qx;
      ay += a * qy;
      bx += b * qx;
      by += b * qy;
    }
    let wx = softmax(ax * dims.scale, bx * dims.scale, key, x, top_x, sum_x);
    let wy = softmax(ay * dims.scale, by * dims.scale, key, y, top_y, sum_y);
    top_x = wx.top;
    top_y = wy.top;
    sum_x = wx.sum;
    sum_y = wy.sum;
    let va = ka + dims.kv_heads * VECTORS;
    let vb = kb + dims.kv_heads * VECTORS;
    for (var d = 0u; d < VECTORS; d++) {
      let a = load_qkv(va + d);
      let b = load_qkv(vb + d);
      let ox = columns_times(load_out(out_x + d), wx.shrink) + a * wx.a + b * wx.b;
      let oy = columns_times(load_out(out_y + d), wy.shrink) + a * wy.a + b * wy.b;
      store_out(out_x + d, ox);
      store_out(out_y + d, oy);
    }
  }
  for (var d = 0u; d < VECTORS; d++) {
    let ox = columns_times(load_out(out_x + d), 1.0 / sum_x);
    let oy = columns_times(load_out(out_y + d), 1.0 / sum_y);
    store_out(out_x + d, ox);
    store_out(out_y + d, oy);
  }
  store_lse(x.at, top_x + log(sum_x));
  store_lse(y.at, top_y + log(sum_y));
}

@compute @workgroup_size(GROUP)
fn delta_of(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (i >= delta_dims.tokens * delta_dims.heads) { return; }
  var sum = 0.0;
  for (var d = i * VECTORS; d < (i + 1u) * VECTORS; d++) { sum += dot(delta_dout[d], delta_out[d]); }
  delta[i] = sum;
}
