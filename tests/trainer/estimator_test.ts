import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  gae,
  groupAdvantages,
  referenceGroupAdvantages,
  reinforcePlusPlus,
  rlooAdvantages,
} from "../../trainer/advantage.ts";
import { loadConfig } from "../../trainer/config.ts";
import { estimateAdvantages } from "../../trainer/estimator.ts";
import type { RewardedTrajectory } from "../../trainer/trajectory.ts";
import { madeTrajectory } from "./made_trajectory.ts";

const REWARDS = [[1, 0, 0.7], [0.2, 1, 1], [0, 0, 0]];
const batch = REWARDS.flatMap((rewards, g) =>
  rewards.map((overall, s): RewardedTrajectory => {
    const t = madeTrajectory(g, s, 2 + g + 2 * s, { baseline: g / 4 });
    return {
      ...t,
      bucket: "easy",
      windows: t.entropies,
      mask: t.entropies,
      highEntropy: 1,
      reward: { overall, shaping: 0, format: 0, overlong: 0 },
      lambda: 0,
    };
  })
);
const overall = batch.map((t) => t.reward.overall);
const groups = batch.map((t) => t.group);
const ALL = new Set([0, 1, 2]);
const by = (learning: Set<number>, ...overrides: string[]) =>
  estimateAdvantages(batch, learning, loadConfig({ overrides }).config);
const advantages = (...overrides: string[]) => by(ALL, ...overrides).map((t) => t.advantage);

Deno.test("estimator: GRPO with and without the deviation, in the paper's and the release's arithmetic; RLOO; ReMax", () => {
  assertEquals(advantages(), [...groupAdvantages(overall, groups)]);
  assertEquals(advantages("algorithm.norm_adv_by_std_in_grpo=false"), [
    ...groupAdvantages(overall, groups, "none"),
  ]);
  assertEquals(advantages("aepo.rules.advantage=reference"), [...referenceGroupAdvantages(overall, groups)]);
  assertEquals(advantages("algorithm.adv_estimator=rloo"), [...rlooAdvantages(overall, groups)]);
  assertEquals(advantages("algorithm.adv_estimator=remax"), overall.map((r, i) => r - groups[i] / 4));
  assert(by(ALL).every((t) => t.advantages === undefined));
});

Deno.test("estimator: ReMax without greedy answers is refused", () => {
  const config = loadConfig({ overrides: ["algorithm.adv_estimator=remax"] }).config;
  const without = batch.map(({ baseline: _, ...t }) => t);
  assertThrows(() => estimateAdvantages(without, ALL, config), Error, "greedy");
});

Deno.test("estimator: REINFORCE++ discounts towards the last token and whitens over the tokens that are learned from", () => {
  const learning = new Set([0, 1]);
  const got = by(learning, "algorithm.adv_estimator=reinforce_plus_plus", "algorithm.gamma=0.9");
  const learned = got.filter((t) => learning.has(t.group));
  const rewards = learned.map((t) => {
    const row = new Float64Array(t.tokens.length);
    row[row.length - 1] = t.reward.overall;
    return row;
  });
  const wanted = reinforcePlusPlus(rewards, rewards.map((r) => r.map(() => 1)), 0.9).advantages;
  learned.forEach((t, i) => {
    assertEquals(Array.from(t.advantages!), [...wanted[i]]);
    assertAlmostEquals(t.advantage, wanted[i].reduce((a, b) => a + b, 0) / wanted[i].length, 1e-12);
  });
  const flat = learned.flatMap((t) => [...Array.from(t.advantages!)]);
  assertAlmostEquals(flat.reduce((a, b) => a + b, 0), 0, 1e-6);
  assertAlmostEquals(flat.reduce((s, a) => s + a * a, 0) / (flat.length - 1), 1, 1e-6);
  // The first token of a right answer is worth less than its last.
  assert(learned[0].advantages![0] < learned[0].advantages![learned[0].tokens.length - 1]);
  assert(got.filter((t) => t.group === 2).every((t) => t.advantage === 0 && t.advantages === undefined));
  assertEquals(
    estimateAdvantages(
      batch,
      new Set(),
      loadConfig({ overrides: ["algorithm.adv_estimator=reinforce_plus_plus"] }).config,
    )
      .map((t) => t.advantage),
    batch.map(() => 0),
  );
});

Deno.test("estimator: GAE discounts, takes the values off and whitens over the tokens that are learned from", () => {
  const learning = new Set([0, 1]);
  const values = new Map(
    batch.map((t, i) => [t, Float32Array.from(t.tokens, (_, k) => (i - k) / 8)] as const),
  );
  const config = loadConfig({
    overrides: ["algorithm.adv_estimator=gae", "algorithm.gamma=0.9", "algorithm.lam=0.7"],
  }).config;
  const got = estimateAdvantages(batch, learning, config, values);
  const learned = batch.filter((t) => learning.has(t.group));
  const rewards = learned.map((t) =>
    Float64Array.from(t.tokens, (_, k) => k === t.tokens.length - 1 ? t.reward.overall : 0)
  );
  const old = learned.map((t) => values.get(t)!);
  const wanted = gae(rewards, old, rewards.map((r) => r.map(() => 1)), 0.9, 0.7);
  got.filter((t) => learning.has(t.group)).forEach((t, i) => {
    assertEquals(Array.from(t.advantages!), [...wanted.advantages[i]]);
    assertEquals([Array.from(t.values!.old), Array.from(t.values!.returns)], [[...old[i]], [
      ...wanted.returns[i],
    ]]);
    // At the last token the return is the reward itself.
    assertAlmostEquals(t.values!.returns[t.tokens.length - 1], t.reward.overall, 1e-6);
  });
  assert(got.filter((t) => t.group === 2).every((t) => t.advantage === 0 && t.values === undefined));
  assertThrows(() => estimateAdvantages(batch, learning, config), Error, "values");
});
