import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { bestThreshold, detect, fitLine, tInterval, tQuantile } from "../../study/statistics.ts";

Deno.test("study: the t-interval of hand-made numbers; one value has none, no value nothing", () => {
  // Mean 4, s² = 4, s/√3 = 1.1547, t(2) = 4.3027: half 4.9683.
  const { mean, low, high, n } = tInterval([2, 4, 6])!;
  assertEquals([mean, n], [4, 3]);
  assertAlmostEquals(low!, 4 - 4.9683, 1e-4);
  assertAlmostEquals(high!, 4 + 4.9683, 1e-4);
  assertEquals(tInterval([7]), { mean: 7, n: 1 });
  assertEquals(tInterval([]), undefined);
  assertEquals(tInterval([3, 3]), { mean: 3, low: 3, high: 3, n: 2 });
});

Deno.test("study: quantiles of Student's t are those of the tables, at both sides of the own table's end", () => {
  for (const [degrees, q] of [[1, 12.706], [2, 4.303], [10, 2.228], [11, 2.201], [20, 2.086], [30, 2.042]]) {
    assertAlmostEquals(tQuantile(degrees), q, 1e-3, `${degrees}`);
  }
});

Deno.test("study: a line through points on a line is that line; r² of others by hand; a single x has none", () => {
  assertEquals(fitLine([[0, 1], [1, 3], [2, 5]]), { slope: 2, intercept: 1, r2: 1, n: 3 });
  // xx = 2, xy = 2, yy = 8/3: slope 1, r² = 4 / (16/3) = 3/4.
  const line = fitLine([[0, 0], [1, 2], [2, 2]])!;
  assertAlmostEquals(line.slope, 1);
  assertAlmostEquals(line.intercept, 1 / 3);
  assertAlmostEquals(line.r2, 0.75);
  assertEquals(fitLine([[1, 2], [1, 3]]), undefined);
  assertEquals(fitLine([]), undefined);
});

Deno.test("study: precision, recall and F1 by hand", () => {
  // At or above 0.5: three found, two of them true, of four true ones.
  const found = detect([0.9, 0.5, 0.7, 0.1, 0.2, NaN], [1, 0, 1, 1, 0, 1], 0.5);
  assertEquals([found.precision, found.recall], [2 / 3, 1 / 2]);
  assertAlmostEquals(found.f1, 4 / 7);
  assertEquals(detect([0.1], [0], 1), { threshold: 1, precision: 0, recall: 0, f1: 0 });
});

Deno.test("study: the best threshold is the one that a search through all of them finds", () => {
  let state = 5;
  const next = () => (state = state * 16807 % 2147483647) / 2147483647;
  for (let round = 0; round < 50; round++) {
    const n = 1 + Math.floor(next() * 30);
    // Few different values, so that many are equal.
    const scores = Array.from({ length: n }, () => next() < 0.1 ? NaN : Math.floor(next() * 6));
    const truth = scores.map((s) => next() < 0.2 + 0.1 * (s || 0));
    const searched = [...new Set(scores)].filter((s) => !Number.isNaN(s)).map((s) =>
      detect(scores, truth, s)
    );
    const best = Math.max(...searched.map((d) => d.f1));
    const threshold = bestThreshold(scores, truth);
    if (searched.length === 0) assertEquals(threshold, Infinity);
    else {
      const highest = Math.max(...searched.filter((d) => d.f1 > best - 1e-12).map((d) => d.threshold));
      assertEquals(threshold, highest, `${scores} / ${truth}`);
      assert(detect(scores, truth, threshold).f1 > best - 1e-12);
    }
  }
});
