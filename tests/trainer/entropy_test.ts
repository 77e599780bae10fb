import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import {
  batchThreshold,
  countHighEntropy,
  entropyOf,
  logSoftmax,
  quantile,
  semanticMask,
  windowEntropy,
  windowMask,
} from "../../trainer/entropy.ts";

Deno.test("log softmax: sums to 1, follows the temperature, survives large logits", () => {
  const row = logSoftmax([1, 2, 3], 0.5);
  assertAlmostEquals(row.reduce((s, x) => s + Math.exp(x), 0), 1, 1e-12);
  assertAlmostEquals(row[2] - row[1], 2, 1e-12);
  assertAlmostEquals(logSoftmax([1e4, 1e4])[0], -Math.LN2, 1e-9);
  assertThrows(() => logSoftmax([1], 0), UserError, "temperature");
});

Deno.test("entropy: ln V when uniform, 0 when certain, in nats", () => {
  assertAlmostEquals(entropyOf(logSoftmax([5, 5, 5, 5])), Math.log(4), 1e-12);
  assertEquals(entropyOf([0, -Infinity]), 0);
  assertAlmostEquals(entropyOf([Math.log(0.25), Math.log(0.75)]), 0.5623351446188083, 1e-12);
});

Deno.test("windows: paper starts at t and is cut at the end, reference starts at t + 1 and must be whole", () => {
  assertEquals([...windowEntropy([1, 2, 3, 6], 2)], [1.5, 2.5, 4.5, 6]);
  assertEquals([...windowEntropy([1, 2, 3, 6], 9)], [3, 11 / 3, 4.5, 6]);
  assertEquals([...windowEntropy([1, 2, 3, 6], 2, "reference")], [2.5, 4.5, NaN, NaN]);
  assertEquals([...windowEntropy([1, 2], 1, "reference")], [2, NaN]);
  assertEquals([...windowEntropy([], 4)], []);
  assertThrows(() => windowEntropy([1], 0), UserError, "window");
});

Deno.test("quantile interpolates at rank q (n - 1) and does not sort its input", () => {
  const values = [4, 1, 3, 2];
  assertEquals(quantile(values, 0.5), 2.5);
  assertAlmostEquals(quantile(values, 0.95), 3.85, 1e-12);
  assertEquals(quantile([7], 0.95), 7);
  assertEquals([quantile(values, 0), quantile(values, 1)], [1, 4]);
  assertEquals(values, [4, 1, 3, 2]);
  assertThrows(() => quantile([], 0.5), UserError);
  assertThrows(() => quantile([1], 1.5), UserError, "[0, 1]");
});

Deno.test("threshold: mean over trajectories, not over tokens; empty ones left out", () => {
  assertEquals(batchThreshold([[0, 2], [10, 10, 10, 10], []], 0.5), 5.5);
  assertThrows(() => batchThreshold([[]]), UserError, "empty");
});

Deno.test("masks: at the threshold counts, missing windows do not", () => {
  const mask = windowMask([1, 2, NaN, 3], 2);
  assertEquals([...mask], [0, 1, 0, 1]);
  assertEquals(countHighEntropy(mask), 2);
  assertEquals([...semanticMask([3, 3, 1, 2], [1, 0, 1, 1], 2)], [1, 0, 0, 1]);
});

Deno.test("every window mean lies between the smallest and the largest entropy", () => {
  const h = Array.from({ length: 123 }, (_, t) => Math.abs(Math.sin(t * 1.7)));
  for (const w of [1, 4, 5, 200]) {
    const windows = windowEntropy(h, w);
    assert(windows.every((x) => x >= Math.min(...h) - 1e-12 && x <= Math.max(...h) + 1e-12), `w=${w}`);
  }
});
