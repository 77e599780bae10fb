/**
 * A judged rollout on its way to an update.
 * @module
 */
import type { BranchOrigin } from "./branching.ts";
import type { Bucket } from "./difficulty.ts";
import type { Problem } from "./problems.ts";
import type { Reward } from "./reward.ts";

/** One rollout with its reward and everything that enters its loss. L new tokens. */
export interface Trajectory {
  readonly problem: Problem;
  /** Rollouts of one prompt share it. */
  readonly group: number;
  readonly sample: number;
  /** Where it left its parent; undefined for one that starts at the prompt. */
  readonly branch?: BranchOrigin;
  /** [L] new tokens, the end token included. */
  readonly tokens: Uint32Array;
  /** [L] log π_old of each, at the sampling temperature. */
  readonly logps: Float32Array;
  /** [L] entropies, nats. */
  readonly entropies: Float32Array;
  /** [L] the most likely token at each step; there where the mask rule looks at it. */
  readonly topTokens?: Uint32Array;
  readonly text: string;
  readonly finish: "stop" | "length";
  /** 1 when the answer is right. */
  readonly accuracy: number;
  /** 1 when the response has the wanted form. */
  readonly format: number;
  /** Reward of the greedy answer to the same prompt, without entropy shaping; there for ReMax. */
  readonly baseline?: number;
}

/** What shaping adds to a trajectory. */
export interface RewardedTrajectory extends Trajectory {
  readonly bucket: Bucket;
  /** [L] window entropies. */
  readonly windows: Float32Array;
  /** [L] 1 where the token counts as high-entropy. */
  readonly mask: Float32Array;
  /** N_HE: number of high-entropy tokens. */
  readonly highEntropy: number;
  /** Terms of the reward and their sum. */
  readonly reward: Reward;
  /** λ_d of its bucket where advantages carry the bonus ψ, else 0. */
  readonly lambda: number;
}

/** A trajectory with its advantage. */
export interface ShapedTrajectory extends RewardedTrajectory {
  /** A_i before the token-level bonus; the mean over the tokens where they differ. */
  readonly advantage: number;
  /** [L] the advantage of every token before the bonus; undefined: `advantage` at each. */
  readonly advantages?: ArrayLike<number>;
  /** [L] the value head's values before the update, and what they should have been; there with GAE. */
  readonly values?: { readonly old: ArrayLike<number>; readonly returns: ArrayLike<number> };
}
