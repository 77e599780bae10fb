// The clipped value loss of GAE, a token an invocation (the release's compute_value_loss):
//   L = Σ_t w ½ max((V − R)², (clip(V, V_old ± c) − R)²);  where the clipped term is the larger one V has no gradient.
// N tokens.
//   value [N] = V;  target [N] = (V_old, R, w, 0)
//   dvalue [N] = coefficient · ∂L/∂V;  stats [N] = (w ½ max(…), 1 where the clipped term is the larger, V, not finite)
// A token whose loss is not finite gets a NaN gradient on purpose: the norm check then refuses the whole update.

struct Dims {
  tokens: u32,
  // c
  clip: f32,
  // Weight of this loss beside the policy's.
  coefficient: f32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> value: array<f32>;
@group(0) @binding(2) var<storage, read> value_target: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dvalue: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec4f>;

fn finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

@compute @workgroup_size(LANES)
fn value_loss(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let t = (group.y * groups.x + group.x) * LANES + lane.x;
  if (t >= d.tokens) { return; }
  let v = value[t];
  let goal = value_target[t];
  let miss = v - goal.y;
  let clipped_miss = clamp(v, goal.x - d.clip, goal.x + d.clip) - goal.y;
  let plain = miss * miss;
  let clipped = clipped_miss * clipped_miss;
  let good = finite(v) && finite(goal.x) && finite(goal.y) && finite(plain);
  let slope = select(d.coefficient * goal.z * miss, 0.0, plain < clipped);
  dvalue[t] = select(bitcast<f32>(0x7fc00000u | (t & 0u)), slope, good);
  stats[t] = vec4f(0.5 * goal.z * max(plain, clipped), select(0.0, 1.0, plain < clipped), v, select(1.0, 0.0, good));
}
