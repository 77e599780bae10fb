// Linear layer, f32: Y = X Wᵀ (+ bias) (+ residual), and its two gradients.
//   X [tokens, in]  W [out, in] (Hugging Face layout)  bias [out]  residual, Y [tokens, out]
// forward, forward_bias, forward_residual
//   y[t,n] = Σ_k x[t,k] w[n,k] (+ bias[n] | + residual[t,n])
// add_bias          y[t,n]   +=  bias[n], where a layer has a residual and a bias
// backward_input    dx[t,k] (+)= Σ_n dy[t,n] w[n,k]
// backward_weight   dw[n,k]  +=  Σ_t dy[t,n] x[t,k]
// Nothing is kept for backward but X itself. `in` must be a multiple of 4; rows of dy are `stride` apart, a multiple of 4
// with zeros past `out`. Each invocation owns a register tile of ROWS = 16 rows x 8 columns, lanes along the contiguous axis
// of the output; QUADS = ROWS / 4. Four products at a time: v * mat4x4(w0, w1, w2, w3) is (v·w0, v·w1, v·w2, v·w3).

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  // Elements from one row to the next of y, residual and dy.
  stride: u32,
  // backward_input: 1 adds to dx, 0 overwrites it.
  accumulate: u32,
}

@group(0) @binding(0) var<uniform> d: Dims;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> addend: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;

// The 16 x 8 tile at row m, column n: acc[2i], acc[2i+1] are row m+i.
fn forward_tile(m: u32, n: u32) -> array<vec4f, 32> {
  let width = d.inputs / 4u;
  let last_row = d.tokens - 1u;
  let last_column = d.outputs - 1u;
  //# for r in ROWS
  let x$r = min(m + $r, last_row) * width;
  //# end
  //# for c in 8
  let w$c = min(n + $c, last_column) * width;
  //# end
  var acc: array<vec4f, 32>;
  for (var k = 0u; k < width; k++) {
    let a = mat4x4f(w[w0 + k], w[w1 + k], w[w2 + k], w[w3 + k]);
    let b = mat4x4f(w[w4 + k], w[w5 + k], w[w6 + k], w[w7 + k]);
    //# for r in ROWS
    let v$r = x[x$r + k];
    acc[2 * $r] += v$r * a;
    acc[2 * $r + 1] += v$r * b;
    //# end
  }
  return acc;
}

fn put(m: u32, n: u32, v: vec4f) {
  if (m < d.tokens) {
    let at = m * d.stride + n;
    if (n < d.outputs) { y[at] = v.x; }
    if (n + 1u < d.outputs) { y[at + 1u] = v.y; }
    if (n + 2u < d.outputs) { y[at + 2u] = v.z; }
    if (n + 3u < d.outputs) { y[at + 3u] = v.w; }
  }
}

fn put_residual(m: u32, n: u32, v: vec4f) {
  if (m < d.tokens) {
    let at = m * d.stride + n;
    if (n < d.outputs) { y[at] = residual[at] + v.x; }
    if (n + 1u < d.outputs) { y[at + 1u] = residual[at + 1u] + v.y; }
    if (n + 2u < d.outputs) { y[at + 2u] = residual[at + 2u] + v.z; }
    if (n + 3u < d.outputs) { y[at + 3u] = residual[at + 3u] + v.w; }
  }
}

fn bias_at(n: u32) -> vec4f {
  let last = d.outputs - 1u;
  return vec4f(addend[min(n, last)], addend[min(n + 1u, last)], addend[min(n + 2u, last)], addend[min(n + 3u, last)]);
}

@compute @workgroup_size(16)
fn forward(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * 16u;
  let n = id.x * 8u;
  if (n >= d.outputs) { return; }
  let acc = forward_tile(m, n);
  //# for r in ROWS
  put(m + $r, n, acc[2 * $r]);
  put(m + $r, n + 4u, acc[2 * $r + 1]);
  //# end
}

