/**
 * The exact KL to the reference policy over tiles of the vocabulary, and the head's gradient with it. Formulas in
 * full_kl.wgsl; the loop over tiles is models/head.ts.
 * @module
 */
import { defineKernel, type DimValues, type KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

/** Sizes of one vocabulary tile. */
export type FullKlDims = "rows" | "stride" | "first" | "columns" | "inverse_temperature";

const DIMS = {
  rows: "u32",
  stride: "u32",
  first: "u32",
  columns: "u32",
  inverse_temperature: "f32",
} as const;
const tile = (d: DimValues<FullKlDims>): number => d.rows * d.stride;

/** Adds a tile's part to column 3 of `result` [rows, 4]; the first tile starts from 0. Goes after all of `head.reduce`. */
export const fullKlDivergence: KernelSpec<
  "logits" | "reference_logits" | "reference_result" | "result",
  FullKlDims
> = defineKernel({
  name: "full_kl.divergence",
  source: SHADERS.full_kl,
  entry: "divergence",
  bindings: { logits: "read", reference_logits: "read", reference_result: "read", result: "inout" },
  dims: DIMS,
  sizes: (d) => ({
    logits: tile(d),
    reference_logits: tile(d),
    reference_result: d.rows * 4,
    result: d.rows * 4,
  }),
  grid: (d) => {
    const groups = Math.ceil(d.rows / 16);
    return [Math.min(groups, 65535), Math.ceil(groups / 65535), 1];
  },
  cost: (d) => ({ flops: 8 * d.rows * d.columns, bytes: 8 * d.rows * d.columns }),
});

/** `head.gradient` with `dkl` [rows], ∂L/∂KL: replaces the policy's tile by ∂L/∂logits. */
export const fullKlGradient: KernelSpec<
  | "tile"
  | "reference_logits"
  | "reference_result"
  | "result"
  | "targets"
  | "dlogp"
  | "dentropy"
  | "dkl",
  FullKlDims
> = defineKernel({
  name: "full_kl.gradient",
  source: SHADERS.full_kl,
  entry: "gradient",
  bindings: {
    tile: "inout",
    reference_logits: "read",
    reference_result: "read",
    result: "read",
    targets: "read",
    dlogp: "read",
    dentropy: "read",
    dkl: "read",
  },
  dims: DIMS,
  sizes: (d) => ({
    tile: tile(d),
    reference_logits: tile(d),
    reference_result: d.rows * 4,
    result: d.rows * 4,
    targets: d.rows,
    dlogp: d.rows,
    dentropy: d.rows,
    dkl: d.rows,
  }),
  grid: (d) => [Math.ceil(d.stride / 4 / 64), d.rows, 1],
  cost: (d) => ({ flops: 14 * d.rows * d.columns, bytes: 12 * d.rows * d.columns }),
});
