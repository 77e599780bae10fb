import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { loadConfig } from "../../trainer/config.ts";
import { referenceReward, ReferenceTargets } from "../../trainer/reference_recipe.ts";
import { plainReward, Rewarder } from "../../trainer/reward.ts";
import { rewardBatch } from "../../trainer/shape_batch.ts";
import { EntropyTargets, paperReward } from "../../trainer/shaping.ts";
import type { Trajectory } from "../../trainer/trajectory.ts";
import { madeTrajectory } from "./made_trajectory.ts";

const configOf = (...overrides: string[]) => loadConfig({ overrides }).config;
const RIGHT = [8, 6, 4, 3, 1, 0];

/** Six prompts with 8 rollouts, from all right to all wrong; N_HE differs by batch. */
function batch(step: number): { trajectories: Trajectory[]; counts: Float32Array } {
  const trajectories = RIGHT.flatMap((right, g) =>
    Array.from({ length: 8 }, (_, s) => madeTrajectory(g, s, 12, { accuracy: s < right ? 1 : 0 }))
  );
  const counts = Float32Array.from(trajectories, (t, i) => (5 * i + 3 * step + t.group * step) % 13);
  return { trajectories, counts };
}

function report({ trajectories, counts }: ReturnType<typeof batch>) {
  return {
    threshold: 1,
    windows: trajectories.map((t) => t.entropies),
    masks: trajectories.map((t) => t.entropies.map((h) => h >= 1 ? 1 : 0)),
    counts,
  };
}

/** Rewards of three batches, the controllers saved and continued between them. */
function run(config: ReturnType<typeof configOf>, resume: boolean) {
  let rewarder = new Rewarder(config);
  return [0, 1, 2].map((step) => {
    const made = batch(step);
    const preview = rewardBatch(made.trajectories, report(made), rewarder.preview(), config);
    const got = rewardBatch(made.trajectories, report(made), rewarder, config);
    assertEquals(preview, got);
    if (resume) rewarder = new Rewarder(config, JSON.parse(JSON.stringify(rewarder.state())));
    return { ...got, state: rewarder.state() };
  });
}

Deno.test("reward: the reference recipe is the release's score with its targets and α, after the batch's update", () => {
  const config = configOf("algorithm.recipe=reference");
  const targets = new ReferenceTargets();
  run(config, true).forEach(({ trajectories, state }, step) => {
    const { counts } = batch(step);
    const ids = trajectories.map((t) => t.problem.row.id);
    targets.update(ids, trajectories.map((t) => t.accuracy), counts);
    const s = targets.state();
    assertEquals(state.reference, s);
    trajectories.forEach((t, i) => {
      const difficulty = s.difficulty[ids[i]];
      assertEquals(t.bucket, difficulty);
      const wanted = referenceReward({
        response: "",
        ground_truth: "",
        accuracy: t.accuracy,
        difficulty,
        high_entropy_token_num: counts[i],
        target_high_entropy_token_num: s.target[difficulty],
        alpha_entropy: s.alpha[difficulty],
      }, () => false);
      assertAlmostEquals(t.reward.overall, wanted.overall, 1e-12);
      assertEquals(t.lambda, 0);
    });
    // As in the release a wrong answer earns a bonus: the sign the paper turns.
    assert(trajectories.every((t) => t.accuracy === 1 || t.reward.shaping > 0));
    assert(state.ascent!.lambda.hard >= 0 && state.ascent!.budget !== null);
  });
});

Deno.test("reward: the paper's recipe punishes wrong answers by its running targets", () => {
  const config = configOf();
  const targets = new EntropyTargets({ cap: config.aepo.lambda_cap });
  let punished = 0;
  run(config, true).forEach(({ trajectories, state, shaping }, step) => {
    const { counts } = batch(step);
    const byBucket = { easy: [] as number[], medium: [] as number[], hard: [] as number[] };
    trajectories.forEach((t, i) => byBucket[t.bucket].push(counts[i]));
    const wanted = targets.update(byBucket);
    assertEquals(shaping, wanted);
    assertEquals(state, { targets: targets.state() });
    trajectories.forEach((t, i) => {
      const { target, lambda } = wanted[t.bucket]!;
      assertAlmostEquals(
        t.reward.overall,
        paperReward(t.accuracy, t.bucket, counts[i], { target, lambda }),
        1e-12,
      );
      assertEquals(t.lambda, lambda);
      punished += t.reward.shaping < 0 ? 1 : 0;
    });
  });
  assert(punished > 0);
});

Deno.test("reward: literal targets leave λ at 0; a resumed run gives the rewards of one never stopped", () => {
  for (const recipe of ["paper", "reference"]) {
    const config = configOf(`algorithm.recipe=${recipe}`);
    assertEquals(run(config, true), run(config, false));
  }
  for (const { trajectories } of run(configOf("aepo.literal_lambda=true"), false)) {
    assert(trajectories.every((t) => t.lambda === 0 && t.reward.shaping === 0));
  }
});

Deno.test("reward: buckets after rewards, as the release does with online filtering: all easy, target 0, first α", () => {
  const config = configOf("algorithm.recipe=reference", "reference.filter_first=true");
  run(config, false).forEach(({ trajectories }, step) => {
    const { counts } = batch(step);
    trajectories.forEach((t, i) => {
      const wanted = referenceReward({
        response: "",
        ground_truth: "",
        accuracy: t.accuracy,
        high_entropy_token_num: counts[i],
        target_high_entropy_token_num: 0,
      }, () => false);
      assertAlmostEquals(t.reward.overall, wanted.overall, 1e-12);
    });
  });
});

Deno.test("reward: entropy shaping off leaves accuracy, format and the overlong penalty of DAPO", () => {
  const config = configOf(
    "aepo.entropy_shaping=false",
    "worker.reward.format_weight=0.5",
    "worker.reward.overlong_buffer_length=8",
    "worker.reward.overlong_penalty_factor=2",
    "data.max_response_length=16",
  );
  const { trajectories } = batch(0);
  const made = {
    trajectories: trajectories.map((t, i) => ({ ...t, format: i % 2 })),
    counts: batch(0).counts,
  };
  const got = rewardBatch(made.trajectories, report(made), new Rewarder(config), config);
  for (const t of got.trajectories) {
    // 12 of 16 tokens: halfway into the buffer of 8.
    assertEquals(t.reward, {
      overall: t.accuracy + 0.5 * t.format - 1,
      shaping: 0,
      format: 0.5 * t.format,
      overlong: -1,
    });
    assertEquals(plainReward(t, config), t.reward);
  }
});

Deno.test("reward: the difficulty rule decides where the two recipes differ, for 3 rollouts", () => {
  const trajectories = [0, 1, 2].map((s) => madeTrajectory(0, s, 5, { accuracy: s < 2 ? 1 : 0 }));
  const made = { trajectories, counts: Float32Array.of(1, 2, 3) };
  const bucket = (...overrides: string[]) => {
    const config = configOf(...overrides);
    return rewardBatch(trajectories, report(made), new Rewarder(config), config).trajectories[0].bucket;
  };
  // 2 of 3 is 5.33 of 8.
  assertEquals(bucket(), "medium");
  assertEquals(bucket("aepo.rules.difficulty=reference"), "easy");
  assertNotEquals(
    bucket("algorithm.recipe=reference"),
    bucket("algorithm.recipe=reference", "aepo.rules.difficulty=paper"),
  );
});
