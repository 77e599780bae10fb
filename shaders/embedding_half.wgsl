// embedding.wgsl's forward, of a table that stands in f16: widths are multiples of 4, one thread a vec4.
//   ids [T], weight [rows, W] f16, y [T, W]
// Prelude: place.

struct Dims { tokens: u32, width: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = d.width / 4u;
  if (i >= d.tokens * n) { return; }
  // Below the window the difference wraps round to a large number.
  let at = place(i, n);
  let row = ids[at.y] - d.first_row;
  if (row < d.rows) { y[i] = vec4f(weight[row * n + at.x]); }
}
