import { assert, assertEquals, assertRejects } from "@std/assert";
import { loadConfig } from "../../trainer/config.ts";
import {
  batchThreshold,
  countHighEntropy,
  quantile,
  semanticMask,
  windowEntropy,
  windowMask,
} from "../../trainer/entropy.ts";
import { HighEntropyTokens } from "../../trainer/high_entropy.ts";
import { countTriggers, percentileThreshold } from "../../trainer/reference_entropy.ts";
import { EntropyThresholdEma } from "../../trainer/reference_recipe.ts";
import { rulesOf } from "../../trainer/rules.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { madeTrajectory } from "./made_trajectory.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
/** Token i is spelt w<i>. */
const tokenizer = { decode: (ids: Iterable<number>) => `Ġ W${[...ids].join()}` };
const WORDS = Array.from({ length: 50 }, (_, i) => `w${i}`).filter((_, i) => i % 3 === 0);
const isTrigger = (ids: ArrayLike<number>) => Array.from(ids, (id) => id % 3 === 0 ? 1 : 0);

async function tokensBy(recipe: "paper" | "reference", ...overrides: string[]) {
  const { config } = loadConfig({
    overrides: [`algorithm.recipe=${recipe}`, `aepo.trigger_words=${JSON.stringify(WORDS)}`, ...overrides],
  });
  return (threshold?: number | null) =>
    oneGpu().then((gpu) =>
      new HighEntropyTokens(gpu, tokenizer, config.aepo, rulesOf(config), threshold ?? null)
    );
}

const batches = [0, 1, 2].map((b) =>
  [40, 3, 70, 5, 6].map((length, i) => madeTrajectory(10 * b + i, b, length))
);

Deno.test({
  name: "high-entropy tokens: the reference's counts, soft costs and running threshold, batch after batch",
  ...options,
  fn: async () => {
    const make = await tokensBy("reference");
    let tokens = await make();
    const ema = new EntropyThresholdEma();
    const triggers = new Set(WORDS);
    for (const batch of batches) {
      // A look ahead learns nothing.
      const before = tokens.state();
      await tokens.find(batch);
      assertEquals(tokens.state(), before);
      assertEquals(tokens.state() === null, ema.state() === null);
      const report = await tokens.find(batch);
      tokens.learn(batch, report);
      assert(Math.abs(report.threshold - ema.threshold) < 1e-6, `${report.threshold} for ${ema.threshold}`);
      batch.forEach((t, i) => {
        const words = Array.from(t.topTokens!, (id) => tokenizer.decode([id]));
        const wanted = countTriggers(t.entropies, words, triggers, ema.threshold, 4);
        assertEquals(report.counts[i], wanted.valid, `trajectory ${i}`);
        const soft = report.masks[i].reduce(
          (s, m, k) => s + m * Math.max(0, report.windows[i][k] - report.threshold),
          0,
        );
        assert(Math.abs(soft - wanted.softCost) < 1e-4, `${soft} against ${wanted.softCost}`);
      });
      ema.update(batch.map((t) => percentileThreshold(t.entropies, 95, 4)));
      assert(Math.abs(tokens.state()! - ema.state()!) < 1e-6);
      // Saved and continued.
      const state: number | null = JSON.parse(JSON.stringify(tokens.state()));
      tokens.free();
      tokens = await make(state);
    }
    assert(ema.threshold > 0);
    tokens.free();
  },
});

Deno.test({
  name: "high-entropy tokens: windows, thresholds and masks of either recipe can be combined",
  ...options,
  fn: async () => {
    const [batch] = batches;
    const counts = new Map<string, string>();
    for (const window of ["paper", "reference"] as const) {
      const windows = batch.map((t) => windowEntropy(t.entropies, 4, window));
      // Of the windows that exist; NaN marks the others.
      const tau = batchThreshold(windows.map((w) => w.filter((h) => !Number.isNaN(h))));
      for (const mask of ["window", "trigger", "semantic"] as const) {
        const rules = [`aepo.rules.window=${window}`, `aepo.rules.mask=${mask}`];
        const tokens = await (await tokensBy("paper", ...rules))();
        await tokens.find(batches[1]);
        assertEquals(tokens.state(), null);
        const report = await tokens.find(batch);
        tokens.learn(batch, report);
        assert(Math.abs(report.threshold - tau) < 1e-6);
        // The batch's own, for the rollouts to come.
        assertEquals(tokens.state(), report.threshold);
        const own = quantile(batch.flatMap((t) => [...t.entropies]), 0.95);
        batch.forEach((t, i) => {
          const top = isTrigger(t.topTokens!);
          const wanted = mask === "semantic"
            ? semanticMask(t.entropies, isTrigger(t.tokens), own)
            : windowMask(windows[i], report.threshold).map((m, k) => mask === "trigger" ? m * top[k] : m);
          assertEquals([...report.masks[i]], [...wanted], `${window} ${mask} ${i}`);
          assertEquals(report.counts[i], countHighEntropy(wanted));
        });
        counts.set(`${window} ${mask}`, report.counts.join());
        tokens.free();
      }
      const first =
        await (await tokensBy("paper", "aepo.rules.threshold=reference", `aepo.rules.window=${window}`))();
      const report = await first.find(batch);
      // Before the first batch every window that exists is inside.
      const exist = windows.map((w) => w.filter((h) => !Number.isNaN(h)).length);
      assertEquals([...report.counts], exist);
      first.free();
    }
    // Every combination counts something of its own, but that the semantic mask looks at no window.
    assertEquals(new Set(counts.values()).size, 5);
  },
});

Deno.test({
  name: "high-entropy tokens: without the most likely tokens the trigger mask is refused",
  ...options,
  fn: async () => {
    const tokens = await (await tokensBy("reference"))();
    const blind = batches[0].map(({ topTokens: _, ...t }) => t);
    await assertRejects(() => tokens.find(blind), Error, "topTokens");
    tokens.free();
  },
});
