// One token per slot from its row of logits, with the state of the slot carried on; a workgroup per slot, no sorting.
//
//   y_v   = logit of v, by the repetition penalty r: y / r where y > 0, y · r where not, for tokens in `seen`
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

// Makes lane_mass, and by it kept_mass and `owner`; greedy: lane_first, and by it `chosen` and `owner`.
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

// What `sample` would draw from: probabilities [S, V]; zeros for dead slots and for rows that are not finite.
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
