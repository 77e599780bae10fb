/**
 * KL estimators between the policy and the frozen reference, with their gradients.
 * Formulas: the release's compute_kl; `low_var_kl` is Schulman's k3.
 * @module
 */
import { UserError } from "../gpu/errors.ts";

/** Estimators that need only the sampled token's log-probabilities. */
export type SampledKlKind = "kl" | "abs" | "mse" | "low_var_kl" | "k3";
/** All estimators; `full` sums over the vocabulary. */
export type KlKind = SampledKlKind | "full";

/** A value and its derivative with respect to the policy's log-probability of the sampled token. */
export interface ValueAndGrad {
  /** the estimate in nats */
  value: number;
  /** ∂ value / ∂ log π_θ */
  grad: number;
}

/**
 * KL estimate of one token from log π_θ and log π_ref of the sampled token.
 * With d = log π_θ − log π_ref: `kl` d, `abs` |d|, `mse` d²/2, `low_var_kl` exp(q) − q − 1 with q = −d clamped to ±20
 * and the result to ±10 (the gradient is 0 where a clamp acts); `k3` is the same without clamps, as the paper prints it.
 */
export function klPerToken(logProb: number, refLogProb: number, kind: SampledKlKind): ValueAndGrad {
  const d = logProb - refLogProb;
  switch (kind) {
    case "kl":
      return { value: d, grad: 1 };
    case "abs":
      return { value: Math.abs(d), grad: Math.sign(d) };
    case "mse":
      return { value: 0.5 * d * d, grad: d };
    case "low_var_kl": {
      const q = Math.min(20, Math.max(-20, -d));
      const k3 = Math.exp(q) - q - 1;
      const clamped = Math.abs(d) > 20 || k3 > 10;
      return { value: Math.min(10, k3), grad: clamped ? 0 : 1 - Math.exp(q) };
    }
    case "k3":
      return { value: Math.exp(-d) + d - 1, grad: 1 - Math.exp(-d) };
    default:
      throw new UserError(`unknown KL kind ${kind}: use kl, abs, mse, low_var_kl, k3 or full`);
  }
}

/**
 * KL(π_θ ‖ π_ref) = Σ_v p_v (log p_v − log r_v) over two whole rows of log-probabilities [V], in nats; an entry of
 * probability 0 adds nothing.
 */
export function fullKl(logProbs: ArrayLike<number>, refLogProbs: ArrayLike<number>): number {
  let kl = 0;
  for (let v = 0; v < logProbs.length; v++) {
    if (logProbs[v] > -Infinity) kl += Math.exp(logProbs[v]) * (logProbs[v] - refLogProbs[v]);
  }
  return kl;
}

/**
 * ∂ fullKl / ∂ log p_v with the log-probabilities taken as free variables, as automatic differentiation of the
 * release's expression gives it: p_v (log p_v − log r_v + 1). Log-probabilities are finite. [V], [V] -> [V].
 * With respect to logits see logitGradient.
 */
export function fullKlGrad(logProbs: ArrayLike<number>, refLogProbs: ArrayLike<number>): Float64Array {
  return Float64Array.from(
    { length: logProbs.length },
    (_, v) => Math.exp(logProbs[v]) * (logProbs[v] - refLogProbs[v] + 1),
  );
}

/**
 * Token rewards with the KL inside: score − coefficient · (log π − log π_ref), per token (release: compute_rewards).
 * Log-probabilities are natural. [L], [L], [L] -> [L]. For comparison: the trainer has the KL in the loss (appendix E).
 */
export function rewardsWithKl(
  scores: ArrayLike<number>,
  logProbs: ArrayLike<number>,
  refLogProbs: ArrayLike<number>,
  coefficient: number,
): Float64Array {
  return Float64Array.from(
    { length: scores.length },
    (_, t) => scores[t] - coefficient * (logProbs[t] - refLogProbs[t]),
  );
}

/** β_{i,t} = β_d · ρ^{m_t}: the KL weight, relaxed by ρ < 1 inside HWE windows (equation of section 3.4). [L]. */
export function klWeights(beta: number, rho: number, mask: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: mask.length }, (_, t) => mask[t] ? beta * rho : beta);
}
