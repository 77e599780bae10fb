/**
 * From judged rollouts to rewards: difficulty buckets, high-entropy tokens, the entropy reward, and the groups that online
 * filtering keeps.
 * @module
 */
import type { Config } from "./config_types.ts";
import { type Bucket, bucketOf } from "./difficulty.ts";
import type { Rewarder, Shaping } from "./reward.ts";
import { rulesOf } from "./rules.ts";
import type { RewardedTrajectory, Trajectory } from "./trajectory.ts";
import type { WindowReport } from "./window_analysis.ts";

/** Rewarded trajectories and what they were shaped with. */
export interface RewardedBatch {
  readonly trajectories: readonly RewardedTrajectory[];
  readonly shaping: Shaping;
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
 * Rewards a batch.
 * @param rewarder its controllers move on by this batch
 */
export function rewardBatch(
  trajectories: readonly Trajectory[],
  windows: WindowReport,
  rewarder: Rewarder,
  config: Config,
): RewardedBatch {
  const rules = rulesOf(config);
  const bucketOfGroup = new Map<number, Bucket>();
  for (const [group, members] of groupsOf(trajectories)) {
    const correct = members.filter((i) => trajectories[i].accuracy > 0).length;
    bucketOfGroup.set(group, bucketOf(correct, members.length, rules.difficulty));
  }
  const buckets = trajectories.map((t) => bucketOfGroup.get(t.group)!);
  const { rewards, shaping, lambda } = rewarder.reward(trajectories, buckets, windows);
  const bonus = config.aepo.entropy_shaping && rules.advantage === "paper";
  return {
    shaping,
    trajectories: trajectories.map((t, i) => ({
      ...t,
      bucket: buckets[i],
      windows: windows.windows[i],
      mask: windows.masks[i],
      highEntropy: windows.counts[i],
      reward: rewards[i],
      lambda: bonus ? lambda[buckets[i]] : 0,
    })),
  };
}

/** Groups that online filtering keeps: mean of the key strictly between the bounds. */
export function keptGroups(rewarded: readonly RewardedTrajectory[], config: Config): Set<number> {
  const { online_filtering, filter_key, filter_low, filter_high } = config.algorithm;
  const kept = new Set<number>();
  for (const [group, members] of groupsOf(rewarded)) {
    const value = (t: RewardedTrajectory) => filter_key === "overall" ? t.reward.overall : t[filter_key];
    const mean = members.reduce((s, i) => s + value(rewarded[i]), 0) / members.length;
    if (!online_filtering || (mean > filter_low && mean < filter_high)) kept.add(group);
  }
  return kept;
}
