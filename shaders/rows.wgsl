// Rows of a matrix picked by index, and put back.
//   gather   y[i] = x[index[i]]                         x [*, width]  y [rows, width]
//   scatter  dx[t] = dy[inverse[t]], 0 where inverse[t] is none (0xffffffff)   dx [rows, width]
// The head works on the rows that predict a response token only; `inverse` is the index the other way round.
// Prelude: Value, LANES, place. One thread a Value.

struct Dims {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<Value>;

@compute @workgroup_size(GROUP)
fn gather(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = d.width / LANES;
  if (i >= d.rows * n) { return; }
  let to = place(i, n);
  y[i] = x[index[to.y] * n + to.x];
}

@compute @workgroup_size(GROUP)
fn scatter(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = d.width / LANES;
  if (i >= d.rows * n) { return; }
  let to = place(i, n);
  let source = index[to.y];
  var v = Value(0.0);
  if (source != 0xffffffffu) { v = x[source * n + to.x]; }
  y[i] = v;
}
