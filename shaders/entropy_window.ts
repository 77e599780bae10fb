/**
 * High-entropy windows over packed response tokens: window means, quantiles, the threshold τ, masks and counts. Formulas
 * in entropy_window.wgsl; N tokens, B sequences, `spans` [B, 2] = (first token, length).
 * @module
 */
import { defineKernel, type DimValues, type Grid, type KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

type WindowDims = "sequences" | "window" | "kind" | "q";
const DIMS = { sequences: "u32", window: "u32", kind: "u32", q: "f32" } as const;
const source = SHADERS.entropy_window;
const perSequence = (d: DimValues<WindowDims>): Grid => [d.sequences, 1, 1];
// How many tokens there are stands in the spans: 0 means unknown.
const cost = (): { flops: number; bytes: number } => ({ flops: 0, bytes: 0 });

/** `out` [N]: window entropy of every token; `kind` 0 paper, 1 reference (−1 where the window is not whole). `q` is not read. */
export const windowMean: KernelSpec<"entropy" | "spans" | "out", WindowDims> = defineKernel({
  name: "entropy_window.window_mean",
  source,
  entry: "window_mean",
  bindings: { entropy: "read", spans: "read", out: "write" },
  dims: DIMS,
  sizes: (d) => ({ entropy: 0, spans: 2 * d.sequences, out: 0 }),
  grid: perSequence,
  cost,
});

/** `out` [B]: the q-quantile of every sequence's values, linearly interpolated; −1 for an empty one. */
export const spanQuantile: KernelSpec<"values" | "spans" | "out", WindowDims> = defineKernel({
  name: "entropy_window.quantile",
  source,
  entry: "quantile",
  bindings: { values: "read", spans: "read", out: "write" },
  dims: DIMS,
  sizes: (d) => ({ values: 0, spans: 2 * d.sequences, out: d.sequences }),
  grid: perSequence,
  cost,
});

/** `out` [1]: the mean of values [B], those of empty sequences (−1) left out; 0 where all are. */
export const meanThreshold: KernelSpec<"values" | "out", WindowDims> = defineKernel({
  name: "entropy_window.threshold",
  source,
  entry: "threshold",
  bindings: { values: "read", out: "write" },
  dims: DIMS,
  sizes: (d) => ({ values: d.sequences, out: 1 }),
  grid: () => [1, 1, 1],
  cost,
});

/** `mask` [N] 1 where a window entropy reaches threshold [1], else 0; `counts` [B] their sums: N_HE. */
export const hweMask: KernelSpec<"window_mean" | "spans" | "threshold" | "mask" | "counts", WindowDims> =
  defineKernel({
    name: "entropy_window.mask",
    source,
    entry: "mask",
    bindings: { window_mean: "read", spans: "read", threshold: "read", mask: "write", counts: "write" },
    dims: DIMS,
    sizes: (d) => ({ window_mean: 0, spans: 2 * d.sequences, threshold: 1, mask: 0, counts: d.sequences }),
    grid: perSequence,
    cost,
  });
