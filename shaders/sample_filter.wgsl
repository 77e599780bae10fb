// The rows of logits and the filters of sample.wgsl, whose prelude this is; formulas and shapes stand there.

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

// The largest threshold whose tokens still measure `needed`. Tokens with y below `floor` cannot matter.
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
