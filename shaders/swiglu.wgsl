// Gated activation of the feed-forward block (Shazeer 2020; HF Qwen2MLP): with g, u the halves of a row of gate_up [T, 2I],
//   y = silu(g) u,   silu(g) = g / (1 + exp(-g))                                              y [T, I]
// forward   writes y.
// backward  dgate_up = (dy u s (1 + g (1 - s)), dy g s) with s = 1 / (1 + exp(-g)); written whole. Keeps gate_up only.
// Prelude: Value, LANES, place. One thread a Value.

struct Dims { tokens: u32, width: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> gate_up: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;

@group(0) @binding(2) var<storage, read> dy: array<Value>;
@group(0) @binding(3) var<storage, read_write> dgate_up: array<Value>;

// Beyond 80 the exponential could overflow f32, and the sigmoid of -80 is 2e-35 already.
fn sigmoid(g: Value) -> Value { return 1.0 / (1.0 + exp(min(-g, Value(80.0)))); }

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = dims.width / LANES;
  if (i >= dims.tokens * n) { return; }
  let to = place(i, n);
  let at = to.y * 2u * n + to.x;
  let g = gate_up[at];
  y[i] = g * sigmoid(g) * gate_up[at + n];
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let n = dims.width / LANES;
  if (i >= dims.tokens * n) { return; }
  let to = place(i, n);
  let at = to.y * 2u * n + to.x;
  let g = gate_up[at];
  let s = sigmoid(g);
  let d = dy[i];
  dgate_up[at] = d * gate_up[at + n] * s * (1.0 + g * (1.0 - s));
  dgate_up[at + n] = d * g * s;
}