@compute @workgroup_size(16)
fn forward_bias(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * 16u;
  let n = id.x * 8u;
  if (n >= d.outputs) { return; }
  let acc = forward_tile(m, n);
  let a = bias_at(n);
  let b = bias_at(n + 4u);
  //# for r in ROWS
  put(m + $r, n, acc[2 * $r] + a);
  put(m + $r, n + 4u, acc[2 * $r + 1] + b);
  //# end
}

@compute @workgroup_size(16)
fn forward_residual(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * 16u;
  let n = id.x * 8u;
  if (n >= d.outputs) { return; }
  let acc = forward_tile(m, n);
  //# for r in ROWS
  put_residual(m + $r, n, acc[2 * $r]);
  put_residual(m + $r, n + 4u, acc[2 * $r + 1]);
  //# end
}

@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> biased: array<f32>;

@compute @workgroup_size(64)
fn add_bias(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.outputs) { biased[id.y * d.stride + id.x] += bias[id.x]; }
}

@group(0) @binding(1) var<storage, read> input_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> input_w: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

fn add_dx(m: u32, k: u32, v: vec4f) {
  let width = d.inputs / 4u;
  if (m < d.tokens && k < width) {
    let at = m * width + k;
    if (d.accumulate == 1u) { dx[at] += v; } else { dx[at] = v; }
  }
}

// Columns in units of vec4: lane l of a workgroup owns columns base + l and base + 16 + l.
@compute @workgroup_size(16)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let m = group.y * 16u;
  let k = group.x * 32u + lane.x;
  let width = d.inputs / 4u;
  if (k >= width) { return; }
  let k2 = min(k + 16u, width - 1u);
  let steps = d.stride / 4u;
  let last_row = d.tokens - 1u;
  let last_w = d.outputs - 1u;
  //# for r in ROWS
  let y$r = min(m + $r, last_row) * steps;
  //# end
  var acc: array<vec4f, 32>;
  for (var n = 0u; n < steps; n++) {
    let r0 = min(n * 4u + 0u, last_w) * width;
    let r1 = min(n * 4u + 1u, last_w) * width;
    let r2 = min(n * 4u + 2u, last_w) * width;
    let r3 = min(n * 4u + 3u, last_w) * width;
    let a = mat4x4f(input_w[r0 + k], input_w[r1 + k], input_w[r2 + k], input_w[r3 + k]);
    let b = mat4x4f(input_w[r0 + k2], input_w[r1 + k2], input_w[r2 + k2], input_w[r3 + k2]);
    //# for r in ROWS
    let v$r = input_dy[y$r + n];
    acc[2 * $r] += a * v$r;
    acc[2 * $r + 1] += b * v$r;
    //# end
  }
  //# for r in ROWS
  add_dx(m + $r, k, acc[2 * $r]);
  add_dx(m + $r, k + 16u, acc[2 * $r + 1]);
  //# end
}

@group(0) @binding(1) var<storage, read> weight_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight_x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4f>;

fn add_dw(n: u32, k: u32, v: vec4f) {
  let width = d.inputs / 4u;
  if (n < d.outputs && k < width) { dw[n * width + k] += v; }
}

@compute @workgroup_size(16)
fn backward_weight(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let n = group.y * 16u;
  let k = group.x * 32u + lane.x;
  let width = d.inputs / 4u;
  if (k >= width) { return; }
  let k2 = min(k + 16u, width - 1u);
  let step = d.stride / 4u;
  let last = step - 1u;
  //# for q in QUADS
  let n$q = min(n / 4u + $q, last);
  //# end
  var acc: array<vec4f, 32>;
  for (var t = 0u; t < d.tokens; t++) {
    let a = weight_x[t * width + k];
    let b = weight_x[t * width + k2];
    let row = t * step;
    //# for q in QUADS
    let g$q = weight_dy[row + n$q];
    //# for j in 4
    acc[8 * $q + 2 * $j] += a * g$q[$j];
    acc[8 * $q + 2 * $j + 1] += b * g$q[$j];
    //# end
    //# end
  }
  //# for r in ROWS
  add_dw(n + $r, k, acc[2 * $r]);
  add_dw(n + $r, k + 16u, acc[2 * $r + 1]);
  //# end
}
