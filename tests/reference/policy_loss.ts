/**
 * Token advantages and the policy loss of packed tokens, in plain f64 loops. Layouts as in policy_loss.wgsl.
 * @module
 */

/** Settings of {@link policyLoss}. */
export interface PolicyShape {
  tokens: number;
  sequences: number;
  length_normalise: number;
  clip_low: number;
  clip_high: number;
  clip_dual: number;
  kl_kind: number;
}

/** A_t or A_t/L plus ψ_t, over `out` (tokens outside all spans keep what they hold). [N]. */
export function tokenAdvantage(
  behaviour: ArrayLike<number>,
  sequence: ArrayLike<number>,
  spans: ArrayLike<number>,
  base: ArrayLike<number>,
  out: ArrayLike<number>,
  lengthNormalise: boolean,
): Float64Array {
  const result = Float64Array.from(out);
  for (let i = 0; i < spans.length / 2; i++) {
    const [first, n] = [spans[2 * i], spans[2 * i + 1]];
    const [, , , , lambda, threshold] = Array.from({ length: 8 }, (_, k) => sequence[8 * i + k]);
    const bonus = Array.from({ length: n }, (_, t) => {
      const [window, mask] = [behaviour[4 * (first + t) + 2], behaviour[4 * (first + t) + 3]];
      return lambda * Math.max(0, window - threshold) * mask;
    });
    const mean = bonus.reduce((x, y) => x + y, 0) / Math.max(1, n);
    bonus.forEach((x, t) => result[first + t] = base[first + t] / (lengthNormalise ? n : 1) + x - mean);
  }
  return result;
}

/** KL estimate of one token: 0 none, 1 kl, 2 abs, 3 mse, 4 low_var_kl (clamped), 5 k3; 6, the exact one, is `full`. */
export function klOf(logp: number, ref: number, kind: number, full = 0): number {
  const d = logp - ref;
  const q = kind === 4 ? Math.min(20, Math.max(-20, -d)) : -d;
  const k3 = Math.exp(q) - q - 1;
  return [0, d, Math.abs(d), d * d / 2, Math.min(10, k3), k3, full][kind];
}

function klSlope(logp: number, ref: number, kind: number): number {
  const d = logp - ref;
  const held = Math.abs(d) > 20 || klOf(logp, ref, 5) > 10;
  return [0, 1, Math.sign(d), d, held ? 0 : 1 - Math.exp(-d), 1 - Math.exp(-d), 0][kind];
}

/** The clipped policy term of one token, without its weight. */
export function policyTerm(logp: number, old: number, a: number, o: PolicyShape): number {
  const ratio = Math.exp(Math.min(20, Math.max(-20, logp - old)));
  const clipped = Math.min(1 + o.clip_high, Math.max(1 - o.clip_low, ratio));
  const term = -Math.min(ratio * a, clipped * a);
  return o.clip_dual > 0 && a < 0 ? Math.min(term, -o.clip_dual * a) : term;
}

function policySlope(logp: number, old: number, a: number, o: PolicyShape): number {
  const ratio = Math.exp(logp - old);
  if (Math.abs(logp - old) > 20) return 0;
  if (a > 0 && ratio > 1 + o.clip_high) return 0;
  if (a < 0 && ratio < 1 - o.clip_low) return 0;
  if (o.clip_dual > 0 && a < 0 && ratio > o.clip_dual) return 0;
  return -a * ratio;
}

/** dlogp [N], stats [N, 20] and dkl [N]; NaN gradients where an input is not finite (its stats but `not finite` are unspecified). */
export function policyLoss(
  x: {
    behaviour: ArrayLike<number>;
    sequence: ArrayLike<number>;
    result: ArrayLike<number>;
    sequence_of: ArrayLike<number>;
    advantages: ArrayLike<number>;
  },
  o: PolicyShape,
): { dlogp: Float64Array; stats: Float64Array; dkl: Float64Array } {
  const dkl = new Float64Array(o.tokens);
  const dlogp = new Float64Array(o.tokens), stats = new Float64Array(20 * o.tokens);
  for (let t = 0; t < o.tokens; t++) {
    const [old, ref, , mask] = Array.from({ length: 4 }, (_, k) => x.behaviour[4 * t + k]);
    const s = 8 * x.sequence_of[t];
    const weight = x.sequence[s + 1], bucket = x.sequence[s + 6];
    const klWeight = x.sequence[s + (mask ? 3 : 2)];
    const logp = x.result[4 * t], a = x.advantages[t];
    const full = x.result[4 * t + 3];
    if (![logp, old, a, o.kl_kind === 6 ? full : o.kl_kind ? ref : 0].every(Number.isFinite)) {
      dlogp[t] = NaN;
      stats[20 * t + 7] = 1;
      continue;
    }
    const kl = klOf(logp, ref, o.kl_kind, full);
    if (o.kl_kind === 6) dkl[t] = weight * klWeight;
    const clamped = Math.min(20, Math.max(-20, logp - old)), ratio = Math.exp(clamped);
    dlogp[t] = weight * (policySlope(logp, old, a, o) + klWeight * klSlope(logp, ref, o.kl_kind));
    const bounded = a > 0 ? ratio > 1 + o.clip_high : a < 0 && ratio < 1 - o.clip_low;
    const dual = o.clip_dual > 0 && a < 0 && Math.max(ratio, 1 - o.clip_low) > o.clip_dual;
    const outside = [0, 1, 2].map((b) => !mask && b === bucket ? 1 : 0);
    const inside = [0, 1, 2].map((b) => mask && b === bucket ? 1 : 0);
    stats.set([
      weight * policyTerm(logp, old, a, o),
      weight * klWeight * kl,
      kl,
      bounded ? 1 : 0,
      dual ? 1 : 0,
      x.result[4 * t + 1],
      -clamped,
      0,
      ...outside.map((b) => b * kl),
      ...outside,
      ...inside.map((b) => b * kl),
      ...inside,
    ], 20 * t);
  }
  return { dlogp, stats, dkl };
}
