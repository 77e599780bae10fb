// sample.wgsl for software adapters, which read the logits through a texture; formulas, shapes and bindings stand there.
//
// One invocation serves a slot and walks its row TEXELS · 4 tokens a trip; nothing passes between invocations, and nothing
// of the row is kept but sums. `stride` is a multiple of 4.
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

// y of four tokens, LOWEST where they are banned or past the vocabulary. `bits` are theirs in both words.
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
    let v$j = 4u * (TEXELS * i + $j);
    let raw$j = texel(logits, row.base + v$j / 4u);
    let inside$j = ids_of(v$j) < vec4u(d.vocab);
    bad |= ((bitcast<vec4u>(raw$j) & vec4u(0x7f800000u)) == vec4u(0x7f800000u)) & inside$j;
    raw_top = max(raw_top, select(vec4f(LOWEST), raw$j, inside$j));
    let y$j = y_of(raw$j, v$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * $j), known, out);
    top = max(top, y$j);
    low = min(low, select(y$j, vec4f(-LOWEST), y$j <= vec4f(LOWEST)));
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
    let v$j = 4u * (TEXELS * i + $j);
    let raw$j = texel(logits, row.base + v$j / 4u);
    let y$j = y_of(raw$j, v$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * $j), known, out);
    let x$j = max((raw$j - row.raw_top) * row.inverse, vec4f(-104.0));
    let p$j = select(vec4f(), exp(x$j), ids_of(v$j) < vec4u(d.vocab));
    trip += mat4x4f(p$j, p$j * x$j, weights(row, y$j), select(vec4f(1.0), vec4f(), y$j <= vec4f(LOWEST)));
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

// Where the parts `j` of sixteen between lo and hi begin.
fn edges(lo: f32, hi: f32, j: vec4u, by_width: bool) -> vec4f {
  let key = key_of(lo);
  let range = key_of(hi) - key;
  let k = vec4u(key) + min(j * ((range + 15u) / 16u), vec4u(range));
  let by_key = vec4f(value_of(k.x), value_of(k.y), value_of(k.z), value_of(k.w));
  return select(by_key, vec4f(lo) + vec4f(hi - lo) * (vec4f(j) / 16.0), vec4<bool>(by_width));
}

// The largest y from `start` to the top whose tokens, with all above it, still measure `needed`: e, or 1 for each.
fn search(row: Row, trips: u32, start: f32, needed: f32, counting: bool) -> f32 {
  var lo = start;
  var hi = value_of(key_of(row.top) + 1u);
  var open = trips > 0u;
  for (var pass_id = 0u; open; pass_id++) {
    let by_width = pass_id < SPLITS && hi - lo < 1e30;
    //# for q in 4
    let edge$q = edges(lo, hi, vec4u(4u * $q) + vec4u(0u, 1u, 2u, 3u), by_width);
    var sum$q = vec4f();
    //# end
    var least = vec4f(-LOWEST);
    var most = vec4f(LOWEST);
    for (var i = 0u; i < trips; i++) {
      let known = seen_bits(row, i);
      let out = banned_bits(i);
      //# for q in 4
      var trip$q = vec4f();
      //# end
      //# for j in TEXELS
      let v$j = 4u * (TEXELS * i + $j);
      let y$j = y_of(texel(logits, row.base + v$j / 4u), v$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * $j), known, out);
      let w$j = select(weights(row, y$j), vec4f(1.0), vec4<bool>(counting));
      //# for q in 4
      trip$q += select(vec4f(), vec4f(w$j.x), vec4f(y$j.x) >= edge$q) + select(vec4f(), vec4f(w$j.y), vec4f(y$j.y) >= edge$q);
      trip$q += select(vec4f(), vec4f(w$j.z), vec4f(y$j.z) >= edge$q) + select(vec4f(), vec4f(w$j.w), vec4f(y$j.w) >= edge$q);
      //# end
      let between$j = (y$j >= vec4f(lo)) & (y$j < vec4f(hi));
      least = min(least, select(vec4f(-LOWEST), y$j, between$j));
      most = max(most, select(vec4f(LOWEST), y$j, between$j));
      //# end
      //# for q in 4
      sum$q += trip$q;
      //# end
    }
    open = -highest(-least) < highest(most);
    // By rounding even the lowest edge may fall short: it is then the answer.
    //# for q in 4
    let enough$q = sum$q >= vec4f(needed);
    lo = max(lo, highest(select(vec4f(LOWEST), edge$q, enough$q)));
    hi = min(hi, -highest(select(-edge$q, vec4f(LOWEST), enough$q)));
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
      let v$j = 4u * (TEXELS * i + $j);
      let y$j = y_of(texel(logits, row.base + v$j / 4u), v$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * $j), known, out);
      trip += select(vec4f(), weights(row, y$j), y$j >= vec4f(threshold));
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
    let v$j = 4u * (TEXELS * i + $j);
    let y$j = y_of(texel(logits, row.base + v$j / 4u), v$j, vec4u(1u, 2u, 4u, 8u) << vec4u(4u * $j), known, out);
    trip += kept(y$j, weights(row, y$j), threshold);
    first = min(first, select(vec4u(NONE), ids_of(v$j), y$j == vec4f(row.top)));
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

// What `sample` would draw from: probabilities [S, V]; zeros for dead slots and for rows that are not finite.
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
