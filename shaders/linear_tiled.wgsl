// Linear layer for GPUs with fast workgroup memory: the formulas, entry points and bindings of linear.wgsl.
//   X [tokens, in]  W [out, in]  bias [out]  residual, Y, dY [tokens, stride]; `in` and `stride` are multiples of 4
// A workgroup of 16 x 16 threads owns a 64 x 64 tile of the output and walks the contraction 16 at a time: both operands'
// slices go through workgroup memory, laid out with the contraction first, and every thread adds up 4 x 4 elements.

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

// [16][64]: element (k, i) of the left operand's slice stands at k * 64 + i; the same for the right one.
var<workgroup> left: array<f32, 1024>;
var<workgroup> right: array<f32, 1024>;

struct Tile { r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f }

fn multiply(tile: ptr<function, Tile>, row: u32, column: u32) {
  for (var k = 0u; k < 16u; k++) {
    let a = k * 64u + row;
    let b = k * 64u + column;
    let v = vec4f(right[b], right[b + 1u], right[b + 2u], right[b + 3u]);
    (*tile).r0 += left[a] * v;
    (*tile).r1 += left[a + 1u] * v;
    (*tile).r2 += left[a + 2u] * v;
    (*tile).r3 += left[a + 3u] * v;
  }
}

// A slice whose rows are contiguous along the contraction is turned as it is stored.
fn turn_left(k: u32, i: u32, v: vec4f) {
  left[k * 64u + i] = v.x;
  left[(k + 1u) * 64u + i] = v.y;
  left[(k + 2u) * 64u + i] = v.z;
  left[(k + 3u) * 64u + i] = v.w;
}

fn turn_right(k: u32, i: u32, v: vec4f) {
  right[k * 64u + i] = v.x;
  right[(k + 1u) * 64u + i] = v.y;
  right[(k + 2u) * 64u + i] = v.z;
  right[(k + 3u) * 64u + i] = v.w;
}

fn keep_left(k: u32, i: u32, v: vec4f) {
  let at = k * 64u + i;
  left[at] = v.x;
  left[at + 1u] = v.y;
  left[at + 2u] = v.z;
  left[at + 3u] = v.w;
}

fn keep_right(k: u32, i: u32, v: vec4f) {
  let at = k * 64u + i;
  right[at] = v.x;
  right[at + 1u] = v.y;
  right[at + 2u] = v.z;
  right[at + 3u] = v.w;
}

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> addend: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;

fn forward_tile(m: u32, n: u32, thread: u32) -> Tile {
  var tile: Tile;
  let width = d.inputs / 4u;
  // Thread t brings four contraction steps of row t / 4 of each operand.
  let i = thread / 4u;
  let k = thread % 4u;
  for (var step = 0u; step < width; step += 4u) {
    var a = vec4f(0.0);
    var b = vec4f(0.0);
    if (step + k < width) {
      if (m + i < d.tokens) { a = x[(m + i) * width + step + k]; }
      if (n + i < d.outputs) { b = w[(n + i) * width + step + k]; }
    }
    workgroupBarrier();
    turn_left(4u * k, i, a);
    turn_right(4u * k, i, b);
    workgroupBarrier();
    multiply(&tile, thread / 16u * 4u, thread % 16u * 4u);
  }
  return tile;
}

fn put(m: u32, n: u32, v: vec4f) {
  if (m >= d.tokens) { return; }
  let at = m * d.stride + n;
  if (n < d.outputs) { y[at] = v.x; }
  if (n + 1u < d.outputs) { y[at + 1u] = v.y; }
  if (n + 2u < d.outputs) { y[at + 2u] = v.z; }
  if (n + 3u < d.outputs) { y[at + 3u] = v.w; }
}

fn put_residual(m: u32, n: u32, v: vec4f) {
  if (m >= d.tokens) { return; }
  let at = m * d.stride + n;
  if (n < d.outputs) { y[at] = residual[at] + v.x; }
  if (n + 1u < d.outputs) { y[at + 1u] = residual[at + 1u] + v.y; }
  if (n + 2u < d.outputs) { y[at + 2u] = residual[at + 2u] + v.z; }
  if (n + 3u < d.outputs) { y[at + 3u] = residual[at + 3u] + v.w; }
}

@compute @workgroup_size(256)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tile = forward_tile(group.y * 64u, group.x * 64u, thread);
  let m = group.y * 64u + thread / 16u * 4u;
  let n = group.x * 64u + thread % 16u * 4u;
  put(m, n, tile.r0);
  put(m + 1u, n, tile.r1);
  put(m + 2u, n, tile.r2);
  put(m + 3u, n, tile.r3);
}

