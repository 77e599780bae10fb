/**
 * Recipe `reference`: entropies from the ten best log-probabilities, per-trajectory thresholds, and trigger counts.
 * Source: vllm_rollout_spmd.py of the release. Kept for comparison: the trainer has exact entropies.
 * @module
 */
import { quantile, windowEntropy } from "./entropy.ts";

/** The [token id, log-probability] pairs of one position: the sampled token first, then the best ones. */
export type TopPairs = readonly (readonly [id: number, logProb: number])[];

/** Reasoning words counted as triggers unless a run names its own list; compare with {@link normaliseToken}. */
export const REASONING_TRIGGERS: readonly string[] = [
  "again",
  "also",
  "alternatively",
  "although",
  "assume",
  "because",
  "but",
  "check",
  "first",
  "hence",
  "however",
  "if",
  "instead",
  "let",
  "maybe",
  "next",
  "now",
  "perhaps",
  "since",
  "so",
  "suppose",
  "then",
  "therefore",
  "thus",
  "wait",
  "when",
  "while",
];

// What Python's str.strip() takes away; JavaScript's \s has no U+001C to U+001F and no U+0085.
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const OUTER_SPACE = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "g");

/** Spelling of a decoded token for the trigger match: leading space marks (▁, Ġ) off, trimmed, lower case. */
export function normaliseToken(token: string): string {
  return token.replace(/^[▁Ġ]+/, "").replace(OUTER_SPACE, "").toLowerCase();
}

/** −Σ p log p over the given pairs only, in nats; of K pairs one number, 0 for none. */
export function topEntropy(pairs: TopPairs): number {
  return pairs.reduce((h, [, logProb]) => h - Math.exp(logProb) * logProb, 0);
}

/** {@link topEntropy} plus one bucket that holds the missing probability mass, in nats. */
export function topEntropyWithTail(pairs: TopPairs): number {
  const tail = 1 - pairs.reduce((sum, [, logProb]) => sum + Math.exp(logProb), 0);
  return topEntropy(pairs) - (tail > 0 ? tail * Math.log(Math.max(tail, 1e-12)) : 0);
}

/**
 * A trajectory's threshold: the `percentile` (0 to 100) of the means of the `windowSize` entropies **after** each token,
 * filled as {@link filledQuantile} does. `entropies` [L] are without the tail bucket. 0 for an empty trajectory.
 */
export function percentileThreshold(
  entropies: ArrayLike<number>,
  percentile: number,
  windowSize: number,
): number {
  return filledQuantile(windowEntropy(entropies, windowSize, "reference"), entropies, percentile / 100);
}

/**
 * The q-quantile of a trajectory's windows [L]. Those that do not exist (NaN or −1) take the mean of the others, or the
 * first token's entropy [L] where there is none. 0 for an empty trajectory.
 */
export function filledQuantile(
  windows: ArrayLike<number>,
  entropies: ArrayLike<number>,
  q: number,
): number {
  const n = windows.length;
  if (n === 0) return 0;
  // Rounding can leave an entropy a little below 0: that one exists.
  const whole = Array.from(windows).filter((h) => h > -0.5);
  // Appending the running mean, as the release does, leaves the running mean as it is: every filled entry is the same.
  const fill = whole.length ? whole.reduce((s, x) => s + x, 0) / whole.length : entropies[0];
  while (whole.length < n) whole.push(fill);
  return quantile(whole, q);
}

/** Triggers of one trajectory. */
export interface TriggerCounts {
  /** triggers whose next window reaches the threshold: N_HE of this recipe */
  valid: number;
  /** triggers whose next window stays below it */
  invalid: number;
  /** Σ max(0, window − threshold) */
  softCost: number;
}

/**
 * Counts the trigger words among the most likely tokens. `entropies` [L] with the tail bucket, `topTokens` [L] the
 * decoded arg-max tokens, `triggers` normalised words. A trigger with fewer than `windowSize` tokens after it is skipped.
 */
export function countTriggers(
  entropies: ArrayLike<number>,
  topTokens: readonly string[],
  triggers: ReadonlySet<string>,
  threshold: number,
  windowSize: number,
): TriggerCounts {
  const out = { valid: 0, invalid: 0, softCost: 0 };
  for (let t = 0; t + windowSize < entropies.length; t++) {
    if (!triggers.has(normaliseToken(topTokens[t]))) continue;
    let sum = 0;
    for (let j = t + 1; j <= t + windowSize; j++) sum += entropies[j];
    const window = sum / windowSize;
    out.softCost += Math.max(0, window - threshold);
    if (window >= threshold) out.valid++;
    else out.invalid++;
  }
  return out;
}

/** The id with the highest log-probability among one or more pairs; the first one on a tie. */
export function topToken(pairs: TopPairs): number {
  return pairs.reduce((best, pair) => pair[1] > best[1] ? pair : best)[0];
}
