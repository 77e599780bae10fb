// The AEPO gradient: one scalar ∂L/∂log π_t a token, from which the head makes the gradient of all logits.
//   token_advantage  Ã_t = A_t (or A_t/L) + ψ_t,  ψ_t = λ max(0, H̄_t − τ) m_t − mean over the sequence of that first term
//   policy_loss      L = Σ_t w ( −min(r Ã, clip(r, 1−ε_l, 1+ε_h) Ã) + k_t KL_t ),  r = exp(clamp(log π − log π_old, ±20)),
//                    for Ã < 0 at most −c Ã (dual clip);  k_t = kl weight, or the one inside windows where m_t = 1;
//                    with d = log π − log π_ref:  kl d, abs |d|, mse d²/2, low_var_kl min(exp(q) − q − 1, 10), q = clamp(−d, ±20);
//                    k3 exp(−d) + d − 1 without clamps, as the paper prints it; full: the exact KL of the forward pass, whose
//                    gradient is the head's: dkl = w k_t
// N tokens, B sequences, spans [B, 2] = (first token, length).
//   behaviour [N] = (log π_old, log π_ref, window entropy H̄, mask m)
//   base [N] = A_t, the same for all tokens of a sequence but for REINFORCE++ with γ < 1 and GAE
//   sequence [B, 8] = 0, loss weight w, kl weight, kl weight inside windows, λ, τ, bucket (0, 1, 2), 0
//   result [N] = (log π, entropy, …, exact KL) of the forward pass
//   stats [N, 20] = w·policy term, w·k·KL, KL, clipped above or below, dual-clipped, entropy, clamped log π_old − log π,
//                   not finite, then by bucket (3 each) KL outside windows, tokens outside, KL inside, tokens inside
// A token whose loss is not finite gets a NaN gradient on purpose: the norm check then refuses the whole update.
// Sources: ARES sections 3.3 and 3.4, Algorithm 1; the clamps are the release's compute_policy_loss and compute_kl.

struct Dims {
  tokens: u32,
  sequences: u32,
  length_normalise: u32,
  clip_low: f32,
  clip_high: f32,
  // 0 turns the dual clip off.
  clip_dual: f32,
  // 0 none, 1 kl, 2 abs, 3 mse, 4 low_var_kl, 5 k3, 6 full
  kl_kind: u32,
}

const LANES = 64u;

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> behaviour: array<vec4f>;
@group(0) @binding(2) var<storage, read> sequence: array<array<f32, 8>>;
@group(0) @binding(3) var<storage, read> spans: array<u32>;
@group(0) @binding(4) var<storage, read> base: array<f32>;
@group(0) @binding(5) var<storage, read_write> token_out: array<f32>;

var<workgroup> sums: array<f32, 64>;

fn bonus(t: u32, s: u32) -> f32 {
  let b = behaviour[t];
  return sequence[s][4] * max(0.0, b.z - sequence[s][5]) * b.w;
}

@compute @workgroup_size(LANES)
fn token_advantage(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let s = group.x;
  let first = spans[2u * s];
  let length = spans[2u * s + 1u];
  var sum = 0.0;
  for (var t = lane.x; t < length; t += LANES) { sum += bonus(first + t, s); }
  sums[lane.x] = sum;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (lane.x < step) { sums[lane.x] += sums[lane.x + step]; }
    workgroupBarrier();
  }
  let mean = sums[0] / f32(max(length, 1u));
  var scale = 1.0;
  if (d.length_normalise == 1u) { scale /= f32(max(length, 1u)); }
  for (var t = lane.x; t < length; t += LANES) {
    token_out[first + t] = scale * base[first + t] + bonus(first + t, s) - mean;
  }
}

@group(0) @binding(3) var<storage, read> result: array<vec4f>;
@group(0) @binding(4) var<storage, read> sequence_of: array<u32>;
@group(0) @binding(5) var<storage, read> advantages: array<f32>;
@group(0) @binding(6) var<storage, read_write> dlogp: array<f32>;
@group(0) @binding(7) var<storage, read_write> stats: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> dkl: array<f32>;

const FULL = 6u;

// Value and gradient of the KL estimate.
fn kl_of(logp: f32, reference: f32) -> vec2f {
  let x = logp - reference;
  switch d.kl_kind {
    case 1u: { return vec2f(x, 1.0); }
    case 2u: { return vec2f(abs(x), sign(x)); }
    case 3u: { return vec2f(0.5 * x * x, x); }
    case 4u, 5u: {
      let free = d.kl_kind == 5u;
      let q = select(clamp(-x, -20.0, 20.0), -x, free);
      // exp(q) − q − 1 loses everything to cancellation for small q: its series there.
      let near = abs(q) < 0.25;
      let small = q * q * (0.5 + q * (1.0 / 6.0 + q * (1.0 / 24.0 + q * (1.0 / 120.0 + q * (1.0 / 720.0)))));
      let value = select(exp(q) - q - 1.0, small, near);
      let held = !free && (abs(x) > 20.0 || value > 10.0);
      return vec2f(select(min(value, 10.0), value, free), select(select(1.0 - exp(q), -(q + small), near), 0.0, held));
    }
    default: { return vec2f(0.0); }
  }
}

fn finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

@compute @workgroup_size(LANES)
fn policy_loss(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let t = (group.y * groups.x + group.x) * LANES + lane.x;
  if (t >= d.tokens) { return; }
  let s = sequence_of[t];
  let b = behaviour[t];
  let logp = result[t].x;
  let a = advantages[t];
  let w = sequence[s][1];
  let difference = logp - b.x;
  let clamped = clamp(difference, -20.0, 20.0);
  let ratio = exp(clamped);
  let plain = -a * ratio;
  let clipped = -a * clamp(ratio, 1.0 - d.clip_low, 1.0 + d.clip_high);
  var term = max(plain, clipped);
  var gradient = select(0.0, plain, plain >= clipped && difference == clamped);
  var dual = 0.0;
  if (d.clip_dual > 0.0 && a < 0.0 && term > -a * d.clip_dual) {
    term = -a * d.clip_dual;
    gradient = 0.0;
    dual = 1.0;
  }
  let full = d.kl_kind == FULL;
  let kl = select(kl_of(logp, b.y), vec2f(result[t].w, 0.0), full);
  let inside = b.w > 0.5;
  let weight = select(sequence[s][2], sequence[s][3], inside);
  // The inputs themselves are looked at: clamps and differences may hide a NaN.
  let known = finite(logp) && finite(b.x) && (d.kl_kind == 0u || full || finite(b.y));
  let good = known && finite(a) && finite(term) && finite(kl.x);
  dlogp[t] = select(bitcast<f32>(0x7fc00000u | (t & 0u)), w * (gradient + weight * kl.y), good);
  dkl[t] = select(0.0, w * weight, full && good);
  let bucket = u32(sequence[s][6]);
  let own = vec3f(vec3u(bucket) == vec3u(0u, 1u, 2u));
  let outside = select(own, vec3f(0.0), inside);
  let within = own - outside;
  stats[5u * t] = vec4f(w * term, w * weight * kl.x, kl.x, select(0.0, 1.0, plain < clipped));
  stats[5u * t + 1u] = vec4f(dual, result[t].y, -clamped, select(1.0, 0.0, good));
  stats[5u * t + 2u] = vec4f(outside * kl.x, outside.x);
  stats[5u * t + 3u] = vec4f(outside.yz, within.xy * kl.x);
  stats[5u * t + 4u] = vec4f(within.z * kl.x, within);
}
