// High-entropy windows over packed response tokens: N tokens, spans [B, 2] = (first token, length) of every sequence.
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

// How many values of the span are at most `key`; every lane gets the answer.
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
  // The smallest key with more than `low` values at most it: the value of that rank.
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
