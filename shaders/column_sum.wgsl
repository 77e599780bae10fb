// Sums over tokens, for the gradients of biases and norm weights, in two stages so that no thread runs a long loop and
// the order of additions is fixed:
//   column_sum   partial[c,j] = sum over the tokens t of chunk c of dy[t,j];  dy [T, N], partial [chunks, N]
//   finish       out[j] += sum_c partial[c,j];                               partial [rows, N], out [N]
// Prelude: Value, LANES, place. GROUP threads a workgroup, each at its own columns.

struct SumDims { tokens: u32, width: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> sum_dims: SumDims;
@group(0) @binding(1) var<storage, read> dy: array<Value>;
@group(0) @binding(2) var<storage, read_write> partial: array<Value>;

struct FinishDims { rows: u32, width: u32 }
@group(0) @binding(0) var<uniform> finish_dims: FinishDims;
@group(0) @binding(1) var<storage, read> finish_partial: array<Value>;
@group(0) @binding(2) var<storage, read_write> out: array<Value>;

@compute @workgroup_size(GROUP)
fn column_sum(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = sum_dims.width / LANES;
  let at = place(i, n);
  let first = at.y * sum_dims.chunk;
  if (first >= sum_dims.tokens) { return; }
  var sum = Value(0.0);
  for (var t = first; t < min(first + sum_dims.chunk, sum_dims.tokens); t++) { sum += dy[t * n + at.x]; }
  partial[i] = sum;
}

@compute @workgroup_size(GROUP)
fn finish(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
  let j = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = finish_dims.width / LANES;
  if (j >= n) { return; }
  var sum = Value(0.0);
  for (var row = 0u; row < finish_dims.rows; row++) { sum += finish_partial[row * n + j]; }
  out[j] += sum;
}
