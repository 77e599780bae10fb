import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { everyTokenF1, type ScoredTrace, scoreTraces, windowScores } from "../../study/decisions.ts";
import { loadConfig } from "../../trainer/config.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

const options = { sanitizeOps: false, sanitizeResources: false };

Deno.test("study: F1 by window: the threshold comes from the validation half and is counted on the other", () => {
  const trace = (entropies: number[], truth: string, validation: boolean): ScoredTrace => ({
    entropies,
    decisions: [...truth].map((c) => c === "x"),
    validation,
  });
  const traces = [
    // Best at w = 1 with threshold 2: both found, nothing else.
    trace([0, 2, 0, 3], ".x.x", true),
    // There it finds tokens 0 and 2, of which one is a decision, and misses one: F1 = 1/2.
    trace([2, 0, 5, 1], "x..x", false),
  ];
  const [one, two] = windowScores(traces, [1, 2]);
  assertEquals([one.threshold, one.precision, one.recall, one.f1], [2, 0.5, 0.5, 0.5]);
  // Means of two: validation 1, 1, 1.5, 3 (the last window is cut): threshold 1 takes all, F1 2/3, as does 3 alone.
  assertEquals(two.window, 2);
  assertEquals(two.threshold, 3);
  // Test means: 1, 2.5, 3, 1.
  assertEquals([two.precision, two.recall], [0, 0]);
  assertAlmostEquals(everyTokenF1(traces), 2 / 3);
});

Deno.test({
  name: "study: decisions of the teacher's traces are scored token by token under a model, pictures too",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const { config } = loadConfig({ preset: "smoke", overrides: ["data.micro.val_count=16"] });
    const base = new URL("../../models/micro", import.meta.url).pathname;
    const traces = await scoreTraces(gpu, base, config);
    assert(traces.length >= 32);
    for (const { entropies, decisions } of traces) {
      assertEquals(entropies.length, decisions.length);
      assert(decisions.includes(true) && decisions.at(-1) === false, "the end token decides nothing");
    }
    const mean = (decision: boolean) => {
      const all = traces.flatMap((t) =>
        [...t.decisions].flatMap((d, i) => d === decision ? [t.entropies[i]] : [])
      );
      return all.reduce((a, b) => a + b, 0) / all.length;
    };
    // What follows from the text before it is nearly certain to the model that has learned such texts.
    assert(mean(true) > 3 * mean(false), `${mean(true)} and ${mean(false)}`);
    assert(windowScores(traces, [1])[0].f1 > everyTokenF1(traces));
  },
});
