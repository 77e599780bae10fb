/**
 * High-entropy windows of a batch of trajectories, on the GPU: window means, the threshold τ, masks and counts.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Recipe } from "./difficulty.ts";
import { hweMask, meanThreshold, spanQuantile, windowMean } from "../shaders/entropy_window.ts";

/** What the windows of a batch are. */
export interface WindowReport {
  /** τ: the mean over trajectories of the quantile of their window entropies, or the one that was given; nats. */
  readonly threshold: number;
  /** [L] window entropies of every trajectory; −1 where a `reference` window is not whole. */
  readonly windows: readonly Float32Array[];
  /** [L] 1 where the window entropy reaches τ. */
  readonly masks: readonly Float32Array[];
  /** N_HE of every trajectory. */
  readonly counts: Float32Array;
}

/** Window kernels over up to a number of tokens and trajectories; grows when a batch is larger. */
export class WindowAnalysis {
  #gpu: Gpu;
  #window: number;
  #quantile: number;
  #kind: 0 | 1;
  #tokens = 0;
  #sequences = 0;
  #count = 0;
  #tensors:
    | Record<
      "entropy" | "spans" | "whole" | "windows" | "quantiles" | "threshold" | "mask" | "counts",
      Tensor
    >
    | undefined;
  #windowing: Program | undefined;
  #thresholding: Program | undefined;
  #masking: Program | undefined;

  /**
   * @param window tokens w of a window
   * @param quantile per-trajectory quantile, 0.95 in the paper
   * @param rule where windows lie, see `windowEntropy`
   */
  constructor(gpu: Gpu, window: number, quantile: number, rule: Recipe = "paper") {
    this.#gpu = gpu;
    this.#window = window;
    this.#quantile = quantile;
    this.#kind = rule === "paper" ? 0 : 1;
  }

  /** {@link begin} and what it returns. */
  async analyse(entropies: readonly Float32Array[], threshold?: number): Promise<WindowReport> {
    return await (await this.begin(entropies, threshold))();
  }

  /**
   * Submits the analysis of a batch, in one submit; no trajectory may be empty.
   * @param entropies [L] of every trajectory, nats
   * @param threshold τ; undefined: the mean over the trajectories of the quantile of their windows
   * @returns waits for it, with one read-back; to be called before the next batch begins
   */
  async begin(entropies: readonly Float32Array[], threshold?: number): Promise<() => Promise<WindowReport>> {
    const total = entropies.reduce((n, e) => n + e.length, 0);
    const t = this.#reserve(total, entropies.length);
    const packed = new Float32Array(total);
    const spans = new Uint32Array(entropies.length * 2);
    const whole = new Uint32Array(entropies.length * 2);
    // The paper cuts its last windows; the reference has none for the last w tokens, and no quantile may see them.
    const without = this.#kind === 0 ? 0 : this.#window;
    let at = 0;
    entropies.forEach((e, i) => {
      packed.set(e, at);
      spans.set([at, e.length], 2 * i);
      whole.set([at, Math.max(0, e.length - without)], 2 * i);
      at += e.length;
    });
    this.#count = entropies.length;
    this.#gpu.write(t.entropy, packed);
    this.#gpu.write(t.spans, spans);
    this.#gpu.write(t.whole, whole);
    if (threshold !== undefined) this.#gpu.write(t.threshold, Float32Array.of(threshold));
    await this.#gpu.together(async () => {
      await this.#windowing!.run();
      if (threshold === undefined) await this.#thresholding!.run();
      await this.#masking!.run();
    });
    return async () => {
      const [windows, mask, counts, tau] = await this.#gpu.read(t.windows, t.mask, t.counts, t.threshold);
      const cut = (all: Float32Array) =>
        entropies.map((e, i) => all.slice(spans[2 * i], spans[2 * i] + e.length));
      return {
        threshold: tau[0],
        windows: cut(windows as Float32Array),
        masks: cut(mask as Float32Array),
        counts: (counts as Float32Array).slice(0, entropies.length),
      };
    };
  }

  /** Gives the memory back. */
  free(): void {
    for (const program of [this.#windowing, this.#thresholding, this.#masking]) program?.destroy();
    if (this.#tensors) { for (const tensor of Object.values(this.#tensors)) this.#gpu.pool.free(tensor); }
    this.#tensors = undefined;
    this.#tokens = this.#sequences = 0;
  }

  #reserve(tokens: number, sequences: number) {
    if (this.#tensors && tokens <= this.#tokens && sequences <= this.#sequences) return this.#tensors;
    const n = Math.ceil(Math.max(tokens, this.#tokens) * 1.25);
    const b = Math.max(sequences, this.#sequences);
    this.free();
    [this.#tokens, this.#sequences] = [n, b];
    const gpu = this.#gpu;
    const t = this.#tensors = {
      entropy: gpu.alloc("entropies", [n], "data"),
      spans: gpu.alloc("spans", [b, 2], "data", "u32"),
      whole: gpu.alloc("spans of whole windows", [b, 2], "data", "u32"),
      windows: gpu.alloc("window entropies", [n], "data"),
      quantiles: gpu.alloc("quantiles", [b], "data"),
      threshold: gpu.alloc("threshold", [1], "data"),
      mask: gpu.alloc("window mask", [n], "data"),
      counts: gpu.alloc("window counts", [b], "data"),
    };
    const dims = { sequences: () => this.#count, window: this.#window, kind: this.#kind, q: this.#quantile };
    this.#windowing = new Program(gpu, "entropy windows")
      .add(windowMean, { entropy: t.entropy, spans: t.spans, out: t.windows }, dims);
    this.#thresholding = new Program(gpu, "entropy threshold")
      .add(spanQuantile, { values: t.windows, spans: t.whole, out: t.quantiles }, dims)
      .add(meanThreshold, { values: t.quantiles, out: t.threshold }, dims);
    this.#masking = new Program(gpu, "entropy mask")
      .add(hweMask, {
        window_mean: t.windows,
        spans: t.spans,
        threshold: t.threshold,
        mask: t.mask,
        counts: t.counts,
      }, dims);
    return t;
  }
}
