/**
 * Whose rule each component of AEPO follows: the paper's text or the authors' release.
 * @module
 */
import type { AepoConfig, AlgorithmConfig } from "./config_types.ts";
import type { Recipe } from "./difficulty.ts";

/**
 * Which tokens count as high-entropy: `window`, those whose window entropy reaches τ (section 3.2); `trigger`, those of
 * them where the most likely token is a trigger word (the release); `semantic`, sampled trigger words whose own entropy
 * reaches the batch's quantile (appendix H).
 */
export type MaskRule = "window" | "trigger" | "semantic";

/** The rule of every component, resolved. */
export interface Rules {
  /** Bounds of the difficulty buckets. */
  readonly difficulty: Recipe;
  /** Where a token's window lies. */
  readonly window: Recipe;
  /** How τ comes about. */
  readonly threshold: Recipe;
  /** Which tokens count as high-entropy. */
  readonly mask: MaskRule;
  /** The entropy reward. */
  readonly reward: Recipe;
  /** Whether advantages carry the bonus ψ, and their arithmetic. */
  readonly advantage: Recipe;
  /** Who steers the KL weight. */
  readonly kl: Recipe;
}

/** The rules of a configuration: `aepo.rules`, and `algorithm.recipe` where they are null. */
export function rulesOf(
  { algorithm: { recipe }, aepo: { rules } }: {
    readonly algorithm: Pick<AlgorithmConfig, "recipe">;
    readonly aepo: Pick<AepoConfig, "rules">;
  },
): Rules {
  return {
    difficulty: rules.difficulty ?? recipe,
    window: rules.window ?? recipe,
    threshold: rules.threshold ?? recipe,
    mask: rules.mask ?? (recipe === "paper" ? "window" : "trigger"),
    reward: rules.reward ?? recipe,
    advantage: rules.advantage ?? recipe,
    kl: rules.kl ?? recipe,
  };
}
