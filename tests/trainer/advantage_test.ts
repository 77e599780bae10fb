import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import {
  gae,
  groupAdvantages,
  maskedMean,
  maskedVariance,
  maskedWhiten,
  referenceGroupAdvantages,
  reinforcePlusPlus,
  remaxAdvantages,
  responseMask,
  rlooAdvantages,
  sequenceRewards,
  spreadOverTokens,
  tokenAdvantages,
} from "../../trainer/advantage.ts";

function close(got: ArrayLike<number>, wanted: number[], tolerance = 1e-6): void {
  assertEquals(got.length, wanted.length);
  wanted.forEach((x, i) => assertAlmostEquals(got[i], x, tolerance, `[${i}]`));
}

Deno.test("group advantages: groups apart and in any order; n - 1, n, or no division", () => {
  const groups = ["a", "b", "a", "b", "b"], rewards = [1, 0, 0, 0, 1];
  close(groupAdvantages(rewards, groups, "none"), [0.5, -1 / 3, -0.5, -1 / 3, 2 / 3]);
  close(groupAdvantages(rewards, groups, "sample", 0), [
    0.7071068,
    -0.5773503,
    -0.7071068,
    -0.5773503,
    1.1547005,
  ]);
  close(groupAdvantages(rewards, groups, "population", 0), [1, -0.7071068, -1, -0.7071068, 1.4142136]);
  close(groupAdvantages([1, 1], ["a", "a"]), [0, 0]);
  assertThrows(() => groupAdvantages([1, 2, 3], ["a", "a", "b"]), UserError, "group b");
  assertThrows(() => groupAdvantages([1, 2, 3], ["a", "a"]), UserError, "3 rewards");
});

Deno.test("the release's float32 mean shows on equal rewards, and only there", () => {
  const groups = [0, 0, 0, 0, 0, 0, 0, 0];
  const equal = referenceGroupAdvantages(new Array(8).fill(0.7), groups);
  assert(Math.abs(equal[0]) > 0.01 && Math.abs(equal[0]) < 0.1, `${equal[0]}`);
  const rewards = [1, 0, 0.5, 0.25, 1, 0, 0, 1];
  close(referenceGroupAdvantages(rewards, groups), [...groupAdvantages(rewards, groups)], 1e-6);
});

Deno.test("RLOO subtracts the others' mean, ReMax the greedy reward", () => {
  close(rlooAdvantages([1, 0, 0, 4], ["a", "a", "a", "a"]), [-1 / 3, -5 / 3, -5 / 3, 11 / 3]);
  close(remaxAdvantages([1, 2], [0.5, 3]), [0.5, -1]);
  assertThrows(() => rlooAdvantages([1], ["a"]), UserError, "at least 2");
});

Deno.test("spreading over tokens and token advantages", () => {
  assertEquals([...sequenceRewards([[0, 2, 1], [0, 0, 0]])], [3, 0]);
  assertEquals(spreadOverTokens([2], [[1, 1, 0]]).map((r) => [...r]), [[2, 2, 0]]);
  assertEquals([...tokenAdvantages(2, 4, [0, 1, -1, 0])], [2, 3, 1, 2]);
  assertEquals([...tokenAdvantages(2, 4, [0, 1, -1, 0], true)], [0.5, 1.5, -0.5, 0.5]);
  assertEquals([...tokenAdvantages(2, 2)], [2, 2]);
  assertEquals([...tokenAdvantages([4, 2], 2, [1, -1], true)], [3, 0]);
});

Deno.test("masked statistics leave masked entries out", () => {
  const values = [[1, 3, 99], [5, 99, 99]], mask = [[1, 1, 0], [1, 0, 0]];
  assertAlmostEquals(maskedMean(values, mask), 3, 1e-6);
  assertAlmostEquals(maskedVariance(values, mask), 4, 1e-6);
  close(maskedWhiten(values, mask)[0].slice(0, 2), [-1, 0], 1e-6);
  assertAlmostEquals(maskedVariance([[7]], [[1]]), 0, 1e-12);
});

Deno.test("REINFORCE++ discounts and restarts behind the mask", () => {
  const { returns, advantages } = reinforcePlusPlus([[0, 1, 5], [2, 0, 0]], [[1, 1, 0], [1, 0, 0]], 0.5);
  assertEquals(returns.map((r) => [...r]), [[0.5, 1, 5], [2, 0, 0]]);
  close(maskedWhiten(returns, [[1, 1, 0], [1, 0, 0]])[0], [...advantages[0]]);
});

Deno.test("GAE: lambda 1 gives discounted returns, lambda 0 one-step errors", () => {
  const rewards = [[0, 0, 1]], values = [[0.5, 0.25, 0.125]], mask = [[1, 1, 1]];
  close(gae(rewards, values, mask, 0.5, 1).returns[0], [0.25, 0.5, 1]);
  const one = gae(rewards, values, mask, 0.5, 0);
  close(one.returns[0], [0.125, 0.0625, 1]);
  close(one.advantages[0], [...maskedWhiten([[-0.375, -0.1875, 0.875]], mask)[0]]);
});

Deno.test("response mask ends with the first of several stop tokens", () => {
  assertEquals([...responseMask([4, 5, 7, 5], [7, 5])], [1, 1, 0, 0]);
  assertEquals([...responseMask([4, 4], [7])], [1, 1]);
});
