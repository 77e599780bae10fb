// The norm of all gradients together and the factor that clips it (torch's clip_grad_norm_), in two stages of fixed order:
//   sum_of_squares   partial[slot + w] = sum of g[i]^2 over the PER_GROUP values of workgroup w; once for each tensor
//   finish           norm = sqrt(sum of the first `parts` partials);  result =
//                    [norm, min(1, max_norm / (norm + 1e-6)) or 1 if max_norm = 0, 1 if all was finite else 0, 0]
// With NaN or infinity anywhere the clip factor is 0 too.
// Prelude: Value, LANES, total. GROUP threads a workgroup, a power of two; PER_GROUP a multiple of 4.

struct SumDims { n: u32, slot: u32 }
@group(0) @binding(0) var<uniform> sum_dims: SumDims;
@group(0) @binding(1) var<storage, read> g: array<Value>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

struct FinishDims { parts: u32, max_norm: f32 }
@group(0) @binding(0) var<uniform> finish_dims: FinishDims;
@group(0) @binding(1) var<storage, read> finish_partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

var<workgroup> sums: array<f32, GROUP>;
var<workgroup> broken: array<u32, GROUP>;

// NaN and infinity have all exponent bits set; comparisons of floats may be folded away.
fn not_finite(x: f32) -> u32 { return select(0u, 1u, (bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u); }

// Adds up the workgroup's sums into sums[0], broken[0].
fn reduce(lane: u32) {
  for (var half = GROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      sums[lane] += sums[lane + half];
      broken[lane] |= broken[lane + half];
    }
  }
}

@compute @workgroup_size(GROUP)
fn sum_of_squares(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) lane: u32) {
  let w = wid.y * groups.x + wid.x;
  let first = w * (PER_GROUP / LANES);
  let end = min(first + PER_GROUP / LANES, sum_dims.n / LANES);
  var squares = Value(0.0);
  for (var i = first + lane; i < end; i += GROUP) {
    let v = g[i];
    squares += v * v;
  }
  sums[lane] = total(squares);
  reduce(lane);
  if (lane == 0u && first < end) { partial[sum_dims.slot + w] = sums[0]; }
}

@compute @workgroup_size(GROUP)
fn finish(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  var bad = 0u;
  for (var i = lane; i < finish_dims.parts; i += GROUP) {
    let part = finish_partial[i];
    sum += part;
    bad |= not_finite(part);
  }
  sums[lane] = sum;
  broken[lane] = bad;
  reduce(lane);
  if (lane == 0u) {
    let finite = (broken[0] | not_finite(sums[0])) == 0u;
    let norm = sqrt(sums[0]);
    var clip = 1.0;
    if (finish_dims.max_norm > 0.0) { clip = min(1.0, finish_dims.max_norm / (norm + 1e-6)); }
    result[0] = norm;
    result[1] = select(0.0, clip, finite);
    result[2] = select(0.0, 1.0, finite);
    result[3] = 0.0;
  }
}
