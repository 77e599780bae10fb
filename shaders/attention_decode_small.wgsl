// attention_decode.wgsl for heads of at most 32 values, which fit the registers; formula, shapes and bindings stand there.
//
// SPLIT lanes serve one slot and two query heads that share a kv head (the second may be missing: it then repeats the
// first): each takes every SPLIT-th position with a running maximum of its own, then the parts are merged. HEAD_DIM (8, 16,
// 24 or 32) stands in front of this text; accesses past HEAD_DIM fold away. Measured against the workgroup version at 64
// slots, 4 heads over 2, head size 32 and context 100 on a software adapter: 0.6 against 2.2 ms. Loop trips of one
// invocation: (position + 1) / SPLIT, then a few.

struct Dims { slots: u32, heads: u32, kv_heads: u32, max_blocks: u32, block_size: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> k_cache: array<vec4f>;
@group(0) @binding(3) var<storage, read> v_cache: array<vec4f>;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> slots: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;

const SPLIT = 4u;
const D4 = HEAD_DIM / 4u;
const LOWEST = -3e38;

// Maximum and sum of head a in x and y, of head b in z and w; weighted values, vec4 c of head a at 2c, of head b at 2c + 1.
var<workgroup> states: array<vec4f, 32>;
var<workgroup> sums: array<vec4f, 32u * 2u * D4>;

fn q(base: u32, c: u32) -> vec4f {
  if (c < D4) { return qkv[base + c] * d.scale; }
  return vec4f();
}

fn k(base: u32, c: u32) -> vec4f {
  if (c < D4) { return k_cache[base + c]; }
  return vec4f();
}

fn v(base: u32, c: u32) -> vec4f {
  if (c < D4) { return v_cache[base + c]; }
  return vec4f();
}

fn keep(lane: u32, c: u32, a: vec4f, b: vec4f) {
  if (c < D4) {
    sums[(lane * D4 + c) * 2u] = a;
    sums[(lane * D4 + c) * 2u + 1u] = b;
  }
}

fn product(x: mat4x4f, y: mat4x4f) -> f32 {
  return dot(x[0], y[0]) + dot(x[1], y[1]) + dot(x[2], y[2]) + dot(x[3], y[3]);
}

@compute @workgroup_size(32)
fn decode(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  let lane = lid.x;
  let part = lane % SPLIT;
  let group = d.heads / d.kv_heads;
  let pairs = (group + 1u) / 2u;
  let unit = wid.x * (32u / SPLIT) + lane / SPLIT;
  let s = unit / (d.kv_heads * pairs);
  let pair = unit % (d.kv_heads * pairs);
  let kv_head = pair / pairs;
  let a = kv_head * group + pair % pairs * 2u;
  let b = min(a + 1u, kv_head * group + group - 1u);
  var n = 0u;
  if (s < d.slots) { n = select(0u, slots[s * 8u + 1u] + 1u, slots[s * 8u + 2u] == 1u); }
  if (part < n) {
    let q_a = (s * (d.heads + 2u * d.kv_heads) + a) * D4;
    let q_b = q_a + (b - a) * D4;
    let qa0 = mat4x4f(q(q_a, 0u), q(q_a, 1u), q(q_a, 2u), q(q_a, 3u));
    let qa1 = mat4x4f(q(q_a, 4u), q(q_a, 5u), q(q_a, 6u), q(q_a, 7u));
    let qb0 = mat4x4f(q(q_b, 0u), q(q_b, 1u), q(q_b, 2u), q(q_b, 3u));
    let qb1 = mat4x4f(q(q_b, 4u), q(q_b, 5u), q(q_b, 6u), q(q_b, 7u));
    var oa0 = mat4x4f();
    var oa1 = mat4x4f();
    var ob0 = mat4x4f();
    var ob1 = mat4x4f();
    var top = vec2f(LOWEST);
    var total = vec2f();
    for (var t = part; t < n; t += SPLIT) {
      let row = table[s * d.max_blocks + t / d.block_size] * d.block_size + t % d.block_size;
      let at = (row * d.kv_heads + kv_head) * D4;
      let k0 = mat4x4f(k(at, 0u), k(at, 1u), k(at, 2u), k(at, 3u));
      let k1 = mat4x4f(k(at, 4u), k(at, 5u), k(at, 6u), k(at, 7u));
      let score = vec2f(product(qa0, k0) + product(qa1, k1), product(qb0, k0) + product(qb1, k1));
      let highest = max(top, score);
      let shrink = exp(top - highest);
      let p = exp(score - highest);
      top = highest;
      total = total * shrink + p;
      let v0 = mat4x4f(v(at, 0u), v(at, 1u), v(at, 2u), v(at, 3u));
      let v1 = mat4x4f(v(at, 4u), v(at, 5u), v(at, 6u), v(at, 7u));
      oa0 = oa0 * shrink.x + v0 * p.x;
      oa1 = oa1 * shrink.x + v1 * p.x;
      ob0 = ob0 * shrink.y + v0 * p.y;
      ob1 = ob1 * shrink.y + v1 * p.y;
    }
    states[lane] = vec4f(top.x, total.x, top.y, total.y);
    keep(lane, 0u, oa0[0], ob0[0]);
    keep(lane, 1u, oa0[1], ob0[1]);
    keep(lane, 2u, oa0[2], ob0[2]);
    keep(lane, 3u, oa0[3], ob0[3]);
    keep(lane, 4u, oa1[0], ob1[0]);
    keep(lane, 5u, oa1[1], ob1[1]);
    keep(lane, 6u, oa1[2], ob1[2]);
    keep(lane, 7u, oa1[3], ob1[3]);
  }
  workgroupBarrier();
  if (s >= d.slots) { return; }
  let first = lane - part;
  let parts = min(SPLIT, n);
  var top = vec2f(LOWEST);
  for (var i = first; i < first + parts; i++) { top = max(top, states[i].xz); }
  for (var c = part; c < D4; c += SPLIT) {
    var total = vec2f();
    var sum_a = vec4f();
    var sum_b = vec4f();
    for (var i = first; i < first + parts; i++) {
      let state = states[i];
      let weight = exp(state.xz - top);
      total += weight * state.yw;
      sum_a += weight.x * sums[(i * D4 + c) * 2u];
      sum_b += weight.y * sums[(i * D4 + c) * 2u + 1u];
    }
    // A dead slot has no parts: the sums are zero, the totals are made 1.
    total = select(total, vec2f(1.0), parts == 0u);
    out[(s * d.heads + a) * D4 + c] = sum_a / total.x;
    out[(s * d.heads + b) * D4 + c] = sum_b / total.y;
  }
}
