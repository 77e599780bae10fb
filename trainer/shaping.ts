/**
 * The paper's hierarchical entropy reward (section 3.3): λ_d, g_d, the reward, the token bonus ψ, and the rules that
 * decide which groups are kept. Pure functions and one controller with a saved state.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { type Bucket, BUCKETS, perBucket } from "./difficulty.ts";

/** Mean and population variance of N_HE in one bucket. */
export interface Moments {
  /** E[N_HE | d] */
  mean: number;
  /** Var[N_HE | d], divided by n */
  variance: number;
}

/** Mean and population variance of `values`, or undefined for none. */
export function moments(values: ArrayLike<number>): Moments | undefined {
  const n = values.length;
  if (n === 0) return undefined;
  let mean = 0;
  for (let i = 0; i < n; i++) mean += values[i] / n;
  let variance = 0;
  for (let i = 0; i < n; i++) variance += (values[i] - mean) ** 2 / n;
  return { mean, variance };
}

/** λ = max(0, (E[N] − target) / (Var[N] + ε)): the closed form of the paper, before any cap or turned sign. */
export function lambdaClosedForm({ mean, variance }: Moments, target: number, epsilon = 1e-6): number {
  return Math.max(0, (mean - target) / (variance + epsilon));
}

/** How λ_d is kept. */
export interface LambdaOptions {
  /** Decay of the running targets: target ← decay · target + (1 − decay) · mean. */
  decay: number;
  /** Take the target from the same batch, as the paper prints it; λ_d is then always 0. */
  literal: boolean;
  /** For hard prompts use target − mean, so that under-exploration raises λ. */
  turnHard: boolean;
  /** Upper bound of λ_d; Infinity for none. Var[N] near 0 makes λ explode without one. */
  cap: number;
  /** ε of the closed form. */
  epsilon: number;
}

/** Our reading of the paper; the cap is what held up in small runs. */
export const DEFAULT_LAMBDA: LambdaOptions = {
  decay: 0.9,
  literal: false,
  turnHard: true,
  cap: 0.1,
  epsilon: 1e-6,
};

/** One bucket's numbers of one iteration. */
export interface BucketShaping extends Moments {
  /** N_target(d) used for Δ and λ in this iteration */
  target: number;
  /** λ_d, after sign and cap */
  lambda: number;
}

/** Saved state of {@link EntropyTargets}: the running target of each bucket, null before its first batch. */
export type EntropyTargetsState = Record<Bucket, number | null>;

/**
 * N_target(d) as a running mean over the iterations before, started at the first batch's mean, and the λ_d that
 * follows from it. A bucket without rollouts keeps its target.
 */
export class EntropyTargets {
  /** the options in force */
  readonly options: LambdaOptions;
  #targets: EntropyTargetsState;

  /** Fresh targets, or those of a saved state. */
  constructor(options: Partial<LambdaOptions> = {}, state?: EntropyTargetsState) {
    this.options = { ...DEFAULT_LAMBDA, ...options };
    const { decay, cap, epsilon } = this.options;
    if (!(decay >= 0 && decay <= 1)) throw new UserError(`target decay must lie in [0, 1], got ${decay}`);
    if (!(cap >= 0)) throw new UserError(`lambda cap must be >= 0, got ${cap}`);
    if (!(epsilon > 0)) throw new UserError(`lambda epsilon must be above 0, got ${epsilon}`);
    this.#targets = state ? { ...state } : perBucket(() => null);
  }

  /** Takes the N_HE of all rollouts of the batch per bucket; returns what to shape this batch with, then moves on. */
  update(counts: Partial<Record<Bucket, ArrayLike<number>>>): Partial<Record<Bucket, BucketShaping>> {
    const out: Partial<Record<Bucket, BucketShaping>> = {};
    const { decay, literal, turnHard, cap, epsilon } = this.options;
    for (const bucket of BUCKETS) {
      const m = moments(counts[bucket] ?? []);
      if (!m) continue;
      const target = literal ? m.mean : this.#targets[bucket] ?? m.mean;
      const sign = bucket === "hard" && turnHard ? -1 : 1;
      const lambda = lambdaClosedForm({ mean: sign * m.mean, variance: m.variance }, sign * target, epsilon);
      out[bucket] = { ...m, target, lambda: Math.min(cap, lambda) };
      const before = this.#targets[bucket];
      this.#targets[bucket] = before === null ? m.mean : decay * before + (1 - decay) * m.mean;
    }
    return out;
  }

  /** What a checkpoint keeps; `new EntropyTargets(options, state)` continues exactly. */
  state(): EntropyTargetsState {
    return { ...this.#targets };
  }
}

/** g_d(Δ): easy max(0, Δ), medium |Δ|, hard max(0, −Δ); Δ = N_HE − N_target(d). */
export function shapingDistance(bucket: Bucket, delta: number): number {
  if (bucket === "medium") return Math.abs(delta);
  return Math.max(0, bucket === "easy" ? delta : -delta);
}

/**
 * R = R_acc − 1[R_acc = 0] · min(cap, λ_d · g_d(Δ)): only wrong answers are penalised.
 * `penaltyCap` bounds the penalty (Infinity gives the paper's formula).
 */
export function paperReward(
  accuracy: number,
  bucket: Bucket,
  count: number,
  { target, lambda }: { target: number; lambda: number },
  penaltyCap = 1,
): number {
  if (accuracy !== 0) return accuracy;
  return 0 - Math.min(penaltyCap, lambda * shapingDistance(bucket, count - target));
}

/**
 * ψ_t = λ_d · [H̄_t − τ]_+ · m_t − b with b the mean of the first term over the trajectory, so that Σ_t ψ_t = 0
 * (Algorithm 1, φ the identity). [L], [L] -> [L].
 */
export function tokenBonus(
  windows: ArrayLike<number>,
  mask: ArrayLike<number>,
  threshold: number,
  lambda: number,
): Float64Array {
  const n = windows.length;
  const psi = Float64Array.from(
    { length: n },
    (_, t) => mask[t] ? lambda * Math.max(0, windows[t] - threshold) : 0,
  );
  const mean = psi.reduce((sum, x) => sum + x, 0) / Math.max(1, n);
  return psi.map((x) => x - mean);
}

/** Online filtering (DAPO): a group is kept when its mean overall reward lies strictly between the two bounds. */
export function keepGroup(rewards: ArrayLike<number>, low = 0.01, high = 0.99): boolean {
  const m = moments(rewards);
  return m !== undefined && m.mean > low && m.mean < high;
}

/**
 * DAPO's soft overlong punishment (its equation 13): 0 up to maxLength − buffer tokens, then linear down to −1 at
 * maxLength, −1 beyond. Added to the reward.
 */
export function overlongPenalty(length: number, maxLength: number, buffer: number): number {
  const soft = maxLength - buffer;
  if (length <= soft) return 0;
  return length > maxLength ? -1 : (soft - length) / buffer;
}
