import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { figures, type JudgedResponse, meanInterval, summarise, wilson } from "../../trainer/evaluate.ts";
import type { Problem } from "../../trainer/problems.ts";

Deno.test("evaluate: Wilson's interval has its textbook values", () => {
  // Newcombe 1998, table I: 81 of 263.
  const [low, high] = wilson(81 / 263, 263);
  assertAlmostEquals(low, 0.2553, 5e-5);
  assertAlmostEquals(high, 0.3662, 5e-5);
  assertAlmostEquals(wilson(0, 20)[1], 0.1611, 5e-5);
  assertAlmostEquals(wilson(0, 20)[0], 0);
});

Deno.test("evaluate: the interval of a mean counts problems, not samples", () => {
  const [low, high] = meanInterval([0, 0.5, 1, 0.5]);
  const half = 1.959964 * Math.sqrt((0.25 + 0.25) / 3 / 4);
  assertAlmostEquals(low, 0.5 - half, 1e-9);
  assertAlmostEquals(high, 0.5 + half, 1e-9);
  assertEquals(meanInterval([1, 1, 1]), wilson(1, 3));
});

Deno.test("evaluate: the figures of a family at a level are those of its own responses", () => {
  const response = (source: string, level: string | undefined, correct: boolean): JudgedResponse => ({
    problem: {
      row: { id: `${source} ${level} ${correct}`, problem: "", answer: "", source, level },
      prompt: [],
      candidates: [],
      ...(source === "chart" && { images: () => Promise.resolve([]) }),
    },
    sample: 0,
    text: "",
    correct,
    format: 0,
    length: correct ? 3 : 5,
    highEntropy: 1,
    finish: "stop",
  });
  const responses = [
    response("sum", "easy", true),
    response("sum", "hard", true),
    response("sum", "hard", false),
    response("chart", "hard", false),
    response("chart", undefined, true),
  ];
  const e = summarise(responses, 0.25);
  assertEquals([e.threshold, e.responses], [0.25, responses]);
  assertEquals(e.bySourceAndLevel, {
    sum: { easy: figures([responses[0]]), hard: figures(responses.slice(1, 3)) },
    chart: { hard: figures([responses[3]]) },
  });
  assertEquals(e.bySource.chart, figures(responses.slice(3)));
  assertEquals(e.byLevel.hard, figures(responses.slice(1, 4)));
  assertEquals(e.withPictures, figures(responses.slice(3)));
  assertEquals(summarise(responses.slice(0, 3), 0).withPictures, undefined);
});

Deno.test("evaluate: avg@k is over all samples, pass@1 over first samples", () => {
  const problem = (id: string): Problem => ({
    row: { id, problem: "", answer: "", source: "s" },
    prompt: [],
    candidates: [],
  });
  const [a, b] = [problem("a"), problem("b")];
  const response = (p: Problem, sample: number, correct: boolean, length: number): JudgedResponse => ({
    problem: p,
    sample,
    text: "",
    correct,
    format: 0,
    length,
    highEntropy: length / 2,
    finish: length > 9 ? "length" : "stop",
  });
  const f = figures([
    response(a, 0, true, 4),
    response(a, 1, true, 6),
    response(b, 0, false, 10),
    response(b, 1, true, 8),
  ]);
  assertEquals([f.problems, f.samples, f.accuracy, f.passAt1, f.length, f.highEntropy, f.clipped], [
    2,
    4,
    0.75,
    0.5,
    7,
    3.5,
    0.25,
  ]);
  assert(f.interval[0] < 0.75 && f.interval[1] > 0.75);
});
