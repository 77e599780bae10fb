/**
 * Linear layers fused with a norm before and a gate after them: every product's kernels by variant, one record each for
 * the tests and the choice in linear_fused.ts. The texts are those of linear_variants.ts.
 * @module
 */
import type { KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import {
  bySubgroup,
  type LinearDims,
  make,
  type Operands,
  rows,
  SHARED,
  span,
  SUBGROUPS,
  texture,
  type Variant,
  VARIANTS,
} from "./linear_variants.ts";

/** Sizes of a launch; `outputs` of a gated product are columns of y, half as many as the weight has rows. */
export type NormDims = LinearDims | "eps";

/** The fused products of a variant. */
export interface FusedKernels {
  /** y [T, N] = norm(x) · weightᵀ, norm(x) [T, K] = x / √(mean x² + eps) · norm [K]; not of rounded operands */
  readonly norm?: KernelSpec<"x" | "weight" | "y" | "norm", NormDims>;
  /** y = norm(x) · weightᵀ + bias; not of rounded operands */
  readonly normBias?: KernelSpec<"x" | "weight" | "y" | "norm" | "bias", NormDims>;
  /** y [T, N] = silu(x · gateᵀ) · (x · upᵀ), weight [2 N, K] = (gate | up) */
  readonly gated: KernelSpec<"x" | "weight" | "y", LinearDims>;
  /** The same of norm(x); not of rounded operands. */
  readonly gatedNorm?: KernelSpec<"x" | "weight" | "y" | "norm", NormDims>;
}

type Values = Readonly<Record<LinearDims, number>>;

const withNorm = (v: Variant): Variant => ({ ...v, consts: { ...v.consts, PLAIN: 0, NORMS: 1 } });
/** Half as many columns as a tile of the product has. */
const withGate = (v: Variant): Variant => ({
  ...v,
  source: v.source + SHADERS.silu,
  tile: [v.tile[0], v.tile[1] / 2],
  consts: { ...v.consts, UNGATED: 0, GATED: 1 },
});
const withEps = <B extends string>(kernel: KernelSpec<B, LinearDims>): KernelSpec<B, NormDims> =>
  ({
    ...kernel,
    name: kernel.name.replace(".", ".norm_"),
    dims: { ...kernel.dims, eps: "f32" },
  }) as unknown as KernelSpec<B, NormDims>;

const sizes = (d: Values) => ({ x: d.tokens * d.inputs, weight: d.outputs * d.inputs, y: span(d) });
const gatedSizes = (d: Values) => ({ ...sizes(d), weight: 2 * d.outputs * d.inputs });
const output = (d: Values): [number, number] => [d.tokens, d.outputs];
const gatedCost = (d: Values, bytes: number) => ({
  flops: 4 * d.tokens * d.inputs * d.outputs,
  bytes: 4 * d.tokens * (d.inputs + d.outputs) + 2 * bytes * d.inputs * d.outputs,
});

/** @param pair the tile of the gated products, where it is another */
function fusedOf(name: string, v: Variant, pair = v): FusedKernels {
  const gated = make(
    name,
    withGate(pair),
    "forward_gated",
    { x: "read", weight: "read", y: "write" },
    gatedSizes,
    output,
    gatedCost,
  );
  if (v.needs) return { gated };
  return {
    norm: withEps(make(
      name,
      withNorm(v),
      "forward",
      { x: "read", weight: "read", y: "write", norm: "read" },
      (d) => ({ ...sizes(d), norm: d.inputs }),
      output,
    )),
    normBias: withEps(make(
      name,
      withNorm(v),
      "forward_bias",
      { x: "read", weight: "read", y: "write", norm: "read", bias: "read" },
      (d) => ({ ...sizes(d), norm: d.inputs, bias: d.outputs }),
      output,
    )),
    gated,
    gatedNorm: withEps(make(
      name,
      withNorm(withGate(pair)),
      "forward_gated",
      { x: "read", weight: "read", y: "write", norm: "read" },
      (d) => ({ ...gatedSizes(d), norm: d.inputs }),
      output,
      gatedCost,
    )),
  };
}

const plain = (name: Exclude<keyof typeof VARIANTS, `linear_broadcast${string}`>) =>
  fusedOf(name, VARIANTS[name]);
const textures = plain("linear_texture");
/** Tiles of so many rows; a gated one holds a vec4 of the gate and one of up where others hold one vec4. */
function broadcast(name: "linear_broadcast" | "linear_broadcast_16"): FusedKernels {
  const shared = fusedOf(name, VARIANTS[name], texture(VARIANTS[name].tile[0], 2, SHARED, 4));
  return bySubgroup(shared, (subgroup) => subgroup === SHARED ? shared : textures);
}
function inSubgroups(name: string, ROWS: number, operands?: Operands): FusedKernels {
  const sizes = new Map([0, ...SUBGROUPS].map((size) => [size, fusedOf(name, rows(ROWS, size, operands))]));
  return bySubgroup(sizes.get(0)!, (subgroup) => sizes.get(subgroup) ?? sizes.get(0)!);
}

/** Names as those of the products that the texts are of (linear_variants.ts). */
const FUSED = {
  linear_texture: textures,
  linear_broadcast: broadcast("linear_broadcast"),
  linear_broadcast_16: broadcast("linear_broadcast_16"),
  linear_tiled: plain("linear_tiled"),
  linear_tiled_16x64: plain("linear_tiled_16x64"),
  linear_tiled_32x32: plain("linear_tiled_32x32"),
  linear_tiled_128x64: plain("linear_tiled_128x64"),
  linear_tiled_128x128: plain("linear_tiled_128x128"),
  linear_half: plain("linear_half"),
  linear_half_32x32: plain("linear_half_32x32"),
  linear_half_128x128: plain("linear_half_128x128"),
  linear_rows_2: fusedOf("linear_rows_2", rows(2)),
  linear_rows_8: fusedOf("linear_rows_8", rows(8)),
  linear_rows_2_subgroup: inSubgroups("linear_rows_2_subgroup", 2),
  linear_rows_8_subgroup: inSubgroups("linear_rows_8_subgroup", 8),
  linear_half_rows_2: fusedOf("linear_half_rows_2", rows(2, 0, "f16")),
  linear_half_rows_8: fusedOf("linear_half_rows_8", rows(8, 0, "f16")),
  linear_half_rows_2_subgroup: inSubgroups("linear_half_rows_2_subgroup", 2, "f16"),
  linear_half_rows_8_subgroup: inSubgroups("linear_half_rows_8_subgroup", 8, "f16"),
} as const satisfies Record<string, FusedKernels>;
/** The variants that have fused products. */
export type FusedVariant = keyof typeof FUSED;

/** All fused kernels by variant; the tests go through them. */
export const fusedKernels: Readonly<Record<FusedVariant, FusedKernels>> = FUSED;
