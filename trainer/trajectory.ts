/**
 * A judged rollout on its way to an update.
 * @module
 */
import type { BranchOrigin } from "./branching.ts";
import type { Bucket } from "./difficulty.ts";
import type { Problem } from "./problems.ts";

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
  readonly text: string;
  readonly finish: "stop" | "length";
  /** 1 when the answer is right. */
  readonly accuracy: number;
  /** 1 when the response has the wanted form. */
  readonly format: number;
}

/** What shaping adds to a trajectory. */
export interface ShapedTrajectory extends Trajectory {
  readonly bucket: Bucket;
  /** [L] window entropies. */
  readonly windows: Float32Array;
  /** [L] 1 inside high-entropy windows. */
  readonly mask: Float32Array;
  /** N_HE: number of tokens inside high-entropy windows. */
  readonly highEntropy: number;
  /** Terms of the reward and their sum. */
  readonly reward: {
    readonly overall: number;
    readonly shaping: number;
    readonly format: number;
    readonly overlong: number;
  };
  /** A_i before the token-level bonus. */
  readonly advantage: number;
  /** λ_d of its bucket. */
  readonly lambda: number;
}
