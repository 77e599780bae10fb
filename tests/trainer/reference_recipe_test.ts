import { assertAlmostEquals, assertEquals } from "@std/assert";
import {
  deadBand,
  EntropyThresholdEma,
  huberPenalty,
  LambdaDualAscent,
  referenceReward,
  referenceShaping,
  ReferenceTargets,
  roundHalfEven,
  saturation,
} from "../../trainer/reference_recipe.ts";

Deno.test("curves: Huber joins at kappa, saturation is 1/2 at 0, the dead band is at least 1", () => {
  assertEquals([-1, 0, 1, 2, 4].map((x) => huberPenalty(x, 2)), [0, 0, 0.25, 1, 3]);
  assertEquals(saturation(0, 3), 0.5);
  assertAlmostEquals(saturation(3, 3), 1 / (1 + Math.exp(-1)), 1e-12);
  assertEquals([deadBand(0, 0.15), deadBand(40, 0.15)], [1, 6]);
});

Deno.test("shaping: right answers off target lose, wrong ones gain, more so when hard", () => {
  assertAlmostEquals(referenceShaping("easy", 1, 5, 2, 0.5), -0.5 * 1 / 3, 1e-12);
  assertEquals(referenceShaping("easy", 1, 0, 9, 0.5) + 0, 0);
  assertEquals(referenceShaping("medium", 1, 0, 9, 0.5) < 0, true);
  assertAlmostEquals(referenceShaping("hard", 1, 1, 2, 0.5), 0.5 * 0.6, 1e-12);
  assertEquals(referenceShaping("hard", 1, 0, 9, 0.5) < 0, true);
  assertEquals(["easy", "medium", "hard"].map((d) => referenceShaping(d, 0, 0, 0, 1)), [0.3, 0.4, 0.6]);
  assertEquals(referenceShaping("easy", 1, 500, 2, 0.5), -0.5);
  assertEquals(referenceShaping("unknown", 1, 9, 2, 0.5), 0);
});

Deno.test("reward: accuracy 0 is graded again, 1 is not; the format never enters the sum", () => {
  const input = { response: "<think> a < / think > \\boxed{7}", ground_truth: "7", difficulty: "unknown" };
  assertEquals(referenceReward({ ...input, accuracy: 0 }, () => true).overall, 1);
  assertEquals(referenceReward({ ...input, accuracy: 0 }, () => false).overall, 0);
  assertEquals(referenceReward({ ...input, accuracy: 1 }, () => false).overall, 1);
  assertEquals(referenceReward(input, () => false).format, 1);
  assertEquals(referenceReward({ response: "7", ground_truth: "7" }, () => true).format, 0);
});

Deno.test("rounding goes half to even", () => {
  assertEquals([0.5, 1.5, 2.5, 2.4999, -0.5, 3].map((x) => roundHalfEven(x) + 0), [0, 2, 2, 2, 0, 3]);
});

Deno.test("targets are rounded means of problem means, alpha moves by the residue", () => {
  const t = new ReferenceTargets();
  t.update(["a", "a", "b", "b", "b", "c"], [1, 1, 1, 1, 0, 0], [2, 4, 1, 1, 1, 5.4]);
  assertEquals(t.state().difficulty, { a: "easy", b: "easy", c: "hard" });
  assertEquals(t.state().target, { easy: 2, hard: 5 });
  assertAlmostEquals(t.state().alpha.easy, 0.5, 1e-12);
  assertAlmostEquals(t.state().alpha.hard, 0.5 + 0.05 * (5 - 5.4), 1e-12);
  const resumed = new ReferenceTargets({}, JSON.parse(JSON.stringify(t.state())));
  for (const x of [t, resumed]) x.update(["d"], [1], [7.3]);
  assertEquals(resumed.state(), t.state());
  assertAlmostEquals(t.state().alpha.easy, 0.5 + 0.05 * 0.3, 1e-12);
});

Deno.test("alpha stays in its bounds", () => {
  const t = new ReferenceTargets({ alpha_entropy_lr: 100 });
  t.update(["a", "b"], [1, 0], [1.4, 1.4]);
  assertEquals(t.state().alpha, { easy: 2, medium: 0.5, hard: 0 });
});

Deno.test("threshold: -1, then the first median, then 1 % steps", () => {
  const ema = new EntropyThresholdEma();
  assertEquals(ema.threshold, -1);
  assertEquals(ema.update([1, 9, 2]), 2);
  assertAlmostEquals(ema.update([4, 6]), 2.03, 1e-12);
  assertEquals(new EntropyThresholdEma(ema.state()).threshold, ema.threshold);
});

Deno.test("dual ascent: first budgets stay, small buckets wait, a problem's last cost counts", () => {
  const ascent = new LambdaDualAscent(0.1, 10);
  const ids = ["a", "a", "a", "a", "a", "a", "a", "a", "b"];
  ascent.update(ids, [9, 9, 9, 9, 9, 9, 9, 5, 99], { a: "easy", b: "hard" }, { easy: 2 });
  assertAlmostEquals(ascent.state().lambda.easy, 0.3, 1e-12);
  assertEquals(ascent.state().lambda.hard, 0);
  assertEquals(ascent.state().budget, { easy: 2, medium: 1, hard: 1 });
  ascent.update(ids, new Array(9).fill(0), { a: "easy", b: "hard" }, { easy: 50 });
  assertAlmostEquals(ascent.state().lambda.easy, 0.1, 1e-12);
  assertEquals(ascent.state().budget!.easy, 2);
});
