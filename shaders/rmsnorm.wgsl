// RMS normalisation over rows x[t, :] of W values (Zhang and Sennrich 2019; HF Qwen2RMSNorm):
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

// The team's part of row `row` of the workgroup's, whose first one is `first`.
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
  forward_row(team, first, team_row(team, $turn));
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
  backward_row(team, first, team_row(team, $turn));
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
