// Made by `deno task bundle` from the .wgsl files beside it; do not edit.
// deno-fmt-ignore-file

/** WGSL texts by file name. */
export const SHADERS: Readonly<Record<"attention" | "attention_decode" | "attention_head" | "attention_head_16" | "attention_head_32" | "attention_head_64" | "column_sum" | "head" | "kv_cache" | "linear" | "linear_any" | "rmsnorm" | "rope" | "rows" | "slots" | "values_f32" | "values_vec4", string>> = {
  attention: `// Packed causal or full attention with grouped queries; online softmax, so no score is ever stored
// (Dao et al. 2022, FlashAttention, algorithms 1 and 4; grouped queries: Ainslie et al. 2023).
// qkv [T, (Hq + 2 Hkv) D]: rows of q heads, k heads, v heads; query head h reads k, v head h / (Hq / Hkv).
// segments [T, 2]: first token and end of the segment of each token; keys of token t are first..t (causal) or first..end-1.
//   forward               s_ij = scale q_i . k_j;  lse_i = log sum_j exp s_ij;  out_i = sum_j exp(s_ij - lse_i) v_j
//                         out [T, Hq D], lse [T, Hq]; lse is kept for backward
//   delta                 delta_i = dout_i . out_i                       delta [T, Hq]
//   backward_query        with p_ij = exp(s_ij - lse_i), ds_ij = p_ij (dout_i . v_j - delta_i):
//                         dq_i = scale sum_j ds_ij k_j                   written to the q part of dqkv
//   backward_key_value    dk_j = scale sum_i ds_ij q_i, dv_j = sum_i p_ij dout_i over all query heads of the k, v head;
//                         written to the k and v parts of dqkv
// A thread owns four rows and meets the other side four rows at a time, in 4 x 4 matrix products: storage loads are what
// costs, and so each one serves four rows. A "row" of a k, v head is one of its query heads at one token.
// Prelude: Head holds four rows of D values; column c of each matrix is row c. HEAD = D, GROUP threads a workgroup.
// A block of four at the end repeats its last row, which then writes the same values twice.

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

const STEP = vec4u(0u, 1u, 2u, 3u);
const VECTORS = HEAD / 4u;

fn four_qkv(at: vec4u) -> mat4x4f { return mat4x4f(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]); }
fn four_dout(at: vec4u) -> mat4x4f { return mat4x4f(dout[at.x], dout[at.y], dout[at.z], dout[at.w]); }
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

fn smallest(v: vec4u) -> u32 { return min(min(v.x, v.y), min(v.z, v.w)); }
fn largest(v: vec4u) -> u32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn largest_of(v: vec4f) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }

// Position in qkv of head \`head\` (counted over q, k and v heads) of four tokens.
fn place(token: vec4u, head: vec4u) -> vec4u {
  return (token * (dims.heads + 2u * dims.kv_heads) + head) * VECTORS;
}

// Four tokens' segments: first tokens, ends.
fn firsts(t: vec4u) -> vec4u { return vec4u(segments[t.x].x, segments[t.y].x, segments[t.z].x, segments[t.w].x); }
fn ends(t: vec4u) -> vec4u { return vec4u(segments[t.x].y, segments[t.y].y, segments[t.z].y, segments[t.w].y); }

// The keys that four query tokens see: first..end-1.
fn key_ends(t: vec4u) -> vec4u {
  if (dims.causal != 0u) { return t + 1u; }
  return ends(t);
}

fn inside(at: vec4u, first: u32, end: u32) -> vec4<bool> { return (at >= vec4u(first)) & (at < vec4u(end)); }

struct Online { largest: f32, sum: f32, shrink: f32, weights: vec4f }

// One row's online softmax over four more scores.
fn online(scores: vec4f, valid: vec4<bool>, before: f32, sum: f32) -> Online {
  let now = max(before, largest_of(select(vec4f(-1e30), scores, valid)));
  let weights = select(vec4f(0.0), exp(scores - now), valid);
  let shrink = exp(before - now);
  return Online(now, sum * shrink + dot(weights, vec4f(1.0)), shrink, weights);
}

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let shared_by = dims.heads / dims.kv_heads;
  let rows = dims.tokens * shared_by;
  let blocks = (rows + 3u) / 4u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let row = min(i % blocks * 4u + STEP, vec4u(rows - 1u));
  let token = row / shared_by;
  let head = kv_head * shared_by + row % shared_by;
  let first = firsts(token);
  let end = key_ends(token);
  let last = largest(end) - 1u;
  var q = load_qkv(place(token, head));
  var o = Head();
  var top = vec4f(-1e30);
  var sum = vec4f(0.0);
  for (var j = smallest(first); j <= last; j += 4u) {
    let key = min(j + STEP, vec4u(last));
    var k = load_qkv(place(key, vec4u(dims.heads + kv_head)));
    let s = product(&k, &q) * dims.scale;
    let a = online(s[0], inside(j + STEP, first.x, end.x), top.x, sum.x);
    let b = online(s[1], inside(j + STEP, first.y, end.y), top.y, sum.y);
    let c = online(s[2], inside(j + STEP, first.z, end.z), top.z, sum.z);
    let d = online(s[3], inside(j + STEP, first.w, end.w), top.w, sum.w);
    top = vec4f(a.largest, b.largest, c.largest, d.largest);
    sum = vec4f(a.sum, b.sum, c.sum, d.sum);
    var v = load_qkv(place(key, vec4u(dims.heads + dims.kv_heads + kv_head)));
    scale_rows(&o, vec4f(a.shrink, b.shrink, c.shrink, d.shrink));
    accumulate(&o, &v, mat4x4f(a.weights, b.weights, c.weights, d.weights));
  }
  scale_rows(&o, 1.0 / sum);
  let at = token * dims.heads + head;
  write_out(at * VECTORS, &o);
  let l = top + log(sum);
  lse[at.x] = l.x;
  lse[at.y] = l.y;
  lse[at.z] = l.z;
  lse[at.w] = l.w;
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

// exp(s - lse) where valid: the probabilities of one column of scores.
fn chance(scores: vec4f, valid: vec4<bool>, log_sum: vec4f) -> vec4f {
  return select(vec4f(0.0), exp(scores - log_sum), valid);
}

@compute @workgroup_size(GROUP)
fn backward_query(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let shared_by = dims.heads / dims.kv_heads;
  let rows = dims.tokens * shared_by;
  let blocks = (rows + 3u) / 4u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let row = min(i % blocks * 4u + STEP, vec4u(rows - 1u));
  let token = row / shared_by;
  let head = kv_head * shared_by + row % shared_by;
  let first = firsts(token);
  let end = key_ends(token);
  let last = largest(end) - 1u;
  let at = token * dims.heads + head;
  let l = vec4f(backward_lse[at.x], backward_lse[at.y], backward_lse[at.z], backward_lse[at.w]);
  let del = vec4f(backward_delta[at.x], backward_delta[at.y], backward_delta[at.z], backward_delta[at.w]);
  var q = load_qkv(place(token, head));
  var d = load_dout(at * VECTORS);
  var dq = Head();
  for (var j = smallest(first); j <= last; j += 4u) {
    let key = min(j + STEP, vec4u(last));
    var k = load_qkv(place(key, vec4u(dims.heads + kv_head)));
    var v = load_qkv(place(key, vec4u(dims.heads + dims.kv_heads + kv_head)));
    let s = product(&k, &q) * dims.scale;
    let dp = product(&v, &d);
    accumulate(&dq, &k, mat4x4f(
      chance(s[0], inside(j + STEP, first.x, end.x), vec4f(l.x)) * (dp[0] - del.x),
      chance(s[1], inside(j + STEP, first.y, end.y), vec4f(l.y)) * (dp[1] - del.y),
      chance(s[2], inside(j + STEP, first.z, end.z), vec4f(l.z)) * (dp[2] - del.z),
      chance(s[3], inside(j + STEP, first.w, end.w), vec4f(l.w)) * (dp[3] - del.w)));
  }
  scale_rows(&dq, vec4f(dims.scale));
  write_dqkv(place(token, head), &dq);
}

@compute @workgroup_size(GROUP)
fn backward_key_value(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let blocks = (dims.tokens + 3u) / 4u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let key = min(i % blocks * 4u + STEP, vec4u(dims.tokens - 1u));
  let shared_by = dims.heads / dims.kv_heads;
  // The query tokens that see each key: first..end-1.
  var first = firsts(key);
  if (dims.causal != 0u) { first = key; }
  let end = ends(key);
  let last = largest(end) * shared_by - 1u;
  var k = load_qkv(place(key, vec4u(dims.heads + kv_head)));
  var v = load_qkv(place(key, vec4u(dims.heads + dims.kv_heads + kv_head)));
  var dk = Head();
  var dv = Head();
  for (var r = smallest(first) * shared_by; r <= last; r += 4u) {
    let row = min(r + STEP, vec4u(last));
    let token = row / shared_by;
    let head = kv_head * shared_by + row % shared_by;
    let at = token * dims.heads + head;
    let l = vec4f(backward_lse[at.x], backward_lse[at.y], backward_lse[at.z], backward_lse[at.w]);
    let del = vec4f(backward_delta[at.x], backward_delta[at.y], backward_delta[at.z], backward_delta[at.w]);
    var q = load_qkv(place(token, head));
    var d = load_dout(at * VECTORS);
    let s = product(&q, &k) * dims.scale;
    let dp = product(&d, &v);
    let seen = (r + STEP) / shared_by;
    let p = mat4x4f(
      chance(s[0], inside(seen, first.x, end.x), l),
      chance(s[1], inside(seen, first.y, end.y), l),
      chance(s[2], inside(seen, first.z, end.z), l),
      chance(s[3], inside(seen, first.w, end.w), l));
    accumulate(&dv, &d, p);
    accumulate(&dk, &q, mat4x4f(p[0] * (dp[0] - del), p[1] * (dp[1] - del), p[2] * (dp[2] - del), p[3] * (dp[3] - del)));
  }
  scale_rows(&dk, vec4f(dims.scale));
  write_dqkv(place(key, vec4u(dims.heads + kv_head)), &dk);
  write_dqkv(place(key, vec4u(dims.heads + dims.kv_heads + kv_head)), &dv);
}
`,
  attention_decode: `// Attention of one query token per slot over that slot's cached positions, softmax computed online.
//
//   out[s, h] = Σ_t softmax_t(scale · q[s, h] · k[row(t), h']) v[row(t), h'],  t = 0 … position[s], h' = h / (Hq / Hkv)
//   row(t) = table[s, t / block_size] · block_size + t % block_size
//
// qkv [S, (Hq + 2·Hkv)·D] rotated; k_cache, v_cache [rows, Hkv·D]; slots [S, 8] = token, position, alive, …;
// out [S, Hq·D]. A dead slot gets zeros. HEAD_DIM (a multiple of 8, at most 256) stands in front of this text.
//
// One workgroup per slot and head works through chunks of 64 positions: first a lane per position makes its score, then
// PARTS groups of D/4 lanes, a vec4 of the head each, add up their share of the chunk with a running maximum of their
// own; at the end the parts are merged. Loop trips of an invocation, per chunk: HEAD_DIM / 8 + 2 · PER + 1, which keeps
// contexts of up to 40,000 positions below the 65,535 that some drivers allow (20,000 for heads of 256).
// Forward only. Source: online softmax of arXiv 1805.02867, merging of partial results as in flash-decoding.

struct Dims { slots: u32, heads: u32, kv_heads: u32, max_blocks: u32, block_size: u32, scale: f32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> k_cache: array<vec4f>;
@group(0) @binding(3) var<storage, read> v_cache: array<vec4f>;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> slots: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;

const D4 = HEAD_DIM / 4u;
const PARTS = 64u / D4;
const PER = (63u + PARTS) / PARTS;
const LOWEST = -3e38;

var<workgroup> scores: array<f32, 64>;
var<workgroup> bases: array<u32, 64>;
var<workgroup> sums: array<vec4f, 64>;
var<workgroup> states: array<vec2f, 64>;

@compute @workgroup_size(64)
fn decode(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let s = wid.y;
  let h = wid.x;
  let lane = lid.x;
  let out_base = (s * d.heads + h) * D4;
  if (slots[s * 8u + 2u] != 1u) {
    if (lane < D4) { out[out_base + lane] = vec4f(); }
    return;
  }
  let n = slots[s * 8u + 1u] + 1u;
  let q_base = s * (d.heads + 2u * d.kv_heads) * D4 + h * D4;
  let width = d.kv_heads * D4;
  let head = h / (d.heads / d.kv_heads) * D4;
  let part = lane / D4;
  let column = lane % D4;
  let first = part * PER;
  let end = min(first + PER, 64u);
  var top = LOWEST;
  var total = 0.0;
  var sum = vec4f();
  for (var chunk = 0u; chunk < n; chunk += 64u) {
    let t = chunk + lane;
    var score = LOWEST;
    var base = 0u;
    if (t < n) {
      base = (table[s * d.max_blocks + t / d.block_size] * d.block_size + t % d.block_size) * width + head;
      var a = 0.0;
      for (var c = 0u; c < D4; c += 2u) {
        a += dot(qkv[q_base + c], k_cache[base + c]) + dot(qkv[q_base + c + 1u], k_cache[base + c + 1u]);
      }
      score = a * d.scale;
    }
    workgroupBarrier();
    scores[lane] = score;
    bases[lane] = base;
    workgroupBarrier();
    let last = min(end, n - chunk);
    if (part < PARTS && first < last) {
      var highest = top;
      for (var i = first; i < last; i++) { highest = max(highest, scores[i]); }
      let shrink = exp(top - highest);
      top = highest;
      total *= shrink;
      sum *= shrink;
      for (var i = first; i < last; i++) {
        let p = exp(scores[i] - highest);
        total += p;
        sum += p * v_cache[bases[i] + column];
      }
    }
  }
  states[lane] = vec2f(top, total);
  sums[lane] = sum;
  workgroupBarrier();
  if (lane >= D4) { return; }
  var highest = LOWEST;
  for (var p = 0u; p < PARTS; p++) { highest = max(highest, states[p * D4].x); }
  var all = 0.0;
  var merged = vec4f();
  for (var p = 0u; p < PARTS; p++) {
    let state = states[p * D4];
    let weight = exp(state.x - highest);
    all += weight * state.y;
    merged += weight * sums[p * D4 + lane];
  }
  out[out_base + lane] = merged / all;
}
`,
  attention_head: `// Prelude of attention.wgsl: four rows of HEAD values in registers, for any HEAD that is a multiple of 4.
struct Head { d: array<mat4x4f, HEAD / 4u> }

fn load_qkv(at: vec4u) -> Head {
  var h: Head;
  for (var i = 0u; i < VECTORS; i++) { h.d[i] = four_qkv(at + i); }
  return h;
}
fn load_dout(at: vec4u) -> Head {
  var h: Head;
  for (var i = 0u; i < VECTORS; i++) { h.d[i] = four_dout(at + i); }
  return h;
}
fn write_out(at: vec4u, h: ptr<function, Head>) {
  for (var i = 0u; i < VECTORS; i++) { store_out(at + i, (*h).d[i]); }
}
fn write_dqkv(at: vec4u, h: ptr<function, Head>) {
  for (var i = 0u; i < VECTORS; i++) { store_dqkv(at + i, (*h).d[i]); }
}

// x_r . y_c of every row r of x and c of y, in column c, row r.
fn product(x: ptr<function, Head>, y: ptr<function, Head>) -> mat4x4f {
  var s = mat4x4f();
  for (var i = 0u; i < VECTORS; i++) { s += transpose((*x).d[i]) * (*y).d[i]; }
  return s;
}

// o_c += sum_r w[c][r] x_r.
fn accumulate(o: ptr<function, Head>, x: ptr<function, Head>, w: mat4x4f) {
  for (var i = 0u; i < VECTORS; i++) { (*o).d[i] += (*x).d[i] * w; }
}

// o_c *= f[c].
fn scale_rows(o: ptr<function, Head>, f: vec4f) {
  for (var i = 0u; i < VECTORS; i++) {
    let m = (*o).d[i];
    (*o).d[i] = mat4x4f(m[0] * f.x, m[1] * f.y, m[2] * f.z, m[3] * f.w);
  }
}
`,
  attention_head_16: `// Prelude of attention.wgsl: four rows of 16 values in registers, written out (loops over private arrays are not unrolled
// by every driver); the functions' meaning stands in attention_head.wgsl.
struct Head {
  a: mat4x4f, b: mat4x4f, c: mat4x4f, d: mat4x4f,
}

fn load_qkv(at: vec4u) -> Head {
  return Head(
    four_qkv(at + 0u), four_qkv(at + 1u), four_qkv(at + 2u), four_qkv(at + 3u));
}
fn load_dout(at: vec4u) -> Head {
  return Head(
    four_dout(at + 0u), four_dout(at + 1u), four_dout(at + 2u), four_dout(at + 3u));
}
fn write_out(at: vec4u, h: ptr<function, Head>) {
  store_out(at + 0u, (*h).a);
  store_out(at + 1u, (*h).b);
  store_out(at + 2u, (*h).c);
  store_out(at + 3u, (*h).d);
}
fn write_dqkv(at: vec4u, h: ptr<function, Head>) {
  store_dqkv(at + 0u, (*h).a);
  store_dqkv(at + 1u, (*h).b);
  store_dqkv(at + 2u, (*h).c);
  store_dqkv(at + 3u, (*h).d);
}
fn product(x: ptr<function, Head>, y: ptr<function, Head>) -> mat4x4f {
  return transpose((*x).a) * (*y).a + transpose((*x).b) * (*y).b +
    transpose((*x).c) * (*y).c + transpose((*x).d) * (*y).d;
}
fn accumulate(o: ptr<function, Head>, x: ptr<function, Head>, w: mat4x4f) {
  (*o).a += (*x).a * w;
  (*o).b += (*x).b * w;
  (*o).c += (*x).c * w;
  (*o).d += (*x).d * w;
}
fn scaled(m: mat4x4f, f: vec4f) -> mat4x4f { return mat4x4f(m[0] * f.x, m[1] * f.y, m[2] * f.z, m[3] * f.w); }
fn scale_rows(o: ptr<function, Head>, f: vec4f) {
  (*o).a = scaled((*o).a, f);
  (*o).b = scaled((*o).b, f);
  (*o).c = scaled((*o).c, f);
  (*o).d = scaled((*o).d, f);
}
`,
  attention_head_32: `// Prelude of attention.wgsl: four rows of 32 values in registers, written out (loops over private arrays are not unrolled
// by every driver); the functions' meaning stands in attention_head.wgsl.
struct Head {
  a: mat4x4f, b: mat4x4f, c: mat4x4f, d: mat4x4f, e: mat4x4f, f: mat4x4f, g: mat4x4f, h: mat4x4f,
}

fn load_qkv(at: vec4u) -> Head {
  return Head(
    four_qkv(at + 0u), four_qkv(at + 1u), four_qkv(at + 2u), four_qkv(at + 3u),
    four_qkv(at + 4u), four_qkv(at + 5u), four_qkv(at + 6u), four_qkv(at + 7u));
}
fn load_dout(at: vec4u) -> Head {
  return Head(
    four_dout(at + 0u), four_dout(at + 1u), four_dout(at + 2u), four_dout(at + 3u),
    four_dout(at + 4u), four_dout(at + 5u), four_dout(at + 6u), four_dout(at + 7u));
}
fn write_out(at: vec4u, h: ptr<function, Head>) {
  store_out(at + 0u, (*h).a);
  store_out(at + 1u, (*h).b);
  store_out(at + 2u, (*h).c);
  store_out(at + 3u, (*h).d);
  store_out(at + 4u, (*h).e);
  store_out(at + 5u, (*h).f);
  store_out(at + 6u, (*h).g);
  store_out(at + 7u, (*h).h);
}
fn write_dqkv(at: vec4u, h: ptr<function, Head>) {
  store_dqkv(at + 0u, (*h).a);
  store_dqkv(at + 1u, (*h).b);
  store_dqkv(at + 2u, (*h).c);
  store_dqkv(at + 3u, (*h).d);
  store_dqkv(at + 4u, (*h).e);
  store_dqkv(at + 5u, (*h).f);
  store_dqkv(at + 6u, (*h).g);
  store_dqkv(at + 7u, (*h).h);
}
fn product(x: ptr<function, Head>, y: ptr<function, Head>) -> mat4x4f {
  return transpose((*x).a) * (*y).a + transpose((*x).b) * (*y).b +
    transpose((*x).c) * (*y).c + transpose((*x).d) * (*y).d +
    transpose((*x).e) * (*y).e + transpose((*x).f) * (*y).f +
    transpose((*x).g) * (*y).g + transpose((*x).h) * (*y).h;
}
fn accumulate(o: ptr<function, Head>, x: ptr<function, Head>, w: mat4x4f) {
  (*o).a += (*x).a * w;
  (*o).b += (*x).b * w;
  (*o).c += (*x).c * w;
  (*o).d += (*x).d * w;
  (*o).e += (*x).e * w;
  (*o).f += (*x).f * w;
  (*o).g += (*x).g * w;
  (*o).h += (*x).h * w;
}
fn scaled(m: mat4x4f, f: vec4f) -> mat4x4f { return mat4x4f(m[0] * f.x, m[1] * f.y, m[2] * f.z, m[3] * f.w); }
fn scale_rows(o: ptr<function, Head>, f: vec4f) {
  (*o).a = scaled((*o).a, f);
  (*o).b = scaled((*o).b, f);
  (*o).c = scaled((*o).c, f);
  (*o).d = scaled((*o).d, f);
  (*o).e = scaled((*o).e, f);
  (*o).f = scaled((*o).f, f);
  (*o).g = scaled((*o).g, f);
  (*o).h = scaled((*o).h, f);
}
`,
  attention_head_64: `// Prelude of attention.wgsl: four rows of 64 values in registers, written out (loops over private arrays are not unrolled
// by every driver); the functions' meaning stands in attention_head.wgsl.
struct Head {
  d0: mat4x4f, d1: mat4x4f, d2: mat4x4f, d3: mat4x4f, d4: mat4x4f, d5: mat4x4f, d6: mat4x4f, d7: mat4x4f,
  d8: mat4x4f, d9: mat4x4f, d10: mat4x4f, d11: mat4x4f, d12: mat4x4f, d13: mat4x4f, d14: mat4x4f, d15: mat4x4f,
}

fn load_qkv(at: vec4u) -> Head {
  return Head(
    four_qkv(at + 0u), four_qkv(at + 1u), four_qkv(at + 2u), four_qkv(at + 3u),
    four_qkv(at + 4u), four_qkv(at + 5u), four_qkv(at + 6u), four_qkv(at + 7u),
    four_qkv(at + 8u), four_qkv(at + 9u), four_qkv(at + 10u), four_qkv(at + 11u),
    four_qkv(at + 12u), four_qkv(at + 13u), four_qkv(at + 14u), four_qkv(at + 15u));
}
fn load_dout(at: vec4u) -> Head {
  return Head(
    four_dout(at + 0u), four_dout(at + 1u), four_dout(at + 2u), four_dout(at + 3u),
    four_dout(at + 4u), four_dout(at + 5u), four_dout(at + 6u), four_dout(at + 7u),
    four_dout(at + 8u), four_dout(at + 9u), four_dout(at + 10u), four_dout(at + 11u),
    four_dout(at + 12u), four_dout(at + 13u), four_dout(at + 14u), four_dout(at + 15u));
}
fn write_out(at: vec4u, h: ptr<function, Head>) {
  store_out(at + 0u, (*h).d0);
  store_out(at + 1u, (*h).d1);
  store_out(at + 2u, (*h).d2);
  store_out(at + 3u, (*h).d3);
  store_out(at + 4u, (*h).d4);
  store_out(at + 5u, (*h).d5);
  store_out(at + 6u, (*h).d6);
  store_out(at + 7u, (*h).d7);
  store_out(at + 8u, (*h).d8);
  store_out(at + 9u, (*h).d9);
  store_out(at + 10u, (*h).d10);
  store_out(at + 11u, (*h).d11);
  store_out(at + 12u, (*h).d12);
  store_out(at + 13u, (*h).d13);
  store_out(at + 14u, (*h).d14);
  store_out(at + 15u, (*h).d15);
}
fn write_dqkv(at: vec4u, h: ptr<function, Head>) {
  store_dqkv(at + 0u, (*h).d0);
  store_dqkv(at + 1u, (*h).d1);
  store_dqkv(at + 2u, (*h).d2);
  store_dqkv(at + 3u, (*h).d3);
  store_dqkv(at + 4u, (*h).d4);
  store_dqkv(at + 5u, (*h).d5);
  store_dqkv(at + 6u, (*h).d6);
  store_dqkv(at + 7u, (*h).d7);
  store_dqkv(at + 8u, (*h).d8);
  store_dqkv(at + 9u, (*h).d9);
  store_dqkv(at + 10u, (*h).d10);
  store_dqkv(at + 11u, (*h).d11);
  store_dqkv(at + 12u, (*h).d12);
  store_dqkv(at + 13u, (*h).d13);
  store_dqkv(at + 14u, (*h).d14);
  store_dqkv(at + 15u, (*h).d15);
}
fn product(x: ptr<function, Head>, y: ptr<function, Head>) -> mat4x4f {
  return transpose((*x).d0) * (*y).d0 + transpose((*x).d1) * (*y).d1 +
    transpose((*x).d2) * (*y).d2 + transpose((*x).d3) * (*y).d3 +
    transpose((*x).d4) * (*y).d4 + transpose((*x).d5) * (*y).d5 +
    transpose((*x).d6) * (*y).d6 + transpose((*x).d7) * (*y).d7 +
    transpose((*x).d8) * (*y).d8 + transpose((*x).d9) * (*y).d9 +
    transpose((*x).d10) * (*y).d10 + transpose((*x).d11) * (*y).d11 +
    transpose((*x).d12) * (*y).d12 + transpose((*x).d13) * (*y).d13 +
    transpose((*x).d14) * (*y).d14 + transpose((*x).d15) * (*y).d15;
}
fn accumulate(o: ptr<function, Head>, x: ptr<function, Head>, w: mat4x4f) {
  (*o).d0 += (*x).d0 * w;
  (*o).d1 += (*x).d1 * w;
  (*o).d2 += (*x).d2 * w;
  (*o).d3 += (*x).d3 * w;
  (*o).d4 += (*x).d4 * w;
  (*o).d5 += (*x).d5 * w;
  (*o).d6 += (*x).d6 * w;
  (*o).d7 += (*x).d7 * w;
  (*o).d8 += (*x).d8 * w;
  (*o).d9 += (*x).d9 * w;
  (*o).d10 += (*x).d10 * w;
  (*o).d11 += (*x).d11 * w;
  (*o).d12 += (*x).d12 * w;
  (*o).d13 += (*x).d13 * w;
  (*o).d14 += (*x).d14 * w;
  (*o).d15 += (*x).d15 * w;
}
fn scaled(m: mat4x4f, f: vec4f) -> mat4x4f { return mat4x4f(m[0] * f.x, m[1] * f.y, m[2] * f.z, m[3] * f.w); }
fn scale_rows(o: ptr<function, Head>, f: vec4f) {
  (*o).d0 = scaled((*o).d0, f);
  (*o).d1 = scaled((*o).d1, f);
  (*o).d2 = scaled((*o).d2, f);
  (*o).d3 = scaled((*o).d3, f);
  (*o).d4 = scaled((*o).d4, f);
  (*o).d5 = scaled((*o).d5, f);
  (*o).d6 = scaled((*o).d6, f);
  (*o).d7 = scaled((*o).d7, f);
  (*o).d8 = scaled((*o).d8, f);
  (*o).d9 = scaled((*o).d9, f);
  (*o).d10 = scaled((*o).d10, f);
  (*o).d11 = scaled((*o).d11, f);
  (*o).d12 = scaled((*o).d12, f);
  (*o).d13 = scaled((*o).d13, f);
  (*o).d14 = scaled((*o).d14, f);
  (*o).d15 = scaled((*o).d15, f);
}
`,
  column_sum: `// Sums over tokens, for the gradients of biases and norm weights, in two stages so that no thread runs a long loop and
// the order of additions is fixed:
//   column_sum   partial[c,j] = sum over the tokens t of chunk c of dy[t,j];  dy [T, N], partial [chunks, N]
//   finish       out[j] += sum_c partial[c,j];                               partial [rows, N], out [N]
// Prelude: Value, LANES. GROUP threads a workgroup, each at its own columns.

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
  let first = i / n * sum_dims.chunk;
  if (first >= sum_dims.tokens) { return; }
  var sum = Value(0.0);
  for (var t = first; t < min(first + sum_dims.chunk, sum_dims.tokens); t++) { sum += dy[t * n + i % n]; }
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
  head: `// The fused language-model head over tiles of the vocabulary. A tile of raw logits z [rows, stride] (columns
// first .. first+columns of the vocabulary) is in scratch; the whole logits never are.
// reduce     folds a tile into the running state of its row; at the last tile it finishes:
//              lse = log Σ_v exp(z_v/T),  logp = z_y/T − lse,  H = lse − Σ_v p_v z_v/T   (p = softmax(z/T), all of V)
//            A row's state is (m, Σ exp(z/T − m), Σ exp(z/T − m)·z/T, z_y/T).
// gradient   replaces the tile by ∂L/∂z, from one scalar ∂L/∂logp and one ∂L/∂H a row:
//              ∂L/∂z_v = (∂L/∂logp (1[v=y] − p_v) − ∂L/∂H p_v (log p_v + H)) / T
// Kept for backward: lse and H. Source: log-softmax and the entropy of its distribution (ARES eq. of §1, exact over V).
// One invocation a row: lanes walk their rows in step, four columns at a time; padding columns are skipped by the bound.

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

@compute @workgroup_size(16)
fn reduce(@builtin(global_invocation_id) id: vec3u) {
  let row = id.y * 65535u * 16u + id.x;
  if (row >= d.rows) { return; }
  var state = vec4f(LOWEST, 0.0, 0.0, 0.0);
  if (d.first > 0u) { state = running[row]; }
  let base = row * (d.stride / 4u);
  let whole = d.columns / 4u;
  let rest = d.columns % 4u;
  var most = vec4f(state.x);
  for (var j = 0u; j < whole; j++) { most = max(most, logits[base + j] * d.inverse_temperature); }
  var m = max(max(most.x, most.y), max(most.z, most.w));
  var tail = vec4f(LOWEST);
  if (rest > 0u) {
    let z = logits[base + whole] * d.inverse_temperature;
    tail = select(tail, z, vec4u(0u, 1u, 2u, 3u) < vec4u(rest));
    m = max(m, max(max(tail.x, tail.y), max(tail.z, tail.w)));
  }
  var sum = vec4f(0.0);
  var weighted = vec4f(0.0);
  for (var j = 0u; j < whole; j++) {
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
  let scale = select(exp(state.x - m), 0.0, state.x == LOWEST);
  var next = vec4f(
    m,
    state.y * scale + (sum.x + sum.y) + (sum.z + sum.w),
    state.z * scale + (weighted.x + weighted.y) + (weighted.z + weighted.w),
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

@group(0) @binding(1) var<storage, read_write> tile: array<vec4f>;
@group(0) @binding(3) var<storage, read> forward_result: array<vec4f>;
@group(0) @binding(4) var<storage, read> dlogp: array<f32>;
@group(0) @binding(5) var<storage, read> dentropy: array<f32>;

@compute @workgroup_size(64)
fn gradient(@builtin(global_invocation_id) id: vec3u) {
  let width = d.stride / 4u;
  if (id.x >= width) { return; }
  let at = id.y * width + id.x;
  let r = forward_result[id.y];
  let s = vec2f(dlogp[id.y], dentropy[id.y]);
  let column = vec4u(id.x * 4u) + vec4u(0u, 1u, 2u, 3u);
  let log_p = tile[at] * d.inverse_temperature - r.z;
  let p = exp(log_p);
  var g = -s.x * p - s.y * p * (log_p + r.y);
  let y = targets[id.y];
  g = select(g, g + s.x, column + d.first == vec4u(y));
  // The next products read whole rows: padding must be zero, whatever was there.
  tile[at] = select(vec4f(0.0), g * d.inverse_temperature, column < vec4u(d.columns));
}
`,
  kv_cache: `// The key/value cache of one layer: two arrays [rows, Hkv·D] of vec4; a row is one position of one sequence.
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
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec4f>;

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
  k_cache[dest] = qkv[source];
  v_cache[dest] = qkv[source + width];
}

struct CopyDims { count: u32, width: u32 }
@group(0) @binding(0) var<uniform> cd: CopyDims;
@group(0) @binding(1) var<storage, read> pairs: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> k_rows: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> v_rows: array<vec4f>;

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
// with zeros past \`out\`. Each invocation owns a register tile of 16 rows x 8 columns, written out by hand: a loop over a
// private array is not unrolled by every driver and is then several times slower. Lanes lie along the contiguous axis of
// the output. Four products at a time: v * mat4x4(w0, w1, w2, w3) is (v·w0, v·w1, v·w2, v·w3).

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
  let x0 = min(m + 0u, last_row) * width;
  let x1 = min(m + 1u, last_row) * width;
  let x2 = min(m + 2u, last_row) * width;
  let x3 = min(m + 3u, last_row) * width;
  let x4 = min(m + 4u, last_row) * width;
  let x5 = min(m + 5u, last_row) * width;
  let x6 = min(m + 6u, last_row) * width;
  let x7 = min(m + 7u, last_row) * width;
  let x8 = min(m + 8u, last_row) * width;
  let x9 = min(m + 9u, last_row) * width;
  let x10 = min(m + 10u, last_row) * width;
  let x11 = min(m + 11u, last_row) * width;
  let x12 = min(m + 12u, last_row) * width;
  let x13 = min(m + 13u, last_row) * width;
  let x14 = min(m + 14u, last_row) * width;
  let x15 = min(m + 15u, last_row) * width;
  let w0 = min(n + 0u, last_column) * width;
  let w1 = min(n + 1u, last_column) * width;
  let w2 = min(n + 2u, last_column) * width;
  let w3 = min(n + 3u, last_column) * width;
  let w4 = min(n + 4u, last_column) * width;
  let w5 = min(n + 5u, last_column) * width;
  let w6 = min(n + 6u, last_column) * width;
  let w7 = min(n + 7u, last_column) * width;
  var acc: array<vec4f, 32>;
  for (var k = 0u; k < width; k++) {
    let a = mat4x4f(w[w0 + k], w[w1 + k], w[w2 + k], w[w3 + k]);
    let b = mat4x4f(w[w4 + k], w[w5 + k], w[w6 + k], w[w7 + k]);
    let v0 = x[x0 + k];
    acc[0] += v0 * a;
    acc[1] += v0 * b;
    let v1 = x[x1 + k];
    acc[2] += v1 * a;
    acc[3] += v1 * b;
    let v2 = x[x2 + k];
    acc[4] += v2 * a;
    acc[5] += v2 * b;
    let v3 = x[x3 + k];
    acc[6] += v3 * a;
    acc[7] += v3 * b;
    let v4 = x[x4 + k];
    acc[8] += v4 * a;
    acc[9] += v4 * b;
    let v5 = x[x5 + k];
    acc[10] += v5 * a;
    acc[11] += v5 * b;
    let v6 = x[x6 + k];
    acc[12] += v6 * a;
    acc[13] += v6 * b;
    let v7 = x[x7 + k];
    acc[14] += v7 * a;
    acc[15] += v7 * b;
    let v8 = x[x8 + k];
    acc[16] += v8 * a;
    acc[17] += v8 * b;
    let v9 = x[x9 + k];
    acc[18] += v9 * a;
    acc[19] += v9 * b;
    let v10 = x[x10 + k];
    acc[20] += v10 * a;
    acc[21] += v10 * b;
    let v11 = x[x11 + k];
    acc[22] += v11 * a;
    acc[23] += v11 * b;
    let v12 = x[x12 + k];
    acc[24] += v12 * a;
    acc[25] += v12 * b;
    let v13 = x[x13 + k];
    acc[26] += v13 * a;
    acc[27] += v13 * b;
    let v14 = x[x14 + k];
    acc[28] += v14 * a;
    acc[29] += v14 * b;
    let v15 = x[x15 + k];
    acc[30] += v15 * a;
    acc[31] += v15 * b;
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
  put(m + 0u, n, acc[0]);
  put(m + 0u, n + 4u, acc[1]);
  put(m + 1u, n, acc[2]);
  put(m + 1u, n + 4u, acc[3]);
  put(m + 2u, n, acc[4]);
  put(m + 2u, n + 4u, acc[5]);
  put(m + 3u, n, acc[6]);
  put(m + 3u, n + 4u, acc[7]);
  put(m + 4u, n, acc[8]);
  put(m + 4u, n + 4u, acc[9]);
  put(m + 5u, n, acc[10]);
  put(m + 5u, n + 4u, acc[11]);
  put(m + 6u, n, acc[12]);
  put(m + 6u, n + 4u, acc[13]);
  put(m + 7u, n, acc[14]);
  put(m + 7u, n + 4u, acc[15]);
  put(m + 8u, n, acc[16]);
  put(m + 8u, n + 4u, acc[17]);
  put(m + 9u, n, acc[18]);
  put(m + 9u, n + 4u, acc[19]);
  put(m + 10u, n, acc[20]);
  put(m + 10u, n + 4u, acc[21]);
  put(m + 11u, n, acc[22]);
  put(m + 11u, n + 4u, acc[23]);
  put(m + 12u, n, acc[24]);
  put(m + 12u, n + 4u, acc[25]);
  put(m + 13u, n, acc[26]);
  put(m + 13u, n + 4u, acc[27]);
  put(m + 14u, n, acc[28]);
  put(m + 14u, n + 4u, acc[29]);
  put(m + 15u, n, acc[30]);
  put(m + 15u, n + 4u, acc[31]);
}

@compute @workgroup_size(16)
fn forward_bias(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * 16u;
  let n = id.x * 8u;
  if (n >= d.outputs) { return; }
  let acc = forward_tile(m, n);
  let a = bias_at(n);
  let b = bias_at(n + 4u);
  put(m + 0u, n, acc[0] + a);
  put(m + 0u, n + 4u, acc[1] + b);
  put(m + 1u, n, acc[2] + a);
  put(m + 1u, n + 4u, acc[3] + b);
  put(m + 2u, n, acc[4] + a);
  put(m + 2u, n + 4u, acc[5] + b);
  put(m + 3u, n, acc[6] + a);
  put(m + 3u, n + 4u, acc[7] + b);
  put(m + 4u, n, acc[8] + a);
  put(m + 4u, n + 4u, acc[9] + b);
  put(m + 5u, n, acc[10] + a);
  put(m + 5u, n + 4u, acc[11] + b);
  put(m + 6u, n, acc[12] + a);
  put(m + 6u, n + 4u, acc[13] + b);
  put(m + 7u, n, acc[14] + a);
  put(m + 7u, n + 4u, acc[15] + b);
  put(m + 8u, n, acc[16] + a);
  put(m + 8u, n + 4u, acc[17] + b);
  put(m + 9u, n, acc[18] + a);
  put(m + 9u, n + 4u, acc[19] + b);
  put(m + 10u, n, acc[20] + a);
  put(m + 10u, n + 4u, acc[21] + b);
  put(m + 11u, n, acc[22] + a);
  put(m + 11u, n + 4u, acc[23] + b);
  put(m + 12u, n, acc[24] + a);
  put(m + 12u, n + 4u, acc[25] + b);
  put(m + 13u, n, acc[26] + a);
  put(m + 13u, n + 4u, acc[27] + b);
  put(m + 14u, n, acc[28] + a);
  put(m + 14u, n + 4u, acc[29] + b);
  put(m + 15u, n, acc[30] + a);
  put(m + 15u, n + 4u, acc[31] + b);
}

@compute @workgroup_size(16)
fn forward_residual(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * 16u;
  let n = id.x * 8u;
  if (n >= d.outputs) { return; }
  let acc = forward_tile(m, n);
  put_residual(m + 0u, n, acc[0]);
  put_residual(m + 0u, n + 4u, acc[1]);
  put_residual(m + 1u, n, acc[2]);
  put_residual(m + 1u, n + 4u, acc[3]);
  put_residual(m + 2u, n, acc[4]);
  put_residual(m + 2u, n + 4u, acc[5]);
  put_residual(m + 3u, n, acc[6]);
  put_residual(m + 3u, n + 4u, acc[7]);
  put_residual(m + 4u, n, acc[8]);
  put_residual(m + 4u, n + 4u, acc[9]);
  put_residual(m + 5u, n, acc[10]);
  put_residual(m + 5u, n + 4u, acc[11]);
  put_residual(m + 6u, n, acc[12]);
  put_residual(m + 6u, n + 4u, acc[13]);
  put_residual(m + 7u, n, acc[14]);
  put_residual(m + 7u, n + 4u, acc[15]);
  put_residual(m + 8u, n, acc[16]);
  put_residual(m + 8u, n + 4u, acc[17]);
  put_residual(m + 9u, n, acc[18]);
  put_residual(m + 9u, n + 4u, acc[19]);
  put_residual(m + 10u, n, acc[20]);
  put_residual(m + 10u, n + 4u, acc[21]);
  put_residual(m + 11u, n, acc[22]);
  put_residual(m + 11u, n + 4u, acc[23]);
  put_residual(m + 12u, n, acc[24]);
  put_residual(m + 12u, n + 4u, acc[25]);
  put_residual(m + 13u, n, acc[26]);
  put_residual(m + 13u, n + 4u, acc[27]);
  put_residual(m + 14u, n, acc[28]);
  put_residual(m + 14u, n + 4u, acc[29]);
  put_residual(m + 15u, n, acc[30]);
  put_residual(m + 15u, n + 4u, acc[31]);
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
  let y0 = min(m + 0u, last_row) * steps;
  let y1 = min(m + 1u, last_row) * steps;
  let y2 = min(m + 2u, last_row) * steps;
  let y3 = min(m + 3u, last_row) * steps;
  let y4 = min(m + 4u, last_row) * steps;
  let y5 = min(m + 5u, last_row) * steps;
  let y6 = min(m + 6u, last_row) * steps;
  let y7 = min(m + 7u, last_row) * steps;
  let y8 = min(m + 8u, last_row) * steps;
  let y9 = min(m + 9u, last_row) * steps;
  let y10 = min(m + 10u, last_row) * steps;
  let y11 = min(m + 11u, last_row) * steps;
  let y12 = min(m + 12u, last_row) * steps;
  let y13 = min(m + 13u, last_row) * steps;
  let y14 = min(m + 14u, last_row) * steps;
  let y15 = min(m + 15u, last_row) * steps;
  var acc: array<vec4f, 32>;
  for (var n = 0u; n < steps; n++) {
    let r0 = min(n * 4u + 0u, last_w) * width;
    let r1 = min(n * 4u + 1u, last_w) * width;
    let r2 = min(n * 4u + 2u, last_w) * width;
    let r3 = min(n * 4u + 3u, last_w) * width;
    let a = mat4x4f(input_w[r0 + k], input_w[r1 + k], input_w[r2 + k], input_w[r3 + k]);
    let b = mat4x4f(input_w[r0 + k2], input_w[r1 + k2], input_w[r2 + k2], input_w[r3 + k2]);
    let v0 = input_dy[y0 + n];
    acc[0] += a * v0;
    acc[1] += b * v0;
    let v1 = input_dy[y1 + n];
    acc[2] += a * v1;
    acc[3] += b * v1;
    let v2 = input_dy[y2 + n];
    acc[4] += a * v2;
    acc[5] += b * v2;
    let v3 = input_dy[y3 + n];
    acc[6] += a * v3;
    acc[7] += b * v3;
    let v4 = input_dy[y4 + n];
    acc[8] += a * v4;
    acc[9] += b * v4;
    let v5 = input_dy[y5 + n];
    acc[10] += a * v5;
    acc[11] += b * v5;
    let v6 = input_dy[y6 + n];
    acc[12] += a * v6;
    acc[13] += b * v6;
    let v7 = input_dy[y7 + n];
    acc[14] += a * v7;
    acc[15] += b * v7;
    let v8 = input_dy[y8 + n];
    acc[16] += a * v8;
    acc[17] += b * v8;
    let v9 = input_dy[y9 + n];
    acc[18] += a * v9;
    acc[19] += b * v9;
    let v10 = input_dy[y10 + n];
    acc[20] += a * v10;
    acc[21] += b * v10;
    let v11 = input_dy[y11 + n];
    acc[22] += a * v11;
    acc[23] += b * v11;
    let v12 = input_dy[y12 + n];
    acc[24] += a * v12;
    acc[25] += b * v12;
    let v13 = input_dy[y13 + n];
    acc[26] += a * v13;
    acc[27] += b * v13;
    let v14 = input_dy[y14 + n];
    acc[28] += a * v14;
    acc[29] += b * v14;
    let v15 = input_dy[y15 + n];
    acc[30] += a * v15;
    acc[31] += b * v15;
  }
  add_dx(m + 0u, k, acc[0]);
  add_dx(m + 0u, k + 16u, acc[1]);
  add_dx(m + 1u, k, acc[2]);
  add_dx(m + 1u, k + 16u, acc[3]);
  add_dx(m + 2u, k, acc[4]);
  add_dx(m + 2u, k + 16u, acc[5]);
  add_dx(m + 3u, k, acc[6]);
  add_dx(m + 3u, k + 16u, acc[7]);
  add_dx(m + 4u, k, acc[8]);
  add_dx(m + 4u, k + 16u, acc[9]);
  add_dx(m + 5u, k, acc[10]);
  add_dx(m + 5u, k + 16u, acc[11]);
  add_dx(m + 6u, k, acc[12]);
  add_dx(m + 6u, k + 16u, acc[13]);
  add_dx(m + 7u, k, acc[14]);
  add_dx(m + 7u, k + 16u, acc[15]);
  add_dx(m + 8u, k, acc[16]);
  add_dx(m + 8u, k + 16u, acc[17]);
  add_dx(m + 9u, k, acc[18]);
  add_dx(m + 9u, k + 16u, acc[19]);
  add_dx(m + 10u, k, acc[20]);
  add_dx(m + 10u, k + 16u, acc[21]);
  add_dx(m + 11u, k, acc[22]);
  add_dx(m + 11u, k + 16u, acc[23]);
  add_dx(m + 12u, k, acc[24]);
  add_dx(m + 12u, k + 16u, acc[25]);
  add_dx(m + 13u, k, acc[26]);
  add_dx(m + 13u, k + 16u, acc[27]);
  add_dx(m + 14u, k, acc[28]);
  add_dx(m + 14u, k + 16u, acc[29]);
  add_dx(m + 15u, k, acc[30]);
  add_dx(m + 15u, k + 16u, acc[31]);
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
  let n0 = min(n / 4u + 0u, last);
  let n1 = min(n / 4u + 1u, last);
  let n2 = min(n / 4u + 2u, last);
  let n3 = min(n / 4u + 3u, last);
  var acc: array<vec4f, 32>;
  for (var t = 0u; t < d.tokens; t++) {
    let a = weight_x[t * width + k];
    let b = weight_x[t * width + k2];
    let row = t * step;
    let g0 = weight_dy[row + n0];
    acc[0] += a * g0.x;
    acc[1] += b * g0.x;
    acc[2] += a * g0.y;
    acc[3] += b * g0.y;
    acc[4] += a * g0.z;
    acc[5] += b * g0.z;
    acc[6] += a * g0.w;
    acc[7] += b * g0.w;
    let g1 = weight_dy[row + n1];
    acc[8] += a * g1.x;
    acc[9] += b * g1.x;
    acc[10] += a * g1.y;
    acc[11] += b * g1.y;
    acc[12] += a * g1.z;
    acc[13] += b * g1.z;
    acc[14] += a * g1.w;
    acc[15] += b * g1.w;
    let g2 = weight_dy[row + n2];
    acc[16] += a * g2.x;
    acc[17] += b * g2.x;
    acc[18] += a * g2.y;
    acc[19] += b * g2.y;
    acc[20] += a * g2.z;
    acc[21] += b * g2.z;
    acc[22] += a * g2.w;
    acc[23] += b * g2.w;
    let g3 = weight_dy[row + n3];
    acc[24] += a * g3.x;
    acc[25] += b * g3.x;
    acc[26] += a * g3.y;
    acc[27] += b * g3.y;
    acc[28] += a * g3.z;
    acc[29] += b * g3.z;
    acc[30] += a * g3.w;
    acc[31] += b * g3.w;
  }
  add_dw(n + 0u, k, acc[0]);
  add_dw(n + 0u, k + 16u, acc[1]);
  add_dw(n + 1u, k, acc[2]);
  add_dw(n + 1u, k + 16u, acc[3]);
  add_dw(n + 2u, k, acc[4]);
  add_dw(n + 2u, k + 16u, acc[5]);
  add_dw(n + 3u, k, acc[6]);
  add_dw(n + 3u, k + 16u, acc[7]);
  add_dw(n + 4u, k, acc[8]);
  add_dw(n + 4u, k + 16u, acc[9]);
  add_dw(n + 5u, k, acc[10]);
  add_dw(n + 5u, k + 16u, acc[11]);
  add_dw(n + 6u, k, acc[12]);
  add_dw(n + 6u, k + 16u, acc[13]);
  add_dw(n + 7u, k, acc[14]);
  add_dw(n + 7u, k + 16u, acc[15]);
  add_dw(n + 8u, k, acc[16]);
  add_dw(n + 8u, k + 16u, acc[17]);
  add_dw(n + 9u, k, acc[18]);
  add_dw(n + 9u, k + 16u, acc[19]);
  add_dw(n + 10u, k, acc[20]);
  add_dw(n + 10u, k + 16u, acc[21]);
  add_dw(n + 11u, k, acc[22]);
  add_dw(n + 11u, k + 16u, acc[23]);
  add_dw(n + 12u, k, acc[24]);
  add_dw(n + 12u, k + 16u, acc[25]);
  add_dw(n + 13u, k, acc[26]);
  add_dw(n + 13u, k + 16u, acc[27]);
  add_dw(n + 14u, k, acc[28]);
  add_dw(n + 14u, k + 16u, acc[29]);
  add_dw(n + 15u, k, acc[30]);
  add_dw(n + 15u, k + 16u, acc[31]);
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
  rmsnorm: `// RMS normalisation over rows x[t, :] of W values (Zhang and Sennrich 2019; HF Qwen2RMSNorm):
//   y[t,j] = x[t,j] * r[t] * w[j],   r[t] = 1 / sqrt(mean_j x[t,j]^2 + eps)
// forward            writes y and keeps r for backward.
// backward           dx[t,j] += r * (dy[t,j] w[j] - x[t,j] * r^2 * mean_i(dy[t,i] w[i] x[t,i])).
// backward_weight    partial[c,j] = sum over the tokens t of chunk c of dy[t,j] x[t,j] r[t]; column_sum.wgsl adds the chunks.
// Prelude: Value, LANES, total. GROUP threads a workgroup; SHARE of them work on one row, side by side.

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

var<workgroup> shares: array<f32, GROUP>;

// The sum of \`mine\` over the SHARE threads of a row.
fn row_sum(mine: f32, lane: u32) -> f32 {
  if (SHARE == 1u) { return mine; }
  shares[lane] = mine;
  workgroupBarrier();
  let first = lane - lane % SHARE;
  var sum = 0.0;
  for (var i = 0u; i < SHARE; i++) { sum += shares[first + i]; }
  return sum;
}

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let t = (wid.y * groups.x + wid.x) * (GROUP / SHARE) + lane / SHARE;
  let here = t < forward_dims.tokens;
  let n = select(0u, forward_dims.width / LANES, here);
  var squares = Value(0.0);
  for (var j = lane % SHARE; j < n; j += SHARE) {
    let v = x[t * n + j];
    squares += v * v;
  }
  let r = 1.0 / sqrt(row_sum(total(squares), lane) / f32(forward_dims.width) + forward_dims.eps);
  for (var j = lane % SHARE; j < n; j += SHARE) { y[t * n + j] = x[t * n + j] * r * weight[j]; }
  if (here && lane % SHARE == 0u) { rstd[t] = r; }
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let t = (wid.y * groups.x + wid.x) * (GROUP / SHARE) + lane / SHARE;
  let n = select(0u, backward_dims.width / LANES, t < backward_dims.tokens);
  var products = Value(0.0);
  for (var j = lane % SHARE; j < n; j += SHARE) {
    products += dy[t * n + j] * backward_weight_of[j] * backward_x[t * n + j];
  }
  let r = backward_rstd[t];
  let slope = row_sum(total(products), lane) / f32(backward_dims.width) * r * r;
  for (var j = lane % SHARE; j < n; j += SHARE) {
    dx[t * n + j] += r * (dy[t * n + j] * backward_weight_of[j] - backward_x[t * n + j] * slope);
  }
}

@compute @workgroup_size(GROUP)
fn backward_weight(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = weight_dims.width / LANES;
  let first = i / n * weight_dims.chunk;
  if (first >= weight_dims.tokens) { return; }
  var sum = Value(0.0);
  for (var t = first; t < min(first + weight_dims.chunk, weight_dims.tokens); t++) {
    sum += dy[t * n + i % n] * backward_x[t * n + i % n] * weight_rstd[t];
  }
  partial[i] = sum;
}
`,
  rope: `// Rotary position embedding, half-rotation order (Su et al. 2021; HF apply_rotary_pos_emb of Qwen2), in place:
//   with (a, b) the values i and i + D/2 of a head and phi = position * theta^(-2i/D),
//   a' = a cos phi - sign * b sin phi,   b' = b cos phi + sign * a sin phi.
// sign = +1 is forward; sign = -1 is the inverse rotation, which is also the gradient. Nothing is kept.
// qkv [T, stride]: the first \`heads\` * D values of a row are rotated (query heads, then key heads); positions [T];
// cosine, sine [P, D/2]. One thread rotates one Value of pairs. Prelude: Value, LANES.

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
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let t = i / (half * dims.heads);
  if (t >= dims.tokens) { return; }
  let pair = i % half;
  let at = t * (dims.stride / LANES) + i / half % dims.heads * 2u * half + pair;
  let row = positions[t] * half + pair;
  let c = cosine[row];
  let s = dims.sign * sine[row];
  let a = qkv[at];
  let b = qkv[at + half];
  qkv[at] = a * c - b * s;
  qkv[at + half] = b * c + a * s;
}
`,
  rows: `// Rows of a matrix picked by index, and put back.
//   gather   y[i] = x[index[i]]                         x [*, width]  y [rows, width]
//   scatter  dx[t] = dy[inverse[t]], 0 where inverse[t] is none (0xffffffff)   dx [rows, width]
// The head works on the rows that predict a response token only; \`inverse\` is the index the other way round.

struct Dims {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.width) { y[id.y * d.width + id.x] = x[index[id.y] * d.width + id.x]; }
}

@compute @workgroup_size(64)
fn scatter(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= d.width) { return; }
  let source = index[id.y];
  var v = 0.0;
  if (source != 0xffffffffu) { v = x[source * d.width + id.x]; }
  y[id.y * d.width + id.x] = v;
}
`,
  slots: `// The start of a decode step: what the model's kernels read, from the state of every slot.
//   slots [S, 8] = token, position, alive, last_position, key0, key1, generated, finish     table [S, max_blocks]
//   ids[s] = token, positions[s] = position, rows[s] = cache row of this token: table[s][position / block_size] ·
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
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> positions: array<u32>;
@group(0) @binding(5) var<storage, read_write> rows: array<u32>;

@compute @workgroup_size(64)
fn begin_step(@builtin(global_invocation_id) id: vec3u) {
  let s = id.x;
  if (s >= d.slots) { return; }
  var token = 0u;
  var position = 0u;
  var row = NO_ROW;
  if (slots[s * 8u + 2u] == 1u) {
    token = slots[s * 8u];
    position = slots[s * 8u + 1u];
    row = table[s * d.max_blocks + position / d.block_size] * d.block_size + position % d.block_size;
  }
  ids[s] = token;
  positions[s] = position;
  rows[s] = row;
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
