// Token embedding y[t, :] = weight[ids[t], :] and its gradient. The table may be larger than one binding: `weight` and
// `dweight` are its rows first_row .. first_row + rows - 1, and ids outside this window are left alone.
//   forward    ids [T], weight [rows, W], y [T, W]
//   backward   dweight[unique[u], :] += sum of dy[t, :] over the tokens t = order[starts[u]] .. order[starts[u+1] - 1],
//              the tokens sorted by id: each row of dweight has one thread a column, so the order of additions is fixed.
// Prelude: Value, LANES, place. One thread a Value.

struct ForwardDims { tokens: u32, width: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<uniform> forward_dims: ForwardDims;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<Value>;
@group(0) @binding(3) var<storage, read_write> y: array<Value>;

struct BackwardDims { unique: u32, width: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<uniform> backward_dims: BackwardDims;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> unique: array<u32>;
@group(0) @binding(4) var<storage, read> dy: array<Value>;
@group(0) @binding(5) var<storage, read_write> dweight: array<Value>;

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = forward_dims.width / LANES;
  if (i >= forward_dims.tokens * n) { return; }
  // Below the window the difference wraps round to a large number.
  let at = place(i, n);
  let row = ids[at.y] - forward_dims.first_row;
  if (row < forward_dims.rows) { y[i] = weight[row * n + at.x]; }
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = backward_dims.width / LANES;
  let at = place(i, n);
  let u = at.y;
  if (u >= backward_dims.unique) { return; }
  let row = unique[u] - backward_dims.first_row;
  if (row >= backward_dims.rows) { return; }
  var sum = Value(0.0);
  for (var k = starts[u]; k < starts[u + 1u]; k++) { sum += dy[order[k] * n + at.x]; }
  dweight[row * n + at.x] += sum;
}
