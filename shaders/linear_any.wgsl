// Linear layer for sizes that linear.wgsl does not take (input width or row stride not a multiple of 4); the same
// formulas, entry points and bindings, one output element per invocation.
//   X [tokens, in]  W [out, in]  bias [out]  residual, Y, dY [tokens, stride]

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  stride: u32,
  accumulate: u32,
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> addend: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;

fn product(t: u32, n: u32) -> f32 {
  var sum = 0.0;
  for (var k = 0u; k < d.inputs; k++) { sum += x[t * d.inputs + k] * w[n * d.inputs + k]; }
  return sum;
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.outputs) { y[id.y * d.stride + id.x] = product(id.y, id.x); }
}

@compute @workgroup_size(64)
fn forward_bias(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.outputs) { y[id.y * d.stride + id.x] = product(id.y, id.x) + addend[id.x]; }
}

@compute @workgroup_size(64)
fn forward_residual(@builtin(global_invocation_id) id: vec3u) {
  let at = id.y * d.stride + id.x;
  if (id.x < d.outputs) { y[at] = residual[at] + product(id.y, id.x); }
}

@group(0) @binding(1) var<storage, read> input_dy: array<f32>;
@group(0) @binding(2) var<storage, read> input_w: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn backward_input(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= d.inputs) { return; }
  let at = id.y * d.inputs + id.x;
  var sum = 0.0;
  for (var n = 0u; n < d.outputs; n++) { sum += input_dy[id.y * d.stride + n] * input_w[n * d.inputs + id.x]; }
  if (d.accumulate == 1u) { dx[at] += sum; } else { dx[at] = sum; }
}

@group(0) @binding(1) var<storage, read> weight_dy: array<f32>;
@group(0) @binding(2) var<storage, read> weight_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;

@compute @workgroup_size(64)
fn backward_weight(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= d.inputs) { return; }
  var sum = 0.0;
  for (var t = 0u; t < d.tokens; t++) { sum += weight_dy[t * d.stride + id.y] * weight_x[t * d.inputs + id.x]; }
  dw[id.y * d.inputs + id.x] += sum;
}
