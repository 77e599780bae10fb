import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  countTriggers,
  normaliseToken,
  percentileThreshold,
  REASONING_TRIGGERS,
  topEntropy,
  topEntropyWithTail,
  type TopPairs,
  topToken,
} from "../../trainer/reference_entropy.ts";

const pairs: TopPairs = [[3, Math.log(0.25)], [7, Math.log(0.5)]];

Deno.test("the tail bucket holds the missing mass", () => {
  assertAlmostEquals(topEntropy(pairs), 0.25 * Math.log(4) + 0.5 * Math.log(2), 1e-12);
  assertAlmostEquals(topEntropyWithTail(pairs), 0.5 * Math.log(4) + 0.5 * Math.log(2), 1e-12);
  assertEquals(topEntropyWithTail([[1, 0]]), 0);
  assertEquals(topToken(pairs), 7);
  assertEquals(topToken([[3, -1], [4, -1]]), 3);
});

Deno.test("tokens are compared without space marks, outer space and case", () => {
  assertEquals(["Ġ▁Wait", " So\n", "\u001c", "x y"].map(normaliseToken), ["wait", "so", "", "x y"]);
});

Deno.test("thresholds: windows after the token, incomplete ones filled with the mean", () => {
  assertEquals(percentileThreshold([9, 1, 3, 5], 100, 2), 4);
  assertEquals(percentileThreshold([9, 1, 3, 5], 0, 2), 2);
  assertEquals(percentileThreshold([9, 1, 3, 5], 50, 2), 3);
  assertEquals(percentileThreshold([9, 1], 95, 4), 9);
  assertEquals(percentileThreshold([], 95, 4), 0);
});

Deno.test("triggers: judged by the window after them, at the threshold valid, skipped without a whole window", () => {
  const words = ["Wait", "x", " so", "y", "if", "z"], triggers = new Set(["wait", "so", "if"]);
  assertEquals(countTriggers([0, 2, 9, 3, 0, 1], words, triggers, 2, 1), {
    valid: 2,
    invalid: 1,
    softCost: 1,
  });
  assertEquals(countTriggers([0, 2, 9, 3, 0, 1], words, triggers, 2, 2), {
    valid: 1,
    invalid: 1,
    softCost: 3.5,
  });
});

Deno.test("our own trigger list is normalised and without doubles", () => {
  assertEquals(REASONING_TRIGGERS.map(normaliseToken), [...REASONING_TRIGGERS]);
  assertEquals(new Set(REASONING_TRIGGERS).size, REASONING_TRIGGERS.length);
  assert(REASONING_TRIGGERS.includes("wait"));
});
