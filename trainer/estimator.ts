/**
 * Advantages of a batch by the configured estimator.
 * @module
 */
import {
  gae,
  groupAdvantages,
  referenceGroupAdvantages,
  reinforcePlusPlus,
  remaxAdvantages,
  rlooAdvantages,
} from "./advantage.ts";
import type { Config } from "./config_types.ts";
import { rulesOf } from "./rules.ts";
import type { RewardedTrajectory, ShapedTrajectory } from "./trajectory.ts";

/**
 * Adds the advantages. GRPO, RLOO and ReMax look at one prompt; the others whiten over all tokens of the batch, and there
 * a group that online filtering has dropped neither counts nor has an advantage.
 * @param learning the groups that are learned from
 * @param values [L] the value head's values of every trajectory that is learned from, for GAE
 */
export function estimateAdvantages(
  trajectories: readonly RewardedTrajectory[],
  learning: ReadonlySet<number>,
  config: Config,
  values?: ReadonlyMap<RewardedTrajectory, ArrayLike<number>>,
): ShapedTrajectory[] {
  const { algorithm } = config;
  const overall = trajectories.map((t) => t.reward.overall);
  const groups = trajectories.map((t) => t.group);
  const each = (advantages: ArrayLike<number>) =>
    trajectories.map((t, i): ShapedTrajectory => ({ ...t, advantage: advantages[i] }));
  switch (algorithm.adv_estimator) {
    case "grpo": {
      if (!algorithm.norm_adv_by_std_in_grpo) return each(groupAdvantages(overall, groups, "none"));
      const release = rulesOf(config).advantage === "reference";
      return each(release ? referenceGroupAdvantages(overall, groups) : groupAdvantages(overall, groups));
    }
    case "rloo":
      return each(rlooAdvantages(overall, groups));
    case "remax":
      return each(remaxAdvantages(overall, trajectories.map(baselineOf)));
    case "reinforce_plus_plus":
      return byToken(trajectories, learning, (batch) => {
        const { rewards, mask } = tokenRewards(batch);
        const { advantages } = reinforcePlusPlus(rewards, mask, algorithm.gamma);
        return advantages.map((row) => ({ advantages: row }));
      });
    case "gae":
      return byToken(trajectories, learning, (batch) => {
        const { rewards, mask } = tokenRewards(batch);
        const old = batch.map((t) => valuesOf(t, values));
        const { advantages, returns } = gae(rewards, old, mask, algorithm.gamma, algorithm.lam);
        return advantages.map((row, i) => ({
          advantages: row,
          values: { old: old[i], returns: returns[i] },
        }));
      });
  }
}

function baselineOf(t: RewardedTrajectory): number {
  if (t.baseline === undefined) throw new Error("ReMax needs the reward of the greedy answer");
  return t.baseline;
}

function valuesOf(
  t: RewardedTrajectory,
  values: ReadonlyMap<RewardedTrajectory, ArrayLike<number>> | undefined,
): ArrayLike<number> {
  const row = values?.get(t);
  if (!row) throw new Error("GAE needs the values of every trajectory that is learned from");
  return row;
}

/** Token rewards [L] of every response, the reward at its last token, and masks of ones. */
function tokenRewards(batch: readonly RewardedTrajectory[]): { rewards: Float64Array[]; mask: Uint8Array[] } {
  return {
    rewards: batch.map((t) => {
      const row = new Float64Array(t.tokens.length);
      row[row.length - 1] = t.reward.overall;
      return row;
    }),
    mask: batch.map((t) => new Uint8Array(t.tokens.length).fill(1)),
  };
}

/** Advantages [L], and values where there are any, of the trajectories that are learned from; the others get 0. */
function byToken(
  trajectories: readonly RewardedTrajectory[],
  learning: ReadonlySet<number>,
  estimate: (
    batch: readonly RewardedTrajectory[],
  ) => readonly { advantages: Float64Array; values?: ShapedTrajectory["values"] }[],
): ShapedTrajectory[] {
  const learned = trajectories.filter((t) => learning.has(t.group));
  const rows = new Map(learned.length === 0 ? [] : estimate(learned).map((row, i) => [learned[i], row]));
  return trajectories.map((t) => {
    const row = rows.get(t);
    if (!row) return { ...t, advantage: 0 };
    return { ...t, ...row, advantage: row.advantages.reduce((s, a) => s + a, 0) / row.advantages.length };
  });
}
