import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { logSoftmax } from "../../trainer/entropy.ts";
import { fullKl } from "../../trainer/kl.ts";
import {
  averageOverTokens,
  logitGradient,
  policyLoss,
  policyObjective,
  type PolicyOptions,
  tokenWeights,
  valueLoss,
} from "../../trainer/policy_objective.ts";

const CLIP: PolicyOptions = { clip_ratio_low: 0.2, clip_ratio_high: 0.3, loss_avg_mode: "token" };
const one = (ratio: number, advantage: number, options: Partial<PolicyOptions> = {}) =>
  policyLoss({ offsets: [0, 1], logProbs: [Math.log(ratio)], oldLogProbs: [0], advantages: [advantage] }, {
    ...CLIP,
    ...options,
  });

Deno.test("averages: seq weighs sequences, token weighs tokens, empty sequences count", () => {
  assertEquals([...tokenWeights([0, 1, 4], "seq")], [0.5, 1 / 6, 1 / 6, 1 / 6]);
  assertEquals([...tokenWeights([0, 1, 4], "token")], [0.25, 0.25, 0.25, 0.25]);
  assertAlmostEquals(averageOverTokens([4, 1, 1, 1], [0, 1, 4], "seq"), 2.5, 1e-12);
  assertAlmostEquals(averageOverTokens([4, 1, 1, 1], [0, 1, 4], "token"), 1.75, 1e-12);
  assertEquals(averageOverTokens([4], [0, 1, 1], "seq"), 2);
  assertThrows(() => tokenWeights([0, 2, 1], "seq"), UserError, "sequence 1");
});

Deno.test("clip: each side acts for its sign of the advantage only", () => {
  assertAlmostEquals(one(2, 1).loss, -1.3, 1e-12);
  assertAlmostEquals(one(0.5, 1).loss, -0.5, 1e-12);
  assertAlmostEquals(one(0.5, -1).loss, 0.8, 1e-12);
  assertAlmostEquals(one(2, -1).loss, 2, 1e-12);
  assertEquals([one(2, 1).gradLogProbs[0], one(0.5, -1).gradLogProbs[0]].map(Math.abs), [0, 0]);
  assertAlmostEquals(one(0.5, 1).gradLogProbs[0], -0.5, 1e-12);
  assertAlmostEquals(one(2, -1).gradLogProbs[0], 2, 1e-12);
});

Deno.test("dual clip bounds only negative advantages", () => {
  assertAlmostEquals(one(5, -1, { clip_ratio_dual: 3 }).loss, 3, 1e-12);
  assertEquals(one(5, -1, { clip_ratio_dual: 3 }).gradLogProbs[0], 0);
  assertAlmostEquals(one(5, -1, { clip_ratio_dual: null }).loss, 5, 1e-12);
  assertAlmostEquals(one(0.01, 1, { clip_ratio_dual: 3 }).loss, -0.01, 1e-12);
});

Deno.test("metrics count clipped tokens and the old-to-new KL", () => {
  const batch = {
    offsets: [0, 4],
    logProbs: [1, -1, 2, 0],
    oldLogProbs: [0, 0, 0, 0],
    advantages: [1, 1, -1, -1],
  };
  const { metrics } = policyLoss(batch, { ...CLIP, clip_ratio_dual: 3 });
  assertEquals(metrics.pg_clipfrac_higher, 0.25);
  assertEquals(metrics.pg_clipfrac_lower, 0.25);
  assertEquals(metrics.ppo_kl, -0.5);
  assertEquals(metrics.entropy_loss, -0.5);
});

Deno.test("log ratios beyond 20 are clamped and carry no gradient", () => {
  const far = policyLoss({ offsets: [0, 1], logProbs: [0], oldLogProbs: [-50], advantages: [-1] }, CLIP);
  assertAlmostEquals(far.loss, Math.exp(20), 1);
  assertEquals(far.gradLogProbs[0], 0);
});

const random = (seed: number) => () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;

