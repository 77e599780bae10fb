import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import {
  EntropyTargets,
  keepGroup,
  lambdaClosedForm,
  moments,
  overlongPenalty,
  paperReward,
  shapingDistance,
  tokenBonus,
} from "../../trainer/shaping.ts";

Deno.test("moments divide by n", () => {
  assertEquals(moments([1, 3]), { mean: 2, variance: 1 });
  assertEquals(moments([]), undefined);
});

Deno.test("lambda is (mean - target) / (variance + eps), never below 0", () => {
  assertAlmostEquals(lambdaClosedForm({ mean: 3, variance: 2 }, 2), 0.49999975, 1e-9);
  assertEquals(lambdaClosedForm({ mean: 1, variance: 2 }, 2), 0);
});

Deno.test("targets start at the first batch's mean, so the first lambda is 0, then run with decay", () => {
  const targets = new EntropyTargets({ cap: Infinity });
  assertEquals(targets.update({ easy: [1, 3] }).easy, { mean: 2, variance: 1, target: 2, lambda: 0 });
  const second = targets.update({ easy: [3, 5] }).easy!;
  assertEquals([second.mean, second.target], [4, 2]);
  assertAlmostEquals(second.lambda, 2 / (1 + 1e-6), 1e-12);
  assertAlmostEquals(targets.state().easy!, 2.2, 1e-12);
  assertEquals(targets.state().hard, null);
});

Deno.test("hard turns the sign: too little exploration raises lambda, too much does not", () => {
  const turned = new EntropyTargets({ cap: Infinity }, { easy: null, medium: null, hard: 4 });
  assertAlmostEquals(turned.update({ hard: [1, 3] }).hard!.lambda, 2 / (1 + 1e-6), 1e-12);
  const over = new EntropyTargets({ cap: Infinity }, { easy: null, medium: null, hard: 1 });
  assertEquals(over.update({ hard: [1, 3] }).hard!.lambda, 0);
  const printed = new EntropyTargets({ cap: Infinity, turnHard: false }, {
    easy: null,
    medium: null,
    hard: 1,
  });
  assertAlmostEquals(printed.update({ hard: [1, 3] }).hard!.lambda, 1 / (1 + 1e-6), 1e-12);
});

Deno.test("the literal form is always 0, the cap bounds, an absent bucket keeps its target", () => {
  const start = { easy: 1, medium: 1, hard: 1 };
  assertEquals(new EntropyTargets({ literal: true }, start).update({ easy: [9, 9] }).easy!.lambda, 0);
  const capped = new EntropyTargets({ cap: 0.1 }, start);
  const out = capped.update({ easy: [9, 9] });
  assertEquals([out.easy!.lambda, out.medium], [0.1, undefined]);
  assertEquals(capped.state().medium, 1);
});

Deno.test("a saved state continues exactly", () => {
  const batches = [[1, 2], [4, 4, 9], [0, 1], [7]];
  const whole = new EntropyTargets(), first = new EntropyTargets();
  const wanted = batches.map((b) => whole.update({ medium: b, hard: b }));
  const got = batches.slice(0, 2).map((b) => first.update({ medium: b, hard: b }));
  const resumed = new EntropyTargets({}, JSON.parse(JSON.stringify(first.state())));
  assertEquals([...got, ...batches.slice(2).map((b) => resumed.update({ medium: b, hard: b }))], wanted);
});

Deno.test("options out of range are refused", () => {
  assertThrows(() => new EntropyTargets({ decay: 1.5 }), UserError, "1.5");
  assertThrows(() => new EntropyTargets({ cap: -1 }), UserError, "cap");
  assertThrows(() => new EntropyTargets({ epsilon: 0 }), UserError, "epsilon");
});

Deno.test("g: easy above, medium both ways, hard below", () => {
  const row = (delta: number) =>
    (["easy", "medium", "hard"] as const).map((d) => Math.abs(shapingDistance(d, delta)));
  assertEquals(row(2), [2, 2, 0]);
  assertEquals(row(-3), [0, 3, 3]);
});

Deno.test("only wrong answers lose, by lambda g up to the cap", () => {
  const shape = { target: 2, lambda: 0.1 };
  assertEquals(paperReward(1, "easy", 9, shape), 1);
  assertAlmostEquals(paperReward(0, "easy", 9, shape), -0.7, 1e-12);
  assertEquals(paperReward(0, "easy", 99, shape), -1);
  assertAlmostEquals(paperReward(0, "easy", 99, shape, Infinity), -9.7, 1e-12);
  assertEquals(paperReward(0, "hard", 9, shape), 0);
});

Deno.test("psi: only inside windows, sums to 0 over the trajectory", () => {
  const psi = tokenBonus([1, 3, 4, 9], [0, 1, 1, 0], 2, 0.5);
  assertEquals([...psi], [-0.375, 0.125, 0.625, -0.375]);
  assertEquals([...tokenBonus([], [], 2, 0.5)], []);
});

Deno.test("groups at or beyond the bounds are dropped", () => {
  assertEquals([keepGroup([0, 1]), keepGroup([1, 1]), keepGroup([0, 0]), keepGroup([])], [
    true,
    false,
    false,
    false,
  ]);
  assertEquals(keepGroup([-0.3, -0.1]), false);
  assertEquals(keepGroup([0.01, 0.01]), false);
});

Deno.test("overlong: free, linear, -1", () => {
  assertEquals([90, 95, 100, 101].map((n) => overlongPenalty(n, 100, 10) + 0), [0, -0.5, -1, -1]);
});
