// Attention of one query token per slot over that slot's cached positions, softmax computed online; for software adapters
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

// First vec4 of position t's row of kv head `head`; positions past the last repeat it, with a score that counts nothing.
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
