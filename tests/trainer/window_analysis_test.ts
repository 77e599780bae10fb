import { assert, assertEquals } from "@std/assert";
import { Rng } from "../../data/random.ts";
import { batchThreshold, countHighEntropy, windowEntropy, windowMask } from "../../trainer/entropy.ts";
import { WindowAnalysis } from "../../trainer/window_analysis.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

Deno.test({
  name:
    "window analysis: the GPU finds the windows, threshold, masks and counts of the f64 formulas, batch after batch",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const gpu = await oneGpu();
    for (const window of [1, 4]) {
      const analysis = new WindowAnalysis(gpu, window, 0.95);
      // A small batch, a larger one that makes it grow, and a small one again.
      for (const lengths of [[1, 5], [130, 1, 64, 65, 33, 2], [7]]) {
        const entropies = lengths.map((n, i) => {
          const rng = new Rng("entropies", window, i, n);
          return Float32Array.from({ length: n }, () => 4 * rng.float());
        });
        const report = await analysis.analyse(entropies);
        const windows = entropies.map((e) => windowEntropy(e, window));
        const threshold = batchThreshold(windows);
        assert(Math.abs(report.threshold - threshold) < 1e-6, `${report.threshold} against ${threshold}`);
        windows.forEach((w, i) => {
          w.forEach((x, t) => assert(Math.abs(report.windows[i][t] - x) < 1e-6));
          assertEquals([...report.masks[i]], [...windowMask(w, threshold)]);
          assertEquals(report.counts[i], countHighEntropy(windowMask(w, threshold)));
        });
      }
      analysis.free();
    }
  },
});
