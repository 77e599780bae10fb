/**
 * From judged rollouts to rewards and advantages: windows, difficulty buckets, λ_d, the hierarchical entropy reward.
 * @module
 */
import { groupAdvantages, rlooAdvantages } from "./advantage.ts";
import type { Config } from "./config_types.ts";
import { type Bucket, bucketOf, perBucket } from "./difficulty.ts";
import { type BucketShaping, type EntropyTargets, overlongPenalty, paperReward } from "./shaping.ts";
import type { ShapedTrajectory, Trajectory } from "./trajectory.ts";
import type { WindowReport } from "./window_analysis.ts";

/** Shaped trajectories and what they were shaped with. */
export interface ShapedBatch {
  readonly trajectories: readonly ShapedTrajectory[];
  readonly buckets: Readonly<Partial<Record<Bucket, BucketShaping>>>;
}

/** Indices by group, in order of appearance. */
export function groupsOf(trajectories: readonly { readonly group: number }[]): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  trajectories.forEach((t, i) => {
    const list = groups.get(t.group);
    if (list) list.push(i);
    else groups.set(t.group, [i]);
  });
  return groups;
}

/**
 * Shapes a batch.
 * @param targets N_target(d) of the iterations before; moves on by this batch
 */
export function shapeBatch(
  trajectories: readonly Trajectory[],
  windows: WindowReport,
  targets: EntropyTargets,
  config: Config,
): ShapedBatch {
  const { aepo, algorithm, data, worker: { reward } } = config;
  const bucketOfGroup = new Map<number, Bucket>();
  for (const [group, members] of groupsOf(trajectories)) {
    const correct = members.filter((i) => trajectories[i].accuracy > 0).length;
    bucketOfGroup.set(group, bucketOf(correct, members.length, algorithm.recipe));
  }
  const counts = perBucket<number[]>(() => []);
  trajectories.forEach((t, i) => counts[bucketOfGroup.get(t.group)!].push(windows.counts[i]));
  const buckets = targets.update(counts);
  const rewards = trajectories.map((t, i) => {
    const bucket = bucketOfGroup.get(t.group)!;
    const shaped = aepo.entropy_shaping
      ? paperReward(t.accuracy, bucket, windows.counts[i], buckets[bucket]!, aepo.penalty_cap)
      : t.accuracy;
    const format = reward.format_weight * t.format;
    const overlong = reward.overlong_buffer_length === 0 ? 0 : reward.overlong_penalty_factor *
      overlongPenalty(t.tokens.length, data.max_response_length, reward.overlong_buffer_length);
    return { overall: shaped + format + overlong, shaping: shaped - t.accuracy, format, overlong };
  });
  const overall = rewards.map((r) => r.overall);
  const ids = trajectories.map((t) => t.group);
  const advantages = algorithm.adv_estimator === "rloo"
    ? rlooAdvantages(overall, ids)
    : algorithm.adv_estimator === "reinforce_plus_plus"
    ? whitened(overall)
    : groupAdvantages(overall, ids, algorithm.norm_adv_by_std_in_grpo ? "sample" : "none");
  return {
    buckets,
    trajectories: trajectories.map((t, i) => {
      const bucket = bucketOfGroup.get(t.group)!;
      return {
        ...t,
        bucket,
        windows: windows.windows[i],
        mask: windows.masks[i],
        highEntropy: windows.counts[i],
        reward: rewards[i],
        advantage: advantages[i],
        lambda: aepo.entropy_shaping ? buckets[bucket]!.lambda : 0,
      };
    }),
  };
}

/** REINFORCE++ on outcome rewards: whitened over the whole batch (its return is the reward at every token). */
function whitened(rewards: readonly number[]): Float64Array {
  const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
  const variance = rewards.reduce((s, r) => s + (r - mean) ** 2, 0) / Math.max(1, rewards.length - 1);
  return Float64Array.from(rewards, (r) => (r - mean) / Math.sqrt(variance + 1e-8));
}

/** Groups that online filtering keeps: mean of the key strictly between the bounds. */
export function keptGroups(shaped: readonly ShapedTrajectory[], config: Config): Set<number> {
  const { online_filtering, filter_key, filter_low, filter_high } = config.algorithm;
  const kept = new Set<number>();
  for (const [group, members] of groupsOf(shaped)) {
    const value = (t: ShapedTrajectory) => filter_key === "overall" ? t.reward.overall : t[filter_key];
    const mean = members.reduce((s, i) => s + value(shaped[i]), 0) / members.length;
    if (!online_filtering || (mean > filter_low && mean < filter_high)) kept.add(group);
  }
  return kept;
}
