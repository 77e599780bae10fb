/**
 * The clipped policy objective, its KL term and the value loss with exact gradients, in f64 on the CPU: the
 * specification of the token-scalar kernel.
 *
 * Token-major and padding-free: a batch of B sequences is flat arrays of N tokens and `offsets` [B+1]; sequence i
 * owns the tokens offsets[i] … offsets[i+1] − 1.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { klPerToken, type SampledKlKind } from "./kl.ts";

/** `seq`: mean over sequences of the mean over their tokens; `token`: mean over all tokens (DAPO). */
export type LossAverage = "seq" | "token";

/** Clip bounds and averaging; key names as in EasyR1. */
export interface PolicyOptions {
  /** ε_l: the ratio is clipped below at 1 − ε_l */
  clip_ratio_low: number;
  /** ε_h: the ratio is clipped above at 1 + ε_h */
  clip_ratio_high: number;
  /** dual clip c: for A < 0 the loss is at most −c A; null or undefined for none */
  clip_ratio_dual?: number | null;
  /** averaging over tokens */
  loss_avg_mode: LossAverage;
}

/** What a batch of tokens holds; every array is [N] but `offsets` [B+1]. */
export interface TokenBatch {
  /** where each sequence starts, then N, [B+1] */
  offsets: ArrayLike<number>;
  /** log π_θ of the sampled token */
  logProbs: ArrayLike<number>;
  /** log π_old of the sampled token */
  oldLogProbs: ArrayLike<number>;
  /** Ã_{i,t} */
  advantages: ArrayLike<number>;
}

/** Shares and means over all tokens; names as in EasyR1. */
export interface PolicyMetrics {
  /** mean of log π_old − log π_θ */
  ppo_kl: number;
  /** average of −log π_θ, in the loss's averaging */
  entropy_loss: number;
  /** share of tokens whose unclipped loss was below the clipped one */
  pg_clipfrac_higher: number;
  /** share of tokens the dual clip bounded */
  pg_clipfrac_lower: number;
}

/** A loss and its gradient with respect to each token's log-probability. */
export interface PolicyLoss {
  /** the averaged loss */
  loss: number;
  /** ∂ loss / ∂ log π_θ, [N] */
  gradLogProbs: Float64Array;
  /** shares and means over the tokens */
  metrics: PolicyMetrics;
}

/**
 * w_t such that the average of x is Σ_t w_t x_t: 1/(B · L_i) for `seq`, 1/N for `token` (release: average_loss). An
 * empty sequence counts as one with mean 0. [B+1] -> [N].
 * @throws UserError when the offsets go down
 */
export function tokenWeights(offsets: ArrayLike<number>, mode: LossAverage): Float64Array {
  const sequences = offsets.length - 1, tokens = offsets[sequences];
  const weights = new Float64Array(tokens);
  for (let i = 0; i < sequences; i++) {
    const length = offsets[i + 1] - offsets[i];
    if (length < 0) {
      throw new UserError(`sequence ${i}: offsets go down from ${offsets[i]} to ${offsets[i + 1]}`);
    }
    weights.fill(mode === "seq" ? 1 / (sequences * length) : 1 / tokens, offsets[i], offsets[i + 1]);
  }
  return weights;
}

/** Σ_t w_t x_t with the weights of {@link tokenWeights}. [N], [B+1] -> one number. */
export function averageOverTokens(
  values: ArrayLike<number>,
  offsets: ArrayLike<number>,
  mode: LossAverage,
): number {
  return tokenWeights(offsets, mode).reduce((sum, w, t) => sum + w * values[t], 0);
}

/**
 * −min(r A, clip(r, 1−ε_l, 1+ε_h) A), r = exp(clamp(log π_θ − log π_old, ±20)), for A < 0 at most −c A (dual clip;
 * arXiv 1912.09729), averaged. Release: compute_policy_loss; the paper has no dual clip.
 */
export function policyLoss(batch: TokenBatch, options: PolicyOptions): PolicyLoss {
  const { offsets, logProbs, oldLogProbs, advantages } = batch;
  const { clip_ratio_low, clip_ratio_high } = options;
  const clip_ratio_dual = options.clip_ratio_dual ?? Infinity;
  const weights = tokenWeights(offsets, options.loss_avg_mode);
  const n = weights.length;
  const gradLogProbs = new Float64Array(n);
  const metrics: PolicyMetrics = { ppo_kl: 0, entropy_loss: 0, pg_clipfrac_higher: 0, pg_clipfrac_lower: 0 };
  let loss = 0;
  for (let t = 0; t < n; t++) {
    const a = advantages[t];
    const difference = logProbs[t] - oldLogProbs[t];
    const clamped = Math.min(20, Math.max(-20, difference));
    const ratio = Math.exp(clamped);
    const plain = -a * ratio;
    const clipped = -a * Math.min(1 + clip_ratio_high, Math.max(1 - clip_ratio_low, ratio));
    let term = Math.max(plain, clipped);
    let grad = plain >= clipped && difference === clamped ? plain : 0;
    if (plain < clipped) metrics.pg_clipfrac_higher += 1 / n;
    if (a < 0 && term > -a * clip_ratio_dual) {
      term = -a * clip_ratio_dual;
      grad = 0;
      metrics.pg_clipfrac_lower += 1 / n;
    }
    loss += weights[t] * term;
    gradLogProbs[t] = weights[t] * grad;
    metrics.ppo_kl -= clamped / n;
    metrics.entropy_loss -= weights[t] * logProbs[t];
  }
  return { loss, gradLogProbs, metrics };
}

