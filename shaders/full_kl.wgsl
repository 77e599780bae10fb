// The exact KL of every row to the reference policy, over tiles of the vocabulary as in head.wgsl: a tile of the policy's raw
// logits z and one of the reference's, both [rows, stride] of the columns first .. first+columns, and both log-sum-exps.
// divergence  result[row].w = Σ_v p_v (log p_v − log r_v), added up tile by tile;  log p_v = z_v/T − lse, log r_v likewise
// gradient    replaces the policy's tile by ∂L/∂z, from ∂L/∂logp, ∂L/∂H and k = ∂L/∂KL of each row:
//               ∂L/∂z_v = (∂L/∂logp (1[v=y] − p_v) − ∂L/∂H p_v (log p_v + H) + k p_v (log p_v − log r_v − KL)) / T
// The reference is frozen: it gets no gradient. Source: KL(π_θ ‖ π_ref) of ARES section 3.4, not estimated from the sampled token.

struct Dims {
  rows: u32,
  stride: u32,
  first: u32,
  columns: u32,
  inverse_temperature: f32,
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> logits: array<vec4f>;
@group(0) @binding(2) var<storage, read> reference_logits: array<vec4f>;
// (logp, entropy, lse, …) of each row
@group(0) @binding(3) var<storage, read> reference_result: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> result: array<vec4f>;

@compute @workgroup_size(16)
fn divergence(@builtin(global_invocation_id) id: vec3u) {
  let row = id.y * 65535u * 16u + id.x;
  if (row >= d.rows) { return; }
  let base = row * (d.stride / 4u);
  let lse = result[row].z;
  let reference_lse = reference_result[row].z;
  var sum = vec4f(0.0);
  for (var j = 0u; j < (d.columns + 3u) / 4u; j++) {
    let log_p = logits[base + j] * d.inverse_temperature - lse;
    let log_r = reference_logits[base + j] * d.inverse_temperature - reference_lse;
    let inside = vec4u(4u * j) + vec4u(0u, 1u, 2u, 3u) < vec4u(d.columns);
    sum += select(vec4f(0.0), exp(log_p) * (log_p - log_r), inside);
  }
  let before = select(result[row].w, 0.0, d.first == 0u);
  result[row].w = before + (sum.x + sum.y) + (sum.z + sum.w);
}

@group(0) @binding(1) var<storage, read_write> tile: array<vec4f>;
@group(0) @binding(4) var<storage, read> forward_result: array<vec4f>;
@group(0) @binding(5) var<storage, read> targets: array<u32>;
@group(0) @binding(6) var<storage, read> dlogp: array<f32>;
@group(0) @binding(7) var<storage, read> dentropy: array<f32>;
@group(0) @binding(8) var<storage, read> dkl: array<f32>;

@compute @workgroup_size(64)
fn gradient(@builtin(global_invocation_id) id: vec3u) {
  let width = d.stride / 4u;
  if (id.x >= width) { return; }
  let at = id.y * width + id.x;
  let r = forward_result[id.y];
  let s = vec3f(dlogp[id.y], dentropy[id.y], dkl[id.y]);
  let column = vec4u(id.x * 4u) + vec4u(0u, 1u, 2u, 3u);
  let log_p = tile[at] * d.inverse_temperature - r.z;
  let log_r = reference_logits[at] * d.inverse_temperature - reference_result[id.y].z;
  let p = exp(log_p);
  var g = p * (s.z * (log_p - log_r - r.w) - s.x - s.y * (log_p + r.y));
  g = select(g, g + s.x, column + d.first == vec4u(targets[id.y]));
  // The next products read whole rows: padding must be zero, whatever was there.
  tile[at] = select(vec4f(0.0), g * d.inverse_temperature, column < vec4u(d.columns));
}
