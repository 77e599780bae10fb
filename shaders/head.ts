/**
 * The fused language-model head: kernels that fold tiles of logits into log-probabilities, entropies and gradients.
 * Formulas in head.wgsl; the loop over tiles is models/head.ts.
 * @module
 */
import { SHADERS } from "./bundle.ts";
import { defineKernel, type DimValues, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { reducers, teamConsts, teamPrelude, valuePrelude, variants } from "./values.ts";

/** Sizes of one vocabulary tile. */
export type HeadDims = "rows" | "stride" | "first" | "columns" | "last" | "inverse_temperature";

const DIMS = {
  rows: "u32",
  stride: "u32",
  first: "u32",
  columns: "u32",
  last: "u32",
  inverse_temperature: "f32",
} as const;
const tile = (d: DimValues<HeadDims>): number => d.rows * d.stride;

/** Folds a tile [rows, stride] into `running` [rows, 4]; the last one writes `result` [rows, 4] = (logp, entropy, lse, 0). */
export const headReduce: KernelSpec<"logits" | "targets" | "running" | "result", HeadDims> = reducers((v) =>
  defineKernel({
    name: "head.reduce",
    source: valuePrelude(v) + teamPrelude(v) + SHADERS.head,
    entry: "reduce",
    bindings: { logits: v.read, targets: "read", running: "inout", result: "inout" },
    dims: DIMS,
    consts: { ...teamConsts(v), EACH: 1 },
    sizes: (d) => ({ logits: tile(d), targets: d.rows, running: d.rows * 4, result: d.rows * 4 }),
    grid: (d) => linearGrid(d.rows, v.rows),
    cost: (d) => ({ flops: 6 * d.rows * d.columns, bytes: 4 * d.rows * d.columns }),
  })
);

/** Replaces a tile of logits by ∂L/∂logits, from `dlogp` and `dentropy` [rows], ∂L/∂logp and ∂L/∂H. */
export const headGradient: KernelSpec<"tile" | "targets" | "result" | "dlogp" | "dentropy", HeadDims> =
  variants((v) => {
    const [group, each] = v.whole ? [16, 8] : [64, 1];
    return defineKernel({
      name: "head.gradient",
      source: valuePrelude(v) + teamPrelude(v) + SHADERS.head,
      entry: "gradient",
      bindings: { tile: "inout", targets: "read", result: "read", dlogp: "read", dentropy: "read" },
      dims: DIMS,
      consts: { ...teamConsts(v), GROUP: group, EACH: each },
      sizes: (d) => ({ tile: tile(d), targets: d.rows, result: d.rows * 4, dlogp: d.rows, dentropy: d.rows }),
      grid: (d) => [Math.ceil(d.stride / 4 / (group * each)), d.rows, 1],
      cost: (d) => ({ flops: 8 * d.rows * d.columns, bytes: 8 * d.rows * d.columns }),
    });
  });