/** The KL side of the objective; every array is [N]. */
export interface KlTerm {
  /** log π_ref of the sampled token */
  refLogProbs: ArrayLike<number>;
  /** the estimator, or `full` with the exact values in `fullKl` */
  kind: SampledKlKind | "full";
  /** κ_d β_{i,t} */
  weights: ArrayLike<number>;
  /** exact KL(π_θ ‖ π_ref) per token, needed for `full` */
  fullKl?: ArrayLike<number>;
}

/** Loss, gradients and the KL per token of the whole objective. */
export interface Objective extends PolicyLoss {
  /** KL_{i,t}, unweighted, [N] */
  kl: Float64Array;
  /** ∂ loss / ∂ KL_{i,t} for `full` (the head multiplies it with the KL's own gradient), else zeros, [N] */
  gradFullKl: Float64Array;
}

/** L = policyLoss + average of κ_d β_{i,t} KL_{i,t}, in the same averaging (section 3.4; KL in the loss, never in the reward). */
export function policyObjective(batch: TokenBatch, options: PolicyOptions, term?: KlTerm): Objective {
  const policy = policyLoss(batch, options);
  const weights = tokenWeights(batch.offsets, options.loss_avg_mode);
  const kl = new Float64Array(weights.length), gradFullKl = new Float64Array(weights.length);
  if (!term) return { ...policy, kl, gradFullKl };
  if (term.kind === "full" && !term.fullKl) {
    throw new UserError("KL kind full needs the exact KL of every token");
  }
  for (let t = 0; t < kl.length; t++) {
    const weight = weights[t] * term.weights[t];
    if (term.kind === "full") {
      kl[t] = term.fullKl![t];
      gradFullKl[t] = weight;
    } else {
      const { value, grad } = klPerToken(batch.logProbs[t], term.refLogProbs[t], term.kind);
      kl[t] = value;
      policy.gradLogProbs[t] += weight * grad;
    }
    policy.loss += weight * kl[t];
  }
  return { ...policy, kl, gradFullKl };
}

/** What one token's logits row gets its gradient from. */
export interface LogitScalars {
  /** the sampled token */
  action: number;
  /** ∂ loss / ∂ log π_θ(action) */
  gradLogProb: number;
  /** ∂ loss / ∂ KL(π_θ ‖ π_ref), with `refLogProbs` [V] */
  gradFullKl?: number;
  /** log π_ref of the row's whole vocabulary, [V] */
  refLogProbs?: ArrayLike<number>;
}

/**
 * ∂ loss / ∂ logits (before the temperature) of one row, from log-probabilities [V] taken at that temperature:
 * (g (1[v = a] − p_v) + k p_v (log p_v − log r_v − KL)) / T, with g = ∂ loss / ∂ log π_θ(a) and k = ∂ loss / ∂ KL. All
 * log-probabilities are finite. [V] -> [V].
 * @throws UserError when the full KL has a gradient and the reference's log-probabilities are missing
 */
export function logitGradient(logProbs: ArrayLike<number>, s: LogitScalars, temperature = 1): Float64Array {
  const k = s.gradFullKl ?? 0;
  const ref = s.refLogProbs;
  if (k !== 0 && !ref) {
    throw new UserError("the gradient of the full KL needs the reference's log-probabilities");
  }
  let kl = 0;
  if (k !== 0 && ref) {
    for (let v = 0; v < logProbs.length; v++) kl += Math.exp(logProbs[v]) * (logProbs[v] - ref[v]);
  }
  return Float64Array.from({ length: logProbs.length }, (_, v) => {
    const p = Math.exp(logProbs[v]);
    const policy = s.gradLogProb * ((v === s.action ? 1 : 0) - p);
    return (policy + (k !== 0 && ref ? k * p * (logProbs[v] - ref[v] - kl) : 0)) / temperature;
  });
}

/** Value loss and its gradient. */
export interface ValueLoss {
  /** the averaged loss */
  loss: number;
  /** ∂ loss / ∂ prediction, [N] */
  gradValues: Float64Array;
  /** share of tokens where the clipped loss was the larger one */
  vf_clipfrac: number;
}

/**
 * ½ average of max((V − R)², (clip(V, V_old ± c) − R)²), c = `cliprange_value` in units of the reward (PPO, arXiv
 * 1707.06347; release: compute_value_loss). Predictions, returns and old values are [N], offsets [B+1].
 */
export function valueLoss(
  batch: {
    offsets: ArrayLike<number>;
    values: ArrayLike<number>;
    oldValues: ArrayLike<number>;
    returns: ArrayLike<number>;
  },
  cliprange_value: number,
  mode: LossAverage,
): ValueLoss {
  const { values, oldValues, returns } = batch;
  const weights = tokenWeights(batch.offsets, mode);
  const gradValues = new Float64Array(weights.length);
  let loss = 0, clipfrac = 0;
  for (let t = 0; t < weights.length; t++) {
    const clipped = Math.min(
      oldValues[t] + cliprange_value,
      Math.max(oldValues[t] - cliprange_value, values[t]),
    );
    const plainLoss = (values[t] - returns[t]) ** 2, clippedLoss = (clipped - returns[t]) ** 2;
    if (plainLoss < clippedLoss) clipfrac += 1 / weights.length;
    else gradValues[t] = weights[t] * (values[t] - returns[t]);
    loss += 0.5 * weights[t] * Math.max(plainLoss, clippedLoss);
  }
  return { loss, gradValues, vf_clipfrac: clipfrac };
}
