// Rows of a matrix picked by index, and put back.
//   gather   y[i] = x[index[i]]                         x [*, width]  y [rows, width]
//   scatter  dx[t] = dy[inverse[t]], 0 where inverse[t] is none (0xffffffff)   dx [rows, width]
// The head works on the rows that predict a response token only; `inverse` is the index the other way round.

struct Dims {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.width) { y[id.y * d.width + id.x] = x[index[id.y] * d.width + id.x]; }
}

@compute @workgroup_size(64)
fn scatter(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= d.width) { return; }
  let source = index[id.y];
  var v = 0.0;
  if (source != 0xffffffffu) { v = x[source * d.width + id.x]; }
  y[id.y * d.width + id.x] = v;
}