Deno.test("gradient of the whole objective against finite differences, every KL kind and average", () => {
  const rand = random(7), n = 23, offsets = [0, 1, 6, 6, 23];
  const draw = (scale: number) => Float64Array.from({ length: n }, () => scale * (rand() - 0.5));
  const batch = { offsets, logProbs: draw(2), oldLogProbs: draw(2), advantages: draw(3) };
  const term = { refLogProbs: draw(2), weights: draw(1).map(Math.abs) };
  for (const kind of ["kl", "abs", "mse", "low_var_kl"] as const) {
    for (const loss_avg_mode of ["seq", "token"] as const) {
      for (const clip_ratio_dual of [undefined, 1.5]) {
        const options = { ...CLIP, loss_avg_mode, clip_ratio_dual };
        const at = (t: number, h: number) =>
          policyObjective(
            { ...batch, logProbs: batch.logProbs.map((x, i) => i === t ? x + h : x) },
            options,
            { ...term, kind },
          ).loss;
        const { gradLogProbs } = policyObjective(batch, options, { ...term, kind });
        for (let t = 0; t < n; t++) {
          const wanted = (at(t, 1e-6) - at(t, -1e-6)) / 2e-6;
          assertAlmostEquals(
            gradLogProbs[t],
            wanted,
            1e-7,
            `${kind} ${loss_avg_mode} dual ${clip_ratio_dual} token ${t}`,
          );
        }
      }
    }
  }
});

Deno.test("gradient with respect to logits against finite differences, full KL included", () => {
  const rand = random(3), vocabulary = 11, temperature = 0.7;
  const logits = Float64Array.from({ length: vocabulary }, () => 3 * rand());
  const ref = logSoftmax(Float64Array.from({ length: vocabulary }, () => 3 * rand()), temperature);
  const oldLogProbs = [logSoftmax(logits, temperature)[4] + 0.05];
  const value = (z: Float64Array) => {
    const row = logSoftmax(z, temperature);
    const batch = { offsets: [0, 1], logProbs: [row[4]], oldLogProbs, advantages: [0.8] };
    const term = { refLogProbs: [ref[4]], kind: "full" as const, weights: [0.3], fullKl: [fullKl(row, ref)] };
    return policyObjective(batch, CLIP, term);
  };
  const here = value(logits);
  const grad = logitGradient(logSoftmax(logits, temperature), {
    action: 4,
    gradLogProb: here.gradLogProbs[0],
    gradFullKl: here.gradFullKl[0],
    refLogProbs: ref,
  }, temperature);
  assertAlmostEquals(grad.reduce((s, g) => s + g, 0), 0, 1e-12);
  assert(grad.some((g) => Math.abs(g) > 1e-3));
  for (let v = 0; v < vocabulary; v++) {
    const at = (h: number) => value(logits.map((z, i) => i === v ? z + h : z)).loss;
    assertAlmostEquals(grad[v], (at(1e-6) - at(-1e-6)) / 2e-6, 1e-7, `logit ${v}`);
  }
  assertThrows(
    () => logitGradient([0], { action: 0, gradLogProb: 0, gradFullKl: 1 }),
    UserError,
    "reference",
  );
});

Deno.test("full KL needs its values", () => {
  const batch = { offsets: [0, 1], logProbs: [0], oldLogProbs: [0], advantages: [0] };
  assertThrows(
    () => policyObjective(batch, CLIP, { refLogProbs: [0], kind: "full", weights: [1] }),
    UserError,
    "exact KL",
  );
  const got = policyObjective(batch, CLIP, { refLogProbs: [0], kind: "full", weights: [0.5], fullKl: [2] });
  assertEquals([got.loss + 0, got.gradFullKl[0], got.kl[0]], [1, 0.5, 2]);
});

Deno.test("value loss: the larger of plain and clipped, gradient against finite differences", () => {
  const rand = random(11), n = 17, offsets = [0, 4, 17];
  const draw = () => Float64Array.from({ length: n }, () => 4 * (rand() - 0.5));
  const batch = { offsets, values: draw(), oldValues: draw(), returns: draw() };
  for (const mode of ["seq", "token"] as const) {
    const { gradValues, vf_clipfrac } = valueLoss(batch, 0.5, mode);
    assert(vf_clipfrac > 0 && vf_clipfrac < 1);
    for (let t = 0; t < n; t++) {
      const at = (h: number) =>
        valueLoss({ ...batch, values: batch.values.map((x, i) => i === t ? x + h : x) }, 0.5, mode).loss;
      assertAlmostEquals(gradValues[t], (at(1e-6) - at(-1e-6)) / 2e-6, 1e-7, `${mode} token ${t}`);
    }
  }
  const single = (v: number) =>
    valueLoss({ offsets: [0, 1], values: [v], oldValues: [0], returns: [1] }, 0.5, "token");
  assertEquals([single(3).loss, single(0.8).loss, single(0.8).vf_clipfrac], [2, 0.125, 1]);
});
