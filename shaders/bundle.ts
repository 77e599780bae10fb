// Made by `deno task bundle` from the .wgsl files beside it; do not edit.
// deno-fmt-ignore-file

/** WGSL texts by file name. */
export const SHADERS: Readonly<Record<"adamw" | "adamw_bf16" | "attention" | "attention_backward" | "attention_decode" | "attention_decode_group" | "attention_decode_texture" | "attention_texture" | "attention_tiled" | "cached_f16" | "cached_f32" | "column_sum" | "embedding" | "embedding_half" | "entropy_window" | "full_kl" | "gelu" | "grad_norm" | "head" | "kv_cache" | "linear" | "linear_any" | "linear_rows" | "linear_texture" | "linear_tiled" | "no_subgroups" | "operands_f16" | "operands_f32" | "philox" | "place" | "place_float" | "policy_loss" | "rmsnorm" | "rope" | "rope_cache" | "rows" | "sample" | "sample_filter" | "sample_lanes" | "sample_lanes_subgroup" | "sample_slot" | "sample_texture" | "silu" | "slots" | "slots_refill" | "sums_f16" | "sums_f32" | "swiglu" | "team_subgroup" | "team_workgroup" | "texel" | "top_token" | "value_loss" | "values_f32" | "values_vec4", string>> = {
  adamw: `// AdamW with decoupled weight decay (Loshchilov and Hutter 2019; torch.optim.AdamW), in place over n values:
//   g <- clip g;  p <- p (1 - lr wd);  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
//   p <- p - lr / c1 * m / (sqrt(v) / sqrt(c2) + eps),   c1 = 1 - b1^t, c2 = 1 - b2^t
// norm [4] = [norm, clip, finite, 0] of grad_norm.wgsl: where finite is 0, nothing is written.
// 1 - b comes from outside and b = 1 - (1 - b): f32 keeps 0.001 to 1e-11, but 1 - 0.999 only to 5e-8.
// Prelude: Value, LANES. One thread a Value. With HALF = 1, of vec4s, half <- p rounded to f16: what the model reads.

struct Dims {
  n: u32, lr: f32, one_minus_beta1: f32, one_minus_beta2: f32, eps: f32, weight_decay: f32,
  correction1: f32, correction2: f32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> p: array<Value>;
@group(0) @binding(2) var<storage, read> g: array<Value>;
@group(0) @binding(3) var<storage, read_write> m: array<Value>;
@group(0) @binding(4) var<storage, read_write> v: array<Value>;
@group(0) @binding(5) var<storage, read> norm: array<vec4f>;
//# for half in HALF
@group(0) @binding(6) var<storage, read_write> half: array<vec4<f16>>;
//# end

@compute @workgroup_size(GROUP)
fn adamw(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (i >= dims.n / LANES) { return; }
  let scale = norm[0];
  if (scale.z == 0.0) { return; }
  let slope = g[i] * scale.y;
  let mean = (1.0 - dims.one_minus_beta1) * m[i] + dims.one_minus_beta1 * slope;
  let square = (1.0 - dims.one_minus_beta2) * v[i] + dims.one_minus_beta2 * slope * slope;
  m[i] = mean;
  v[i] = square;
  let next = p[i] * (1.0 - dims.lr * dims.weight_decay) -
    dims.lr / dims.correction1 * mean / (sqrt(square) / sqrt(dims.correction2) + dims.eps);
  p[i] = next;
  //# for half in HALF
  half[i] = vec4<f16>(next);
  //# end
}
`,
  adamw_bf16: `// AdamW on bf16 parameters with Kahan summation: p, g, m, v and the compensation c are bf16, two to a u32 (the even
// index in the low half), all arithmetic is f32 and r() rounds a result to bf16 (nearest, ties to even):
//   g <- r(clip g);  p <- r(p (1 - lr wd));  m <- r(r(b1 m) + (1 - b1) g);  v <- r(r(b2 v) + (1 - b2) g g)
//   d = r(r(r(sqrt v) / sqrt(c2)) + eps);  c <- r(c - lr / c1 * m / d);  q = p;  p <- r(p + c);  c <- r(c + r(q - p))
// c carries what p's 8 bits cannot hold: p + c is the parameter (Zamirai et al. 2020, Revisiting BFloat16 Training).
// norm as in adamw.wgsl; where finite is 0, nothing is written. One thread a pair; the second half of an odd last
// pair stays as it is.

struct Dims {
  n: u32, lr: f32, one_minus_beta1: f32, one_minus_beta2: f32, eps: f32, weight_decay: f32,
  correction1: f32, correction2: f32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> p: array<u32>;
@group(0) @binding(2) var<storage, read> g: array<u32>;
@group(0) @binding(3) var<storage, read_write> m: array<u32>;
@group(0) @binding(4) var<storage, read_write> v: array<u32>;
@group(0) @binding(5) var<storage, read_write> c: array<u32>;
@group(0) @binding(6) var<storage, read> norm: array<f32>;

fn unpack(word: u32) -> vec2f { return bitcast<vec2f>(vec2u(word << 16u, word & 0xffff0000u)); }

// Rounded to bf16, still as f32.
fn r(x: vec2f) -> vec2f {
  let bits = bitcast<vec2u>(x);
  return bitcast<vec2f>((bits + 0x7fffu + ((bits >> vec2u(16u)) & vec2u(1u))) & vec2u(0xffff0000u));
}

// The pair's word; \`before\` keeps its second half where the pair has only one value.
fn pack(x: vec2f, before: u32, both: bool) -> u32 {
  let bits = bitcast<vec2u>(x);
  return (bits.x >> 16u) | select(before & 0xffff0000u, bits.y, both);
}

@compute @workgroup_size(GROUP)
fn adamw_bf16_kahan(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                    @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (2u * i >= dims.n || norm[2] == 0.0) { return; }
  let both = 2u * i + 1u < dims.n;
  let slope = r(unpack(g[i]) * norm[1]);
  let mean = r(r((1.0 - dims.one_minus_beta1) * unpack(m[i])) + dims.one_minus_beta1 * slope);
  let square = r(r((1.0 - dims.one_minus_beta2) * unpack(v[i])) + dims.one_minus_beta2 * slope * slope);
  let root = r(r(r(sqrt(square)) / sqrt(dims.correction2)) + dims.eps);
  let decayed = r(unpack(p[i]) * (1.0 - dims.lr * dims.weight_decay));
  let owed = r(unpack(c[i]) - dims.lr / dims.correction1 * (mean / root));
  let moved = r(decayed + owed);
  p[i] = pack(moved, p[i], both);
  m[i] = pack(mean, m[i], both);
  v[i] = pack(square, v[i], both);
  c[i] = pack(r(owed + r(decayed - moved)), c[i], both);
}
`,
  attention: `// Packed causal or full attention with grouped queries; online softmax, so no score is ever stored
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
`,
  attention_backward: `// Backward of attention.wgsl, which stands in front of it, says the formulas and the way of working in tiles of 8 x 8.

// exp(s - lse) where valid, else 0: the probabilities of a column of scores.
fn chance(s: vec4f, valid: vec4<bool>, log_sum: vec4f) -> vec4f { return select(vec4f(0.0), exp(s - log_sum), valid); }

// ds [keys, queries] of four keys and four query rows.
fn query_slopes(s: mat4x4f, dp: mat4x4f, key: vec4u, rows: Queries, l: vec4f, delta: vec4f) -> mat4x4f {
  return mat4x4f(
    chance(s[0], inside(key, rows.first.x, rows.end.x), vec4f(l.x)) * (dp[0] - delta.x),
    chance(s[1], inside(key, rows.first.y, rows.end.y), vec4f(l.y)) * (dp[1] - delta.y),
    chance(s[2], inside(key, rows.first.z, rows.end.z), vec4f(l.z)) * (dp[2] - delta.z),
    chance(s[3], inside(key, rows.first.w, rows.end.w), vec4f(l.w)) * (dp[3] - delta.w)) * dims.scale;
}

// Four keys: places of k and v, and the query tokens first..end-1 that see them.
struct Keys { k: vec4u, v: vec4u, first: vec4u, end: vec4u }

fn keys(token: vec4u, kv_head: u32) -> Keys {
  let t = min(token, vec4u(dims.tokens - 1u));
  let k = key_place(t, kv_head);
  var first = t;
  if (dims.causal == 0u) { first = firsts(t); }
  return Keys(k, k + dims.kv_heads * VECTORS, first, ends(t));
}

// p [queries, keys] of four query rows at tokens \`token\` and four keys.
fn key_chances(s: mat4x4f, token: vec4u, k: Keys, l: vec4f) -> mat4x4f {
  return mat4x4f(
    chance(s[0], inside(token, k.first.x, k.end.x), l),
    chance(s[1], inside(token, k.first.y, k.end.y), l),
    chance(s[2], inside(token, k.first.z, k.end.z), l),
    chance(s[3], inside(token, k.first.w, k.end.w), l));
}

// ds [queries, keys].
fn key_slopes(p: mat4x4f, dp: mat4x4f, delta: vec4f) -> mat4x4f {
  return mat4x4f(p[0] * (dp[0] - delta), p[1] * (dp[1] - delta), p[2] * (dp[2] - delta), p[3] * (dp[3] - delta)) *
    dims.scale;
}

@compute @workgroup_size(GROUP)
fn backward_query(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let blocks = (dims.tokens * (dims.heads / dims.kv_heads) + 7u) / 8u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let x = queries(i % blocks * 8u + LOW, kv_head);
  let y = queries(i % blocks * 8u + HIGH, kv_head);
  let out_x = x.at * VECTORS;
  let out_y = y.at * VECTORS;
  let lse_x = load_lse(x.at);
  let lse_y = load_lse(y.at);
  let delta_x = load_delta(x.at);
  let delta_y = load_delta(y.at);
  for (var d = 0u; d < VECTORS; d++) {
    store_dqkv(x.q + d, mat4x4f());
    store_dqkv(y.q + d, mat4x4f());
  }
  let last = largest(max(x.end, y.end)) - 1u;
  for (var key = smallest(min(x.first, y.first)); key <= last; key += 8u) {
    let ka = key_place(min(key + LOW, vec4u(last)), kv_head);
    let kb = key_place(min(key + HIGH, vec4u(last)), kv_head);
    let va = ka + dims.kv_heads * VECTORS;
    let vb = kb + dims.kv_heads * VECTORS;
    var ax = mat4x4f();
    var ay = mat4x4f();
    var bx = mat4x4f();
    var by = mat4x4f();
    var dax = mat4x4f();
    var day = mat4x4f();
    var dbx = mat4x4f();
    var dby = mat4x4f();
    for (var d = 0u; d < VECTORS; d++) {
      let qx = load_qkv(x.q + d);
      let qy = load_qkv(y.q + d);
      let k_a = transpose(load_qkv(ka + d));
      let k_b = transpose(load_qkv(kb + d));
      ax += k_a * qx;
      ay += k_a * qy;
      bx += k_b * qx;
      by += k_b * qy;
      let dx = load_dout(out_x + d);
      let dy = load_dout(out_y + d);
      let v_a = transpose(load_qkv(va + d));
      let v_b = transpose(load_qkv(vb + d));
      dax += v_a * dx;
      day += v_a * dy;
      dbx += v_b * dx;
      dby += v_b * dy;
    }
    let sax = query_slopes(ax * dims.scale, dax, key + LOW, x, lse_x, delta_x);
    let say = query_slopes(ay * dims.scale, day, key + LOW, y, lse_y, delta_y);
    let sbx = query_slopes(bx * dims.scale, dbx, key + HIGH, x, lse_x, delta_x);
    let sby = query_slopes(by * dims.scale, dby, key + HIGH, y, lse_y, delta_y);
    for (var d = 0u; d < VECTORS; d++) {
      let a = load_qkv(ka + d);
      let b = load_qkv(kb + d);
      let dx = load_dqkv(x.q + d) + a * sax + b * sbx;
      let dy = load_dqkv(y.q + d) + a * say + b * sby;
      store_dqkv(x.q + d, dx);
      store_dqkv(y.q + d, dy);
    }
  }
}

@compute @workgroup_size(GROUP)
fn backward_key_value(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let blocks = (dims.tokens + 7u) / 8u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let shared_by = dims.heads / dims.kv_heads;
  let x = keys(i % blocks * 8u + LOW, kv_head);
  let y = keys(i % blocks * 8u + HIGH, kv_head);
  for (var d = 0u; d < VECTORS; d++) {
    store_dqkv(x.k + d, mat4x4f());
    store_dqkv(y.k + d, mat4x4f());
    store_dqkv(x.v + d, mat4x4f());
    store_dqkv(y.v + d, mat4x4f());
  }
  let last = largest(max(x.end, y.end)) * shared_by - 1u;
  for (var row = smallest(min(x.first, y.first)) * shared_by; row <= last; row += 8u) {
    let a = queries(min(row + LOW, vec4u(last)), kv_head);
    let b = queries(min(row + HIGH, vec4u(last)), kv_head);
    let out_a = a.at * VECTORS;
    let out_b = b.at * VECTORS;
    var ax = mat4x4f();
    var ay = mat4x4f();
    var bx = mat4x4f();
    var by = mat4x4f();
    var dax = mat4x4f();
    var day = mat4x4f();
    var dbx = mat4x4f();
    var dby = mat4x4f();
    for (var d = 0u; d < VECTORS; d++) {
      let kx = load_qkv(x.k + d);
      let ky = load_qkv(y.k + d);
      let qa = transpose(load_qkv(a.q + d));
      let qb = transpose(load_qkv(b.q + d));
      ax += qa * kx;
      ay += qa * ky;
      bx += qb * kx;
      by += qb * ky;
      let vx = load_qkv(x.v + d);
      let vy = load_qkv(y.v + d);
      let da = transpose(load_dout(out_a + d));
      let db = transpose(load_dout(out_b + d));
      dax += da * vx;
      day += da * vy;
      dbx += db * vx;
      dby += db * vy;
    }
    let token_a = (row + LOW) / shared_by;
    let token_b = (row + HIGH) / shared_by;
    let lse_a = load_lse(a.at);
    let lse_b = load_lse(b.at);
    let pax = key_chances(ax * dims.scale, token_a, x, lse_a);
    let pay = key_chances(ay * dims.scale, token_a, y, lse_a);
    let pbx = key_chances(bx * dims.scale, token_b, x, lse_b);
    let pby = key_chances(by * dims.scale, token_b, y, lse_b);
    let delta_a = load_delta(a.at);
    let delta_b = load_delta(b.at);
    let sax = key_slopes(pax, dax, delta_a);
    let say = key_slopes(pay, day, delta_a);
    let sbx = key_slopes(pbx, dbx, delta_b);
    let sby = key_slopes(pby, dby, delta_b);
    for (var d = 0u; d < VECTORS; d++) {
      let qa = load_qkv(a.q + d);
      let qb = load_qkv(b.q + d);
      let dkx = load_dqkv(x.k + d) + qa * sax + qb * sbx;
      let dky = load_dqkv(y.k + d) + qa * say + qb * sby;
      let da = load_dout(out_a + d);
      let db = load_dout(out_b + d);
      let dvx = load_dqkv(x.v + d) + da * pax + db * pbx;
      let dvy = load_dqkv(y.v + d) + da * pay + db * pby;
      store_dqkv(x.k + d, dkx);
      store_dqkv(y.k + d, dky);
      store_dqkv(x.v + d, dvx);
      store_dqkv(y.v + d, dvy);
    }
  }
}
`,
  attention_decode: `// Attention of one query token per slot over that slot's cached positions, softmax computed online; for software adapters
// and heads that are too wide for attention_decode_texture.wgsl.
//
//   out[s, h] = Σ_t softmax_t(scale · q[s, h] · k[row(t), h']) v[row(t), h'],  t = 0 … position[s], h' = h / (Hq / Hkv)
//   row(t) = table[s, t / block_size] · block_size + t % block_size
//
// qkv [S, (Hq + 2·Hkv)·D] rotated; k_cache, v_cache [rows, Hkv·D]; slots [S, 8] = token, position, alive, …;
// out [S, Hq·D]. A dead slot gets zeros. HEAD_DIM (a multiple of 8, at most 256) stands in front of this text.
//
// Loads are what costs, so one workgroup serves two query heads that share a kv head (the second may be missing: it then
// repeats the first) and works in quads of four positions, through chunks of LANES quads:
//   1. a lane per quad makes its eight scores;
//   2. PARTS groups of D/8 lanes, eight values of the head each, take every PARTS-th quad of the chunk with a running
//      maximum of their own.
// At the end the parts are merged. Loop trips of one invocation: HEAD_DIM / 4 per 4·LANES positions.
// Forward only. Source: online softmax of arXiv 1805.02867, merging of partial results as in flash-decoding.

struct Dims { slots: u32, heads: u32, kv_heads: u32, max_blocks: u32, block_size: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> k_cache: array<vec4f>;
@group(0) @binding(3) var<storage, read> v_cache: array<vec4f>;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> slots: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;

const LANES = 64u;
const D4 = HEAD_DIM / 4u;
const D8 = HEAD_DIM / 8u;
const PARTS = LANES / D8;
const LOWEST = -3e38;

var<workgroup> scores_a: array<vec4f, LANES>;
var<workgroup> scores_b: array<vec4f, LANES>;
var<workgroup> bases: array<vec4u, LANES>;
var<workgroup> states: array<vec4f, LANES>;
var<workgroup> sums: array<mat4x4f, LANES>;

// First vec4 of position t's row of kv head \`head\`; positions past the last repeat it, with a score that counts nothing.
fn base_of(s: u32, t: u32, head: u32) -> u32 {
  let at = min(t, slots[s * 8u + 1u]);
  let row = table[s * d.max_blocks + at / d.block_size] * d.block_size + at % d.block_size;
  return (row * d.kv_heads + head) * D4;
}

@compute @workgroup_size(64)
fn decode(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let s = wid.y;
  if (s >= d.slots) { return; }
  let lane = lid.x;
  let group = d.heads / d.kv_heads;
  let pairs = (group + 1u) / 2u;
  let kv_head = wid.x / pairs;
  let a = kv_head * group + wid.x % pairs * 2u;
  let b = min(a + 1u, kv_head * group + group - 1u);
  let out_a = (s * d.heads + a) * D4;
  let out_b = (s * d.heads + b) * D4;
  if (slots[s * 8u + 2u] != 1u) {
    if (lane < D4) {
      out[out_a + lane] = vec4f();
      out[out_b + lane] = vec4f();
    }
    return;
  }
  let n = slots[s * 8u + 1u] + 1u;
  let q_a = (s * (d.heads + 2u * d.kv_heads) + a) * D4;
  let q_b = (s * (d.heads + 2u * d.kv_heads) + b) * D4;
  let part = lane / D8;
  let column = lane % D8 * 2u;
  // Running maximum and sum of head a in x and y, of head b in z and w; weighted values of a in columns 0, 1, of b in 2, 3.
  var state = vec4f(LOWEST, 0.0, LOWEST, 0.0);
  var sum = mat4x4f();
  for (var chunk = 0u; chunk < n; chunk += 4u * LANES) {
    let t = chunk + 4u * lane;
    var base = vec4u();
    var score_a = vec4f();
    var score_b = vec4f();
    if (t < n) {
      base = vec4u(base_of(s, t, kv_head), base_of(s, t + 1u, kv_head), base_of(s, t + 2u, kv_head),
        base_of(s, t + 3u, kv_head));
      for (var c = 0u; c < D4; c += 2u) {
        let k0 = mat4x4f(k_cache[base.x + c], k_cache[base.y + c], k_cache[base.z + c], k_cache[base.w + c]);
        let k1 = mat4x4f(k_cache[base.x + c + 1u], k_cache[base.y + c + 1u], k_cache[base.z + c + 1u],
          k_cache[base.w + c + 1u]);
        score_a += qkv[q_a + c] * k0 + qkv[q_a + c + 1u] * k1;
        score_b += qkv[q_b + c] * k0 + qkv[q_b + c + 1u] * k1;
      }
    }
    let valid = vec4u(t) + vec4u(0u, 1u, 2u, 3u) < vec4u(n);
    workgroupBarrier();
    scores_a[lane] = select(vec4f(LOWEST), score_a * d.scale, valid);
    scores_b[lane] = select(vec4f(LOWEST), score_b * d.scale, valid);
    bases[lane] = base;
    workgroupBarrier();
    let quads = min(LANES, (n - chunk + 3u) / 4u);
    if (part < PARTS) {
      for (var i = part; i < quads; i += PARTS) {
        let sa = scores_a[i];
        let sb = scores_b[i];
        let at = bases[i] + column;
        let top_a = max(state.x, max(max(sa.x, sa.y), max(sa.z, sa.w)));
        let top_b = max(state.z, max(max(sb.x, sb.y), max(sb.z, sb.w)));
        let keep_a = exp(state.x - top_a);
        let keep_b = exp(state.z - top_b);
        let pa = exp(sa - top_a);
        let pb = exp(sb - top_b);
        state = vec4f(top_a, state.y * keep_a + dot(pa, vec4f(1.0)), top_b, state.w * keep_b + dot(pb, vec4f(1.0)));
        let v0 = mat4x4f(v_cache[at.x], v_cache[at.y], v_cache[at.z], v_cache[at.w]);
        let v1 = mat4x4f(v_cache[at.x + 1u], v_cache[at.y + 1u], v_cache[at.z + 1u], v_cache[at.w + 1u]);
        sum = mat4x4f(
          sum[0] * keep_a + v0 * pa,
          sum[1] * keep_a + v1 * pa,
          sum[2] * keep_b + v0 * pb,
          sum[3] * keep_b + v1 * pb,
        );
      }
    }
  }
  states[lane] = state;
  sums[lane] = sum;
  workgroupBarrier();
  if (lane >= D8) { return; }
  var top = vec2f(LOWEST);
  for (var p = 0u; p < PARTS; p++) { top = max(top, states[p * D8].xz); }
  var total = vec2f();
  var merged = mat4x4f();
  for (var p = 0u; p < PARTS; p++) {
    let of_part = states[p * D8];
    let weight = exp(of_part.xz - top);
    let values = sums[p * D8 + lane];
    total += weight * of_part.yw;
    merged += mat4x4f(values[0] * weight.x, values[1] * weight.x, values[2] * weight.y, values[3] * weight.y);
  }
  out[out_a + column] = merged[0] / total.x;
  out[out_a + column + 1u] = merged[1] / total.x;
  out[out_b + column] = merged[2] / total.y;
  out[out_b + column + 1u] = merged[3] / total.y;
}
`,
  attention_decode_group: `// Attention of one query token per slot over that slot's cached positions, softmax computed online.
//
//   out[s, h] = Σ_t softmax_t(scale · q[s, h] · k[row(t), h']) v[row(t), h'],  t = 0 … position[s], h' = h / (Hq / Hkv)
//   row(t) = table[s, t / block_size] · block_size + t % block_size
//
// qkv [S, (Hq + 2·Hkv)·D] rotated; k_cache, v_cache [rows, Hkv·D] of Cached, a prelude's; slots [S, 8] = token, position,
// alive, …; out [S, Hq·D]. A dead slot gets zeros. In front of this text stand
//   D4 = D / 4; HEADS; TEAM, a power of two that divides D4, at most 8; THREADS = TEAMS · TEAM; STEP divides D4 / TEAM;
//   PARTS = ⌊THREADS / D4⌋, at most TEAMS; DEEP: 2 where 2 · PARTS divides TEAMS, else 1;
//   ROUND divides TEAM; ROUNDS = ⌈HEADS / ROUND⌉; ITEMS = ⌈HEADS / TEAM⌉; EXCHANGE, the larger of ROUND · THREADS and
//   HEADS · TEAMS.
//
// The caches' bytes are what costs: a workgroup serves a slot and HEADS query heads that share a kv head (those that are
// missing repeat the last one), so every row of k and of v is loaded once for all of them, neighbours in a workgroup
// loading neighbours of a row. A chunk of CHUNK positions goes through four stages:
//   1. a team of TEAM threads makes the scores of a quad of positions, each thread over its columns of the rows, HEADS
//      queries to a load; the loads of v of DEEP quads start here too, to arrive while 2 and 3 go on;
//   2. scores are added up over the team through workgroup memory, ROUND heads at a time, by a thread for every head and
//      quad;
//   3. which turns them into weights e^(score − maximum so far); \`keeps\` rescales older sums;
//   4. a thread owns a column, a vec4 of the head, for all HEADS, and adds up weights · v of every PARTS-th quad.
// At the end the parts are added up; they share their maximum. Loop trips of one invocation: at most 100 in a chunk (of them
// 8 · ITEMS for maxima, TEAM · ROUNDS for sums over teams). Forward only. Source: online softmax of arXiv 1805.02867.

struct Dims { slots: u32, heads: u32, kv_heads: u32, max_blocks: u32, block_size: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> k_cache: array<vec4<Cached>>;
@group(0) @binding(3) var<storage, read> v_cache: array<vec4<Cached>>;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> slots: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;

// Quads of a chunk.
const TEAMS = 32u;
const CHUNK = 4u * TEAMS;
const LOWEST = -3e38;

var<workgroup> q: array<vec4f, HEADS * D4>;
var<workgroup> bases: array<u32, CHUNK>;
// Of a head: by what its older sums are to be multiplied; at the end, one over its total.
var<workgroup> keeps: array<f32, HEADS>;
// What members of a team add up, ROUND heads at a time; then scores, then weights, of head h and quad i at h · TEAMS + i.
var<workgroup> exchange: array<vec4f, EXCHANGE>;

// First vec4 of position t's row of kv head \`head\`; positions past the last repeat it, with a weight of 0.
fn base_of(s: u32, t: u32, n: u32, head: u32) -> u32 {
  let at = min(t, n - 1u);
  let row = table[s * d.max_blocks + at / d.block_size] * d.block_size + at % d.block_size;
  return (row * d.kv_heads + head) * D4;
}

fn key(quad: u32, column: u32) -> mat4x4f {
  return mat4x4f(vec4f(k_cache[bases[4u * quad] + column]), vec4f(k_cache[bases[4u * quad + 1u] + column]),
    vec4f(k_cache[bases[4u * quad + 2u] + column]), vec4f(k_cache[bases[4u * quad + 3u] + column]));
}

fn value(quad: u32, column: u32) -> mat4x4f {
  return mat4x4f(vec4f(v_cache[bases[4u * quad] + column]), vec4f(v_cache[bases[4u * quad + 1u] + column]),
    vec4f(v_cache[bases[4u * quad + 2u] + column]), vec4f(v_cache[bases[4u * quad + 3u] + column]));
}

@compute @workgroup_size(THREADS)
fn decode(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let s = wid.y;
  if (s >= d.slots) { return; }
  let group = d.heads / d.kv_heads;
  let sets = (group + HEADS - 1u) / HEADS;
  let kv_head = wid.x / sets;
  let head = kv_head * group + wid.x % sets * HEADS;
  // Heads that are there.
  let held = min(HEADS, (kv_head + 1u) * group - head);
  let first_out = (s * d.heads + head) * D4;
  if (slots[s * 8u + 2u] != 1u) {
    for (var i = lane; i < held * D4; i += THREADS) { out[first_out + i] = vec4f(); }
    return;
  }
  let n = slots[s * 8u + 1u] + 1u;
  let first_q = (s * (d.heads + 2u * d.kv_heads) + head) * D4;
  for (var i = lane; i < HEADS * D4; i += THREADS) {
    q[i] = qkv[first_q + min(i / D4, held - 1u) * D4 + i % D4] * d.scale;
  }
  let team = lane / TEAM;
  let member = lane % TEAM;
  // Threads past the last part repeat it; nobody reads their sums.
  let part = min(lane / D4, PARTS - 1u);
  let column = lane % D4;
  var sum = array<vec4f, ROUND * ROUNDS>();
  //# for j in ITEMS
  let item\$j = lane + \$j * THREADS;
  var top\$j = LOWEST;
  var total\$j = vec4f();
  //# end
  for (var chunk = 0u; chunk < n; chunk += CHUNK) {
    let quads = min(TEAMS, (n - chunk + 3u) / 4u);
    workgroupBarrier();
    for (var i = lane; i < CHUNK; i += THREADS) { bases[i] = base_of(s, chunk + i, n, kv_head); }
    workgroupBarrier();
    var score = array<vec4f, ROUND * ROUNDS>();
    if (team < quads) {
      for (var c = member; c < D4; c += STEP * TEAM) {
        //# for c in STEP
        let k\$c = key(team, c + \$c * TEAM);
        //# end
        //# for h in HEADS
        //# for c in STEP
        score[\$h] += q[\$h * D4 + c + \$c * TEAM] * k\$c;
        //# end
        //# end
      }
    }
    //# for a in DEEP
    let ahead\$a = value(part + \$a * PARTS, column);
    //# end
    var own = array<vec4f, ITEMS>();
    //# for r in ROUNDS
    // A quad's place is turned by the member, which spreads writes and reads over the banks.
    //# for i in ROUND
    exchange[\$i * THREADS + member * TEAMS + (team ^ member)] = score[\$r * ROUND + \$i];
    //# end
    workgroupBarrier();
    // Wraps around below the first thread of these heads.
    let turn\$r = lane - \$r * ROUND * TEAMS % THREADS;
    if (turn\$r < ROUND * TEAMS) {
      let at = turn\$r / TEAMS * THREADS;
      let quad = turn\$r % TEAMS;
      var added = vec4f();
      for (var m = 0u; m < TEAM; m++) { added += exchange[at + m * TEAMS + (quad ^ m)]; }
      own[\$r * ROUND / TEAM] = added;
    }
    workgroupBarrier();
    //# end
    let valid = vec4u(chunk + lane % TEAMS * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(n);
    //# for j in ITEMS
    own[\$j] = select(vec4f(LOWEST), own[\$j], valid);
    if (item\$j < HEADS * TEAMS) { exchange[item\$j] = own[\$j]; }
    //# end
    workgroupBarrier();
    //# for j in ITEMS
    if (item\$j < HEADS * TEAMS) {
      let first = item\$j / TEAMS * TEAMS;
      var most = vec4f(LOWEST);
      for (var i = first; i < first + TEAMS; i += 4u) {
        most = max(max(max(most, exchange[i]), exchange[i + 1u]), max(exchange[i + 2u], exchange[i + 3u]));
      }
      let highest = max(max(top\$j, max(most.x, most.y)), max(most.z, most.w));
      let keep = exp(top\$j - highest);
      own[\$j] = exp(own[\$j] - highest);
      top\$j = highest;
      total\$j = total\$j * keep + own[\$j];
      if (item\$j == first) { keeps[item\$j / TEAMS] = keep; }
    }
    //# end
    workgroupBarrier();
    //# for j in ITEMS
    if (item\$j < HEADS * TEAMS) { exchange[item\$j] = own[\$j]; }
    //# end
    workgroupBarrier();
    //# for h in HEADS
    sum[\$h] *= keeps[\$h];
    //# for a in DEEP
    sum[\$h] += ahead\$a * exchange[\$h * TEAMS + part + \$a * PARTS];
    //# end
    //# end
    for (var i = part + DEEP * PARTS; i < quads; i += DEEP * PARTS) {
      //# for a in DEEP
      let v\$a = value(i + \$a * PARTS, column);
      //# end
      //# for h in HEADS
      //# for a in DEEP
      sum[\$h] += v\$a * exchange[\$h * TEAMS + i + \$a * PARTS];
      //# end
      //# end
    }
  }
  workgroupBarrier();
  //# for j in ITEMS
  if (item\$j < HEADS * TEAMS) { exchange[item\$j] = total\$j; }
  //# end
  workgroupBarrier();
  if (lane < HEADS) {
    var total = vec4f();
    for (var i = lane * TEAMS; i < (lane + 1u) * TEAMS; i++) { total += exchange[i]; }
    keeps[lane] = 1.0 / dot(total, vec4f(1.0));
  }
  //# for r in ROUNDS
  workgroupBarrier();
  //# for i in ROUND
  exchange[\$i * THREADS + lane] = sum[\$r * ROUND + \$i];
  //# end
  workgroupBarrier();
  for (var i = lane; i < min(ROUND, held - min(held, \$r * ROUND)) * D4; i += THREADS) {
    let of_head = i / D4;
    var added = vec4f();
    for (var p = 0u; p < PARTS; p++) { added += exchange[of_head * THREADS + p * D4 + i % D4]; }
    let h = \$r * ROUND + of_head;
    out[first_out + h * D4 + i % D4] = added * keeps[h];
  }
  //# end
}
`,
  attention_decode_texture: `// attention_decode.wgsl for software adapters, which read k and v through textures; formula, shapes and bindings stand
// there.
//
// One invocation serves a slot and HEADS query heads that share a kv head (those that are missing repeat the last one), and
// walks the slot's blocks, four positions at a time: what costs is the loads of k and v, so every one serves all HEADS, and
// queries and sums stay in registers. Nothing passes between invocations. HEAD_DIM, D4 = HEAD_DIM / 4 and HEADS stand in
// front of this text. Loop trips of one invocation: positions / 4 and one or two more a block.

struct Dims { slots: u32, heads: u32, kv_heads: u32, max_blocks: u32, block_size: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var k_cache: Mirror;
@group(0) @binding(3) var v_cache: Mirror;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> slots: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;

const LOWEST = -3e38;

fn highest(v: vec4f) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }

@compute @workgroup_size(16)
fn decode(@builtin(global_invocation_id) id: vec3u) {
  let group = d.heads / d.kv_heads;
  let sets = (group + HEADS - 1u) / HEADS;
  let s = id.x / (d.kv_heads * sets);
  if (s >= d.slots) { return; }
  let part = id.x % (d.kv_heads * sets);
  let kv_head = part / sets;
  let head = kv_head * group + part % sets * HEADS;
  let last = (kv_head + 1u) * group - 1u;
  var n = 0u;
  if (slots[s * 8u + 2u] == 1u) { n = slots[s * 8u + 1u] + 1u; }
  var q: array<array<vec4f, D4>, HEADS>;
  var sum: array<array<vec4f, D4>, HEADS>;
  //# for h in HEADS
  let q\$h = (s * (d.heads + 2u * d.kv_heads) + min(head + \$h, last)) * D4;
  //# for c in D4
  q[\$h][\$c] = qkv[q\$h + \$c] * d.scale;
  //# end
  var top\$h = LOWEST;
  var total\$h = 0.0;
  //# end
  let stride = d.kv_heads * D4;
  var entry = s * d.max_blocks;
  for (var start = 0u; start < n; start += d.block_size) {
    let base = table[entry] * d.block_size * stride + kv_head * D4;
    entry++;
    let held = min(n - start, d.block_size);
    for (var i = 0u; i < held; i += 4u) {
      // Positions past the end repeat the last one, with a score that counts nothing.
      //# for j in 4
      let at\$j = base + min(i + \$j, held - 1u) * stride;
      //# end
      let valid = vec4u(i) + vec4u(0u, 1u, 2u, 3u) < vec4u(held);
      //# for h in HEADS
      var score\$h = vec4f();
      //# end
      //# for c in D4
      let k\$c = mat4x4f(
        texel(k_cache, at0 + \$c), texel(k_cache, at1 + \$c), texel(k_cache, at2 + \$c), texel(k_cache, at3 + \$c));
      //# for h in HEADS
      score\$h += q[\$h][\$c] * k\$c;
      //# end
      //# end
      //# for h in HEADS
      score\$h = select(vec4f(LOWEST), score\$h, valid);
      let highest\$h = max(top\$h, highest(score\$h));
      let keep\$h = exp(top\$h - highest\$h);
      let p\$h = exp(score\$h - highest\$h);
      top\$h = highest\$h;
      total\$h = total\$h * keep\$h + dot(p\$h, vec4f(1.0));
      //# end
      //# for c in D4
      let v\$c = mat4x4f(
        texel(v_cache, at0 + \$c), texel(v_cache, at1 + \$c), texel(v_cache, at2 + \$c), texel(v_cache, at3 + \$c));
      //# for h in HEADS
      sum[\$h][\$c] = sum[\$h][\$c] * keep\$h + v\$c * p\$h;
      //# end
      //# end
    }
  }
  //# for h in HEADS
  // A dead slot has sums of zero.
  let inverse\$h = select(1.0 / total\$h, 0.0, n == 0u);
  if (head + \$h <= last) {
    let out\$h = (s * d.heads + head + \$h) * D4;
    //# for c in D4
    out[out\$h + \$c] = sum[\$h][\$c] * inverse\$h;
    //# end
  }
  //# end
}
`,
  attention_texture: `// Attention of attention.wgsl for software adapters: the same formulas, bindings and results, with qkv, dout and out read
// through textures and every sum in registers until its one store.
// A thread owns one row of one side (a query, or a key with its value) and meets the other side's rows COLUMNS at a time.
// The GROUP threads of a workgroup own neighbouring rows and walk one range, the union of what their rows see. SHARE
// threads run as one vector: each loads another texel of the rows they meet, and a broadcast hands it to all. A load costs
// some 150 instructions whether its lanes want one texel or 16 different ones, a broadcast 3 (tiny model, SHARE 16 against
// 1: 3 to 5 times as fast). More rows to a thread were no faster: they compile longer and meet more that they do not see.
// No thread of a workgroup leaves early, since a broadcast takes whatever its lane holds.
// HEAD = D; VECTORS = D / 4; LOADS = COLUMNS * VECTORS / SHARE, a whole number; SINGLES = COLUMNS / SHARE, at least 1.

struct Dims { tokens: u32, heads: u32, kv_heads: u32, causal: u32, scale: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var qkv: Mirror;
@group(0) @binding(2) var<storage, read> segments: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

struct DeltaDims { tokens: u32, heads: u32 }
@group(0) @binding(0) var<uniform> delta_dims: DeltaDims;
@group(0) @binding(1) var delta_dout: Mirror;
@group(0) @binding(2) var delta_out: Mirror;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

@group(0) @binding(3) var dout: Mirror;
@group(0) @binding(4) var<storage, read> backward_lse: array<f32>;
@group(0) @binding(5) var<storage, read> backward_delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4f>;

const NOTHING = -1e30;

alias Row = array<vec4f, VECTORS>;
// What a thread loads of COLUMNS rows.
alias Part = array<vec4f, LOADS>;
alias Scores = array<f32, COLUMNS>;

// Where a head, counted over q, k and v heads, starts in qkv.
fn place(token: u32, head: u32) -> u32 { return (token * (dims.heads + 2u * dims.kv_heads) + head) * VECTORS; }

// A query row of a k, v head is one of its query heads at a token.
fn query_token(row: u32) -> u32 { return row / (dims.heads / dims.kv_heads); }
fn query_head(r: u32, kv_head: u32) -> u32 {
  let shared_by = dims.heads / dims.kv_heads;
  let head = kv_head * shared_by + r % shared_by;
  return head;
}

// The keys x..y-1 that a token sees.
fn firsts(token: u32) -> u32 { return segments[token].x; }
fn seen(token: u32) -> vec2u {
  var end = token + 1u;
  if (dims.causal == 0u) { end = segments[token].y; }
  return vec2u(firsts(token), end);
}
// The tokens x..y-1 that see a key.
fn seers(key: u32) -> vec2u {
  var range = segments[key];
  if (dims.causal == 1u) { range.x = key; }
  return range;
}

// sum + a . b
fn dot_onto(sum: f32, a: vec4f, b: vec4f) -> f32 { return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum)))); }

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = wid.y * groups.x + wid.x;
  let rows = dims.tokens * (dims.heads / dims.kv_heads);
  let kv_head = i % dims.kv_heads;
  let block = i / dims.kv_heads * GROUP;
  if (block >= rows) { return; }
  // A row beyond the last repeats it and stores equal values.
  let row = min(block + lane, rows - 1u);
  let token = query_token(row);
  let head = query_head(row, kv_head);
  let own = seen(token);
  let from_q = place(token, head);
  var q: Row;
  var o: Row;
  //# for d in VECTORS
  q[\$d] = texel(qkv, from_q + \$d) * dims.scale;
  //# end
  var top = NOTHING;
  var sum = 0.0;
  let share = lane % SHARE;
  let end = seen(query_token(min(block + GROUP, rows) - 1u)).y;
  for (var key = seen(query_token(block)).x; key < end; key += COLUMNS) {
    var k: Part;
    var v: Part;
    //# for l in LOADS
    {
      let n = \$l * SHARE + share;
      let at = place(min(key + n / VECTORS, end - 1u), dims.heads + kv_head) + n % VECTORS;
      k[\$l] = texel(qkv, at);
      v[\$l] = texel(qkv, at + dims.kv_heads * VECTORS);
    }
    //# end
    // The zeros are written out: without them a variable keeps what it had in the round before.
    var s = Scores();
    var now = top;
    //# for c in COLUMNS
    //# for d in VECTORS
    s[\$c] = dot_onto(s[\$c], q[\$d], subgroupBroadcast(k[(\$c * VECTORS + \$d) / SHARE], (\$c * VECTORS + \$d) % SHARE));
    //# end
    if (key + \$c < own.x || key + \$c >= own.y) { s[\$c] = 2.0 * NOTHING; }
    now = max(now, s[\$c]);
    //# end
    let shrink = exp(top - now);
    top = now;
    sum *= shrink;
    //# for c in COLUMNS
    s[\$c] = exp(s[\$c] - now);
    sum += s[\$c];
    //# end
    //# for d in VECTORS
    o[\$d] *= shrink;
    //# for c in COLUMNS
    o[\$d] = fma(vec4f(s[\$c]), subgroupBroadcast(v[(\$c * VECTORS + \$d) / SHARE], (\$c * VECTORS + \$d) % SHARE), o[\$d]);
    //# end
    //# end
  }
  let at = token * dims.heads + head;
  lse[at] = top + log(sum);
  //# for d in VECTORS
  out[at * VECTORS + \$d] = o[\$d] / sum;
  //# end
}

@compute @workgroup_size(GROUP)
fn delta_of(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (i >= delta_dims.tokens * delta_dims.heads) { return; }
  var sum = 0.0;
  for (var d = i * VECTORS; d < (i + 1u) * VECTORS; d++) {
    sum = dot_onto(sum, texel(delta_dout, d), texel(delta_out, d));
  }
  delta[i] = sum;
}

@compute @workgroup_size(GROUP)
fn backward_query(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) lane: u32) {
  let i = wid.y * groups.x + wid.x;
  let rows = dims.tokens * (dims.heads / dims.kv_heads);
  let kv_head = i % dims.kv_heads;
  let block = i / dims.kv_heads * GROUP;
  if (block >= rows) { return; }
  let row = min(block + lane, rows - 1u);
  let token = query_token(row);
  let head = query_head(row, kv_head);
  let own = seen(token);
  let from_q = place(token, head);
  let at = token * dims.heads + head;
  let log_sum = backward_lse[at];
  let own_delta = backward_delta[at];
  var q: Row;
  var g: Row;
  var dq: Row;
  //# for d in VECTORS
  q[\$d] = texel(qkv, from_q + \$d) * dims.scale;
  g[\$d] = texel(dout, at * VECTORS + \$d);
  //# end
  let share = lane % SHARE;
  let end = seen(query_token(min(block + GROUP, rows) - 1u)).y;
  for (var key = seen(query_token(block)).x; key < end; key += COLUMNS) {
    var k: Part;
    var v: Part;
    //# for l in LOADS
    {
      let n = \$l * SHARE + share;
      let from_k = place(min(key + n / VECTORS, end - 1u), dims.heads + kv_head) + n % VECTORS;
      k[\$l] = texel(qkv, from_k);
      v[\$l] = texel(qkv, from_k + dims.kv_heads * VECTORS);
    }
    //# end
    var s = Scores();
    var ds = Scores();
    //# for c in COLUMNS
    //# for d in VECTORS
    s[\$c] = dot_onto(s[\$c], q[\$d], subgroupBroadcast(k[(\$c * VECTORS + \$d) / SHARE], (\$c * VECTORS + \$d) % SHARE));
    ds[\$c] = dot_onto(ds[\$c], g[\$d], subgroupBroadcast(v[(\$c * VECTORS + \$d) / SHARE], (\$c * VECTORS + \$d) % SHARE));
    //# end
    s[\$c] = select(0.0, exp(s[\$c] - log_sum), key + \$c >= own.x && key + \$c < own.y);
    ds[\$c] = s[\$c] * (ds[\$c] - own_delta);
    //# end
    //# for d in VECTORS
    //# for c in COLUMNS
    dq[\$d] = fma(vec4f(ds[\$c]), subgroupBroadcast(k[(\$c * VECTORS + \$d) / SHARE], (\$c * VECTORS + \$d) % SHARE), dq[\$d]);
    //# end
    //# end
  }
  //# for d in VECTORS
  dqkv[from_q + \$d] = dq[\$d] * dims.scale;
  //# end
}

@compute @workgroup_size(GROUP)
fn backward_key_value(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) lane: u32) {
  let i = wid.y * groups.x + wid.x;
  let shared_by = dims.heads / dims.kv_heads;
  let kv_head = i % dims.kv_heads;
  let block = i / dims.kv_heads * GROUP;
  if (block >= dims.tokens) { return; }
  let key = min(block + lane, dims.tokens - 1u);
  let own = seers(key);
  let from_k = place(key, dims.heads + kv_head);
  let from_v = from_k + dims.kv_heads * VECTORS;
  var k: Row;
  var v: Row;
  var dk: Row;
  var dv: Row;
  //# for d in VECTORS
  k[\$d] = texel(qkv, from_k + \$d) * dims.scale;
  v[\$d] = texel(qkv, from_v + \$d);
  //# end
  let share = lane % SHARE;
  let end = seers(min(block + GROUP, dims.tokens) - 1u).y * shared_by;
  for (var row = seers(block).x * shared_by; row < end; row += COLUMNS) {
    var q: Part;
    var g: Part;
    //# for l in LOADS
    {
      let n = \$l * SHARE + share;
      let met = min(row + n / VECTORS, end - 1u);
      let token = query_token(met);
      let head = query_head(met, kv_head);
      q[\$l] = texel(qkv, place(token, head) + n % VECTORS);
      g[\$l] = texel(dout, (token * dims.heads + head) * VECTORS + n % VECTORS);
    }
    //# end
    // lse and delta of the rows.
    var numbers: array<vec4f, SINGLES>;
    //# for l in SINGLES
    {
      let met = min(row + \$l * SHARE + share % COLUMNS, end - 1u);
      let at = query_token(met) * dims.heads + query_head(met, kv_head);
      numbers[\$l] = vec4f(backward_lse[at], backward_delta[at], 0.0, 0.0);
    }
    //# end
    var s = Scores();
    var ds = Scores();
    //# for c in COLUMNS
    //# for d in VECTORS
    s[\$c] = dot_onto(s[\$c], k[\$d], subgroupBroadcast(q[(\$c * VECTORS + \$d) / SHARE], (\$c * VECTORS + \$d) % SHARE));
    ds[\$c] = dot_onto(ds[\$c], v[\$d], subgroupBroadcast(g[(\$c * VECTORS + \$d) / SHARE], (\$c * VECTORS + \$d) % SHARE));
    //# end
    {
      let token = query_token(row + \$c);
      let number = subgroupBroadcast(numbers[\$c / SHARE], \$c % SHARE);
      s[\$c] = select(0.0, exp(s[\$c] - number.x), token >= own.x && token < own.y);
      ds[\$c] = s[\$c] * (ds[\$c] - number.y);
    }
    //# end
    //# for d in VECTORS
    //# for c in COLUMNS
    dk[\$d] = fma(vec4f(ds[\$c]), subgroupBroadcast(q[(\$c * VECTORS + \$d) / SHARE], (\$c * VECTORS + \$d) % SHARE), dk[\$d]);
    dv[\$d] = fma(vec4f(s[\$c]), subgroupBroadcast(g[(\$c * VECTORS + \$d) / SHARE], (\$c * VECTORS + \$d) % SHARE), dv[\$d]);
    //# end
    //# end
  }
  //# for d in VECTORS
  dqkv[from_k + \$d] = dk[\$d] * dims.scale;
  dqkv[from_v + \$d] = dv[\$d];
  //# end
}
`,
  attention_tiled: `// Packed attention with grouped queries for GPUs with fast workgroup memory: the formulas, bindings and dims of
// attention.wgsl; forward, backward_query and backward_key_value (FlashAttention-2: Dao 2023, algorithms 1 and 2).
// A workgroup owns M rows and walks N rows of the other side at a time: query rows and keys (backward_key_value: keys and
// query rows). The query rows of a k, v head are its query heads at every token, so that grouped heads share k and v.
// Segments lie one after the other, so that a tile's first and last rows bound what it can see: other tiles are not met.
//   scores   both sides pass through workgroup memory SLICE vec4 of the head at a time; each of X · Y threads multiplies
//            4 x 4 of the M x N scores: own rows ty + Y r, others tx + X c, so that neighbours read neighbouring places
//   sums     the weights of the other rows (probabilities, or slopes of the scores) pass through workgroup memory CHUNK
//            rows at a time beside those rows; a thread adds up own rows ty + Y r, vec4 tx + X v of the head, in registers
// What stands in workgroup memory is replaced between two barriers; what comes next is loaded while the present is in use.
// Constants (attention_variants.ts): HEAD = D, a multiple of 4   VECTORS = D / 4   X = N / 4   Y = M / 4   THREADS = X · Y
//   VECS = PART / X rounded up   SLICES · SLICE >= VECTORS   SPAN = SLICE or SLICE + 1, odd: rows begin in other banks
//   OWN_LOADS, OTHER_LOADS, CHUNK_LOADS: vec4 that a thread loads of a slice of either side and of a chunk
//   PARTS workgroups share a tile of keys of wide heads, each with PART = VECTORS / PARTS vec4 of the sums; 1 elsewhere
//   CHUNKS = N / CHUNK   COLUMNS = CHUNK / X   WEIGHTS = Y + 1: threads of a chunk's weights write to different banks

struct Dims { tokens: u32, heads: u32, kv_heads: u32, causal: u32, scale: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> segments: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

@group(0) @binding(3) var<storage, read> dout: array<vec4f>;
@group(0) @binding(4) var<storage, read> backward_lse: array<f32>;
@group(0) @binding(5) var<storage, read> backward_delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4f>;

const NOTHING = vec4f(-1e30);

// Slices of the own rows from 0, of the others from OTHER; or a chunk's weights from 0 and its rows from ROWS. Numbers that
// the threads of a row exchange stand at SHARED.
var<workgroup> memory: array<vec4f, MEMORY>;

// 4 x 4 scores: vec4 r holds those of own row ty + Y r with the others tx + X c.
alias Block = array<vec4f, 4>;
alias Sums = array<array<vec4f, VECS>, 4>;
// Of a thread's loads: where they begin, and what was loaded.
alias OwnPlaces = array<u32, OWN_LOADS>;
alias OtherPlaces = array<u32, OTHER_LOADS>;
alias OwnPart = array<vec4f, OWN_LOADS>;
alias OtherPart = array<vec4f, OTHER_LOADS>;
alias ChunkPart = array<vec4f, CHUNK_LOADS>;

// Where a head, counted over q, k and v heads, starts in qkv.
fn place(token: u32, head: u32) -> u32 { return (token * (dims.heads + 2u * dims.kv_heads) + head) * VECTORS; }
fn key_place(token: u32, kv_head: u32) -> u32 { return place(token, dims.heads + kv_head); }
fn value_place(token: u32, kv_head: u32) -> u32 { return place(token, dims.heads + dims.kv_heads + kv_head); }

// A query row of a k, v head: its token and query head.
struct Query { token: u32, head: u32 }
fn query(row: u32, kv_head: u32) -> Query {
  let shared_by = dims.heads / dims.kv_heads;
  return Query(row / shared_by, kv_head * shared_by + row % shared_by);
}
fn query_place(row: u32, kv_head: u32) -> u32 {
  let q = query(row, kv_head);
  return place(q.token, q.head);
}
// In [T, Hq].
fn row_place(row: u32, kv_head: u32) -> u32 {
  let q = query(row, kv_head);
  return q.token * dims.heads + q.head;
}

// Keys that a query token sees, and query tokens that see a key: from x, before y.
fn keys_of(token: u32) -> vec2u {
  let segment = segments[token];
  if (dims.causal == 1u) { return vec2u(segment.x, token + 1u); }
  return segment;
}
fn queries_of(token: u32) -> vec2u {
  let segment = segments[token];
  if (dims.causal == 1u) { return vec2u(token, segment.y); }
  return segment;
}

fn inside(at: vec4u, range: vec2u) -> vec4<bool> { return (at >= vec4u(range.x)) & (at < vec4u(range.y)); }

// Values q of a row that starts at \`at\`; 0 behind the head's last.
fn qkv_values(at: u32, q: u32) -> vec4f {
  if (q < VECTORS) { return qkv[at + q]; }
  return vec4f();
}
fn dout_values(at: u32, q: u32) -> vec4f {
  if (q < VECTORS) { return dout[at + q]; }
  return vec4f();
}

fn own_qkv(rows: OwnPlaces, slice: u32, thread: u32) -> OwnPart {
  var part: OwnPart;
  //# for l in OWN_LOADS
  part[\$l] = qkv_values(rows[\$l], slice * SLICE + (thread + THREADS * \$l) % SLICE);
  //# end
  return part;
}
fn other_qkv(rows: OtherPlaces, slice: u32, thread: u32) -> OtherPart {
  var part: OtherPart;
  //# for l in OTHER_LOADS
  part[\$l] = qkv_values(rows[\$l], slice * SLICE + (thread + THREADS * \$l) % SLICE);
  //# end
  return part;
}
fn own_dout(rows: OwnPlaces, slice: u32, thread: u32) -> OwnPart {
  var part: OwnPart;
  //# for l in OWN_LOADS
  part[\$l] = dout_values(rows[\$l], slice * SLICE + (thread + THREADS * \$l) % SLICE);
  //# end
  return part;
}
fn other_dout(rows: OtherPlaces, slice: u32, thread: u32) -> OtherPart {
  var part: OtherPart;
  //# for l in OTHER_LOADS
  part[\$l] = dout_values(rows[\$l], slice * SLICE + (thread + THREADS * \$l) % SLICE);
  //# end
  return part;
}

// Puts a slice of both sides where the one before stood.
fn store_slices(own: OwnPart, other: OtherPart, thread: u32) {
  workgroupBarrier();
  //# for l in OWN_LOADS
  {
    let n = thread + THREADS * \$l;
    if (n < M * SLICE) { memory[n / SLICE * SPAN + n % SLICE] = own[\$l]; }
  }
  //# end
  //# for l in OTHER_LOADS
  {
    let n = thread + THREADS * \$l;
    if (n < N * SLICE) { memory[OTHER + n / SLICE * SPAN + n % SLICE] = other[\$l]; }
  }
  //# end
  workgroupBarrier();
}

// Adds a row's four steps: a · b, b holding a step's columns in each of its columns.
fn step4(a: vec4f, b: mat4x4f, sum: vec4f) -> vec4f {
  return fma(vec4f(a.w), b[3], fma(vec4f(a.z), b[2], fma(vec4f(a.y), b[1], fma(vec4f(a.x), b[0], sum))));
}

fn multiply_slices(block: ptr<function, Block>, thread: u32) {
  let other = OTHER + thread % X * SPAN;
  let own = thread / X * SPAN;
  for (var k = 0u; k < SLICE; k++) {
    let b = transpose(mat4x4f(memory[other + k], memory[other + X * SPAN + k], memory[other + 2u * X * SPAN + k],
      memory[other + 3u * X * SPAN + k]));
    //# for r in 4
    (*block)[\$r] = step4(memory[own + Y * \$r * SPAN + k], b, (*block)[\$r]);
    //# end
  }
}

// Products of the own rows with the others, of q with k.
fn qkv_products(own: OwnPlaces, other: OtherPlaces, thread: u32) -> Block {
  var block: Block;
  var a = own_qkv(own, 0u, thread);
  var b = other_qkv(other, 0u, thread);
  for (var slice = 1u; slice <= SLICES; slice++) {
    store_slices(a, b, thread);
    if (slice < SLICES) {
      a = own_qkv(own, slice, thread);
      b = other_qkv(other, slice, thread);
    }
    multiply_slices(&block, thread);
  }
  return block;
}
// Of the own rows of dout with values.
fn own_dout_products(own: OwnPlaces, other: OtherPlaces, thread: u32) -> Block {
  var block: Block;
  var a = own_dout(own, 0u, thread);
  var b = other_qkv(other, 0u, thread);
  for (var slice = 1u; slice <= SLICES; slice++) {
    store_slices(a, b, thread);
    if (slice < SLICES) {
      a = own_dout(own, slice, thread);
      b = other_qkv(other, slice, thread);
    }
    multiply_slices(&block, thread);
  }
  return block;
}
// Of the own values with rows of dout.
fn other_dout_products(own: OwnPlaces, other: OtherPlaces, thread: u32) -> Block {
  var block: Block;
  var a = own_qkv(own, 0u, thread);
  var b = other_dout(other, 0u, thread);
  for (var slice = 1u; slice <= SLICES; slice++) {
    store_slices(a, b, thread);
    if (slice < SLICES) {
      a = own_qkv(own, slice, thread);
      b = other_dout(other, slice, thread);
    }
    multiply_slices(&block, thread);
  }
  return block;
}

// Rows of a chunk, from vec4 \`offset\` of the head on: of keys or values, where the head starts in a token's; of queries and of dout. Rows
// past \`last\` repeat it.
fn chunk_keys(first: u32, last: u32, head: u32, thread: u32) -> ChunkPart {
  var part: ChunkPart;
  //# for l in CHUNK_LOADS
  part[\$l] = qkv[place(min(first + (thread + THREADS * \$l) / PART, last), head) + (thread + THREADS * \$l) % PART];
  //# end
  return part;
}
fn chunk_queries(first: u32, last: u32, kv_head: u32, thread: u32, offset: u32) -> ChunkPart {
  var part: ChunkPart;
  //# for l in CHUNK_LOADS
  part[\$l] = qkv[query_place(min(first + (thread + THREADS * \$l) / PART, last), kv_head) + offset +
    (thread + THREADS * \$l) % PART];
  //# end
  return part;
}
fn chunk_dout(first: u32, last: u32, kv_head: u32, thread: u32, offset: u32) -> ChunkPart {
  var part: ChunkPart;
  //# for l in CHUNK_LOADS
  part[\$l] = dout[row_place(min(first + (thread + THREADS * \$l) / PART, last), kv_head) * VECTORS + offset +
    (thread + THREADS * \$l) % PART];
  //# end
  return part;
}

// Puts chunk n of the weights, COLUMNS of a thread's columns, and of the other rows where the one before stood.
fn store_chunk(n: u32, weights: mat4x4f, rows: ChunkPart, thread: u32) {
  workgroupBarrier();
  //# for c in COLUMNS
  memory[(thread % X + X * \$c) * WEIGHTS + thread / X] = column(weights, n * COLUMNS + \$c);
  //# end
  //# for l in CHUNK_LOADS
  if (thread + THREADS * \$l < CHUNK * PART) { memory[ROWS + thread + THREADS * \$l] = rows[\$l]; }
  //# end
  workgroupBarrier();
}

// Where PART is no multiple of X, the last columns take other rows' values: their sums are not stored.
fn add_chunk(sums: ptr<function, Sums>, thread: u32) {
  let tx = thread % X;
  let ty = thread / X;
  for (var k = 0u; k < CHUNK; k++) {
    let weight = memory[k * WEIGHTS + ty];
    //# for v in VECS
    {
      let values = memory[ROWS + k * PART + tx + X * \$v];
      //# for r in 4
      (*sums)[\$r][\$v] = fma(vec4f(weight[\$r]), values, (*sums)[\$r][\$v]);
      //# end
    }
    //# end
  }
}

// Chosen by comparing: a matrix that is indexed by a variable would not stay in registers.
fn column(m: mat4x4f, n: u32) -> vec4f { return select(select(m[0], m[1], n == 1u), select(m[2], m[3], n == 3u), n > 1u); }
// Of a block: what the own rows have in common with one other is a column.
fn by_column(block: Block) -> mat4x4f { return transpose(mat4x4f(block[0], block[1], block[2], block[3])); }
// The thread's own rows, of which the first is \`first\`; those past \`last\` repeat it.
fn own_rows(first: u32, last: u32, thread: u32) -> vec4u {
  return min(first + thread / X + Y * vec4u(0u, 1u, 2u, 3u), vec4u(last));
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) thread: u32) {
  let group = wid.y * groups.x + wid.x;
  let shared_by = dims.heads / dims.kv_heads;
  let rows = dims.tokens * shared_by;
  let tiles = (rows + M - 1u) / M;
  if (group >= tiles * dims.kv_heads) { return; }
  let kv_head = group % dims.kv_heads;
  // The last rows of a causal segment see most keys: theirs begin first.
  let first = (tiles - 1u - group / dims.kv_heads) * M;
  let last = min(first + M, rows) - 1u;
  let start = keys_of(first / shared_by).x;
  let end = keys_of(last / shared_by).y;
  let tx = thread % X;
  let ty = thread / X;
  let own = own_rows(first, last, thread);
  //# for r in 4
  let sees\$r = keys_of(own[\$r] / shared_by);
  //# end
  var queries: OwnPlaces;
  //# for l in OWN_LOADS
  queries[\$l] = query_place(min(first + (thread + THREADS * \$l) / SLICE, last), kv_head);
  //# end
  var sums: Sums;
  var top = NOTHING;
  // Of the thread's own columns.
  var total = vec4f();
  for (var key = start; key < end; key += N) {
    var keys = OtherPlaces();
    //# for l in OTHER_LOADS
    keys[\$l] = key_place(min(key + (thread + THREADS * \$l) / SLICE, end - 1u), kv_head);
    //# end
    var block = qkv_products(queries, keys, thread);
    let values = dims.heads + dims.kv_heads + kv_head;
    var rows = chunk_keys(key, end - 1u, values, thread);
    let columns = key + tx + X * vec4u(0u, 1u, 2u, 3u);
    var highest = NOTHING;
    //# for r in 4
    let valid\$r = inside(columns, sees\$r);
    block[\$r] = select(NOTHING, block[\$r] * dims.scale, valid\$r);
    highest[\$r] = max(max(block[\$r].x, block[\$r].y), max(block[\$r].z, block[\$r].w));
    //# end
    memory[SHARED + tx * Y + ty] = highest;
    workgroupBarrier();
    var now = top;
    for (var x = 0u; x < X; x++) { now = max(now, memory[SHARED + x * Y + ty]); }
    let shrink = exp(top - now);
    top = now;
    total *= shrink;
    //# for r in 4
    // A row may have seen no key yet: then exp(0) stands for nothing.
    block[\$r] = select(vec4f(), exp(block[\$r] - now[\$r]), valid\$r);
    total[\$r] += dot(block[\$r], vec4f(1.0));
    //# for v in VECS
    sums[\$r][\$v] *= shrink[\$r];
    //# end
    //# end
    let weights = by_column(block);
    for (var n = 0u; n < CHUNKS; n++) {
      store_chunk(n, weights, rows, thread);
      if (n + 1u < CHUNKS) { rows = chunk_keys(key + CHUNK * (n + 1u), end - 1u, values, thread); }
      add_chunk(&sums, thread);
    }
  }
  memory[SHARED + tx * Y + ty] = total;
  workgroupBarrier();
  total = vec4f();
  for (var x = 0u; x < X; x++) { total += memory[SHARED + x * Y + ty]; }
  let logs = top + log(total);
  //# for r in 4
  if (first + ty + Y * \$r <= last) {
    let at = row_place(own[\$r], kv_head);
    //# for v in VECS
    if (tx + X * \$v < VECTORS) { out[at * VECTORS + tx + X * \$v] = sums[\$r][\$v] / total[\$r]; }
    //# end
    if (tx == 0u) { lse[at] = logs[\$r]; }
  }
  //# end
}

@compute @workgroup_size(THREADS)
fn backward_query(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) thread: u32) {
  let group = wid.y * groups.x + wid.x;
  let shared_by = dims.heads / dims.kv_heads;
  let rows = dims.tokens * shared_by;
  let tiles = (rows + M - 1u) / M;
  if (group >= tiles * dims.kv_heads) { return; }
  let kv_head = group % dims.kv_heads;
  // The last rows of a causal segment see most keys: theirs begin first.
  let first = (tiles - 1u - group / dims.kv_heads) * M;
  let last = min(first + M, rows) - 1u;
  let start = keys_of(first / shared_by).x;
  let end = keys_of(last / shared_by).y;
  let tx = thread % X;
  let own = own_rows(first, last, thread);
  //# for r in 4
  let sees\$r = keys_of(own[\$r] / shared_by);
  let at\$r = row_place(own[\$r], kv_head);
  let own_lse\$r = backward_lse[at\$r];
  let own_delta\$r = backward_delta[at\$r];
  //# end
  var queries: OwnPlaces;
  var slopes: OwnPlaces;
  //# for l in OWN_LOADS
  queries[\$l] = query_place(min(first + (thread + THREADS * \$l) / SLICE, last), kv_head);
  slopes[\$l] = row_place(min(first + (thread + THREADS * \$l) / SLICE, last), kv_head) * VECTORS;
  //# end
  var sums: Sums;
  for (var key = start; key < end; key += N) {
    var keys = OtherPlaces();
    var values = OtherPlaces();
    //# for l in OTHER_LOADS
    keys[\$l] = key_place(min(key + (thread + THREADS * \$l) / SLICE, end - 1u), kv_head);
    values[\$l] = value_place(min(key + (thread + THREADS * \$l) / SLICE, end - 1u), kv_head);
    //# end
    var block = qkv_products(queries, keys, thread);
    let dp = own_dout_products(slopes, values, thread);
    var rows = chunk_keys(key, end - 1u, dims.heads + kv_head, thread);
    let columns = key + tx + X * vec4u(0u, 1u, 2u, 3u);
    //# for r in 4
    block[\$r] = select(vec4f(), exp(block[\$r] * dims.scale - own_lse\$r), inside(columns, sees\$r)) *
      (dp[\$r] - own_delta\$r) * dims.scale;
    //# end
    let weights = by_column(block);
    for (var n = 0u; n < CHUNKS; n++) {
      store_chunk(n, weights, rows, thread);
      if (n + 1u < CHUNKS) { rows = chunk_keys(key + CHUNK * (n + 1u), end - 1u, dims.heads + kv_head, thread); }
      add_chunk(&sums, thread);
    }
  }
  //# for r in 4
  if (first + thread / X + Y * \$r <= last) {
    let at = query_place(own[\$r], kv_head);
    //# for v in VECS
    if (tx + X * \$v < VECTORS) { dqkv[at + tx + X * \$v] = sums[\$r][\$v]; }
    //# end
  }
  //# end
}

@compute @workgroup_size(THREADS)
fn backward_key_value(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) thread: u32) {
  let group = wid.y * groups.x + wid.x;
  let shared_by = dims.heads / dims.kv_heads;
  let tiles = (dims.tokens + M - 1u) / M;
  if (group >= tiles * dims.kv_heads * PARTS) { return; }
  let offset = group % PARTS * PART;
  let kv_head = group / PARTS % dims.kv_heads;
  let first = group / PARTS / dims.kv_heads * M;
  let last = min(first + M, dims.tokens) - 1u;
  let start = queries_of(first).x * shared_by;
  let end = queries_of(last).y * shared_by;
  let tx = thread % X;
  let own = own_rows(first, last, thread);
  //# for r in 4
  let seen\$r = queries_of(own[\$r]);
  //# end
  var keys: OwnPlaces;
  var values: OwnPlaces;
  //# for l in OWN_LOADS
  keys[\$l] = key_place(min(first + (thread + THREADS * \$l) / SLICE, last), kv_head);
  values[\$l] = value_place(min(first + (thread + THREADS * \$l) / SLICE, last), kv_head);
  //# end
  var dk: Sums;
  var dv: Sums;
  for (var row = start; row < end; row += N) {
    var queries = OtherPlaces();
    var slopes = OtherPlaces();
    //# for l in OTHER_LOADS
    queries[\$l] = query_place(min(row + (thread + THREADS * \$l) / SLICE, end - 1u), kv_head);
    slopes[\$l] = row_place(min(row + (thread + THREADS * \$l) / SLICE, end - 1u), kv_head) * VECTORS;
    //# end
    // Rows past the end are of tokens past the end: no key is seen by them.
    let columns = row + tx + X * vec4u(0u, 1u, 2u, 3u);
    let tokens = columns / shared_by;
    var logs = vec4f();
    var deltas = vec4f();
    //# for c in 4
    let at\$c = row_place(min(columns[\$c], end - 1u), kv_head);
    logs[\$c] = backward_lse[at\$c];
    deltas[\$c] = backward_delta[at\$c];
    //# end
    var p = qkv_products(keys, queries, thread);
    var ds = other_dout_products(values, slopes, thread);
    var rows = chunk_dout(row, end - 1u, kv_head, thread, offset);
    //# for r in 4
    p[\$r] = select(vec4f(), exp(p[\$r] * dims.scale - logs), inside(tokens, seen\$r));
    ds[\$r] = p[\$r] * (ds[\$r] - deltas) * dims.scale;
    //# end
    let p_weights = by_column(p);
    let ds_weights = by_column(ds);
    for (var n = 0u; n < CHUNKS; n++) {
      store_chunk(n, p_weights, rows, thread);
      rows = chunk_queries(row + CHUNK * n, end - 1u, kv_head, thread, offset);
      add_chunk(&dv, thread);
      store_chunk(n, ds_weights, rows, thread);
      if (n + 1u < CHUNKS) { rows = chunk_dout(row + CHUNK * (n + 1u), end - 1u, kv_head, thread, offset); }
      add_chunk(&dk, thread);
    }
  }
  //# for r in 4
  if (first + thread / X + Y * \$r <= last) {
    let key_at = key_place(own[\$r], kv_head) + offset;
    let value_at = value_place(own[\$r], kv_head) + offset;
    //# for v in VECS
    if (tx + X * \$v < PART) {
      dqkv[key_at + tx + X * \$v] = dk[\$r][\$v];
      dqkv[value_at + tx + X * \$v] = dv[\$r][\$v];
    }
    //# end
  }
  //# end
}
`,
  cached_f16: `enable f16;
// The key/value cache holds values rounded to f16; stands in front of the texts that read and write it as vec4<Cached>.
alias Cached = f16;
`,
  cached_f32: `// The key/value cache holds f32; stands in front of the texts that read and write it as vec4<Cached>.
alias Cached = f32;
`,
  column_sum: `// Sums over tokens, for the gradients of biases and norm weights, in two stages so that no thread runs a long loop and
// the order of additions is fixed:
//   column_sum   partial[c,j] = sum over the tokens t of chunk c of dy[t,j];  dy [T, N], partial [chunks, N]
//   finish       out[j] += sum_c partial[c,j];                               partial [rows, N], out [N]
// Prelude: Value, LANES, place. GROUP threads a workgroup, each at its own columns.

struct SumDims { tokens: u32, width: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> sum_dims: SumDims;
@group(0) @binding(1) var<storage, read> dy: array<Value>;
@group(0) @binding(2) var<storage, read_write> partial: array<Value>;

struct FinishDims { rows: u32, width: u32 }
@group(0) @binding(0) var<uniform> finish_dims: FinishDims;
@group(0) @binding(1) var<storage, read> finish_partial: array<Value>;
@group(0) @binding(2) var<storage, read_write> out: array<Value>;

@compute @workgroup_size(GROUP)
fn column_sum(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = sum_dims.width / LANES;
  let at = place(i, n);
  let first = at.y * sum_dims.chunk;
  if (first >= sum_dims.tokens) { return; }
  var sum = Value(0.0);
  for (var t = first; t < min(first + sum_dims.chunk, sum_dims.tokens); t++) { sum += dy[t * n + at.x]; }
  partial[i] = sum;
}

@compute @workgroup_size(GROUP)
fn finish(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
  let j = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = finish_dims.width / LANES;
  if (j >= n) { return; }
  var sum = Value(0.0);
  for (var row = 0u; row < finish_dims.rows; row++) { sum += finish_partial[row * n + j]; }
  out[j] += sum;
}
`,
  embedding: `// Token embedding y[t, :] = weight[ids[t], :] and its gradient. The table may be larger than one binding: \`weight\` and
// \`dweight\` are its rows first_row .. first_row + rows - 1, and ids outside this window are left alone.
//   forward    ids [T], weight [rows, W], y [T, W]
//   backward   dweight[unique[u], :] += sum of dy[t, :] over the tokens t = order[starts[u]] .. order[starts[u+1] - 1],
//              the tokens sorted by id: each row of dweight has one thread a column, so the order of additions is fixed.
// Prelude: Value, LANES, place. One thread a Value.

struct ForwardDims { tokens: u32, width: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<uniform> forward_dims: ForwardDims;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<Value>;
@group(0) @binding(3) var<storage, read_write> y: array<Value>;

struct BackwardDims { unique: u32, width: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<uniform> backward_dims: BackwardDims;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> unique: array<u32>;
@group(0) @binding(4) var<storage, read> dy: array<Value>;
@group(0) @binding(5) var<storage, read_write> dweight: array<Value>;

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = forward_dims.width / LANES;
  if (i >= forward_dims.tokens * n) { return; }
  // Below the window the difference wraps round to a large number.
  let at = place(i, n);
  let row = ids[at.y] - forward_dims.first_row;
  if (row < forward_dims.rows) { y[i] = weight[row * n + at.x]; }
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = backward_dims.width / LANES;
  let at = place(i, n);
  let u = at.y;
  if (u >= backward_dims.unique) { return; }
  let row = unique[u] - backward_dims.first_row;
  if (row >= backward_dims.rows) { return; }
  var sum = Value(0.0);
  for (var k = starts[u]; k < starts[u + 1u]; k++) { sum += dy[order[k] * n + at.x]; }
  dweight[row * n + at.x] += sum;
}
`,
  embedding_half: `// embedding.wgsl's forward, of a table that stands in f16: widths are multiples of 4, one thread a vec4.
//   ids [T], weight [rows, W] f16, y [T, W]
// Prelude: place.

struct Dims { tokens: u32, width: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = d.width / 4u;
  if (i >= d.tokens * n) { return; }
  // Below the window the difference wraps round to a large number.
  let at = place(i, n);
  let row = ids[at.y] - d.first_row;
  if (row < d.rows) { y[i] = vec4f(weight[row * n + at.x]); }
}
`,
  entropy_window: `// High-entropy windows over packed response tokens: N tokens, spans [B, 2] = (first token, length) of every sequence.
//   window_mean  out[t] = mean(H_t … H_{t+w−1}), cut at the end and divided by what remains (kind 0, paper);
//                mean(H_{t+1} … H_{t+w}) where all w tokens exist, else −1 (kind 1, reference)
//   quantile     out[i] = the q-quantile of sequence i by linear interpolation at rank q (n − 1), found by bisection
//                over the bits of the floats: exact, and no sort; −1 where the sequence is empty
//   threshold    out[0] = mean of values [B] without those of empty sequences: τ; 0 where all are empty
//   mask         mask[t] = 1 where window_mean[t] ≥ τ and the window exists (τ may be −1, the reference's first one);
//                counts[i] = Σ mask of sequence i: N_HE
// Source: ARES section 3.2; the quantile is taken of the window entropies, as the reference tables do.
// One workgroup a sequence, its lanes side by side along the tokens; sums go through a fixed tree.

struct Dims {
  sequences: u32,
  window: u32,
  kind: u32,
  q: f32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> spans: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn window_mean(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let first = spans[2u * group.x];
  let length = spans[2u * group.x + 1u];
  for (var t = lane.x; t < length; t += LANES) {
    let start = t + d.kind;
    let end = min(start + d.window, length);
    var sum = 0.0;
    for (var j = start; j < end; j++) { sum += values[first + j]; }
    let whole = d.kind == 0u || start + d.window <= length;
    out[first + t] = select(-1.0, sum / f32(max(end, start + 1u) - start), whole);
  }
}

var<workgroup> tally: array<u32, 64>;
var<workgroup> least: array<u32, 64>;

// Floats in the order of unsigned integers.
fn sortable(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn unsortable(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// How many values of the span are at most \`key\`; every lane gets the answer.
fn at_most(key: u32, first: u32, length: u32, lane: u32) -> u32 {
  var count = 0u;
  for (var t = lane; t < length; t += LANES) { count += select(0u, 1u, sortable(values[first + t]) <= key); }
  tally[lane] = count;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (lane < step) { tally[lane] += tally[lane + step]; }
    workgroupBarrier();
  }
  let total = workgroupUniformLoad(&tally[0]);
  workgroupBarrier();
  return total;
}

@compute @workgroup_size(LANES)
fn quantile(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let first = workgroup_span(group.x, 0u);
  let length = workgroup_span(group.x, 1u);
  if (length == 0u) {
    if (lane.x == 0u) { out[group.x] = -1.0; }
    return;
  }
  let rank = d.q * f32(length - 1u);
  let low = min(u32(floor(rank)), length - 1u);
  // The smallest key with more than \`low\` values at most it: the value of that rank.
  var key = 0u;
  for (var bit = 0x80000000u; bit > 0u; bit /= 2u) {
    if (at_most((key | bit) - 1u, first, length, lane.x) <= low) { key |= bit; }
  }
  // The next rank holds the same value, or the least one above it.
  let covered = at_most(key, first, length, lane.x);
  var above = 0xffffffffu;
  for (var t = lane.x; t < length; t += LANES) {
    let k = sortable(values[first + t]);
    if (k > key) { above = min(above, k); }
  }
  least[lane.x] = above;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (lane.x < step) { least[lane.x] = min(least[lane.x], least[lane.x + step]); }
    workgroupBarrier();
  }
  if (lane.x == 0u) {
    let lower = unsortable(key);
    var upper = lower;
    if (covered < low + 2u && low + 1u < length) { upper = unsortable(least[0]); }
    out[group.x] = lower + (upper - lower) * (rank - f32(low));
  }
}

fn workgroup_span(sequence: u32, field: u32) -> u32 {
  return spans[2u * sequence + field];
}

@group(0) @binding(2) var<storage, read_write> mean: array<f32>;

@compute @workgroup_size(1)
fn threshold() {
  var sum = 0.0;
  var count = 0.0;
  for (var i = 0u; i < d.sequences; i++) {
    // Rounding can leave an entropy a little below 0: that one counts.
    if (values[i] > -0.5) {
      sum += values[i];
      count += 1.0;
    }
  }
  mean[0] = sum / max(count, 1.0);
}

@group(0) @binding(3) var<storage, read> tau: array<f32>;
@group(0) @binding(4) var<storage, read_write> mask_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> counts: array<f32>;

@compute @workgroup_size(LANES)
fn mask(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let first = spans[2u * group.x];
  let length = spans[2u * group.x + 1u];
  var count = 0u;
  for (var t = lane.x; t < length; t += LANES) {
    let inside = values[first + t] > -0.5 && values[first + t] >= tau[0];
    mask_out[first + t] = select(0.0, 1.0, inside);
    count += select(0u, 1u, inside);
  }
  tally[lane.x] = count;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (lane.x < step) { tally[lane.x] += tally[lane.x + step]; }
    workgroupBarrier();
  }
  if (lane.x == 0u) { counts[group.x] = f32(tally[0]); }
}
`,
  full_kl: `// The exact KL of every row to the reference policy, over tiles of the vocabulary as in head.wgsl: a tile of the policy's raw
// logits z and one of the reference's, both [rows, stride] of the columns first .. first+columns, and both log-sum-exps.
// divergence  result[row].w = Σ_v p_v (log p_v − log r_v), added up tile by tile;  log p_v = z_v/T − lse, log r_v likewise
// gradient    replaces the policy's tile by ∂L/∂z, from ∂L/∂logp, ∂L/∂H and k = ∂L/∂KL of each row:
//               ∂L/∂z_v = (∂L/∂logp (1[v=y] − p_v) − ∂L/∂H p_v (log p_v + H) + k p_v (log p_v − log r_v − KL)) / T
// The reference is frozen: it gets no gradient. Source: KL(π_θ ‖ π_ref) of ARES section 3.4, not estimated from the sampled token.

struct Dims {
  rows: u32,
  stride: u32,
  first: u32,
  columns: u32,
  inverse_temperature: f32,
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> logits: array<vec4f>;
@group(0) @binding(2) var<storage, read> reference_logits: array<vec4f>;
// (logp, entropy, lse, …) of each row
@group(0) @binding(3) var<storage, read> reference_result: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> result: array<vec4f>;

@compute @workgroup_size(16)
fn divergence(@builtin(global_invocation_id) id: vec3u) {
  let row = id.y * 65535u * 16u + id.x;
  if (row >= d.rows) { return; }
  let base = row * (d.stride / 4u);
  let lse = result[row].z;
  let reference_lse = reference_result[row].z;
  var sum = vec4f(0.0);
  for (var j = 0u; j < (d.columns + 3u) / 4u; j++) {
    let log_p = logits[base + j] * d.inverse_temperature - lse;
    let log_r = reference_logits[base + j] * d.inverse_temperature - reference_lse;
    let inside = vec4u(4u * j) + vec4u(0u, 1u, 2u, 3u) < vec4u(d.columns);
    sum += select(vec4f(0.0), exp(log_p) * (log_p - log_r), inside);
  }
  let before = select(result[row].w, 0.0, d.first == 0u);
  result[row].w = before + (sum.x + sum.y) + (sum.z + sum.w);
}

@group(0) @binding(1) var<storage, read_write> tile: array<vec4f>;
@group(0) @binding(4) var<storage, read> forward_result: array<vec4f>;
@group(0) @binding(5) var<storage, read> targets: array<u32>;
@group(0) @binding(6) var<storage, read> dlogp: array<f32>;
@group(0) @binding(7) var<storage, read> dentropy: array<f32>;
@group(0) @binding(8) var<storage, read> dkl: array<f32>;

@compute @workgroup_size(64)
fn gradient(@builtin(global_invocation_id) id: vec3u) {
  let width = d.stride / 4u;
  if (id.x >= width) { return; }
  let at = id.y * width + id.x;
  let r = forward_result[id.y];
  let s = vec3f(dlogp[id.y], dentropy[id.y], dkl[id.y]);
  let column = vec4u(id.x * 4u) + vec4u(0u, 1u, 2u, 3u);
  let log_p = tile[at] * d.inverse_temperature - r.z;
  let log_r = reference_logits[at] * d.inverse_temperature - reference_result[id.y].z;
  let p = exp(log_p);
  var g = p * (s.z * (log_p - log_r - r.w) - s.x - s.y * (log_p + r.y));
  g = select(g, g + s.x, column + d.first == vec4u(targets[id.y]));
  // The next products read whole rows: padding must be zero, whatever was there.
  tile[at] = select(vec4f(0.0), g * d.inverse_temperature, column < vec4u(d.columns));
}
`,
  gelu: `// Exact GELU (Hendrycks & Gimpel 2016; torch.nn.GELU without approximation, as in the merger of Qwen2.5-VL):
//   y = x P(x),   P(x) = erfc(-x / sqrt 2) / 2, the normal distribution function                     x, y [T, W]
// forward   writes y.
// backward  dx = dy (P(x) + x p(x)) with p(x) = exp(-x^2 / 2) / sqrt(2 pi); written whole. Keeps x only.
// WGSL has no erf: erfc(z) for z >= 0 is the rational-exponential fit of Press et al., Numerical Recipes, section 6.2,
// whose relative error is below 1.2e-7 everywhere. Prelude: Value, LANES. One thread a Value.

struct Dims { tokens: u32, width: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;

@group(0) @binding(2) var<storage, read> dy: array<Value>;
@group(0) @binding(3) var<storage, read_write> dx: array<Value>;

// Where the square would overflow f32 the exponential has long been 0.
fn bell(v: Value) -> Value {
  let z = min(abs(v), Value(20.0));
  return exp(-0.5 * z * z);
}

fn normal(v: Value) -> Value {
  let z = min(abs(v), Value(20.0)) * 0.70710678;
  let t = 1.0 / (1.0 + 0.5 * z);
  let fit = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806 +
    t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  let tail = 0.5 * t * exp(fit) * bell(v);
  return select(1.0 - tail, tail, v < Value(0.0));
}

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (i >= dims.tokens * (dims.width / LANES)) { return; }
  let v = x[i];
  y[i] = v * normal(v);
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (i >= dims.tokens * (dims.width / LANES)) { return; }
  let v = x[i];
  dx[i] = dy[i] * (normal(v) + v * 0.39894228 * bell(v));
}
`,
  grad_norm: `// The norm of all gradients together and the factor that clips it (torch's clip_grad_norm_), in two stages of fixed order:
//   sum_of_squares   partial[slot + w] = sum of g[i]^2 over the PER_GROUP values of workgroup w; once for each tensor
//   finish           norm = sqrt(sum of the first \`parts\` partials);  result =
//                    [norm, min(1, max_norm / (norm + 1e-6)) or 1 if max_norm = 0, 1 if all was finite else 0, 0]
// With NaN or infinity anywhere the clip factor is 0 too.
// Preludes: Value, LANES, total; Team, group_sum2 (team_workgroup.wgsl, team_subgroup.wgsl). GROUP threads a workgroup, a
// power of two; PER_GROUP a multiple of 4.

struct SumDims { n: u32, slot: u32 }
@group(0) @binding(0) var<uniform> sum_dims: SumDims;
@group(0) @binding(1) var<storage, read> g: array<Value>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

struct FinishDims { parts: u32, max_norm: f32 }
@group(0) @binding(0) var<uniform> finish_dims: FinishDims;
@group(0) @binding(1) var<storage, read> finish_partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

// NaN and infinity have all exponent bits set; comparisons of floats may be folded away.
fn not_finite(x: f32) -> f32 { return select(0.0, 1.0, (bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u); }

@compute @workgroup_size(GROUP)
fn sum_of_squares(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, team: Team) {
  let w = wid.y * groups.x + wid.x;
  let first = w * (PER_GROUP / LANES);
  let end = min(first + PER_GROUP / LANES, sum_dims.n / LANES);
  var squares = Value(0.0);
  for (var i = first + team.lane; i < end; i += GROUP) {
    let v = g[i];
    squares += v * v;
  }
  let sum = group_sum2(team, vec2f(total(squares), 0.0)).x;
  if (team.lane == 0u && first < end) { partial[sum_dims.slot + w] = sum; }
}

@compute @workgroup_size(GROUP)
fn finish(team: Team) {
  // The sum, and how many are not finite.
  var mine = vec2f();
  for (var i = team.lane; i < finish_dims.parts; i += GROUP) {
    let part = finish_partial[i];
    mine += vec2f(part, not_finite(part));
  }
  let sums = group_sum2(team, mine);
  if (team.lane == 0u) {
    let finite = sums.y + not_finite(sums.x) == 0.0;
    let norm = sqrt(sums.x);
    var clip = 1.0;
    if (finish_dims.max_norm > 0.0) { clip = min(1.0, finish_dims.max_norm / (norm + 1e-6)); }
    result[0] = norm;
    result[1] = select(0.0, clip, finite);
    result[2] = select(0.0, 1.0, finite);
    result[3] = 0.0;
  }
}
`,
  head: `// The fused language-model head over tiles of the vocabulary. A tile of raw logits z [rows, stride] (columns
// first .. first+columns of the vocabulary) is in scratch; the whole logits never are.
// reduce     folds a tile into the running state of its row; at the last tile it finishes:
//              lse = log Σ_v exp(z_v/T),  logp = z_y/T − lse,  H = lse − Σ_v p_v z_v/T   (p = softmax(z/T), all of V)
//            A row's state is (m, Σ exp(z/T − m), Σ exp(z/T − m)·z/T, z_y/T).
// gradient   replaces the tile by ∂L/∂z, from one scalar ∂L/∂logp and one ∂L/∂H a row:
//              ∂L/∂z_v = (∂L/∂logp (1[v=y] − p_v) − ∂L/∂H p_v (log p_v + H)) / T
// Kept for backward: lse and H. Source: log-softmax and the entropy of its distribution (ARES eq. of §1, exact over V).
// reduce: a team of threads a row (team_workgroup.wgsl; of one on software adapters, whose lanes walk their rows in step),
// four columns at a time; padding columns are skipped by the bound. gradient: GROUP invocations side by side, each at EACH
// columns of four, so that what belongs to the row is loaded once for these.

struct Dims {
  rows: u32,
  stride: u32,
  first: u32,
  columns: u32,
  // 1 when this tile ends the vocabulary.
  last: u32,
  inverse_temperature: f32,
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> logits: array<vec4f>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> running: array<vec4f>;
// (logp, entropy, lse, 0) of each row
@group(0) @binding(4) var<storage, read_write> result: array<vec4f>;

const LOWEST = -3.0e38;

// The team's part of row \`mine\` of the workgroup's, whose first one is \`group\`.
fn reduce_row(team: Team, group: u32, mine: u32) {
  let row = group + mine;
  let here = mine < ROWS && row < d.rows;
  var state = vec4f(LOWEST, 0.0, 0.0, 0.0);
  if (here && d.first > 0u) { state = running[row]; }
  let base = row * (d.stride / 4u);
  let whole = select(0u, d.columns / 4u, here);
  // The columns that are left over are the first member's.
  let rest = select(0u, d.columns % 4u, here && team_member(team) == 0u);
  var most = vec4f(state.x);
  for (var j = team_member(team); j < whole; j += team_size(team)) {
    most = max(most, logits[base + j] * d.inverse_temperature);
  }
  var m = max(max(most.x, most.y), max(most.z, most.w));
  var tail = vec4f(LOWEST);
  if (rest > 0u) {
    let z = logits[base + whole] * d.inverse_temperature;
    tail = select(tail, z, vec4u(0u, 1u, 2u, 3u) < vec4u(rest));
    m = max(m, max(max(tail.x, tail.y), max(tail.z, tail.w)));
  }
  m = team_max(team, m);
  var sum = vec4f(0.0);
  var weighted = vec4f(0.0);
  for (var j = team_member(team); j < whole; j += team_size(team)) {
    let z = logits[base + j] * d.inverse_temperature;
    let e = exp(z - m);
    sum += e;
    weighted += e * z;
  }
  if (rest > 0u) {
    let e = select(vec4f(0.0), exp(tail - m), vec4u(0u, 1u, 2u, 3u) < vec4u(rest));
    sum += e;
    weighted += select(vec4f(0.0), e * tail, vec4u(0u, 1u, 2u, 3u) < vec4u(rest));
  }
  let sums = team_sum2(team, vec2f(
    (sum.x + sum.y) + (sum.z + sum.w),
    (weighted.x + weighted.y) + (weighted.z + weighted.w),
  ));
  if (!here || team_member(team) > 0u) { return; }
  let scale = select(exp(state.x - m), 0.0, state.x == LOWEST);
  var next = vec4f(
    m,
    state.y * scale + sums.x,
    state.z * scale + sums.y,
    state.w,
  );
  let y = targets[row];
  if (y >= d.first && y - d.first < d.columns) {
    let v = logits[base + (y - d.first) / 4u];
    next.w = v[(y - d.first) % 4u] * d.inverse_temperature;
  }
  running[row] = next;
  if (d.last == 1u) {
    let lse = next.x + log(next.y);
    result[row] = vec4f(next.w - lse, lse - next.z / next.y, lse, 0.0);
  }
}

@compute @workgroup_size(GROUP)
fn reduce(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, team: Team) {
  let first = (wid.y * groups.x + wid.x) * ROWS;
  //# for turn in TURNS
  reduce_row(team, first, team_row(team, \$turn));
  //# end
}

@group(0) @binding(1) var<storage, read_write> tile: array<vec4f>;
@group(0) @binding(3) var<storage, read> forward_result: array<vec4f>;
@group(0) @binding(4) var<storage, read> dlogp: array<f32>;
@group(0) @binding(5) var<storage, read> dentropy: array<f32>;

@compute @workgroup_size(GROUP)
fn gradient(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let width = d.stride / 4u;
  let row = wid.y;
  let r = forward_result[row];
  let s = vec2f(dlogp[row], dentropy[row]);
  let y = targets[row];
  let end = min((wid.x + 1u) * GROUP * EACH, width);
  for (var j = wid.x * GROUP * EACH + lane; j < end; j += GROUP) {
    let at = row * width + j;
    let column = vec4u(j * 4u) + vec4u(0u, 1u, 2u, 3u);
    let log_p = tile[at] * d.inverse_temperature - r.z;
    let p = exp(log_p);
    var g = -s.x * p - s.y * p * (log_p + r.y);
    g = select(g, g + s.x, column + d.first == vec4u(y));
    // The next products read whole rows: padding must be zero, whatever was there.
    tile[at] = select(vec4f(0.0), g * d.inverse_temperature, column < vec4u(d.columns));
  }
}
`,
  kv_cache: `// The key/value cache of one layer: two arrays [rows, Hkv·D] of vec4s of Cached, a prelude's; a row is one position of one
// sequence. qkv is f32.
//
// write:     k_cache[rows[t]] = the k part of qkv row t, v_cache[rows[t]] = its v part; rows[t] = 0xffffffff: nothing.
//            qkv [T, (Hq + 2·Hkv)·D], each row q heads | k heads | v heads, q and k already rotated.
// copy_rows: row pairs[i].y = row pairs[i].x in both caches: a partly filled block gets an owner of its own when a
//            rollout or a branch goes on from a shared prefix.
// Forward only. Source: the block tables of vLLM (arXiv 2309.06180), with our own layout.

struct WriteDims { tokens: u32, heads: u32, kv_heads: u32, head_dim: u32 }
@group(0) @binding(0) var<uniform> wd: WriteDims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec4<Cached>>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec4<Cached>>;

@compute @workgroup_size(64)
fn write(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) lid: vec3u,
) {
  let i = (wid.y * groups.x + wid.x) * 64u + lid.x;
  let width = wd.kv_heads * wd.head_dim / 4u;
  let t = i / width;
  if (t >= wd.tokens) { return; }
  let row = rows[t];
  if (row == 0xffffffffu) { return; }
  let c = i % width;
  let q_width = wd.heads * wd.head_dim / 4u;
  let source = t * (q_width + 2u * width) + q_width + c;
  let dest = row * width + c;
  k_cache[dest] = vec4<Cached>(qkv[source]);
  v_cache[dest] = vec4<Cached>(qkv[source + width]);
}

struct CopyDims { count: u32, width: u32 }
@group(0) @binding(0) var<uniform> cd: CopyDims;
@group(0) @binding(1) var<storage, read> pairs: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> k_rows: array<vec4<Cached>>;
@group(0) @binding(3) var<storage, read_write> v_rows: array<vec4<Cached>>;

@compute @workgroup_size(64)
fn copy_rows(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) lid: vec3u,
) {
  let i = (wid.y * groups.x + wid.x) * 64u + lid.x;
  let width = cd.width / 4u;
  let n = i / width;
  if (n >= cd.count) { return; }
  let source = pairs[n].x * width + i % width;
  let dest = pairs[n].y * width + i % width;
  k_rows[dest] = k_rows[source];
  v_rows[dest] = v_rows[source];
}
`,
  linear: `// Linear layer, f32: Y = X Wᵀ (+ bias) (+ residual), and its two gradients.
//   X [tokens, in]  W [out, in] (Hugging Face layout)  bias [out]  residual, Y [tokens, out]
// forward, forward_bias, forward_residual
//   y[t,n] = Σ_k x[t,k] w[n,k] (+ bias[n] | + residual[t,n])
// add_bias          y[t,n]   +=  bias[n], where a layer has a residual and a bias
// backward_input    dx[t,k] (+)= Σ_n dy[t,n] w[n,k]
// backward_weight   dw[n,k]  +=  Σ_t dy[t,n] x[t,k]
// Nothing is kept for backward but X itself. \`in\` must be a multiple of 4; rows of dy are \`stride\` apart, a multiple of 4
// with zeros past \`out\`. Each invocation owns a register tile of ROWS = 16 rows x 8 columns, lanes along the contiguous axis
// of the output; QUADS = ROWS / 4. Four products at a time: v * mat4x4(w0, w1, w2, w3) is (v·w0, v·w1, v·w2, v·w3).

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  // Elements from one row to the next of y, residual and dy.
  stride: u32,
  // backward_input: 1 adds to dx, 0 overwrites it.
  accumulate: u32,
}

@group(0) @binding(0) var<uniform> d: Dims;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> addend: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;

// The 16 x 8 tile at row m, column n: acc[2i], acc[2i+1] are row m+i.
fn forward_tile(m: u32, n: u32) -> array<vec4f, 32> {
  let width = d.inputs / 4u;
  let last_row = d.tokens - 1u;
  let last_column = d.outputs - 1u;
  //# for r in ROWS
  let x\$r = min(m + \$r, last_row) * width;
  //# end
  //# for c in 8
  let w\$c = min(n + \$c, last_column) * width;
  //# end
  var acc: array<vec4f, 32>;
  for (var k = 0u; k < width; k++) {
    let a = mat4x4f(w[w0 + k], w[w1 + k], w[w2 + k], w[w3 + k]);
    let b = mat4x4f(w[w4 + k], w[w5 + k], w[w6 + k], w[w7 + k]);
    //# for r in ROWS
    let v\$r = x[x\$r + k];
    acc[2 * \$r] += v\$r * a;
    acc[2 * \$r + 1] += v\$r * b;
    //# end
  }
  return acc;
}

fn put(m: u32, n: u32, v: vec4f) {
  if (m < d.tokens) {
    let at = m * d.stride + n;
    if (n < d.outputs) { y[at] = v.x; }
    if (n + 1u < d.outputs) { y[at + 1u] = v.y; }
    if (n + 2u < d.outputs) { y[at + 2u] = v.z; }
    if (n + 3u < d.outputs) { y[at + 3u] = v.w; }
  }
}

fn put_residual(m: u32, n: u32, v: vec4f) {
  if (m < d.tokens) {
    let at = m * d.stride + n;
    if (n < d.outputs) { y[at] = residual[at] + v.x; }
    if (n + 1u < d.outputs) { y[at + 1u] = residual[at + 1u] + v.y; }
    if (n + 2u < d.outputs) { y[at + 2u] = residual[at + 2u] + v.z; }
    if (n + 3u < d.outputs) { y[at + 3u] = residual[at + 3u] + v.w; }
  }
}

fn bias_at(n: u32) -> vec4f {
  let last = d.outputs - 1u;
  return vec4f(addend[min(n, last)], addend[min(n + 1u, last)], addend[min(n + 2u, last)], addend[min(n + 3u, last)]);
}

@compute @workgroup_size(16)
fn forward(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * 16u;
  let n = id.x * 8u;
  if (n >= d.outputs) { return; }
  let acc = forward_tile(m, n);
  //# for r in ROWS
  put(m + \$r, n, acc[2 * \$r]);
  put(m + \$r, n + 4u, acc[2 * \$r + 1]);
  //# end
}

@compute @workgroup_size(16)
fn forward_bias(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * 16u;
  let n = id.x * 8u;
  if (n >= d.outputs) { return; }
  let acc = forward_tile(m, n);
  let a = bias_at(n);
  let b = bias_at(n + 4u);
  //# for r in ROWS
  put(m + \$r, n, acc[2 * \$r] + a);
  put(m + \$r, n + 4u, acc[2 * \$r + 1] + b);
  //# end
}

@compute @workgroup_size(16)
fn forward_residual(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * 16u;
  let n = id.x * 8u;
  if (n >= d.outputs) { return; }
  let acc = forward_tile(m, n);
  //# for r in ROWS
  put_residual(m + \$r, n, acc[2 * \$r]);
  put_residual(m + \$r, n + 4u, acc[2 * \$r + 1]);
  //# end
}

@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> biased: array<f32>;

@compute @workgroup_size(64)
fn add_bias(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.outputs) { biased[id.y * d.stride + id.x] += bias[id.x]; }
}

@group(0) @binding(1) var<storage, read> input_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> input_w: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

fn add_dx(m: u32, k: u32, v: vec4f) {
  let width = d.inputs / 4u;
  if (m < d.tokens && k < width) {
    let at = m * width + k;
    if (d.accumulate == 1u) { dx[at] += v; } else { dx[at] = v; }
  }
}

// Columns in units of vec4: lane l of a workgroup owns columns base + l and base + 16 + l.
@compute @workgroup_size(16)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let m = group.y * 16u;
  let k = group.x * 32u + lane.x;
  let width = d.inputs / 4u;
  if (k >= width) { return; }
  let k2 = min(k + 16u, width - 1u);
  let steps = d.stride / 4u;
  let last_row = d.tokens - 1u;
  let last_w = d.outputs - 1u;
  //# for r in ROWS
  let y\$r = min(m + \$r, last_row) * steps;
  //# end
  var acc: array<vec4f, 32>;
  for (var n = 0u; n < steps; n++) {
    let r0 = min(n * 4u + 0u, last_w) * width;
    let r1 = min(n * 4u + 1u, last_w) * width;
    let r2 = min(n * 4u + 2u, last_w) * width;
    let r3 = min(n * 4u + 3u, last_w) * width;
    let a = mat4x4f(input_w[r0 + k], input_w[r1 + k], input_w[r2 + k], input_w[r3 + k]);
    let b = mat4x4f(input_w[r0 + k2], input_w[r1 + k2], input_w[r2 + k2], input_w[r3 + k2]);
    //# for r in ROWS
    let v\$r = input_dy[y\$r + n];
    acc[2 * \$r] += a * v\$r;
    acc[2 * \$r + 1] += b * v\$r;
    //# end
  }
  //# for r in ROWS
  add_dx(m + \$r, k, acc[2 * \$r]);
  add_dx(m + \$r, k + 16u, acc[2 * \$r + 1]);
  //# end
}

@group(0) @binding(1) var<storage, read> weight_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight_x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4f>;

fn add_dw(n: u32, k: u32, v: vec4f) {
  let width = d.inputs / 4u;
  if (n < d.outputs && k < width) { dw[n * width + k] += v; }
}

@compute @workgroup_size(16)
fn backward_weight(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let n = group.y * 16u;
  let k = group.x * 32u + lane.x;
  let width = d.inputs / 4u;
  if (k >= width) { return; }
  let k2 = min(k + 16u, width - 1u);
  let step = d.stride / 4u;
  let last = step - 1u;
  //# for q in QUADS
  let n\$q = min(n / 4u + \$q, last);
  //# end
  var acc: array<vec4f, 32>;
  for (var t = 0u; t < d.tokens; t++) {
    let a = weight_x[t * width + k];
    let b = weight_x[t * width + k2];
    let row = t * step;
    //# for q in QUADS
    let g\$q = weight_dy[row + n\$q];
    //# for j in 4
    acc[8 * \$q + 2 * \$j] += a * g\$q[\$j];
    acc[8 * \$q + 2 * \$j + 1] += b * g\$q[\$j];
    //# end
    //# end
  }
  //# for r in ROWS
  add_dw(n + \$r, k, acc[2 * \$r]);
  add_dw(n + \$r, k + 16u, acc[2 * \$r + 1]);
  //# end
}
`,
  linear_any: `// Linear layer for sizes that linear.wgsl does not take (input width or row stride not a multiple of 4); the same
// formulas, entry points and bindings, one output element per invocation.
//   X [tokens, in]  W [out, in]  bias [out]  residual, Y, dY [tokens, stride]

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  stride: u32,
  accumulate: u32,
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> addend: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;

fn product(t: u32, n: u32) -> f32 {
  var sum = 0.0;
  for (var k = 0u; k < d.inputs; k++) { sum += x[t * d.inputs + k] * w[n * d.inputs + k]; }
  return sum;
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.outputs) { y[id.y * d.stride + id.x] = product(id.y, id.x); }
}

@compute @workgroup_size(64)
fn forward_bias(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.outputs) { y[id.y * d.stride + id.x] = product(id.y, id.x) + addend[id.x]; }
}

@compute @workgroup_size(64)
fn forward_residual(@builtin(global_invocation_id) id: vec3u) {
  let at = id.y * d.stride + id.x;
  if (id.x < d.outputs) { y[at] = residual[at] + product(id.y, id.x); }
}

@group(0) @binding(1) var<storage, read> input_dy: array<f32>;
@group(0) @binding(2) var<storage, read> input_w: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn backward_input(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= d.inputs) { return; }
  let at = id.y * d.inputs + id.x;
  var sum = 0.0;
  for (var n = 0u; n < d.outputs; n++) { sum += input_dy[id.y * d.stride + n] * input_w[n * d.inputs + id.x]; }
  if (d.accumulate == 1u) { dx[at] += sum; } else { dx[at] = sum; }
}

@group(0) @binding(1) var<storage, read> weight_dy: array<f32>;
@group(0) @binding(2) var<storage, read> weight_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;

@compute @workgroup_size(64)
fn backward_weight(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= d.inputs) { return; }
  var sum = 0.0;
  for (var t = 0u; t < d.tokens; t++) { sum += weight_dy[t * d.stride + id.y] * weight_x[t * d.inputs + id.x]; }
  dw[id.y * d.inputs + id.x] += sum;
}
`,
  linear_rows: `// The forward products of linear.wgsl for few rows, as in decoding, where reading the weights is all the work: a workgroup
// of LANES threads owns ROWS rows x 4 columns of y, its threads take turns along the contraction and then add up.
//   X [tokens, in]  W [out, in]  bias [out]  residual, Y [tokens, stride]; \`in\` is a multiple of 4
// Prelude (operands_*.wgsl): Half, as which W is stored; narrow, which rounds operands to it.
// With SUBGROUP = 1 the workgroup is one subgroup and adds up without memory; with WORKGROUP = 1 it uses workgroup memory.
// Fused (linear_fused_variants.ts): with NORMS = 1, else PLAIN = 1, rows of x are normalised by rmsnorm.wgsl's formula, the
// factor of a row last, since its squares are added up beside the products; with GATED = 1, else UNGATED = 1, W is
// (gate | up), [2 out, in], and forward_gated writes silu(gate) up.

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  // Elements from one row to the next of y and residual.
  stride: u32,
  accumulate: u32,
  //# for norm in NORMS
  eps: f32,
  //# end
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4<Half>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
//# for plain in PLAIN
@group(0) @binding(4) var<storage, read> addend: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
//# end
//# for norm in NORMS
@group(0) @binding(4) var<storage, read> norm: array<vec4f>;
@group(0) @binding(5) var<storage, read> addend: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
//# end

//# for workgroup in WORKGROUP
// Row r of thread i at r * LANES + i.
var<workgroup> sums: array<vec4f, SUMS>;
//# for norm in NORMS
var<workgroup> squares: array<f32, SUMS>;
//# end
//# end

// An operand as linear_tiled.wgsl has it.
fn as_half(v: vec4f) -> vec4f { return vec4f(narrow(v)); }

//# for norm in NORMS
// Of a row whose squares add up to so much.
fn rstd(squares: f32) -> f32 { return 1.0 / sqrt(squares / f32(d.inputs) + d.eps); }
//# end

// Of row m + lane, for lanes below ROWS, columns n to n + 3; with GATED = 1 columns n and n + 1 of the gate, then of up.
fn products(m: u32, n: u32, lane: u32) -> vec4f {
  let width = d.inputs / 4u;
  let last_column = d.outputs - 1u;
  //# for c in 4
  //# for ungated in UNGATED
  let w\$c = min(n + \$c, last_column) * width;
  //# end
  //# for gate in GATED
  let w\$c = (min(n + \$c % 2u, last_column) + \$c / 2u * d.outputs) * width;
  //# end
  //# end
  //# for r in ROWS
  let x\$r = min(m + \$r, d.tokens - 1u) * width;
  var sum\$r = vec4f();
  //# for norm in NORMS
  var square\$r = 0.0;
  //# end
  //# end
  for (var k = lane; k < width; k += LANES) {
    let b = mat4x4f(vec4f(w[w0 + k]), vec4f(w[w1 + k]), vec4f(w[w2 + k]), vec4f(w[w3 + k]));
    //# for plain in PLAIN
    //# for r in ROWS
    sum\$r += as_half(x[x\$r + k]) * b;
    //# end
    //# end
    //# for norm in NORMS
    let factor = norm[k];
    //# for r in ROWS
    {
    let v = x[x\$r + k];
    square\$r += dot(v, v);
    sum\$r += v * factor * b;
    }
    //# end
    //# end
  }
  //# for subgroup in SUBGROUP
  var own = vec4f();
  //# for r in ROWS
  let total\$r = subgroupAdd(sum\$r);
  //# for plain in PLAIN
  if (lane == \$r) { own = total\$r; }
  //# end
  //# for norm in NORMS
  let squares\$r = subgroupAdd(square\$r);
  if (lane == \$r) { own = total\$r * rstd(squares\$r); }
  //# end
  //# end
  return own;
  //# end
  //# for workgroup in WORKGROUP
  //# for r in ROWS
  sums[\$r * LANES + lane] = sum\$r;
  //# for norm in NORMS
  squares[\$r * LANES + lane] = square\$r;
  //# end
  //# end
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      //# for r in ROWS
      sums[\$r * LANES + lane] += sums[\$r * LANES + lane + half];
      //# for norm in NORMS
      squares[\$r * LANES + lane] += squares[\$r * LANES + lane + half];
      //# end
      //# end
    }
    workgroupBarrier();
  }
  let first = min(lane, ROWS - 1u) * LANES;
  //# for plain in PLAIN
  return sums[first];
  //# end
  //# for norm in NORMS
  return sums[first] * rstd(squares[first]);
  //# end
  //# end
}

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = group.x * 4u;
  let v = products(group.y * ROWS, n, lane);
  let m = group.y * ROWS + lane;
  if (lane >= ROWS || m >= d.tokens) { return; }
  let at = m * d.stride + n;
  //# for c in 4
  if (n + \$c < d.outputs) { y[at + \$c] = v[\$c]; }
  //# end
}

@compute @workgroup_size(LANES)
fn forward_bias(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = group.x * 4u;
  let v = products(group.y * ROWS, n, lane);
  let m = group.y * ROWS + lane;
  if (lane >= ROWS || m >= d.tokens) { return; }
  let at = m * d.stride + n;
  //# for c in 4
  if (n + \$c < d.outputs) { y[at + \$c] = v[\$c] + addend[n + \$c]; }
  //# end
}

@compute @workgroup_size(LANES)
fn forward_residual(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = group.x * 4u;
  let v = products(group.y * ROWS, n, lane);
  let m = group.y * ROWS + lane;
  if (lane >= ROWS || m >= d.tokens) { return; }
  let at = m * d.stride + n;
  //# for c in 4
  if (n + \$c < d.outputs) { y[at + \$c] = residual[at + \$c] + v[\$c]; }
  //# end
}

//# for gate in GATED
@compute @workgroup_size(LANES)
fn forward_gated(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = group.x * 2u;
  let v = products(group.y * ROWS, n, lane);
  let m = group.y * ROWS + lane;
  if (lane >= ROWS || m >= d.tokens) { return; }
  let at = m * d.stride + n;
  let gates = silu(v);
  //# for c in 2
  if (n + \$c < d.outputs) { y[at + \$c] = gates[\$c] * v[\$c + 2]; }
  //# end
}
//# end
`,
  linear_texture: `// The linear layer of linear.wgsl for software adapters, whose loads from a storage buffer go lane by lane and whose loads
// from a texture go by whole vectors: both operands of every product are textures. Where subgroups are the LANES
// invocations of a workgroup (SHARE = LANES), what all lanes read is loaded once by one of them and passed on, so that a
// load serves ROWS · VECS vec4 of the output; elsewhere (SHARE = 1) the broadcast of no_subgroups.wgsl keeps what it has.
//   \`in\`, \`out\` and \`stride\` must be multiples of 4; no lane may leave before the last broadcast.
// Each invocation owns a register tile of ROWS rows x VECS vec4 of the output, lanes along its contiguous axis. Four
// products at a time: v * mat4x4(w0, w1, w2, w3) is (v·w0, v·w1, v·w2, v·w3). GROUPS = ROWS / SHARE, QUADS = ROWS / 4.
// A trip of a loop takes DEEP such fours (backward_weight STEPS tokens, whose QUADS · STEPS quads of rows are LOADS =
// QUADS · STEPS / SHARE a lane): the driver merges every sum with the one before the trip, lane by lane, and has registers
// for few sums, so that each sum takes all of a trip's products before the next sum has its first.
// Fused (linear_fused_variants.ts): with NORMS = 1, else PLAIN = 1, rows of x are normalised by rmsnorm.wgsl's formula, the
// factor of a row last, since its squares are added up beside the products; with GATED = 1, else UNGATED = 1, W is
// (gate | up), [2 out, in], and forward_gated writes silu(gate) up.

const LANES = 16u;

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  // Elements from one row to the next of y, residual and dy.
  stride: u32,
  // backward_input: 1 adds to dx (ADDS = 1), 0 overwrites it (SETS = 1). The text of either alone, since the driver goes
  // through what a branch does not take too, a load or a store for lane after lane.
  accumulate: u32,
  //# for norm in NORMS
  eps: f32,
  //# end
}

@group(0) @binding(0) var<uniform> d: Dims;

@group(0) @binding(1) var x: Mirror;
@group(0) @binding(2) var w: Mirror;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
//# for plain in PLAIN
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var residual: Mirror;
//# end
//# for norm in NORMS
@group(0) @binding(4) var norm: Mirror;
@group(0) @binding(5) var<storage, read> bias: array<vec4f>;
@group(0) @binding(5) var residual: Mirror;
//# end

alias Tile = array<array<vec4f, VECS>, ROWS>;

// Column n is in units of vec4; a tile's vec4 lie next to each other. Lane i holds rows i, SHARE + i, … of x.
fn forward_tile(m: u32, n: u32, lane: u32) -> Tile {
  let width = d.inputs / 4u;
  let columns = d.outputs / 4u;
  //# for g in GROUPS
  let x\$g = min(m + SHARE * \$g + lane % SHARE, d.tokens - 1u) * width;
  //# end
  //# for c in VECS
  //# for ungated in UNGATED
  let w\$c = min(n + \$c, columns - 1u) * 4u * width;
  //# end
  //# for gate in GATED
  let w\$c = (\$c * d.outputs + min(n, columns - 1u) * 4u) * width;
  //# end
  //# end
  //# for norm in NORMS
  //# for g in GROUPS
  var squares\$g = vec4f();
  //# end
  //# end
  var acc: Tile;
  for (var k = 0u; k < width; k += DEEP) {
    var b: array<array<mat4x4f, VECS>, DEEP>;
    var rows: array<array<vec4f, GROUPS>, DEEP>;
    //# for s in DEEP
    let k\$s = min(k + \$s, width - 1u);
    //# for c in VECS
    b[\$s][\$c] = mat4x4f(
      texel(w, w\$c + k\$s),
      texel(w, w\$c + width + k\$s),
      texel(w, w\$c + 2u * width + k\$s),
      texel(w, w\$c + 3u * width + k\$s),
    );
    //# end
    //# for g in GROUPS
    rows[\$s][\$g] = select(vec4f(), texel(x, x\$g + k\$s), k + \$s < width);
    //# end
    //# end
    //# for norm in NORMS
    // One load a lane for all steps of the trip; where nothing is shared a trip has one step.
    let ahead = texel(norm, min(k + lane % DEEP, width - 1u));
    //# for s in DEEP
    let factor\$s = subgroupBroadcast(ahead, u32(\$s));
    //# for g in GROUPS
    squares\$g += rows[\$s][\$g] * rows[\$s][\$g];
    rows[\$s][\$g] *= factor\$s;
    //# end
    //# end
    //# end
    //# for g in GROUPS
    //# for r in SHARE
    //# for s in DEEP
    {
    let v = subgroupBroadcast(rows[\$s][\$g], u32(\$r));
    //# for c in VECS
    acc[SHARE * \$g + \$r][\$c] += v * b[\$s][\$c];
    //# end
    }
    //# end
    //# end
    //# end
  }
  //# for norm in NORMS
  //# for g in GROUPS
  let rstd\$g = vec4f(1.0 / sqrt(dot(squares\$g, vec4f(1.0)) / f32(d.inputs) + d.eps));
  //# for r in SHARE
  {
  let factor = subgroupBroadcast(rstd\$g, u32(\$r));
  //# for c in VECS
  acc[SHARE * \$g + \$r][\$c] *= factor;
  //# end
  }
  //# end
  //# end
  //# end
  return acc;
}

@compute @workgroup_size(LANES)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let n = id.x * VECS;
  let columns = d.outputs / 4u;
  let acc = forward_tile(m, n, lane);
  let at = m * (d.stride / 4u) + n;
  //# for r in ROWS
  if (m + \$r < d.tokens) {
    //# for c in VECS
    if (n + \$c < columns) { y[at + \$r * (d.stride / 4u) + \$c] = acc[\$r][\$c]; }
    //# end
  }
  //# end
}

@compute @workgroup_size(LANES)
fn forward_bias(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let n = id.x * VECS;
  let columns = d.outputs / 4u;
  let acc = forward_tile(m, n, lane);
  let at = m * (d.stride / 4u) + n;
  //# for c in VECS
  let bias\$c = bias[min(n + \$c, columns - 1u)];
  //# end
  //# for r in ROWS
  if (m + \$r < d.tokens) {
    //# for c in VECS
    if (n + \$c < columns) { y[at + \$r * (d.stride / 4u) + \$c] = acc[\$r][\$c] + bias\$c; }
    //# end
  }
  //# end
}

@compute @workgroup_size(LANES)
fn forward_residual(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let n = id.x * VECS;
  let columns = d.outputs / 4u;
  let acc = forward_tile(m, n, lane);
  let at = m * (d.stride / 4u) + n;
  //# for r in ROWS
  if (m + \$r < d.tokens) {
    let row\$r = at + \$r * (d.stride / 4u);
    //# for c in VECS
    if (n + \$c < columns) { y[row\$r + \$c] = texel(residual, row\$r + \$c) + acc[\$r][\$c]; }
    //# end
  }
  //# end
}

//# for gate in GATED
@compute @workgroup_size(LANES)
fn forward_gated(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let n = id.x;
  let acc = forward_tile(m, n, lane);
  let at = m * (d.stride / 4u) + n;
  //# for r in ROWS
  if (m + \$r < d.tokens && n < d.outputs / 4u) { y[at + \$r * (d.stride / 4u)] = silu(acc[\$r][0]) * acc[\$r][1]; }
  //# end
}
//# end

@group(0) @binding(1) var input_dy: Mirror;
@group(0) @binding(2) var input_w: Mirror;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(LANES)
fn backward_input(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let k = id.x * VECS;
  let width = d.inputs / 4u;
  let steps = d.outputs / 4u;
  //# for g in GROUPS
  let y\$g = min(m + SHARE * \$g + lane % SHARE, d.tokens - 1u) * (d.stride / 4u);
  //# end
  //# for c in VECS
  let k\$c = min(k + \$c, width - 1u);
  //# end
  var acc: Tile;
  for (var n = 0u; n < steps; n += DEEP) {
    var b: array<array<mat4x4f, VECS>, DEEP>;
    var rows: array<array<vec4f, GROUPS>, DEEP>;
    //# for s in DEEP
    let n\$s = min(n + \$s, steps - 1u);
    let w\$s = n\$s * 4u * width;
    //# for c in VECS
    b[\$s][\$c] = mat4x4f(
      texel(input_w, w\$s + k\$c),
      texel(input_w, w\$s + width + k\$c),
      texel(input_w, w\$s + 2u * width + k\$c),
      texel(input_w, w\$s + 3u * width + k\$c),
    );
    //# end
    //# for g in GROUPS
    rows[\$s][\$g] = select(vec4f(), texel(input_dy, y\$g + n\$s), n + \$s < steps);
    //# end
    //# end
    //# for g in GROUPS
    //# for r in SHARE
    //# for s in DEEP
    {
    let v = subgroupBroadcast(rows[\$s][\$g], u32(\$r));
    //# for c in VECS
    acc[SHARE * \$g + \$r][\$c] += b[\$s][\$c] * v;
    //# end
    }
    //# end
    //# end
    //# end
  }
  //# for r in ROWS
  if (m + \$r < d.tokens) {
    let row\$r = (m + \$r) * width + k;
    //# for c in VECS
    if (k + \$c < width) {
      //# for add in ADDS
      dx[row\$r + \$c] += acc[\$r][\$c];
      //# end
      //# for set in SETS
      dx[row\$r + \$c] = acc[\$r][\$c];
      //# end
    }
    //# end
  }
  //# end
}

@group(0) @binding(1) var weight_dy: Mirror;
@group(0) @binding(2) var weight_x: Mirror;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4f>;

// The tile is ROWS rows of w x VECS vec4 along k. Of a trip's quads of dy, four rows at one token each, lane i holds
// quads i, SHARE + i, …: quad q of token s is number STEPS q + s, so that a sum is fetched once for all its tokens.
@compute @workgroup_size(LANES)
fn backward_weight(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = id.y * ROWS;
  let k = id.x * VECS;
  let width = d.inputs / 4u;
  let last = d.tokens - 1u;
  let last_quad = d.outputs / 4u - 1u;
  //# for l in LOADS
  let ahead\$l = (SHARE * \$l + lane % SHARE) % STEPS;
  let quad\$l = min(n / 4u + (SHARE * \$l + lane % SHARE) / STEPS, last_quad);
  //# end
  //# for c in VECS
  let k\$c = min(k + \$c, width - 1u);
  //# end
  var acc: Tile;
  for (var t = 0u; t < d.tokens; t += STEPS) {
    var x: array<array<vec4f, VECS>, STEPS>;
    //# for s in STEPS
    //# for c in VECS
    x[\$s][\$c] = texel(weight_x, min(t + \$s, last) * width + k\$c);
    //# end
    //# end
    var rows: array<vec4f, LOADS>;
    //# for l in LOADS
    let loaded\$l = texel(weight_dy, min(t + ahead\$l, last) * (d.stride / 4u) + quad\$l);
    rows[\$l] = select(vec4f(), loaded\$l, t + ahead\$l < d.tokens);
    //# end
    //# for q in QUADS
    {
    //# for s in STEPS
    let v\$s = subgroupBroadcast(rows[(STEPS * \$q + \$s) / SHARE], (STEPS * \$q + \$s) % SHARE);
    //# end
    //# for i in 4
    //# for s in STEPS
    //# for c in VECS
    acc[4u * \$q + \$i][\$c] += v\$s[\$i] * x[\$s][\$c];
    //# end
    //# end
    //# end
    }
    //# end
  }
  //# for r in ROWS
  if (n + \$r < d.outputs) {
    let row\$r = (n + \$r) * width + k;
    //# for c in VECS
    if (k + \$c < width) { dw[row\$r + \$c] += acc[\$r][\$c]; }
    //# end
  }
  //# end
}
`,
  linear_tiled: `// Linear layer for GPUs with fast workgroup memory: the formulas, entry points and bindings of linear.wgsl.
//   X [tokens, in]  W [out, in]  bias [out]  residual, Y, dY [tokens, stride]; \`in\` and \`stride\` are multiples of 4; W is stored as it
//   stands in workgroup memory
// A workgroup owns a tile of M rows x N columns of the output and walks the contraction K at a time: both operands' slices
// go through workgroup memory, the next ones are fetched while the present ones are multiplied. Each of X · Y threads adds
// up ROWS x 4 VECS elements that lie Y rows and X columns apart, so that neighbours read and write neighbouring places.
//   X = N / (4 VECS)  Y = M / ROWS  QUADS = K / 4  SPAN = QUADS + 1  MS, NS = M / 4, N / 4
// With SINGLE = 1 a slice replaces the one before: one barrier for all threads to be done with that, one for all of it to
// stand there. With DOUBLE = 1 slices take turns in two buffers, LEFT_PART and RIGHT_PART apart, and one barrier does: who
// writes slice s + 2 has passed the barrier of s + 1, to which everyone comes after multiplying slice s.
//   PAIRS = 2 VECS  THREADS = X · Y   LEFT_LOADS, RIGHT_LOADS = M · K, N · K / (4 THREADS)   ROW_QUADS = ROWS / 4
// Prelude (operands_*.wgsl): Half, as which W is stored and operands stand in workgroup memory; Sum, in which they are multiplied and a
// slice's products added up; narrow, narrow_gradient, gradient. With DIRECT = 1 a slice is added to the f32 sums step by
// step (Sum is f32), with SLICED = 1 as a whole.
// Fused (linear_fused_variants.ts): with NORMS = 1, else PLAIN = 1, rows of x are normalised by rmsnorm.wgsl's formula, the
// factor of a row last, since its squares are added up beside the products; with GATED = 1, else UNGATED = 1, W is
// (gate | up), [2 out, in], and forward_gated writes silu(gate) up.

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  // Elements from one row to the next of y, residual and dy.
  stride: u32,
  // backward_input: 1 adds to dx, 0 overwrites it.
  accumulate: u32,
  //# for norm in NORMS
  eps: f32,
  //# end
}

@group(0) @binding(0) var<uniform> d: Dims;

// A slice whose rows are contiguous along the contraction stands as row i, step k at i * SPAN + k: a span of QUADS would
// put all rows into one bank. One that is contiguous along the output stands as step k, column i at k * MS (NS) + i.
var<workgroup> left: array<vec4<Half>, LEFT>;
var<workgroup> right: array<vec4<Half>, RIGHT>;

alias Tile = array<array<vec4f, VECS>, ROWS>;
// Written as Slice() where a slice begins: a variable declared in a loop keeps its values on some drivers.
alias Slice = array<array<vec4<Sum>, VECS>, ROWS>;
alias Factor = vec4<Sum>;

// Adds a row's four steps: a · b, b holding a step's columns in each of its columns.
fn step4(a: Factor, b: mat4x4<Sum>, sum: Factor) -> Factor {
  return fma(Factor(a.w), b[3], fma(Factor(a.z), b[2], fma(Factor(a.y), b[1], fma(Factor(a.x), b[0], sum))));
}

fn add_slice(acc: ptr<function, Tile>, slice: ptr<function, Slice>) {
  //# for r in ROWS
  //# for v in VECS
  (*acc)[\$r][\$v] += vec4f((*slice)[\$r][\$v]);
  //# end
  //# end
}

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4<Half>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
//# for plain in PLAIN
@group(0) @binding(4) var<storage, read> addend: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
//# end
//# for norm in NORMS
@group(0) @binding(4) var<storage, read> norm: array<vec4f>;
@group(0) @binding(5) var<storage, read> addend: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;

fn norm_at(k: u32, width: u32) -> vec4f { return norm[min(k, width - 1u)]; }
//# end

fn x_at(m: u32, k: u32, width: u32) -> vec4f {
  if (m < d.tokens && k < width) { return x[m * width + k]; }
  return vec4f();
}

// Of column c of the tile at n. A gated tile's first half are columns of the gate, its second half the same ones of up.
fn w_at(n: u32, c: u32, k: u32, width: u32) -> vec4<Half> {
  //# for ungated in UNGATED
  let column = n + c;
  let row = column;
  //# end
  //# for gate in GATED
  let column = n + c % (N / 2u);
  let row = column + c / (N / 2u) * d.outputs;
  //# end
  if (column < d.outputs && k < width) { return w[row * width + k]; }
  return vec4<Half>();
}

fn forward_tile(m: u32, n: u32, thread: u32) -> Tile {
  var acc: Tile;
  let width = d.inputs / 4u;
  let tx = thread % X;
  let ty = thread / X;
  let i = thread / QUADS;
  let q = thread % QUADS;
  //# for l in LEFT_LOADS
  var a\$l = x_at(m + i + THREADS / QUADS * \$l, q, width);
  //# end
  //# for l in RIGHT_LOADS
  var b\$l = w_at(n, i + THREADS / QUADS * \$l, q, width);
  //# end
  //# for norm in NORMS
  var factor = norm_at(q, width);
  //# for l in LEFT_LOADS
  var squares\$l = vec4f();
  //# end
  //# end
  //# for single in SINGLE
  let left_at = 0u;
  let right_at = 0u;
  //# end
  //# for double in DOUBLE
  var left_at = 0u;
  var right_at = 0u;
  //# end
  for (var step = 0u; step < width; step += QUADS) {
    //# for single in SINGLE
    workgroupBarrier();
    //# end
    //# for norm in NORMS
    //# for l in LEFT_LOADS
    squares\$l += a\$l * a\$l;
    a\$l *= factor;
    //# end
    factor = norm_at(step + QUADS + q, width);
    //# end
    //# for l in LEFT_LOADS
    left[left_at + (i + THREADS / QUADS * \$l) * SPAN + q] = narrow(a\$l);
    //# end
    //# for l in RIGHT_LOADS
    right[right_at + (i + THREADS / QUADS * \$l) * SPAN + q] = b\$l;
    //# end
    workgroupBarrier();
    let next = step + QUADS + q;
    //# for l in LEFT_LOADS
    a\$l = x_at(m + i + THREADS / QUADS * \$l, next, width);
    //# end
    //# for l in RIGHT_LOADS
    b\$l = w_at(n, i + THREADS / QUADS * \$l, next, width);
    //# end
    //# for direct in DIRECT
    let sums = &acc;
    //# end
    //# for sliced in SLICED
    var slice = Slice();
    let sums = &slice;
    //# end
    for (var k = 0u; k < QUADS; k++) {
      //# for v in VECS
      let c\$v = transpose(mat4x4<Sum>(
        Factor(right[right_at + (tx + X * (4u * \$v)) * SPAN + k]),
        Factor(right[right_at + (tx + X * (4u * \$v + 1u)) * SPAN + k]),
        Factor(right[right_at + (tx + X * (4u * \$v + 2u)) * SPAN + k]),
        Factor(right[right_at + (tx + X * (4u * \$v + 3u)) * SPAN + k]),
      ));
      //# end
      //# for r in ROWS
      {
      let v = Factor(left[left_at + (ty + Y * \$r) * SPAN + k]);
      //# for v in VECS
      (*sums)[\$r][\$v] = step4(v, c\$v, (*sums)[\$r][\$v]);
      //# end
      }
      //# end
    }
    //# for sliced in SLICED
    add_slice(&acc, &slice);
    //# end
    //# for double in DOUBLE
    left_at = LEFT_PART - left_at;
    right_at = RIGHT_PART - right_at;
    //# end
  }
  //# for norm in NORMS
  // QUADS threads have loaded a row: their sums of its squares go where its slice stood.
  workgroupBarrier();
  //# for l in LEFT_LOADS
  left[(i + THREADS / QUADS * \$l) * SPAN + q] = squares\$l;
  //# end
  workgroupBarrier();
  //# for r in ROWS
  var total\$r = vec4f();
  for (var k = 0u; k < QUADS; k++) { total\$r += left[(ty + Y * \$r) * SPAN + k]; }
  let rstd\$r = 1.0 / sqrt(dot(total\$r, vec4f(1.0)) / f32(d.inputs) + d.eps);
  //# for v in VECS
  acc[\$r][\$v] *= rstd\$r;
  //# end
  //# end
  //# end
  return acc;
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let acc = forward_tile(group.y * M, group.x * N, thread);
  let m = group.y * M + thread / X;
  let n = group.x * N + thread % X;
  //# for r in ROWS
  if (m + Y * \$r < d.tokens) {
    let row = (m + Y * \$r) * d.stride;
    //# for v in VECS
    //# for j in 4
    if (n + X * (4u * \$v + \$j) < d.outputs) { y[row + n + X * (4u * \$v + \$j)] = acc[\$r][\$v][\$j]; }
    //# end
    //# end
  }
  //# end
}

@compute @workgroup_size(THREADS)
fn forward_bias(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let acc = forward_tile(group.y * M, group.x * N, thread);
  let m = group.y * M + thread / X;
  let n = group.x * N + thread % X;
  let last = d.outputs - 1u;
  //# for v in VECS
  let bias\$v = vec4f(
    addend[min(n + X * (4u * \$v), last)],
    addend[min(n + X * (4u * \$v + 1u), last)],
    addend[min(n + X * (4u * \$v + 2u), last)],
    addend[min(n + X * (4u * \$v + 3u), last)],
  );
  //# end
  //# for r in ROWS
  if (m + Y * \$r < d.tokens) {
    let row = (m + Y * \$r) * d.stride;
    //# for v in VECS
    //# for j in 4
    if (n + X * (4u * \$v + \$j) < d.outputs) { y[row + n + X * (4u * \$v + \$j)] = acc[\$r][\$v][\$j] + bias\$v[\$j]; }
    //# end
    //# end
  }
  //# end
}

@compute @workgroup_size(THREADS)
fn forward_residual(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let acc = forward_tile(group.y * M, group.x * N, thread);
  let m = group.y * M + thread / X;
  let n = group.x * N + thread % X;
  //# for r in ROWS
  if (m + Y * \$r < d.tokens) {
    let row = (m + Y * \$r) * d.stride;
    //# for v in VECS
    //# for j in 4
    if (n + X * (4u * \$v + \$j) < d.outputs) {
      let at = row + n + X * (4u * \$v + \$j);
      y[at] = residual[at] + acc[\$r][\$v][\$j];
    }
    //# end
    //# end
  }
  //# end
}

//# for gate in GATED
// A thread's first 2 VECS columns are the gate's, the others up's, N / 2 columns further.
@compute @workgroup_size(THREADS)
fn forward_gated(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let n = group.x * (N / 2u) + thread % X;
  let acc = forward_tile(group.y * M, group.x * (N / 2u), thread);
  let m = group.y * M + thread / X;
  //# for r in ROWS
  if (m + Y * \$r < d.tokens) {
    let gates = silu(acc[\$r][0]);
    let ups = acc[\$r][VECS - 1u];
    //# for j in PAIRS
    if (n + X * \$j < d.outputs) {
      y[(m + Y * \$r) * d.stride + n + X * \$j] = gates[\$j] * ups[\$j + 4u - PAIRS];
    }
    //# end
  }
  //# end
}
//# end

@group(0) @binding(1) var<storage, read> input_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> input_w: array<vec4<Half>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

fn input_dy_at(m: u32, n: u32, steps: u32) -> vec4f {
  if (m < d.tokens && n < steps) { return input_dy[m * steps + n]; }
  return vec4f();
}

fn input_w_at(n: u32, k: u32, width: u32) -> vec4<Half> {
  if (n < d.outputs && k < width) { return input_w[n * width + k]; }
  return vec4<Half>();
}

@compute @workgroup_size(THREADS)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  var acc: Tile;
  let steps = d.stride / 4u;
  let width = d.inputs / 4u;
  let m = group.y * M;
  let column = group.x * NS;
  let tx = thread % X;
  let ty = thread / X;
  let i = thread / QUADS;
  let q = thread % QUADS;
  //# for l in LEFT_LOADS
  var a\$l = input_dy_at(m + i + THREADS / QUADS * \$l, q, steps);
  //# end
  //# for l in RIGHT_LOADS
  var b\$l = input_w_at((thread + THREADS * \$l) / NS, column + (thread + THREADS * \$l) % NS, width);
  //# end
  //# for single in SINGLE
  let left_at = 0u;
  let right_at = 0u;
  //# end
  //# for double in DOUBLE
  var left_at = 0u;
  var right_at = 0u;
  //# end
  for (var step = 0u; step < steps; step += QUADS) {
    //# for single in SINGLE
    workgroupBarrier();
    //# end
    //# for l in LEFT_LOADS
    left[left_at + (i + THREADS / QUADS * \$l) * SPAN + q] = narrow_gradient(a\$l);
    //# end
    //# for l in RIGHT_LOADS
    right[right_at + thread + THREADS * \$l] = b\$l;
    //# end
    workgroupBarrier();
    let next = step + QUADS;
    //# for l in LEFT_LOADS
    a\$l = input_dy_at(m + i + THREADS / QUADS * \$l, next + q, steps);
    //# end
    //# for l in RIGHT_LOADS
    b\$l = input_w_at(4u * next + (thread + THREADS * \$l) / NS, column + (thread + THREADS * \$l) % NS, width);
    //# end
    //# for direct in DIRECT
    let sums = &acc;
    //# end
    //# for sliced in SLICED
    var slice = Slice();
    let sums = &slice;
    //# end
    for (var k = 0u; k < QUADS; k++) {
      //# for v in VECS
      let c\$v = mat4x4<Sum>(
        Factor(right[right_at + 4u * k * NS + tx + X * \$v]),
        Factor(right[right_at + (4u * k + 1u) * NS + tx + X * \$v]),
        Factor(right[right_at + (4u * k + 2u) * NS + tx + X * \$v]),
        Factor(right[right_at + (4u * k + 3u) * NS + tx + X * \$v]),
      );
      //# end
      //# for r in ROWS
      {
      let v = Factor(left[left_at + (ty + Y * \$r) * SPAN + k]);
      //# for v in VECS
      (*sums)[\$r][\$v] = step4(v, c\$v, (*sums)[\$r][\$v]);
      //# end
      }
      //# end
    }
    //# for sliced in SLICED
    add_slice(&acc, &slice);
    //# end
    //# for double in DOUBLE
    left_at = LEFT_PART - left_at;
    right_at = RIGHT_PART - right_at;
    //# end
  }
  //# for r in ROWS
  if (m + ty + Y * \$r < d.tokens) {
    let row = (m + ty + Y * \$r) * width;
    //# for v in VECS
    if (column + tx + X * \$v < width) {
      let at = row + column + tx + X * \$v;
      if (d.accumulate == 1u) { dx[at] += gradient(acc[\$r][\$v]); } else { dx[at] = gradient(acc[\$r][\$v]); }
    }
    //# end
  }
  //# end
}

@group(0) @binding(1) var<storage, read> weight_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight_x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4f>;

fn weight_dy_at(t: u32, n: u32, steps: u32) -> vec4f {
  if (t < d.tokens && n < steps) { return weight_dy[t * steps + n]; }
  return vec4f();
}

fn weight_x_at(t: u32, k: u32, width: u32) -> vec4f {
  if (t < d.tokens && k < width) { return weight_x[t * width + k]; }
  return vec4f();
}

// Rows of the tile are taken four by four: ROW_QUADS of them, Y apart.
@compute @workgroup_size(THREADS)
fn backward_weight(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  var acc: Tile;
  let steps = d.stride / 4u;
  let width = d.inputs / 4u;
  let row = group.y * MS;
  let column = group.x * NS;
  let tx = thread % X;
  let ty = thread / X;
  //# for l in LEFT_LOADS
  var a\$l = weight_dy_at((thread + THREADS * \$l) / MS, row + (thread + THREADS * \$l) % MS, steps);
  //# end
  //# for l in RIGHT_LOADS
  var b\$l = weight_x_at((thread + THREADS * \$l) / NS, column + (thread + THREADS * \$l) % NS, width);
  //# end
  //# for single in SINGLE
  let left_at = 0u;
  let right_at = 0u;
  //# end
  //# for double in DOUBLE
  var left_at = 0u;
  var right_at = 0u;
  //# end
  for (var t = 0u; t < d.tokens; t += K) {
    //# for single in SINGLE
    workgroupBarrier();
    //# end
    //# for l in LEFT_LOADS
    left[left_at + thread + THREADS * \$l] = narrow_gradient(a\$l);
    //# end
    //# for l in RIGHT_LOADS
    right[right_at + thread + THREADS * \$l] = narrow(b\$l);
    //# end
    workgroupBarrier();
    //# for l in LEFT_LOADS
    a\$l = weight_dy_at(t + K + (thread + THREADS * \$l) / MS, row + (thread + THREADS * \$l) % MS, steps);
    //# end
    //# for l in RIGHT_LOADS
    b\$l = weight_x_at(t + K + (thread + THREADS * \$l) / NS, column + (thread + THREADS * \$l) % NS, width);
    //# end
    //# for direct in DIRECT
    let sums = &acc;
    //# end
    //# for sliced in SLICED
    var slice = Slice();
    let sums = &slice;
    //# end
    for (var k = 0u; k < K; k++) {
      //# for v in VECS
      let c\$v = Factor(right[right_at + k * NS + tx + X * \$v]);
      //# end
      //# for r in ROW_QUADS
      {
      let v = Factor(left[left_at + k * MS + ty + Y * \$r]);
      //# for j in 4
      //# for v in VECS
      (*sums)[4 * \$r + \$j][\$v] = fma(Factor(v[\$j]), c\$v, (*sums)[4 * \$r + \$j][\$v]);
      //# end
      //# end
      }
      //# end
    }
    //# for sliced in SLICED
    add_slice(&acc, &slice);
    //# end
    //# for double in DOUBLE
    left_at = LEFT_PART - left_at;
    right_at = RIGHT_PART - right_at;
    //# end
  }
  //# for r in ROW_QUADS
  //# for j in 4
  if (4u * (row + ty + Y * \$r) + \$j < d.outputs) {
    let at = (4u * (row + ty + Y * \$r) + \$j) * width + column + tx;
    //# for v in VECS
    if (column + tx + X * \$v < width) { dw[at + X * \$v] += gradient(acc[4 * \$r + \$j][\$v]); }
    //# end
  }
  //# end
  //# end
}
`,
  no_subgroups: `// Stands in front of a kernel whose vectors share their loads by broadcasts, for vectors of one thread: it keeps what it has.
fn subgroupBroadcast(own: vec4f, lane: u32) -> vec4f { return own; }
`,
  operands_f16: `enable f16;
// Operands of products rounded to f16 (values of at least 65,520 become infinite) and weights stored so, for
// linear_tiled.wgsl and linear_rows.wgsl. Gradients are multiplied by 2^10 before (narrow_gradient), as loss scaling does, and the sums divided
// by it (gradient): powers of two round nothing, f16's smallest normal value stands for 6e-8, and its largest for 64.
alias Half = f16;
const SCALE = 1024.0;
fn narrow(v: vec4f) -> vec4<f16> { return vec4<f16>(v); }
fn narrow_gradient(v: vec4f) -> vec4<f16> { return vec4<f16>(v * SCALE); }
fn gradient(v: vec4f) -> vec4f { return v * (1.0 / SCALE); }
`,
  operands_f32: `// Operands of products as they are, for linear_tiled.wgsl and linear_rows.wgsl.
alias Half = f32;
alias Sum = f32;
fn narrow(v: vec4f) -> vec4f { return v; }
fn narrow_gradient(v: vec4f) -> vec4f { return v; }
fn gradient(v: vec4f) -> vec4f { return v; }
`,
  philox: `// Philox4x32-10: four random words of a counter and a key, the same on every device. A prelude of sample.wgsl; the host's
// twin is philox.ts. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

fn high_product(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let low = al * bl;
  let mid = ah * bl + (low >> 16u);
  let cross = al * bh + (mid & 0xffffu);
  return ah * bh + (mid >> 16u) + (cross >> 16u);
}

fn philox(start: vec4u, start_key: vec2u) -> vec4u {
  var c = start;
  var key = start_key;
  for (var round = 0u; round < 10u; round++) {
    c = vec4u(
      high_product(0xcd9e8d57u, c.z) ^ c.y ^ key.x, 0xcd9e8d57u * c.z,
      high_product(0xd2511f53u, c.x) ^ c.w ^ key.y, 0xd2511f53u * c.x);
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
`,
  place: `// Prelude: column (x) and row (y) of item i in rows of n items.
fn place(i: u32, n: u32) -> vec2u { return vec2u(i % n, i / n); }
`,
  place_float: `// Prelude: column (x) and row (y) of item i in rows of n items, both below 2^31, without a division of integers: software
// adapters do that lane by lane. The first quotient is off by up to 2^-21 of itself, the second by one.
fn place(i: u32, n: u32) -> vec2u {
  let rough = u32(f32(i) / f32(n));
  let rest = i32(i - rough * n);
  let step = i32(floor(f32(rest) / f32(n)));
  let row = i32(rough) + step;
  let column = rest - step * i32(n);
  if (column < 0) { return vec2u(u32(column) + n, u32(row) - 1u); }
  if (column >= i32(n)) { return vec2u(u32(column) - n, u32(row) + 1u); }
  return vec2u(u32(column), u32(row));
}
`,
  policy_loss: `// The AEPO gradient: one scalar ∂L/∂log π_t a token, from which the head makes the gradient of all logits.
//   token_advantage  Ã_t = A_t (or A_t/L) + ψ_t,  ψ_t = λ max(0, H̄_t − τ) m_t − mean over the sequence of that first term
//   policy_loss      L = Σ_t w ( −min(r Ã, clip(r, 1−ε_l, 1+ε_h) Ã) + k_t KL_t ),  r = exp(clamp(log π − log π_old, ±20)),
//                    for Ã < 0 at most −c Ã (dual clip);  k_t = kl weight, or the one inside windows where m_t = 1;
//                    with d = log π − log π_ref:  kl d, abs |d|, mse d²/2, low_var_kl min(exp(q) − q − 1, 10), q = clamp(−d, ±20);
//                    k3 exp(−d) + d − 1 without clamps, as the paper prints it; full: the exact KL of the forward pass, whose
//                    gradient is the head's: dkl = w k_t
// N tokens, B sequences, spans [B, 2] = (first token, length).
//   behaviour [N] = (log π_old, log π_ref, window entropy H̄, mask m)
//   base [N] = A_t, the same for all tokens of a sequence but for REINFORCE++ with γ < 1 and GAE
//   sequence [B, 8] = 0, loss weight w, kl weight, kl weight inside windows, λ, τ, bucket (0, 1, 2), 0
//   result [N] = (log π, entropy, …, exact KL) of the forward pass
//   stats [N, 20] = w·policy term, w·k·KL, KL, clipped above or below, dual-clipped, entropy, clamped log π_old − log π,
//                   not finite, then by bucket (3 each) KL outside windows, tokens outside, KL inside, tokens inside
// A token whose loss is not finite gets a NaN gradient on purpose: the norm check then refuses the whole update.
// Sources: ARES sections 3.3 and 3.4, Algorithm 1; the clamps are the release's compute_policy_loss and compute_kl.

struct Dims {
  tokens: u32,
  sequences: u32,
  length_normalise: u32,
  clip_low: f32,
  clip_high: f32,
  // 0 turns the dual clip off.
  clip_dual: f32,
  // 0 none, 1 kl, 2 abs, 3 mse, 4 low_var_kl, 5 k3, 6 full
  kl_kind: u32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> behaviour: array<vec4f>;
@group(0) @binding(2) var<storage, read> sequence: array<array<f32, 8>>;
@group(0) @binding(3) var<storage, read> spans: array<u32>;
@group(0) @binding(4) var<storage, read> base: array<f32>;
@group(0) @binding(5) var<storage, read_write> token_out: array<f32>;

var<workgroup> sums: array<f32, 64>;

fn bonus(t: u32, s: u32) -> f32 {
  let b = behaviour[t];
  return sequence[s][4] * max(0.0, b.z - sequence[s][5]) * b.w;
}

@compute @workgroup_size(LANES)
fn token_advantage(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let s = group.x;
  let first = spans[2u * s];
  let length = spans[2u * s + 1u];
  var sum = 0.0;
  for (var t = lane.x; t < length; t += LANES) { sum += bonus(first + t, s); }
  sums[lane.x] = sum;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (lane.x < step) { sums[lane.x] += sums[lane.x + step]; }
    workgroupBarrier();
  }
  let mean = sums[0] / f32(max(length, 1u));
  var scale = 1.0;
  if (d.length_normalise == 1u) { scale /= f32(max(length, 1u)); }
  for (var t = lane.x; t < length; t += LANES) {
    token_out[first + t] = scale * base[first + t] + bonus(first + t, s) - mean;
  }
}

@group(0) @binding(3) var<storage, read> result: array<vec4f>;
@group(0) @binding(4) var<storage, read> sequence_of: array<u32>;
@group(0) @binding(5) var<storage, read> advantages: array<f32>;
@group(0) @binding(6) var<storage, read_write> dlogp: array<f32>;
@group(0) @binding(7) var<storage, read_write> stats: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> dkl: array<f32>;

const FULL = 6u;

// Value and gradient of the KL estimate.
fn kl_of(logp: f32, reference: f32) -> vec2f {
  let x = logp - reference;
  switch d.kl_kind {
    case 1u: { return vec2f(x, 1.0); }
    case 2u: { return vec2f(abs(x), sign(x)); }
    case 3u: { return vec2f(0.5 * x * x, x); }
    case 4u, 5u: {
      let free = d.kl_kind == 5u;
      let q = select(clamp(-x, -20.0, 20.0), -x, free);
      // exp(q) − q − 1 loses everything to cancellation for small q: its series there.
      let near = abs(q) < 0.25;
      let small = q * q * (0.5 + q * (1.0 / 6.0 + q * (1.0 / 24.0 + q * (1.0 / 120.0 + q * (1.0 / 720.0)))));
      let value = select(exp(q) - q - 1.0, small, near);
      let held = !free && (abs(x) > 20.0 || value > 10.0);
      return vec2f(select(min(value, 10.0), value, free), select(select(1.0 - exp(q), -(q + small), near), 0.0, held));
    }
    default: { return vec2f(0.0); }
  }
}

fn finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

@compute @workgroup_size(LANES)
fn policy_loss(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let t = (group.y * groups.x + group.x) * LANES + lane.x;
  if (t >= d.tokens) { return; }
  let s = sequence_of[t];
  let b = behaviour[t];
  let logp = result[t].x;
  let a = advantages[t];
  let w = sequence[s][1];
  let difference = logp - b.x;
  let clamped = clamp(difference, -20.0, 20.0);
  let ratio = exp(clamped);
  let plain = -a * ratio;
  let clipped = -a * clamp(ratio, 1.0 - d.clip_low, 1.0 + d.clip_high);
  var term = max(plain, clipped);
  var gradient = select(0.0, plain, plain >= clipped && difference == clamped);
  var dual = 0.0;
  if (d.clip_dual > 0.0 && a < 0.0 && term > -a * d.clip_dual) {
    term = -a * d.clip_dual;
    gradient = 0.0;
    dual = 1.0;
  }
  let full = d.kl_kind == FULL;
  let kl = select(kl_of(logp, b.y), vec2f(result[t].w, 0.0), full);
  let inside = b.w > 0.5;
  let weight = select(sequence[s][2], sequence[s][3], inside);
  // The inputs themselves are looked at: clamps and differences may hide a NaN.
  let known = finite(logp) && finite(b.x) && (d.kl_kind == 0u || full || finite(b.y));
  let good = known && finite(a) && finite(term) && finite(kl.x);
  dlogp[t] = select(bitcast<f32>(0x7fc00000u | (t & 0u)), w * (gradient + weight * kl.y), good);
  dkl[t] = select(0.0, w * weight, full && good);
  let bucket = u32(sequence[s][6]);
  let own = vec3f(vec3u(bucket) == vec3u(0u, 1u, 2u));
  let outside = select(own, vec3f(0.0), inside);
  let within = own - outside;
  stats[5u * t] = vec4f(w * term, w * weight * kl.x, kl.x, select(0.0, 1.0, plain < clipped));
  stats[5u * t + 1u] = vec4f(dual, result[t].y, -clamped, select(1.0, 0.0, good));
  stats[5u * t + 2u] = vec4f(outside * kl.x, outside.x);
  stats[5u * t + 3u] = vec4f(outside.yz, within.xy * kl.x);
  stats[5u * t + 4u] = vec4f(within.z * kl.x, within);
}
`,
  rmsnorm: `// RMS normalisation over rows x[t, :] of W values (Zhang and Sennrich 2019; HF Qwen2RMSNorm):
//   y[t,j] = x[t,j] * r[t] * w[j],   r[t] = 1 / sqrt(mean_j x[t,j]^2 + eps)
// forward            writes y and keeps r for backward.
// backward           dx[t,j] += r * (dy[t,j] w[j] - x[t,j] * r^2 * mean_i(dy[t,i] w[i] x[t,i])).
// backward_weight    partial[c,j] = sum over the tokens t of chunk c of dy[t,j] x[t,j] r[t]; column_sum.wgsl adds the chunks.
// Preludes: Value, LANES, total, place; Team, of which each has a row (team_workgroup.wgsl, team_subgroup.wgsl). GROUP
// threads and ROWS rows a workgroup.

struct ForwardDims { tokens: u32, width: u32, eps: f32 }
@group(0) @binding(0) var<uniform> forward_dims: ForwardDims;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read> weight: array<Value>;
@group(0) @binding(3) var<storage, read_write> y: array<Value>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;

struct BackwardDims { tokens: u32, width: u32 }
@group(0) @binding(0) var<uniform> backward_dims: BackwardDims;
@group(0) @binding(1) var<storage, read> dy: array<Value>;
@group(0) @binding(2) var<storage, read> backward_x: array<Value>;
@group(0) @binding(3) var<storage, read> backward_weight_of: array<Value>;
@group(0) @binding(4) var<storage, read> backward_rstd: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<Value>;

struct WeightDims { tokens: u32, width: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> weight_dims: WeightDims;
@group(0) @binding(3) var<storage, read> weight_rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial: array<Value>;

// The team's part of row \`row\` of the workgroup's, whose first one is \`first\`.
fn forward_row(team: Team, first: u32, row: u32) {
  let t = first + row;
  let here = row < ROWS && t < forward_dims.tokens;
  let n = select(0u, forward_dims.width / LANES, here);
  var squares = Value(0.0);
  for (var j = team_member(team); j < n; j += team_size(team)) {
    let v = x[t * n + j];
    squares += v * v;
  }
  let r = 1.0 / sqrt(team_sum(team, total(squares)) / f32(forward_dims.width) + forward_dims.eps);
  for (var j = team_member(team); j < n; j += team_size(team)) { y[t * n + j] = x[t * n + j] * r * weight[j]; }
  if (here && team_member(team) == 0u) { rstd[t] = r; }
}

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, team: Team) {
  let first = (wid.y * groups.x + wid.x) * ROWS;
  //# for turn in TURNS
  forward_row(team, first, team_row(team, \$turn));
  //# end
}

fn backward_row(team: Team, first: u32, row: u32) {
  let t = first + row;
  let n = select(0u, backward_dims.width / LANES, row < ROWS && t < backward_dims.tokens);
  var products = Value(0.0);
  for (var j = team_member(team); j < n; j += team_size(team)) {
    products += dy[t * n + j] * backward_weight_of[j] * backward_x[t * n + j];
  }
  let r = backward_rstd[t];
  let slope = team_sum(team, total(products)) / f32(backward_dims.width) * r * r;
  for (var j = team_member(team); j < n; j += team_size(team)) {
    let at = t * n + j;
    dx[at] = dx[at] + r * (dy[at] * backward_weight_of[j] - backward_x[at] * slope);
  }
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u, team: Team) {
  let first = (wid.y * groups.x + wid.x) * ROWS;
  //# for turn in TURNS
  backward_row(team, first, team_row(team, \$turn));
  //# end
}

@compute @workgroup_size(GROUP)
fn backward_weight(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = weight_dims.width / LANES;
  let at = place(i, n);
  let first = at.y * weight_dims.chunk;
  if (first >= weight_dims.tokens) { return; }
  var sum = Value(0.0);
  for (var t = first; t < min(first + weight_dims.chunk, weight_dims.tokens); t++) {
    sum += dy[t * n + at.x] * backward_x[t * n + at.x] * weight_rstd[t];
  }
  partial[i] = sum;
}
`,
  rope: `// Rotary position embedding, half-rotation order (Su et al. 2021; HF apply_rotary_pos_emb of Qwen2), in place:
//   with (a, b) the values i and i + D/2 of a head and phi = position * theta^(-2i/D),
//   a' = a cos phi - sign * b sin phi,   b' = b cos phi + sign * a sin phi.
// sign = +1 is forward; sign = -1 is the inverse rotation, which is also the gradient. Nothing is kept.
// qkv [T, stride]: the first \`heads\` * D values of a row are rotated (query heads, then key heads); positions [T];
// cosine, sine [P, D/2]. One thread rotates EACH neighbouring Values of pairs, a divisor of the D / 2 / LANES of a head: of
// one head, or with WHOLE = 1 of all heads, whose angles are the same. Prelude: Value, LANES, place.

struct Dims { tokens: u32, heads: u32, stride: u32, head_dim: u32, sign: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> qkv: array<Value>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> cosine: array<Value>;
@group(0) @binding(4) var<storage, read> sine: array<Value>;

@compute @workgroup_size(GROUP)
fn rope(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let half = dims.head_dim / 2u / LANES;
  let parts = half / EACH;
  let threads = select(dims.heads, 1u, WHOLE == 1u) * parts;
  let to = place((wid.y * groups.x + wid.x) * GROUP + lane, threads);
  let t = to.y;
  if (t >= dims.tokens) { return; }
  let pair = EACH * place(to.x, parts).x;
  let row = positions[t] * half + pair;
  //# for i in EACH
  let c\$i = cosine[row + \$i];
  let s\$i = dims.sign * sine[row + \$i];
  //# end
  let first = t * (dims.stride / LANES);
  // From one head to the next in the part of the row that this thread has.
  for (var at = first + 2u * EACH * to.x - pair; at < first + dims.heads * 2u * half; at += 2u * EACH * threads) {
    //# for i in EACH
    let a\$i = qkv[at + \$i];
    let b\$i = qkv[at + half + \$i];
    qkv[at + \$i] = a\$i * c\$i - b\$i * s\$i;
    qkv[at + half + \$i] = b\$i * c\$i + a\$i * s\$i;
    //# end
  }
}
`,
  rope_cache: `// What a decode step does to its rows of qkv before attention: rope.wgsl's rotation, and kv_cache.wgsl's \`write\`, so that
// keys go to the cache as they are turned.
//   qkv [T, (Hq + 2 Hkv) D]: q heads are rotated in place, k and v heads stay; positions [T]; cosine, sine [P, D / 2]
//   k_cache[rows[t]] = the rotated k part of row t, v_cache[rows[t]] = its v part, [rows, Hkv D] of vec4s of Cached, a
//   prelude's; rows[t] = 0xffffffff: neither
// D is a multiple of 8. A thread has two vec4s of a head, D / 2 apart; with WHOLE = 1 those of all heads, whose angles are
// the same. With KEPT = 1 (software adapters, whose decode attention reads the caches through textures) every row goes into
// the cache's texture too, which nobody has to fill again: element 4i is texel (i & 1023, i >> 10).

struct Dims { tokens: u32, heads: u32, kv_heads: u32, head_dim: u32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> cosine: array<vec4f>;
@group(0) @binding(4) var<storage, read> sine: array<vec4f>;
@group(0) @binding(5) var<storage, read> rows: array<u32>;
@group(0) @binding(6) var<storage, read_write> k_cache: array<vec4<Cached>>;
@group(0) @binding(7) var<storage, read_write> v_cache: array<vec4<Cached>>;
//# for kept in KEPT
@group(0) @binding(22) var k_texture: texture_storage_2d<rgba32float, write>;
@group(0) @binding(23) var v_texture: texture_storage_2d<rgba32float, write>;
//# end

fn keep_key(at: u32, k: vec4f) {
  k_cache[at] = vec4<Cached>(k);
  //# for kept in KEPT
  textureStore(k_texture, vec2u(at & 1023u, at >> 10u), k);
  //# end
}

fn keep_value(at: u32, v: vec4f) {
  v_cache[at] = vec4<Cached>(v);
  //# for kept in KEPT
  textureStore(v_texture, vec2u(at & 1023u, at >> 10u), v);
  //# end
}

@compute @workgroup_size(GROUP)
fn rope_cache(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) lane: u32) {
  let half = d.head_dim / 8u;
  let heads = d.heads + 2u * d.kv_heads;
  let shared_by = select(heads, 1u, WHOLE == 1u);
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let t = i / (shared_by * half);
  if (t >= d.tokens) { return; }
  let pair = i % half;
  let row = rows[t];
  let turn = positions[t] * half + pair;
  let c = cosine[turn];
  let s = sine[turn];
  for (var head = i / half % shared_by; head < heads; head += shared_by) {
    let at = (t * heads + head) * 2u * half + pair;
    let a = qkv[at];
    let b = qkv[at + half];
    let x = a * c - b * s;
    let y = b * c + a * s;
    if (head < d.heads) {
      qkv[at] = x;
      qkv[at + half] = y;
    } else if (row != 0xffffffffu) {
      let dest = (row * d.kv_heads + (head - d.heads) % d.kv_heads) * 2u * half + pair;
      if (head < d.heads + d.kv_heads) {
        keep_key(dest, x);
        keep_key(dest + half, y);
      } else {
        keep_value(dest, a);
        keep_value(dest + half, b);
      }
    }
  }
}
`,
  rows: `// Rows of a matrix picked by index, and put back.
//   gather   y[i] = x[index[i]]                         x [*, width]  y [rows, width]
//   scatter  dx[t] = dy[inverse[t]], 0 where inverse[t] is none (0xffffffff)   dx [rows, width]
// The head works on the rows that predict a response token only; \`inverse\` is the index the other way round.
// Prelude: Value, LANES, place. One thread a Value.

struct Dims {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<Value>;

@compute @workgroup_size(GROUP)
fn gather(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = d.width / LANES;
  if (i >= d.rows * n) { return; }
  let to = place(i, n);
  y[i] = x[index[to.y] * n + to.x];
}

@compute @workgroup_size(GROUP)
fn scatter(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = d.width / LANES;
  if (i >= d.rows * n) { return; }
  let to = place(i, n);
  let source = index[to.y];
  var v = Value(0.0);
  if (source != 0xffffffffu) { v = x[source * n + to.x]; }
  y[i] = v;
}
`,
  sample: `// One token per slot from its row of logits, with the state of the slot carried on; a workgroup per slot, no sorting.
//
//   y_v   = logit of v, by the repetition penalty r: y / r where y > 0, y · r where not, for tokens in \`seen\`
//   e_v   = exp((y_v − max y) / T), 0 for banned tokens
//   top-k : keep y_v ≥ the k-th largest y (ties stay)
//   top-p : keep v where the mass of the larger ones is below p of what top-k kept (the first always stays)
//   min-p : keep e_v ≥ min_p
//   token : the first v, in the order of (v mod 64, v), whose running sum of kept e exceeds u · (sum of kept e);
//           u = (philox(counter = (index of the new token, 0, 0, 0), key)[0] >> 8) · 2^-24. Greedy (T = 0): the first
//           largest y.
//   values: log-probability of the token and entropy (nats) of softmax(logits / T) over the whole vocabulary, without
//           penalty, bans and filters; T = 1 for greedy.
//
// logits [S, stride], slots [S, 8] = token, position, alive, last_position, key0, key1, generated, finish;
// seen [S, ceil(V / 32)] and banned [ceil(V / 32)] bit sets; stops [stop_count]; out_tokens [ticks, S];
// out_values [ticks, S, 2]; tick [1] counts the workgroups that ran: divided by S it is the row to write, in any order.
//
// Both thresholds are the largest t with mass(key ≥ t) ≥ needed, found four bits at a time on the order-preserving bits of
// y: eight passes with sixteen sums each. A lane keeps its first sixteen tokens in registers (all of them up to V = 4,096)
// and reads the others again in every pass, four a trip: about V / 1,024 · 21 trips.
// Preludes: philox.wgsl, sample_slot.wgsl, sample_lanes.wgsl or sample_lanes_subgroup.wgsl, sample_filter.wgsl.
// Source: the logits processors of transformers (order and meaning); Philox4x32-10 (Salmon et al., SC 2011).

fn first_of_four(y: vec4f, top: f32, v: u32) -> u32 {
  if (y.x == top) { return v; }
  if (y.y == top) { return v + LANES; }
  if (y.z == top) { return v + 2u * LANES; }
  if (y.w == top) { return v + 3u * LANES; }
  return NONE;
}

// The lane's first token with the largest y.
fn first_top(row: ptr<function, Row>, lane: u32) -> u32 {
  var first = NONE;
  for (var i = 0u; i < quads(lane); i++) {
    first = min(first, first_of_four(y_of(row, i, lane), (*row).top, token_at(lane, i)));
  }
  return first;
}

// Running sum and choice within the owner's tokens.
struct Walk { sum: f32, token: u32, done: bool }

fn walk(w: Walk, e: f32, v: u32) -> Walk {
  if (w.done || e == 0.0) { return w; }
  // Where rounding lets the sum fall short of the goal at the end, the last kept token is the choice.
  return Walk(w.sum + e, v, w.sum + e > goal);
}

fn walk_four(w: Walk, e: vec4f, v: u32) -> Walk {
  return walk(walk(walk(walk(w, e.x, v), e.y, v + LANES), e.z, v + 2u * LANES), e.w, v + 3u * LANES);
}

fn choose(row: ptr<function, Row>, lane: u32, threshold: u32) -> u32 {
  var w = Walk(0.0, NONE, false);
  for (var i = 0u; i < quads(lane) && !w.done; i++) {
    let y = y_of(row, i, lane);
    w = walk_four(w, kept(threshold, d.min_p, y, e_of(row, i, y)), token_at(lane, i));
  }
  return w.token;
}

// From the lanes' and the columns' sums of kept e: which lane holds the token, and where in its own running sum. By lane 0.
fn find_owner(s: u32) {
  kept_mass = 0.0;
  for (var c = 0u; c < LANES; c++) { kept_mass += column_mass[c]; }
  let at = random_of(s) * kept_mass;
  var below = 0.0;
  var column = 0u;
  var before = 0.0;
  for (var c = 0u; c < LANES; c++) {
    let mass = column_mass[c];
    if (mass > 0.0) {
      column = c;
      before = below;
      below += mass;
      if (below > at) { break; }
    }
  }
  owner = column;
  goal = 0.0;
  for (var i = 0u; i < TEAMS; i++) {
    let mass = lane_mass[column * TEAMS + i];
    if (mass > 0.0) {
      owner = column + LANES * i;
      goal = at - before;
      before += mass;
      if (before > at) { break; }
    }
  }
}

// Makes lane_mass, and by it kept_mass and \`owner\`; greedy: lane_first, and by it \`chosen\` and \`owner\`.
fn prepare(row: ptr<function, Row>, lane: u32, s: u32, threshold: u32) {
  if (d.temperature == 0.0) { lane_first[lane] = first_top(row, lane); }
  else { lane_mass[lane % LANES * TEAMS + lane / LANES] = lane_sum(row, lane, threshold, d.min_p); }
  workgroupBarrier();
  if (lane < LANES) {
    var mass = 0.0;
    for (var i = 0u; i < TEAMS; i++) { mass += lane_mass[lane * TEAMS + i]; }
    column_mass[lane] = mass;
  }
  workgroupBarrier();
  if (lane == 0u) {
    if (d.temperature == 0.0) {
      chosen = NONE;
      for (var i = 0u; i < GROUP; i++) { chosen = min(chosen, lane_first[i]); }
      owner = 0u;
    } else { find_owner(s); }
  }
  workgroupBarrier();
}

@compute @workgroup_size(GROUP)
fn sample(@builtin(workgroup_id) wid: vec3u, lanes: Lanes) {
  let s = wid.x;
  if (s >= d.slots) { return; }
  let lane = lanes.lane;
  enter(lanes);
  if (lane == 0u) {
    alive = slots[s * 8u + 2u];
    step = atomicAdd(&tick[0], 1u) / d.slots;
  }
  let at = workgroupUniformLoad(&step) * d.slots + s;
  let room = at < arrayLength(&out_tokens);
  if (workgroupUniformLoad(&alive) != 1u) {
    if (lane == 0u && room) {
      out_tokens[at] = NONE;
      out_values[at] = vec2f();
    }
    return;
  }
  var row = read_row(s, lane);
  var threshold = 0u;
  if (d.temperature != 0.0) { threshold = threshold_of(&row, lane); }
  prepare(&row, lane, s, threshold);
  if (lane != owner) { return; }
  var token = NONE;
  if (!row.bad) {
    if (d.temperature == 0.0) { token = chosen; }
    else { token = choose(&row, lane, threshold); }
  }
  var values = vec2f();
  if (token != NONE) {
    let log_z = log(row.z);
    let x = (logits[row.base + token] - row.raw_top) * row.inverse;
    values = vec2f(x - log_z, max(0.0, log_z - row.moment / row.z));
  }
  if (room) {
    out_tokens[at] = token;
    out_values[at] = values;
  }
  carry_on(s, token);
}

fn write_four(s: u32, v: u32, p: vec4f) {
  let base = s * d.vocab + v;
  if (v < d.vocab) { probabilities[base] = p.x; }
  if (v + LANES < d.vocab) { probabilities[base + LANES] = p.y; }
  if (v + 2u * LANES < d.vocab) { probabilities[base + 2u * LANES] = p.z; }
  if (v + 3u * LANES < d.vocab) { probabilities[base + 3u * LANES] = p.w; }
}

// What \`sample\` would draw from: probabilities [S, V]; zeros for dead slots and for rows that are not finite.
@compute @workgroup_size(GROUP)
fn filtered(@builtin(workgroup_id) wid: vec3u, lanes: Lanes) {
  let s = wid.x;
  let lane = lanes.lane;
  enter(lanes);
  if (lane == 0u) { alive = slots[s * 8u + 2u]; }
  let live = workgroupUniformLoad(&alive) == 1u;
  var row = read_row(s, lane);
  var threshold = 0u;
  if (d.temperature != 0.0) { threshold = threshold_of(&row, lane); }
  prepare(&row, lane, s, threshold);
  let factor = select(0.0, 1.0 / max(kept_mass, 1e-37), live && !row.bad);
  for (var i = 0u; i < quads(lane); i++) {
    let v = token_at(lane, i);
    let y = y_of(&row, i, lane);
    var p = kept(threshold, d.min_p, y, e_of(&row, i, y)) * factor;
    if (d.temperature == 0.0) {
      let ids = vec4u(v) + vec4u(0u, LANES, 2u * LANES, 3u * LANES);
      p = select(vec4f(), vec4f(1.0), (ids == vec4u(chosen)) & vec4<bool>(live && !row.bad));
    }
    write_four(s, v, p);
  }
}
`,
  sample_filter: `// The rows of logits and the filters of sample.wgsl, whose prelude this is; formulas and shapes stand there.

@group(0) @binding(1) var<storage, read> logits: array<f32>;

// A row's tokens lie in LANES columns, v mod LANES; TEAMS lanes share a column, each a stretch of it.
const LANES = 64u;
const TEAMS = 4u;
const GROUP = LANES * TEAMS;

// Four tokens LANES apart: their logits, and y or LOWEST where banned or past the vocabulary.
struct Quad { raw: vec4f, y: vec4f, bad: vec4<bool> }

// What a lane knows of its slot's row.
struct Row {
  base: u32,         // of its logits
  seen_base: u32,
  y: mat4x4f,        // the first sixteen tokens of the lane
  e: mat4x4f,
  first_banned: u32, // no banned token of the tail lies below
  top: f32,          // max y
  raw_top: f32,      // max logit
  inverse: f32,      // 1 / T
  z: f32,            // sum of exp((logit − raw_top) / T)
  moment: f32,       // sum of exp(x) · x over the same x
  mass: f32,         // sum of e
  count: f32,        // tokens that are not banned
  bad: bool,         // a logit is not finite, or every token is banned
}

// Column by column, those of a column in the order of its tokens.
var<workgroup> lane_mass: array<f32, GROUP>;
var<workgroup> column_mass: array<f32, LANES>;
var<workgroup> lane_first: array<u32, GROUP>;
var<workgroup> alive: u32;
var<workgroup> step: u32;
var<workgroup> owner: u32;
var<workgroup> goal: f32;
var<workgroup> kept_mass: f32;
var<workgroup> chosen: u32;

// Bits whose unsigned order is the order of the floats.
fn keys_of(y: vec4f) -> vec4u {
  // -0 equals 0.
  let bits = select(bitcast<vec4u>(y), vec4u(), y == vec4f());
  return select(bits | vec4u(0x80000000u), ~bits, bits >= vec4u(0x80000000u));
}

fn has(word: u32, v: u32) -> bool { return ((word >> (v & 31u)) & 1u) == 1u; }

fn load_quad(row: Row, v: u32) -> Quad {
  let ids = vec4u(v) + vec4u(0u, LANES, 2u * LANES, 3u * LANES);
  let at = min(ids, vec4u(d.vocab - 1u));
  let inside = ids < vec4u(d.vocab);
  var raw = vec4f(logits[row.base + at.x], logits[row.base + at.y], logits[row.base + at.z], logits[row.base + at.w]);
  let bad = ((bitcast<vec4u>(raw) & vec4u(0x7f800000u)) == vec4u(0x7f800000u)) & inside;
  raw = select(vec4f(LOWEST), raw, inside & !bad);
  var y = raw;
  if (d.repetition_penalty != 1.0) {
    let known = vec4<bool>(
      has(seen[row.seen_base + at.x / 32u], at.x), has(seen[row.seen_base + at.y / 32u], at.y),
      has(seen[row.seen_base + at.z / 32u], at.z), has(seen[row.seen_base + at.w / 32u], at.w)) & inside;
    let less = select(y * d.repetition_penalty, y / d.repetition_penalty, y > vec4f());
    y = select(y, less, known);
  }
  if (at.w >= row.first_banned) {
    let out = vec4<bool>(has(banned[at.x / 32u], at.x), has(banned[at.y / 32u], at.y), has(banned[at.z / 32u], at.z),
      has(banned[at.w / 32u], at.w));
    y = select(y, vec4f(LOWEST), out);
  }
  return Quad(raw, y, bad);
}

// exp of what lies below the maximum; nothing for banned tokens.
fn weights(row: Row, y: vec4f) -> vec4f {
  return select(exp(max((y - row.top) * row.inverse, vec4f(-104.0))), vec4f(), y <= vec4f(LOWEST));
}

fn highest(v: vec4f) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }

// The quads of a lane start LANES · 4 apart; the first four of them stay in registers.
fn pick(m: mat4x4f, i: u32) -> vec4f {
  return select(select(m[0], m[1], i == 1u), select(m[2], m[3], i == 3u), i >= 2u);
}

fn put(m: mat4x4f, i: u32, value: vec4f) -> mat4x4f {
  return mat4x4f(
    select(m[0], value, i == 0u), select(m[1], value, i == 1u), select(m[2], value, i == 2u), select(m[3], value, i == 3u));
}

fn y_of(row: ptr<function, Row>, i: u32, lane: u32) -> vec4f {
  if (i < 4u) { return pick((*row).y, i); }
  return load_quad(*row, token_at(lane, i)).y;
}

fn e_of(row: ptr<function, Row>, i: u32, y: vec4f) -> vec4f {
  if (i < 4u) { return pick((*row).e, i); }
  return weights(*row, y);
}

// Quads of a lane at most.
fn share() -> u32 { return ((d.vocab + 4u * LANES - 1u) / (4u * LANES) + TEAMS - 1u) / TEAMS; }

// First token of the lane's quad i.
fn token_at(lane: u32, i: u32) -> u32 { return lane % LANES + 4u * LANES * (lane / LANES * share() + i); }

// Quads of the lane, the last one perhaps not full.
fn quads(lane: u32) -> u32 {
  let first = token_at(lane, 0u);
  return min(share(), (d.vocab - min(first, d.vocab) + 4u * LANES - 1u) / (4u * LANES));
}

// z, moment, mass and count of four tokens.
fn moments(row: Row, raw: vec4f, y: vec4f, e: vec4f) -> vec4f {
  let x = max((raw - row.raw_top) * row.inverse, vec4f(-104.0));
  let p = exp(x);
  let one = vec4f(1.0);
  return vec4f(dot(p, one), dot(p, x), dot(e, one), dot(select(one, vec4f(), y <= vec4f(LOWEST)), one));
}

fn read_row(s: u32, lane: u32) -> Row {
  var row: Row;
  row.base = s * d.stride;
  row.seen_base = s * ((d.vocab + 31u) / 32u);
  row.inverse = 1.0 / select(d.temperature, 1.0, d.temperature == 0.0);
  let n = quads(lane);
  var raw = mat4x4f();
  var raw4 = vec4f(LOWEST);
  var y4 = vec4f(LOWEST);
  var bad = vec4<bool>();
  // -(first banned token of the tail): the largest is wanted.
  var no_ban = -f32(d.vocab);
  for (var i = 0u; i < n; i++) {
    let q = load_quad(row, token_at(lane, i));
    raw = put(raw, i, q.raw);
    row.y = put(row.y, i, q.y);
    raw4 = max(raw4, q.raw);
    y4 = max(y4, q.y);
    bad |= q.bad;
    if (i >= 4u && any((q.y <= vec4f(LOWEST)) & (q.raw > vec4f(LOWEST)))) {
      no_ban = max(no_ban, -f32(token_at(lane, i)));
    }
  }
  let most = max_lanes(lane, vec4f(highest(raw4), highest(y4), select(0.0, 1.0, any(bad)), no_ban));
  row.raw_top = most.x;
  row.top = most.y;
  row.first_banned = u32(-most.w);
  row.bad = most.z > 0.0 || most.y <= LOWEST;
  var sums = vec4f();
  for (var i = 0u; i < n; i++) {
    var q = Quad(pick(raw, i), pick(row.y, i), vec4<bool>());
    if (i >= 4u) { q = load_quad(row, token_at(lane, i)); }
    let e = weights(row, q.y);
    row.e = put(row.e, i, e);
    sums += moments(row, q.raw, q.y, e);
  }
  let all = sum_lanes(lane, mat4x4f(sums, vec4f(), vec4f(), vec4f()))[0];
  row.z = all.x;
  row.moment = all.y;
  row.mass = all.z;
  row.count = all.w;
  return row;
}

// Adds the weight of one token to the sums of the thresholds it reaches.
fn reach(sums: ptr<function, mat4x4f>, key: u32, w: f32, t: vec4u, step: u32) {
  let k = vec4u(key);
  (*sums)[0] += select(vec4f(), vec4f(w), k >= t);
  (*sums)[1] += select(vec4f(), vec4f(w), k >= t + 4u * step);
  (*sums)[2] += select(vec4f(), vec4f(w), k >= t + 8u * step);
  (*sums)[3] += select(vec4f(), vec4f(w), k >= t + 12u * step);
}

fn reach_four(sums: ptr<function, mat4x4f>, y: vec4f, w: vec4f, t: vec4u, step: u32) {
  let keys = keys_of(y);
  reach(sums, keys.x, w.x, t, step);
  reach(sums, keys.y, w.y, t, step);
  reach(sums, keys.z, w.z, t, step);
  reach(sums, keys.w, w.w, t, step);
}

// 1 for every token that may be chosen, or e.
fn measure(e: vec4f, y: vec4f, counting: bool) -> vec4f {
  return select(e, select(vec4f(1.0), vec4f(), y <= vec4f(LOWEST)), vec4<bool>(counting));
}

// The largest threshold whose tokens still measure \`needed\`. Tokens with y below \`floor\` cannot matter.
fn search(row: ptr<function, Row>, lane: u32, needed: f32, counting: bool, floor: f32) -> u32 {
  let n = quads(lane);
  var prefix = 0u;
  for (var bit = 0u; bit < 32u; bit += 4u) {
    let step = 1u << (28u - bit);
    let t = vec4u(prefix) + vec4u(0u, 1u, 2u, 3u) * step;
    var sums = mat4x4f();
    for (var i = 0u; i < n; i++) {
      let y = y_of(row, i, lane);
      if (any(y >= vec4f(floor))) { reach_four(&sums, y, measure(e_of(row, i, y), y, counting), t, step); }
    }
    let all = sum_lanes(lane, sums);
    let goal4 = vec4f(needed);
    let one = vec4f(1.0);
    let zero = vec4f();
    let reached = dot(select(zero, one, all[0] >= goal4) + select(zero, one, all[1] >= goal4) + select(zero, one, all[2] >= goal4) +
      select(zero, one, all[3] >= goal4), one);
    // By rounding even the lowest threshold may fall short: it is then the answer.
    prefix += (u32(max(reached, 1.0)) - 1u) * step;
  }
  return prefix;
}

fn kept(threshold: u32, min_p: f32, y: vec4f, e: vec4f) -> vec4f {
  return select(vec4f(), e, (keys_of(y) >= vec4u(threshold)) & (e >= vec4f(min_p)));
}

// The lane's sum of kept e.
fn lane_sum(row: ptr<function, Row>, lane: u32, threshold: u32, min_p: f32) -> f32 {
  var sum = vec4f();
  for (var i = 0u; i < quads(lane); i++) {
    let y = y_of(row, i, lane);
    sum += kept(threshold, min_p, y, e_of(row, i, y));
  }
  return dot(sum, vec4f(1.0));
}

// top-k, then top-p, as one threshold on the keys; one loop, since every call is compiled inline.
fn threshold_of(row: ptr<function, Row>, lane: u32) -> u32 {
  var threshold = 0u;
  var mass = (*row).mass;
  for (var filter_id = 0u; filter_id < 2u; filter_id++) {
    let counting = filter_id == 0u;
    if (select(d.top_p >= 1.0, d.top_k == 0u, counting)) { continue; }
    // All tokens with e below (1 − p) · mass / V together weigh less than what top-p drops; half of it for rounding.
    let low = (1.0 - d.top_p) * mass / f32(d.vocab) * 0.5;
    let floor = select((*row).top + log(max(low, 1e-37)) / (*row).inverse, LOWEST, counting);
    let needed = select(max(d.top_p * mass, 1e-30), min(f32(d.top_k), (*row).count), counting);
    threshold = max(threshold, search(row, lane, needed, counting, floor));
    if (counting) {
      let sum = lane_sum(row, lane, threshold, 0.0);
      mass = sum_lanes(lane, mat4x4f(vec4f(sum), vec4f(), vec4f(), vec4f()))[0].x;
    }
  }
  return threshold;
}
`,
  sample_lanes: `// Prelude of sample.wgsl: the lanes of a workgroup add up through workgroup memory, team after team, since all their
// values at once would not fit every adapter's.
struct Lanes { @builtin(local_invocation_index) lane: u32 }

var<workgroup> parts: array<vec4f, 256>;
var<workgroup> rows_of_parts: array<vec4f, 32>;
var<workgroup> whole: array<vec4f, 4>;

// To be called first.
fn enter(lanes: Lanes) {}

// Sums of the lanes' values, to all lanes; the order is fixed.
fn sum_lanes(lane: u32, value: mat4x4f) -> mat4x4f {
  let at = lane % LANES * 4u;
  for (var team = 0u; team < TEAMS; team++) {
    if (lane / LANES == team) {
      var before = mat4x4f();
      if (team > 0u) { before = mat4x4f(parts[at], parts[at + 1u], parts[at + 2u], parts[at + 3u]); }
      parts[at] = before[0] + value[0];
      parts[at + 1u] = before[1] + value[1];
      parts[at + 2u] = before[2] + value[2];
      parts[at + 3u] = before[3] + value[3];
    }
    workgroupBarrier();
  }
  if (lane < 32u) {
    var sum = parts[lane];
    for (var i = 1u; i < 8u; i++) { sum += parts[lane + 32u * i]; }
    rows_of_parts[lane] = sum;
  }
  workgroupBarrier();
  if (lane < 4u) {
    var sum = rows_of_parts[lane];
    for (var i = 1u; i < 8u; i++) { sum += rows_of_parts[lane + 4u * i]; }
    whole[lane] = sum;
  }
  workgroupBarrier();
  return mat4x4f(whole[0], whole[1], whole[2], whole[3]);
}

// Largest of each component, to all lanes.
fn max_lanes(lane: u32, value: vec4f) -> vec4f {
  parts[lane] = value;
  workgroupBarrier();
  if (lane < 8u) {
    var top = parts[lane];
    for (var i = 1u; i < GROUP / 8u; i++) { top = max(top, parts[lane + 8u * i]); }
    rows_of_parts[lane] = top;
  }
  workgroupBarrier();
  var top = rows_of_parts[0];
  for (var i = 1u; i < 8u; i++) { top = max(top, rows_of_parts[i]); }
  // The next call writes where slower lanes still read.
  workgroupBarrier();
  return top;
}
`,
  sample_lanes_subgroup: `// Prelude of sample.wgsl: as sample_lanes.wgsl, but the lanes add up within their subgroups, of whatever size, first.
struct Lanes {
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) id: u32,
  @builtin(num_subgroups) count: u32,
  @builtin(subgroup_invocation_id) member: u32,
}

// Four of each subgroup, of which the smallest have four threads.
var<workgroup> parts: array<vec4f, 256>;
var<private> own_id: u32;
var<private> subgroups: u32;
var<private> first_member: bool;

// To be called first.
fn enter(lanes: Lanes) {
  own_id = lanes.id;
  subgroups = lanes.count;
  first_member = lanes.member == 0u;
}

// Sums of the lanes' values, to all lanes; the order is fixed.
fn sum_lanes(lane: u32, value: mat4x4f) -> mat4x4f {
  let own = mat4x4f(subgroupAdd(value[0]), subgroupAdd(value[1]), subgroupAdd(value[2]), subgroupAdd(value[3]));
  if (first_member) {
    parts[own_id * 4u] = own[0];
    parts[own_id * 4u + 1u] = own[1];
    parts[own_id * 4u + 2u] = own[2];
    parts[own_id * 4u + 3u] = own[3];
  }
  workgroupBarrier();
  var sum = mat4x4f();
  for (var i = 0u; i < subgroups; i++) {
    sum += mat4x4f(parts[i * 4u], parts[i * 4u + 1u], parts[i * 4u + 2u], parts[i * 4u + 3u]);
  }
  // The next call writes where slower lanes still read.
  workgroupBarrier();
  return sum;
}

// Largest of each component, to all lanes.
fn max_lanes(lane: u32, value: vec4f) -> vec4f {
  let own = subgroupMax(value);
  if (first_member) { parts[own_id] = own; }
  workgroupBarrier();
  var top = parts[0];
  for (var i = 1u; i < subgroups; i++) { top = max(top, parts[i]); }
  workgroupBarrier();
  return top;
}
`,
  sample_slot: `// What both variants of sample.wgsl share, as their prelude: sizes and settings, all bindings but the logits, the draw's
// random number, and the slot's next state. Formulas and shapes stand in sample.wgsl.

struct Dims {
  slots: u32, vocab: u32, stride: u32, stop_count: u32,
  temperature: f32, top_p: f32, top_k: u32, min_p: f32, repetition_penalty: f32,
}
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(2) var<storage, read_write> slots: array<u32>;
@group(0) @binding(3) var<storage, read_write> seen: array<u32>;
@group(0) @binding(4) var<storage, read> banned: array<u32>;
// sample
@group(0) @binding(5) var<storage, read> stops: array<u32>;
@group(0) @binding(6) var<storage, read_write> out_tokens: array<u32>;
@group(0) @binding(7) var<storage, read_write> out_values: array<vec2f>;
@group(0) @binding(8) var<storage, read_write> tick: array<atomic<u32>>;
// filtered
@group(0) @binding(5) var<storage, read_write> probabilities: array<f32>;

const LOWEST = -3e38;
const NONE = 0xffffffffu;

// u of the slot's next token.
fn random_of(s: u32) -> f32 {
  let counter = vec4u(slots[s * 8u + 1u] + 1u, 0u, 0u, 0u);
  let bits = philox(counter, vec2u(slots[s * 8u + 4u], slots[s * 8u + 5u])).x;
  return f32(bits >> 8u) * 0x1p-24;
}

// The new state of the slot, by one lane.
fn carry_on(s: u32, token: u32) {
  let at = s * 8u;
  if (token == NONE) {
    slots[at + 2u] = 0u;
    slots[at + 7u] = 3u;
    return;
  }
  let position = slots[at + 1u] + 1u;
  slots[at] = token;
  slots[at + 1u] = position;
  slots[at + 6u] += 1u;
  seen[s * ((d.vocab + 31u) / 32u) + token / 32u] |= 1u << (token & 31u);
  var finish = select(0u, 2u, position > slots[at + 3u]);
  for (var i = 0u; i < d.stop_count; i++) {
    if (stops[i] == token) { finish = 1u; }
  }
  if (finish != 0u) {
    slots[at + 2u] = 0u;
    slots[at + 7u] = finish;
  }
}
`,
  sample_texture: `// sample.wgsl for software adapters, which read the logits through a texture; formulas, shapes and bindings stand there.
//
// One invocation serves a slot and walks its row TEXELS · 4 tokens a trip; nothing passes between invocations, and nothing
// of the row is kept but sums. \`stride\` is a multiple of 4.
//
// Both thresholds are found as a value of y between a bound that reaches what is needed and one that does not, sixteen
// parts a pass: parts of equal width at first, then of equally many floats, so that SPLITS passes and eight more always
// do; a pass that finds a single value of y between the bounds is the last one. Trips of one invocation, with TEXELS = 4:
// V / 16 a pass, 29 passes at most, and V / 3 for the draw.
// Preludes: philox.wgsl, texel.wgsl, sample_slot.wgsl. TEXELS (4: half a word of bits; 8: a word) stands in front.

@group(0) @binding(1) var logits: Mirror;

// Passes that divide a range of values before ranges of floats are divided.
const SPLITS = 4u;

struct Row {
  base: u32,       // first texel of its logits
  seen_base: u32,
  trips: u32,      // over the row; 0 for a row that draws nothing
  bad: bool,       // a logit is not finite, or every token is banned
  top: f32,        // max y
  low: f32,        // min y of the tokens that are not banned
  raw_top: f32,    // max logit
  inverse: f32,    // 1 / T
  z: f32,          // sum of exp((logit − raw_top) / T)
  moment: f32,     // sum of exp(x) · x over the same x
  mass: f32,       // sum of e
  count: f32,      // tokens that are not banned
}

fn ids_of(v: u32) -> vec4u { return vec4u(v) + vec4u(0u, 1u, 2u, 3u); }

// The bits of a trip's tokens, from bit 0 on.
fn seen_bits(row: Row, trip: u32) -> u32 {
  let v = 4u * TEXELS * trip;
  return seen[row.seen_base + v / 32u] >> (v & 31u);
}
fn banned_bits(trip: u32) -> u32 {
  let v = 4u * TEXELS * trip;
  return banned[v / 32u] >> (v & 31u);
}

// y of four tokens, LOWEST where they are banned or past the vocabulary. \`bits\` are theirs in both words.
fn y_of(raw: vec4f, v: u32, bits: vec4u, known: u32, out: u32) -> vec4f {
  let r = d.repetition_penalty;
  let factor = select(vec4f(r), vec4f(1.0 / r), raw > vec4f());
  let y = select(raw, raw * factor, (vec4u(known) & bits) != vec4u());
  return select(y, vec4f(LOWEST), ((vec4u(out) & bits) != vec4u()) | (ids_of(v) >= vec4u(d.vocab)));
}

// exp of what lies below the maximum; nothing for banned tokens.
fn weights(row: Row, y: vec4f) -> vec4f {
  return select(exp(max((y - row.top) * row.inverse, vec4f(-104.0))), vec4f(), y <= vec4f(LOWEST));
}

// 1 at the place of v within its texel.
fn one_of(v: u32) -> vec4f { return select(vec4f(), vec4f(1.0), ids_of(0u) == vec4u(v & 3u)); }

fn highest(v: vec4f) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn sum_of(v: vec4f) -> f32 { return dot(v, vec4f(1.0)); }

fn read_row(s: u32) -> Row {
  var row: Row;
  row.base = s * (d.stride / 4u);
  row.trips = (d.vocab + 4u * TEXELS - 1u) / (4u * TEXELS);
  row.seen_base = s * ((d.vocab + 31u) / 32u);
  row.inverse = 1.0 / select(d.temperature, 1.0, d.temperature == 0.0);
  if (slots[s * 8u + 2u] != 1u) { row.trips = 0u; }
  var raw_top = vec4f(LOWEST);
  var top = vec4f(LOWEST);
  var low = vec4f(-LOWEST);
  var bad = vec4<bool>();
  for (var i = 0u; i < row.trips; i++) {
    let known = seen_bits(row, i);
    let out = banned_bits(i);
    //# for j in TEXELS
    let v\$j = 4u * (TEXELS * i + \$j);
    let raw\$j = texel(logits, row.base + v\$j / 4u);
    let inside\$j = ids_of(v\$j) < vec4u(d.vocab);
    bad |= ((bitcast<vec4u>(raw\$j) & vec4u(0x7f800000u)) == vec4u(0x7f800000u)) & inside\$j;
    raw_top = max(raw_top, select(vec4f(LOWEST), raw\$j, inside\$j));
    let y\$j = y_of(raw\$j, v\$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * \$j), known, out);
    top = max(top, y\$j);
    low = min(low, select(y\$j, vec4f(-LOWEST), y\$j <= vec4f(LOWEST)));
    //# end
  }
  row.raw_top = highest(raw_top);
  row.top = highest(top);
  row.low = -highest(-low);
  row.bad = any(bad) || row.top <= LOWEST;
  if (row.bad) { row.trips = 0u; }
  var sums = mat4x4f();
  for (var i = 0u; i < row.trips; i++) {
    let known = seen_bits(row, i);
    let out = banned_bits(i);
    // Sums of a trip first: fewer numbers are added to the large ones.
    var trip = mat4x4f();
    //# for j in TEXELS
    let v\$j = 4u * (TEXELS * i + \$j);
    let raw\$j = texel(logits, row.base + v\$j / 4u);
    let y\$j = y_of(raw\$j, v\$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * \$j), known, out);
    let x\$j = max((raw\$j - row.raw_top) * row.inverse, vec4f(-104.0));
    let p\$j = select(vec4f(), exp(x\$j), ids_of(v\$j) < vec4u(d.vocab));
    trip += mat4x4f(p\$j, p\$j * x\$j, weights(row, y\$j), select(vec4f(1.0), vec4f(), y\$j <= vec4f(LOWEST)));
    //# end
    sums += trip;
  }
  row.z = sum_of(sums[0]);
  row.moment = sum_of(sums[1]);
  row.mass = sum_of(sums[2]);
  row.count = sum_of(sums[3]);
  return row;
}

// Bits whose unsigned order is the order of the floats, and back.
fn key_of(y: f32) -> u32 {
  let bits = bitcast<u32>(y);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// Where the parts \`j\` of sixteen between lo and hi begin.
fn edges(lo: f32, hi: f32, j: vec4u, by_width: bool) -> vec4f {
  let key = key_of(lo);
  let range = key_of(hi) - key;
  let k = vec4u(key) + min(j * ((range + 15u) / 16u), vec4u(range));
  let by_key = vec4f(value_of(k.x), value_of(k.y), value_of(k.z), value_of(k.w));
  return select(by_key, vec4f(lo) + vec4f(hi - lo) * (vec4f(j) / 16.0), vec4<bool>(by_width));
}

// The largest y from \`start\` to the top whose tokens, with all above it, still measure \`needed\`: e, or 1 for each.
fn search(row: Row, trips: u32, start: f32, needed: f32, counting: bool) -> f32 {
  var lo = start;
  var hi = value_of(key_of(row.top) + 1u);
  var open = trips > 0u;
  for (var pass_id = 0u; open; pass_id++) {
    let by_width = pass_id < SPLITS && hi - lo < 1e30;
    //# for q in 4
    let edge\$q = edges(lo, hi, vec4u(4u * \$q) + vec4u(0u, 1u, 2u, 3u), by_width);
    var sum\$q = vec4f();
    //# end
    var least = vec4f(-LOWEST);
    var most = vec4f(LOWEST);
    for (var i = 0u; i < trips; i++) {
      let known = seen_bits(row, i);
      let out = banned_bits(i);
      //# for q in 4
      var trip\$q = vec4f();
      //# end
      //# for j in TEXELS
      let v\$j = 4u * (TEXELS * i + \$j);
      let y\$j = y_of(texel(logits, row.base + v\$j / 4u), v\$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * \$j), known, out);
      let w\$j = select(weights(row, y\$j), vec4f(1.0), vec4<bool>(counting));
      //# for q in 4
      trip\$q += select(vec4f(), vec4f(w\$j.x), vec4f(y\$j.x) >= edge\$q) + select(vec4f(), vec4f(w\$j.y), vec4f(y\$j.y) >= edge\$q);
      trip\$q += select(vec4f(), vec4f(w\$j.z), vec4f(y\$j.z) >= edge\$q) + select(vec4f(), vec4f(w\$j.w), vec4f(y\$j.w) >= edge\$q);
      //# end
      let between\$j = (y\$j >= vec4f(lo)) & (y\$j < vec4f(hi));
      least = min(least, select(vec4f(-LOWEST), y\$j, between\$j));
      most = max(most, select(vec4f(LOWEST), y\$j, between\$j));
      //# end
      //# for q in 4
      sum\$q += trip\$q;
      //# end
    }
    open = -highest(-least) < highest(most);
    // By rounding even the lowest edge may fall short: it is then the answer.
    //# for q in 4
    let enough\$q = sum\$q >= vec4f(needed);
    lo = max(lo, highest(select(vec4f(LOWEST), edge\$q, enough\$q)));
    hi = min(hi, -highest(select(-edge\$q, vec4f(LOWEST), enough\$q)));
    //# end
    open = open && key_of(lo) + 1u < key_of(hi);
  }
  return lo;
}

fn kept(y: vec4f, e: vec4f, threshold: f32) -> vec4f {
  return select(vec4f(), e, (y >= vec4f(threshold)) & (e >= vec4f(d.min_p)));
}

// top-k, then top-p, as one threshold on y; one loop, since every call is compiled inline.
fn threshold_of(row: Row) -> f32 {
  var threshold = LOWEST;
  var mass = row.mass;
  for (var filter_id = 0u; filter_id < 2u; filter_id++) {
    let counting = filter_id == 0u;
    let off = d.temperature == 0.0 || select(d.top_p >= 1.0, d.top_k == 0u, counting);
    let trips = select(row.trips, 0u, off);
    // All tokens with e below (1 − p) · mass / V together weigh less than what top-p drops; half of it for rounding.
    let least = (1.0 - d.top_p) * mass / f32(d.vocab) * 0.5;
    let floor = select(row.top + log(max(least, 1e-37)) / row.inverse, LOWEST, counting);
    let needed = select(max(d.top_p * mass, 1e-30), min(f32(d.top_k), row.count), counting);
    let found = search(row, trips, max(floor, row.low), needed, counting);
    threshold = max(threshold, select(found, LOWEST, off));
    var sum = vec4f();
    let again = select(0u, trips, counting);
    for (var i = 0u; i < again; i++) {
      let known = seen_bits(row, i);
      let out = banned_bits(i);
      var trip = vec4f();
      //# for j in TEXELS
      let v\$j = 4u * (TEXELS * i + \$j);
      let y\$j = y_of(texel(logits, row.base + v\$j / 4u), v\$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * \$j), known, out);
      trip += select(vec4f(), weights(row, y\$j), y\$j >= vec4f(threshold));
      //# end
      sum += trip;
    }
    if (again > 0u) { mass = sum_of(sum); }
  }
  return threshold;
}

// What is kept.
struct Kept {
  mass: f32,
  first: u32,  // first token with the largest y
}

fn keep(row: Row, threshold: f32) -> Kept {
  var sum = vec4f();
  var first = vec4u(NONE);
  for (var i = 0u; i < row.trips; i++) {
    let known = seen_bits(row, i);
    let out = banned_bits(i);
    var trip = vec4f();
    //# for j in TEXELS
    let v\$j = 4u * (TEXELS * i + \$j);
    let y\$j = y_of(texel(logits, row.base + v\$j / 4u), v\$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * \$j), known, out);
    trip += kept(y\$j, weights(row, y\$j), threshold);
    first = min(first, select(vec4u(NONE), ids_of(v\$j), y\$j == vec4f(row.top)));
    //# end
    sum += trip;
  }
  return Kept(sum_of(sum), min(min(first.x, first.y), min(first.z, first.w)));
}

// On the way to u · mass: the column (v mod 64) that reaches it, and where in the column's own running sum.
struct Path { below: f32, column: u32, goal: f32 }
fn along(p: Path, end: f32, mass: f32, column: u32) -> Path {
  if (mass > 0.0 && !(p.below > end)) { return Path(p.below + mass, column, end - p.below); }
  return p;
}

// The first token, in the order of columns, whose running sum exceeds u · mass; where rounding lets the sum fall short, the
// last kept one. Four columns at a time, then once more those of the token: in one loop, since every call is compiled inline.
fn choose(row: Row, threshold: f32, end: f32) -> u32 {
  var path = Path(0.0, 0u, 0.0);
  var token = NONE;
  var run = 0.0;
  var column = 0u;
  var last = false;
  for (var open = row.trips > 0u; open;) {
    var sum = vec4f();
    for (var v = column; v < d.vocab; v += 64u) {
      let y = y_of(texel(logits, row.base + v / 4u), v, vec4u(1u, 2u, 4u, 8u) << vec4u(v & 31u),
        seen[row.seen_base + v / 32u], banned[v / 32u]);
      let e = kept(y, weights(row, y), threshold);
      sum += e;
      let own = dot(e, one_of(path.column));
      if (last && own > 0.0 && !(run > path.goal)) {
        run += own;
        token = v + (path.column & 3u);
      }
    }
    open = !last;
    if (!last) {
      path = along(path, end, sum.x, column);
      path = along(path, end, sum.y, column + 1u);
      path = along(path, end, sum.z, column + 2u);
      path = along(path, end, sum.w, column + 3u);
      column += 4u;
      last = path.below > end || column >= min(64u, d.vocab);
      column = select(column, path.column & ~3u, last);
    }
  }
  return token;
}

@compute @workgroup_size(16)
fn sample(@builtin(global_invocation_id) id: vec3u) {
  let s = id.x;
  if (s >= d.slots) { return; }
  let at = atomicAdd(&tick[0], 1u) / d.slots * d.slots + s;
  let room = at < arrayLength(&out_tokens);
  let alive = slots[s * 8u + 2u] == 1u;
  let row = read_row(s);
  let threshold = threshold_of(row);
  let k = keep(row, threshold);
  var token = choose(row, threshold, random_of(s) * k.mass);
  if (d.temperature == 0.0) { token = k.first; }
  // A dead slot's row and a bad one were not walked: they have none.
  let drawn = token != NONE;
  let chosen = select(0u, token, drawn);
  let x = (dot(texel(logits, row.base + chosen / 4u), one_of(chosen)) - row.raw_top) * row.inverse;
  let log_z = log(max(row.z, 1e-37));
  if (room) {
    out_tokens[at] = token;
    out_values[at] = select(vec2f(), vec2f(x - log_z, max(0.0, log_z - row.moment / row.z)), drawn);
  }
  if (alive) { carry_on(s, token); }
}

// What \`sample\` would draw from: probabilities [S, V]; zeros for dead slots and for rows that are not finite.
@compute @workgroup_size(16)
fn filtered(@builtin(global_invocation_id) id: vec3u) {
  let s = id.x;
  if (s >= d.slots) { return; }
  let row = read_row(s);
  let threshold = threshold_of(row);
  let k = keep(row, threshold);
  let factor = 1.0 / max(k.mass, 1e-37);
  for (var v = 0u; v < d.vocab; v += 4u) {
    let y = y_of(texel(logits, row.base + v / 4u), v, vec4u(1u, 2u, 4u, 8u) << vec4u(v & 31u),
      seen[row.seen_base + v / 32u], banned[v / 32u]);
    var p = kept(y, weights(row, y), threshold) * factor;
    if (d.temperature == 0.0) { p = select(vec4f(), vec4f(1.0), ids_of(v) == vec4u(k.first)); }
    if (row.trips == 0u) { p = vec4f(); }
    let to = s * d.vocab + v;
    probabilities[to] = p.x;
    if (v + 1u < d.vocab) { probabilities[to + 1u] = p.y; }
    if (v + 2u < d.vocab) { probabilities[to + 2u] = p.z; }
    if (v + 3u < d.vocab) { probabilities[to + 3u] = p.w; }
  }
}
`,
  silu: `// Prelude of fused products: silu(g) = g / (1 + exp(-g)) as in swiglu.wgsl. Beyond 80 the exponential could overflow f32.
fn silu(g: vec4f) -> vec4f { return g / (1.0 + exp(min(-g, vec4f(80.0)))); }
`,
  slots: `// The start of a decode step: what the model's kernels read, from the state of every slot.
//   slots [S, 8] = token, position, alive, last_position, key0, key1, generated, finish     table [S, max_blocks]
//   offsets [S]: added to the position for the rotary embedding (M-RoPE's delta after pictures, modulo 2^32; 0 for text)
//   ids[s] = token, positions[s] = position + offset, rows[s] = cache row of this token: table[s][position / block_size] ·
//   block_size + position % block_size. A dead slot computes token 0 at position 0 and writes no row.

struct Dims {
  slots: u32,
  max_blocks: u32,
  block_size: u32,
}

const NO_ROW = 0xffffffffu;

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> positions: array<u32>;
@group(0) @binding(6) var<storage, read_write> rows: array<u32>;

@compute @workgroup_size(64)
fn begin_step(@builtin(global_invocation_id) id: vec3u) {
  let s = id.x;
  if (s >= d.slots) { return; }
  var token = 0u;
  var rotary = 0u;
  var row = NO_ROW;
  if (slots[s * 8u + 2u] == 1u) {
    token = slots[s * 8u];
    let position = slots[s * 8u + 1u];
    rotary = position + offsets[s];
    row = table[s * d.max_blocks + position / d.block_size] * d.block_size + position % d.block_size;
  }
  ids[s] = token;
  positions[s] = rotary;
  rows[s] = row;
}
`,
  slots_refill: `// Who decodes where, before every step: the live sequences move together, and sequences that stand by take the lanes that
// are left.
//   slots, table, offsets, seen and owners have L rows for the lanes and R rows behind them for those that stand by, a
//   ring; queue = taken, placed (both count on from 0; entry i of the ring is row L + i % R), then L pairs of room.
//   Of the lanes below \`used\`, n live ones come to stand first: n = min(used, live lanes + taken .. placed). The
//   k-th dead lane below n gets the k-th that stands by; where none is left, the live lane that is k-th from the end.
//   out_owners[tick + s] = owners[s], 0xffffffff for a lane without a sequence; tick [1] = step of the chunk * used.
// One workgroup of THREADS, declared in front of this text. No row is both read and written. seen_words = 0
// leaves \`seen\` as it is.

struct RefillDims {
  lanes: u32,
  used: u32,
  ring: u32,
  max_blocks: u32,
  seen_words: u32,
}

const NO_OWNER = 0xffffffffu;

@group(0) @binding(0) var<uniform> rd: RefillDims;
@group(0) @binding(1) var<storage, read_write> states: array<u32>;
@group(0) @binding(2) var<storage, read_write> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> turns: array<u32>;
@group(0) @binding(4) var<storage, read_write> seen: array<u32>;
@group(0) @binding(5) var<storage, read_write> owners: array<u32>;
@group(0) @binding(6) var<storage, read_write> queue: array<u32>;
@group(0) @binding(7) var<storage, read> tick: array<u32>;
@group(0) @binding(8) var<storage, read_write> out_owners: array<u32>;

// Live lanes before every thread's own.
var<workgroup> before: array<u32, THREADS>;
var<workgroup> live: u32;
var<workgroup> head: u32;
var<workgroup> take: u32;
var<workgroup> moves: atomic<u32>;

fn move_word(word: u32, dest: u32, source: u32) {
  if (word < 8u) {
    states[dest * 8u + word] = states[source * 8u + word];
    // A lane that is left is dead.
    if (word == 2u && source < rd.lanes) { states[source * 8u + 2u] = 0u; }
  } else if (word == 8u) {
    turns[dest] = turns[source];
  } else if (word == 9u) {
    owners[dest] = owners[source];
  } else if (word < 10u + rd.max_blocks) {
    tables[dest * rd.max_blocks + word - 10u] = tables[source * rd.max_blocks + word - 10u];
  } else {
    let at = word - 10u - rd.max_blocks;
    seen[dest * rd.seen_words + at] = seen[source * rd.seen_words + at];
  }
}

@compute @workgroup_size(THREADS)
fn refill(@builtin(local_invocation_id) lid: vec3u) {
  let thread = lid.x;
  let each = (rd.lanes + THREADS - 1u) / THREADS;
  let start = min(thread * each, rd.lanes);
  let end = min(start + each, rd.lanes);
  var own = 0u;
  for (var s = start; s < end; s++) { own += select(0u, 1u, states[s * 8u + 2u] == 1u); }
  before[thread] = own;
  workgroupBarrier();
  if (thread == 0u) {
    var sum = 0u;
    for (var i = 0u; i < THREADS; i++) {
      let count = before[i];
      before[i] = sum;
      sum += count;
    }
    live = sum;
    head = queue[0];
    take = min(queue[1] - head, max(rd.used, sum) - sum);
    queue[0] = head + take;
  }
  workgroupBarrier();
  let goal = live + take;
  var passed = before[thread];
  for (var s = start; s < end; s++) {
    let lives = states[s * 8u + 2u] == 1u;
    if (!lives && s < goal) {
      let k = s - passed;
      queue[2u + 2u * k] = s;
      if (k < take) { queue[3u + 2u * k] = rd.lanes + (head + k) % rd.ring; }
      atomicAdd(&moves, 1u);
    }
    if (lives && s >= goal) { queue[3u + 2u * (take + live - 1u - passed)] = s; }
    passed += select(0u, 1u, lives);
  }
  storageBarrier();
  workgroupBarrier();
  let words = 10u + rd.max_blocks + rd.seen_words;
  let count = atomicLoad(&moves);
  for (var i = 0u; i < count; i++) {
    let dest = queue[2u + 2u * i];
    let source = queue[3u + 2u * i];
    for (var word = thread; word < words; word += THREADS) { move_word(word, dest, source); }
  }
  storageBarrier();
  workgroupBarrier();
  let room = arrayLength(&out_owners);
  for (var s = thread; s < rd.used; s += THREADS) {
    let at = tick[0] + s;
    if (at < room) { out_owners[at] = select(NO_OWNER, owners[s], states[s * 8u + 2u] == 1u); }
  }
}
`,
  sums_f16: `// Products of rounded operands, made and added up in f16 within a slice.
alias Sum = f16;
`,
  sums_f32: `// Products of rounded operands, made and added up in f32.
alias Sum = f32;
`,
  swiglu: `// Gated activation of the feed-forward block (Shazeer 2020; HF Qwen2MLP): with g, u the halves of a row of gate_up [T, 2I],
//   y = silu(g) u,   silu(g) = g / (1 + exp(-g))                                              y [T, I]
// forward   writes y.
// backward  dgate_up = (dy u s (1 + g (1 - s)), dy g s) with s = 1 / (1 + exp(-g)); written whole. Keeps gate_up only.
// Prelude: Value, LANES, place. One thread a Value.

struct Dims { tokens: u32, width: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> gate_up: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;

@group(0) @binding(2) var<storage, read> dy: array<Value>;
@group(0) @binding(3) var<storage, read_write> dgate_up: array<Value>;

// Beyond 80 the exponential could overflow f32, and the sigmoid of -80 is 2e-35 already.
fn sigmoid(g: Value) -> Value { return 1.0 / (1.0 + exp(min(-g, Value(80.0)))); }

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = dims.width / LANES;
  if (i >= dims.tokens * n) { return; }
  let to = place(i, n);
  let at = to.y * 2u * n + to.x;
  let g = gate_up[at];
  y[i] = g * sigmoid(g) * gate_up[at + n];
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = dims.width / LANES;
  if (i >= dims.tokens * n) { return; }
  let to = place(i, n);
  let at = to.y * 2u * n + to.x;
  let g = gate_up[at];
  let s = sigmoid(g);
  let d = dy[i];
  dgate_up[at] = d * gate_up[at + n] * s * (1.0 + g * (1.0 - s));
  dgate_up[at + n] = d * g * s;
}
`,
  team_subgroup: `// Prelude: as team_workgroup.wgsl, but a team is a subgroup, of whatever size: it needs neither memory nor barriers
// for its row. A workgroup's subgroups share out its ROWS rows in up to TURNS = ROWS turns.
struct Team {
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) id: u32,
  @builtin(num_subgroups) teams: u32,
  @builtin(subgroup_invocation_id) member: u32,
  @builtin(subgroup_size) size: u32,
}

// Subgroups have one thread at least.
var<workgroup> group_pairs: array<vec2f, GROUP>;

// Which of the workgroup's rows the team has in this turn; ROWS or more: none.
fn team_row(team: Team, turn: u32) -> u32 { return turn * team.teams + team.id; }
fn team_member(team: Team) -> u32 { return team.member; }
fn team_size(team: Team) -> u32 { return team.size; }

fn team_sum(team: Team, mine: f32) -> f32 { return subgroupAdd(mine); }
fn team_sum2(team: Team, mine: vec2f) -> vec2f { return subgroupAdd(mine); }
fn team_max(team: Team, mine: f32) -> f32 { return subgroupMax(mine); }

// The sum of \`mine\` over the whole workgroup, to all of it.
fn group_sum2(team: Team, mine: vec2f) -> vec2f {
  let own = subgroupAdd(mine);
  if (team.member == 0u) { group_pairs[team.id] = own; }
  workgroupBarrier();
  var sum = vec2f();
  for (var i = 0u; i < team.teams; i++) { sum += group_pairs[i]; }
  return sum;
}
`,
  team_workgroup: `// Prelude: a row is reduced by a team of SHARE threads, side by side in a workgroup of GROUP, through workgroup memory; a
// workgroup has ROWS teams, one for each of its rows. Each reduction is done once at most by an entry point.
struct Team { @builtin(local_invocation_index) lane: u32 }

var<workgroup> team_sums: array<f32, GROUP>;
var<workgroup> team_pairs: array<vec2f, GROUP>;
var<workgroup> team_tops: array<f32, GROUP>;
var<workgroup> group_pairs: array<vec2f, GROUP>;

// Which of the workgroup's rows the team has.
fn team_row(team: Team, turn: u32) -> u32 { return team.lane / SHARE; }
fn team_member(team: Team) -> u32 { return team.lane % SHARE; }
fn team_size(team: Team) -> u32 { return SHARE; }

// The sum of \`mine\` over the team, to all of it.
fn team_sum(team: Team, mine: f32) -> f32 {
  if (SHARE == 1u) { return mine; }
  team_sums[team.lane] = mine;
  workgroupBarrier();
  let first = team.lane - team.lane % SHARE;
  var sum = 0.0;
  for (var i = 0u; i < SHARE; i++) { sum += team_sums[first + i]; }
  return sum;
}

fn team_sum2(team: Team, mine: vec2f) -> vec2f {
  if (SHARE == 1u) { return mine; }
  team_pairs[team.lane] = mine;
  workgroupBarrier();
  let first = team.lane - team.lane % SHARE;
  var sum = vec2f();
  for (var i = 0u; i < SHARE; i++) { sum += team_pairs[first + i]; }
  return sum;
}

// The largest of \`mine\` over the team, to all of it.
fn team_max(team: Team, mine: f32) -> f32 {
  if (SHARE == 1u) { return mine; }
  team_tops[team.lane] = mine;
  workgroupBarrier();
  let first = team.lane - team.lane % SHARE;
  var top = mine;
  for (var i = 0u; i < SHARE; i++) { top = max(top, team_tops[first + i]); }
  return top;
}

// The sum of \`mine\` over the whole workgroup, to its first thread; GROUP is a power of two.
fn group_sum2(team: Team, mine: vec2f) -> vec2f {
  group_pairs[team.lane] = mine;
  for (var half = GROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (team.lane < half) { group_pairs[team.lane] += group_pairs[team.lane + half]; }
  }
  return group_pairs[team.lane];
}
`,
  texel: `// A tensor that the program mirrors in a texture: four f32 values to a texel, 1024 texels to a row. A storage texture, since
// lavapipe looks the size of the level up lane by lane where a texture may have several.
alias Mirror = texture_storage_2d<rgba32float, read>;
fn texel(t: Mirror, i: u32) -> vec4f { return textureLoad(t, vec2u(i & 1023u, i >> 10u)); }
`,
  top_token: `// The most likely token of every live slot, before \`sample\` draws one: out[tick + s] = the first v with the largest logit.
//   logits [S, stride], slots [S, 8] (word 2: alive), tick [1] = workgroups of \`sample\` so far, S a step: the row to write;
//   out [ticks, S]: 0xffffffff for dead slots; rows past the end are not written.
// One workgroup a slot, a lane every LANES-th token (a power of two that stands in front), four of them at a time. Source: the release looks for trigger words in the arg-max token.

struct Dims {
  slots: u32,
  vocab: u32,
  stride: u32,
}

const LOWEST = -3.4e38;
const NONE = 0xffffffffu;

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read> tick: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;

var<workgroup> top: array<f32, LANES>;
var<workgroup> token: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn top_token(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let s = group.x;
  if (s >= d.slots) { return; }
  let i = lane.x;
  var best = LOWEST;
  var first = NONE;
  for (var v = i; v < d.vocab; v += 4u * LANES) {
    //# for j in 4
    let y\$j = select(LOWEST, logits[s * d.stride + v + \$j * LANES], v + \$j * LANES < d.vocab);
    //# end
    //# for j in 4
    if (y\$j > best) {
      best = y\$j;
      first = v + \$j * LANES;
    }
    //# end
  }
  top[i] = best;
  token[i] = first;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (i < step) {
      let better = top[i + step] > top[i] || (top[i + step] == top[i] && token[i + step] < token[i]);
      if (better) {
        top[i] = top[i + step];
        token[i] = token[i + step];
      }
    }
    workgroupBarrier();
  }
  let at = tick[0] + s;
  if (i == 0u && at < arrayLength(&out)) { out[at] = select(NONE, token[0], slots[s * 8u + 2u] == 1u); }
}
`,
  value_loss: `// The clipped value loss of GAE, a token an invocation (the release's compute_value_loss):
//   L = Σ_t w ½ max((V − R)², (clip(V, V_old ± c) − R)²);  where the clipped term is the larger one V has no gradient.
// N tokens.
//   value [N] = V;  target [N] = (V_old, R, w, 0)
//   dvalue [N] = coefficient · ∂L/∂V;  stats [N] = (w ½ max(…), 1 where the clipped term is the larger, V, not finite)
// A token whose loss is not finite gets a NaN gradient on purpose: the norm check then refuses the whole update.

struct Dims {
  tokens: u32,
  // c
  clip: f32,
  // Weight of this loss beside the policy's.
  coefficient: f32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> value: array<f32>;
@group(0) @binding(2) var<storage, read> value_target: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dvalue: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec4f>;

fn finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

@compute @workgroup_size(LANES)
fn value_loss(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let t = (group.y * groups.x + group.x) * LANES + lane.x;
  if (t >= d.tokens) { return; }
  let v = value[t];
  let goal = value_target[t];
  let miss = v - goal.y;
  let clipped_miss = clamp(v, goal.x - d.clip, goal.x + d.clip) - goal.y;
  let plain = miss * miss;
  let clipped = clipped_miss * clipped_miss;
  let good = finite(v) && finite(goal.x) && finite(goal.y) && finite(plain);
  let slope = select(d.coefficient * goal.z * miss, 0.0, plain < clipped);
  dvalue[t] = select(bitcast<f32>(0x7fc00000u | (t & 0u)), slope, good);
  stats[t] = vec4f(0.5 * goal.z * max(plain, clipped), select(0.0, 1.0, plain < clipped), v, select(1.0, 0.0, good));
}
`,
  values_f32: `// Prelude: a kernel over Value handles one f32 at a time; any width.
alias Value = f32;
const LANES = 1u;
fn total(v: Value) -> f32 { return v; }
`,
  values_vec4: `// Prelude: a kernel over Value handles four f32 at a time; widths that are multiples of 4.
alias Value = vec4f;
const LANES = 4u;
fn total(v: Value) -> f32 { return v.x + v.y + v.z + v.w; }
`,
};
