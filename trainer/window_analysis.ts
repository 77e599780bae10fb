/**
 * High-entropy windows of a batch of trajectories, on the GPU: window means, the threshold τ, masks and counts.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { hweMask, meanThreshold, spanQuantile, windowMean } from "../shaders/entropy_window.ts";

/** What the windows of a batch are. */
export interface WindowReport {
  /** τ: mean over trajectories of the quantile of their window entropies, nats. */
  readonly threshold: number;
  /** [L] window entropies of every trajectory. */
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
  #tokens = 0;
  #sequences = 0;
  #count = 0;
  #tensors:
    | Record<"entropy" | "spans" | "windows" | "quantiles" | "threshold" | "mask" | "counts", Tensor>
    | undefined;
  #program: Program | undefined;

  /** @param window tokens w of a window @param quantile per-trajectory quantile, 0.95 in the paper */
  constructor(gpu: Gpu, window: number, quantile: number) {
    this.#gpu = gpu;
    this.#window = window;
    this.#quantile = quantile;
  }

  /** Analyses a batch; no trajectory may be empty. One read-back. */
  async analyse(entropies: readonly Float32Array[]): Promise<WindowReport> {
    const total = entropies.reduce((n, e) => n + e.length, 0);
    const t = this.#reserve(total, entropies.length);
    const packed = new Float32Array(total);
    const spans = new Uint32Array(entropies.length * 2);
    let at = 0;
    entropies.forEach((e, i) => {
      packed.set(e, at);
      spans.set([at, e.length], 2 * i);
      at += e.length;
    });
    this.#count = entropies.length;
    this.#gpu.write(t.entropy, packed);
    this.#gpu.write(t.spans, spans);
    await this.#program!.run();
    const [windows, mask, counts, threshold] = await this.#gpu.read(t.windows, t.mask, t.counts, t.threshold);
    const cut = (all: Float32Array) =>
      entropies.map((e, i) => all.slice(spans[2 * i], spans[2 * i] + e.length));
    return {
      threshold: threshold[0],
      windows: cut(windows as Float32Array),
      masks: cut(mask as Float32Array),
      counts: (counts as Float32Array).slice(0, entropies.length),
    };
  }

  /** Gives the memory back. */
  free(): void {
    this.#program?.destroy();
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
      windows: gpu.alloc("window entropies", [n], "data"),
      quantiles: gpu.alloc("quantiles", [b], "data"),
      threshold: gpu.alloc("threshold", [1], "data"),
      mask: gpu.alloc("window mask", [n], "data"),
      counts: gpu.alloc("window counts", [b], "data"),
    };
    const dims = { sequences: () => this.#count, window: this.#window, kind: 0, q: this.#quantile };
    this.#program = new Program(gpu, "entropy windows")
      .add(windowMean, { entropy: t.entropy, spans: t.spans, out: t.windows }, dims)
      .add(spanQuantile, { values: t.windows, spans: t.spans, out: t.quantiles }, dims)
      .add(meanThreshold, { values: t.quantiles, out: t.threshold }, dims)
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
