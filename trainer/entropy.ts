/**
 * Token entropy, window entropy, thresholds and the high-window-entropy (HWE) mask, in f64 on the CPU.
 * These loops specify the kernels of the same names.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import type { Recipe } from "./difficulty.ts";

/** Rank of the per-trajectory threshold. */
export const DEFAULT_QUANTILE = 0.95;

/** log softmax(logits / temperature) of one row [V], in nats. `temperature` > 0. */
export function logSoftmax(logits: ArrayLike<number>, temperature = 1): Float64Array {
  if (!(temperature > 0)) throw new UserError(`temperature must be above 0, got ${temperature}`);
  const out = new Float64Array(logits.length);
  let max = -Infinity;
  for (let v = 0; v < out.length; v++) max = Math.max(max, out[v] = logits[v] / temperature);
  let sum = 0;
  for (let v = 0; v < out.length; v++) sum += Math.exp(out[v] - max);
  const logSum = max + Math.log(sum);
  for (let v = 0; v < out.length; v++) out[v] -= logSum;
  return out;
}

/** H = −Σ_v p_v log p_v in nats over a whole row of log-probabilities [V]; −∞ entries count as 0. */
export function entropyOf(logProbs: ArrayLike<number>): number {
  let h = 0;
  for (let v = 0; v < logProbs.length; v++) {
    if (logProbs[v] > -Infinity) h -= Math.exp(logProbs[v]) * logProbs[v];
  }
  return h;
}

/**
 * Mean entropy of the window that belongs to each token of one trajectory [L] -> [L].
 *
 * `paper`: mean(H_t … H_{t+w−1}); at the end the window is cut and divided by the entries that remain.
 * `reference`: mean(H_{t+1} … H_{t+w}); NaN where fewer than w tokens follow.
 */
export function windowEntropy(
  entropies: ArrayLike<number>,
  w: number,
  recipe: Recipe = "paper",
): Float64Array {
  if (!Number.isInteger(w) || w < 1) throw new UserError(`window size must be a whole number >= 1, got ${w}`);
  const n = entropies.length;
  return Float64Array.from({ length: n }, (_, t) => {
    const from = recipe === "paper" ? t : t + 1;
    if (recipe === "reference" && from + w > n) return NaN;
    const to = Math.min(from + w, n);
    let sum = 0;
    for (let j = from; j < to; j++) sum += entropies[j];
    return sum / (to - from);
  });
}

/** The q-quantile by linear interpolation at rank q (n − 1), as numpy's default. Throws on no values. */
export function quantile(values: ArrayLike<number>, q: number): number {
  if (values.length === 0) throw new UserError("quantile of no values");
  if (!(q >= 0 && q <= 1)) throw new UserError(`quantile rank must lie in [0, 1], got ${q}`);
  const sorted = Float64Array.from(values).sort();
  const rank = q * (sorted.length - 1);
  const low = Math.floor(rank);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (rank - low);
}

/**
 * τ of recipe `paper` (section 3.2): the mean over the batch's trajectories of the q-quantile of their **window**
 * entropies, the quantity that is held against it. (The text can also be read as the quantile of single-token entropies:
 * a mean of w of them seldom reaches that, and almost no window is left; the reference tables take windows too.)
 * Empty trajectories are left out. Throws when no token is left.
 */
export function batchThreshold(windows: readonly ArrayLike<number>[], q = DEFAULT_QUANTILE): number {
  const filled = windows.filter((h) => h.length > 0);
  if (filled.length === 0) {
    throw new UserError("no entropies to take a threshold from: every trajectory is empty");
  }
  return filled.reduce((sum, h) => sum + quantile(h, q), 0) / filled.length;
}

/** m_t = 1 where the window mean reaches τ, else 0 (0 for NaN, the windows that do not exist). [L] -> [L]. */
export function windowMask(windows: ArrayLike<number>, threshold: number): Uint8Array {
  return Uint8Array.from({ length: windows.length }, (_, t) => windows[t] >= threshold ? 1 : 0);
}

/**
 * The paper's appendix H rule (`semantic`): m_t = 1 where H_t reaches `threshold` (the q-quantile of all token
 * entropies of the batch) and the sampled token is a trigger word. [L], [L] -> [L].
 */
export function semanticMask(
  entropies: ArrayLike<number>,
  isTrigger: ArrayLike<number>,
  threshold: number,
): Uint8Array {
  return Uint8Array.from(
    { length: entropies.length },
    (_, t) => isTrigger[t] && entropies[t] >= threshold ? 1 : 0,
  );
}

/** Σ_t m_t: N_HE, the trajectory's count of high-entropy tokens. */
export function countHighEntropy(mask: ArrayLike<number>): number {
  let n = 0;
  for (let t = 0; t < mask.length; t++) n += mask[t];
  return n;
}
