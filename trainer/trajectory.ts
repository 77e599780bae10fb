/**
 * A judged rollout on its way to an update.
 * @module
 */
import type { Bucket } from "./difficulty.ts";
import type { Problem } from "./problems.ts";

/** Where a rollout left another of its group. */
export interface Branch {
  /** `sample` of the rollout that it left. */
  readonly parent: number;
  /** Tokens shared with the parent: the index of the first token of its own. */
  readonly step: number;
  /** Window entropy that made it branch, nats. */
  readonly entropy: number;
}

/** One rollout with its reward and everything that enters its loss. L new tokens. */
export interface Trajectory {
  readonly problem: Problem;
  /** Rollouts of one prompt share it. */
  readonly group: number;
  readonly sample: number;
  /** Undefined for a rollout from the prompt. */
  readonly branch?: Branch;
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
