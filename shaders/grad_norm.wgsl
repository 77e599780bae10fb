// The norm of all gradients together and the factor that clips it (torch's clip_grad_norm_), in two stages of fixed order:
//   sum_of_squares   partial[slot + w] = sum of g[i]^2 over the PER_GROUP values of workgroup w; once for each tensor
//   finish           norm = sqrt(sum of the first `parts` partials);  result =
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