@compute @workgroup_size(256)
fn forward_bias(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tile = forward_tile(group.y * 64u, group.x * 64u, thread);
  let m = group.y * 64u + thread / 16u * 4u;
  let n = group.x * 64u + thread % 16u * 4u;
  let last = d.outputs - 1u;
  let bias = vec4f(addend[min(n, last)], addend[min(n + 1u, last)], addend[min(n + 2u, last)], addend[min(n + 3u, last)]);
  put(m, n, tile.r0 + bias);
  put(m + 1u, n, tile.r1 + bias);
  put(m + 2u, n, tile.r2 + bias);
  put(m + 3u, n, tile.r3 + bias);
}

@compute @workgroup_size(256)
fn forward_residual(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tile = forward_tile(group.y * 64u, group.x * 64u, thread);
  let m = group.y * 64u + thread / 16u * 4u;
  let n = group.x * 64u + thread % 16u * 4u;
  put_residual(m, n, tile.r0);
  put_residual(m + 1u, n, tile.r1);
  put_residual(m + 2u, n, tile.r2);
  put_residual(m + 3u, n, tile.r3);
}

@group(0) @binding(1) var<storage, read> input_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> input_w: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

fn add_dx(m: u32, k: u32, v: vec4f) {
  if (m >= d.tokens || k >= d.inputs) { return; }
  let at = (m * d.inputs + k) / 4u;
  if (d.accumulate == 1u) { dx[at] += v; } else { dx[at] = v; }
}

@compute @workgroup_size(256)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let m = group.y * 64u;
  let k = group.x * 64u;
  let steps = d.stride / 4u;
  let width = d.inputs / 4u;
  var tile: Tile;
  let i = thread / 4u;
  let q = thread % 4u;
  // Of w thread t brings row t / 16 of the slice, columns 4 (t % 16) on.
  let r = thread / 16u;
  let c = thread % 16u;
  for (var step = 0u; step < steps; step += 4u) {
    var a = vec4f(0.0);
    var b = vec4f(0.0);
    if (step + q < steps && m + i < d.tokens) { a = input_dy[(m + i) * steps + step + q]; }
    let n = step * 4u + r;
    if (n < d.outputs && k / 4u + c < width) { b = input_w[n * width + k / 4u + c]; }
    workgroupBarrier();
    turn_left(4u * q, i, a);
    keep_right(r, 4u * c, b);
    workgroupBarrier();
    multiply(&tile, r * 4u, c * 4u);
  }
  add_dx(m + r * 4u, k + c * 4u, tile.r0);
  add_dx(m + r * 4u + 1u, k + c * 4u, tile.r1);
  add_dx(m + r * 4u + 2u, k + c * 4u, tile.r2);
  add_dx(m + r * 4u + 3u, k + c * 4u, tile.r3);
}

@group(0) @binding(1) var<storage, read> weight_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight_x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4f>;

fn add_dw(n: u32, k: u32, v: vec4f) {
  if (n < d.outputs && k < d.inputs) { dw[(n * d.inputs + k) / 4u] += v; }
}

@compute @workgroup_size(256)
fn backward_weight(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let n = group.y * 64u;
  let k = group.x * 64u;
  let steps = d.stride / 4u;
  let width = d.inputs / 4u;
  var tile: Tile;
  let r = thread / 16u;
  let c = thread % 16u;
  for (var t = 0u; t < d.tokens; t += 16u) {
    var a = vec4f(0.0);
    var b = vec4f(0.0);
    if (t + r < d.tokens) {
      if (n / 4u + c < steps) { a = weight_dy[(t + r) * steps + n / 4u + c]; }
      if (k / 4u + c < width) { b = weight_x[(t + r) * width + k / 4u + c]; }
    }
    workgroupBarrier();
    keep_left(r, 4u * c, a);
    keep_right(r, 4u * c, b);
    workgroupBarrier();
    multiply(&tile, r * 4u, c * 4u);
  }
  add_dw(n + r * 4u, k + c * 4u, tile.r0);
  add_dw(n + r * 4u + 1u, k + c * 4u, tile.r1);
  add_dw(n + r * 4u + 2u, k + c * 4u, tile.r2);
  add_dw(n + r * 4u + 3u, k + c * 4u, tile.r3);
}
