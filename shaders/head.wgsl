// The fused language-model head over tiles of the vocabulary. A tile of raw logits z [rows, stride] (columns
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

// The team's part of row `mine` of the workgroup's, whose first one is `group`.
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
  reduce_row(team, first, team_row(team, $turn));
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
