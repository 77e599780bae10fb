/**
 * The reward of a batch by the configured rule, and the controllers behind it: N_target(d) and λ_d of the paper, targets,
 * α_d and the dual ascent's λ of the release.
 * @module
 */
import type { Config } from "./config_types.ts";
import { type Bucket, BUCKETS, perBucket } from "./difficulty.ts";
import {
  type LambdaAscentState,
  LambdaDualAscent,
  referenceShaping,
  ReferenceTargets,
  type ReferenceTargetState,
} from "./reference_recipe.ts";
import { rulesOf } from "./rules.ts";
import {
  type BucketShaping,
  EntropyTargets,
  type EntropyTargetsState,
  moments,
  overlongPenalty,
  paperReward,
} from "./shaping.ts";
import type { Trajectory } from "./trajectory.ts";
import type { WindowReport } from "./window_analysis.ts";

/** Terms of a reward and their sum. */
export interface Reward {
  /** The sum, with the accuracy. */
  readonly overall: number;
  /** What entropy shaping adds to the accuracy. */
  readonly shaping: number;
  /** Weighted format reward. */
  readonly format: number;
  /** Overlong penalty, at most 0. */
  readonly overlong: number;
}

/** State of the controllers behind a reward. */
export interface RewardState {
  /** N_target(d) of recipe `paper`. */
  readonly targets: EntropyTargetsState;
  /** Recipe `reference`: difficulties, targets and α_d. */
  readonly reference?: ReferenceTargetState;
  /** Recipe `reference`: λ by dual ascent, logged and not used, as in the release. */
  readonly ascent?: LambdaAscentState;
}

/** What one iteration was shaped with, by bucket. */
export type Shaping = Readonly<Partial<Record<Bucket, BucketShaping>>>;

/** Gives rewards to batch after batch. */
export class Rewarder {
  #config: Config;
  #targets: EntropyTargets;
  #reference: ReferenceTargets | undefined;
  #ascent: LambdaDualAscent | undefined;

  /** Fresh, or from a saved state. */
  constructor(config: Config, state?: RewardState) {
    const { aepo, reference } = config;
    this.#config = config;
    this.#targets = new EntropyTargets(
      { decay: aepo.target_decay, literal: aepo.literal_lambda, cap: aepo.lambda_cap },
      state?.targets,
    );
    if (rulesOf(config).reward === "paper") return;
    const constants = {
      alpha_entropy_lr: reference.alpha_entropy_lr,
      alpha_entropy_min: reference.alpha_entropy_min,
      alpha_entropy_max: reference.alpha_entropy_max,
      alpha_entropy_init: reference.alpha_entropy_init,
      difficulty: rulesOf(config).difficulty,
    };
    this.#reference = new ReferenceTargets(constants, state?.reference);
    this.#ascent = new LambdaDualAscent(undefined, undefined, state?.ascent);
  }

  /** A copy that may look at a batch without moving this one on. */
  preview(): Rewarder {
    return new Rewarder(this.#config, this.state());
  }

  /**
   * Rewards of a batch, what they were shaped with, and the paper's λ_d for the bonus ψ; the controllers move on by it.
   * @param buckets difficulty of every trajectory's prompt
   */
  reward(
    trajectories: readonly Trajectory[],
    buckets: readonly Bucket[],
    windows: WindowReport,
  ): { rewards: Reward[]; shaping: Shaping; lambda: Record<Bucket, number> } {
    const counts = perBucket<number[]>(() => []);
    buckets.forEach((bucket, i) => counts[bucket].push(windows.counts[i]));
    const paper = this.#targets.update(counts);
    const shaping = this.#reference ? this.#learn(trajectories, windows, counts) : paper;
    const reference = this.#reference?.state();
    const { aepo } = this.#config;
    const shapingOf = (t: Trajectory, i: number): number => {
      const { accuracy } = t, count = windows.counts[i];
      if (!aepo.entropy_shaping) return 0;
      if (reference) return this.#referenceShaping(t, count, reference);
      return paperReward(accuracy, buckets[i], count, paper[buckets[i]]!, aepo.penalty_cap) - accuracy;
    };
    const rewards = trajectories.map((t, i): Reward => {
      const plain = plainReward(t, this.#config);
      const shaping = shapingOf(t, i);
      return { ...plain, overall: t.accuracy + shaping + plain.format + plain.overlong, shaping };
    });
    return { rewards, shaping, lambda: perBucket((d) => paper[d]?.lambda ?? 0) };
  }

  /** Logged numbers of a bucket beside target and λ. */
  metrics(bucket: Bucket): Record<string, number> {
    if (!this.#reference || !this.#ascent) return {};
    return {
      alpha: this.#reference.state().alpha[bucket],
      lambda_dual: this.#ascent.state().lambda[bucket],
    };
  }

  /** What a checkpoint keeps. */
  state(): RewardState {
    return {
      targets: this.#targets.state(),
      ...(this.#reference && { reference: this.#reference.state() }),
      ...(this.#ascent && { ascent: this.#ascent.state() }),
    };
  }

  /** The release's s, with the bucket that it keeps of the problem. */
  #referenceShaping(t: Trajectory, count: number, state: ReferenceTargetState): number {
    const { filter_first, alpha_entropy_init } = this.#config.reference;
    if (filter_first) return referenceShaping("easy", t.accuracy, count, 0, alpha_entropy_init.easy);
    const bucket = state.difficulty[t.problem.row.id];
    return referenceShaping(bucket, t.accuracy, count, state.target[bucket]!, state.alpha[bucket]);
  }

  /** Moves the release's controllers on. */
  #learn(
    trajectories: readonly Trajectory[],
    windows: WindowReport,
    counts: Record<Bucket, number[]>,
  ): Shaping {
    const ids = trajectories.map((t) => t.problem.row.id);
    this.#reference!.update(ids, trajectories.map((t) => t.accuracy), windows.counts);
    const { difficulty, target } = this.#reference!.state();
    const softCosts = windows.masks.map((mask, i) =>
      mask.reduce((sum, m, t) => sum + m * Math.max(0, windows.windows[i][t] - windows.threshold), 0)
    );
    this.#ascent!.update(ids, softCosts, difficulty, target);
    const lambda = this.#ascent!.state().lambda;
    return Object.fromEntries(
      BUCKETS.filter((d) => counts[d].length > 0 && target[d] !== undefined)
        .map((d) => [d, { ...moments(counts[d])!, target: target[d]!, lambda: lambda[d] }]),
    );
  }
}

/** Accuracy, format and overlong terms of a response, without entropy shaping. */
export function plainReward(
  t: Pick<Trajectory, "accuracy" | "format" | "tokens">,
  { data, worker: { reward } }: Pick<Config, "data" | "worker">,
): Reward {
  const format = reward.format_weight * t.format;
  const overlong = reward.overlong_buffer_length === 0 ? 0 : reward.overlong_penalty_factor *
    overlongPenalty(t.tokens.length, data.max_response_length, reward.overlong_buffer_length);
  return { overall: t.accuracy + format + overlong, shaping: 0, format, overlong };
}
