/**
 * Linear layer: forward with an optional bias and residual, and the gradients. Formulas in linear.wgsl.
 * @module
 */
import {
  type Access,
  type AdapterTraits,
  defineKernel,
  type DimValues,
  type Grid,
  type KernelSpec,
} from "../gpu/kernel.ts";
import type { Dim, Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { SHADERS } from "./bundle.ts";

/** Sizes of a linear launch; rows of y, residual and dy lie `stride` elements apart. */
export type LinearDims = "tokens" | "inputs" | "outputs" | "stride" | "accumulate";

const DIMS = { tokens: "u32", inputs: "u32", outputs: "u32", stride: "u32", accumulate: "u32" } as const;
const VARIANTS = ["linear", "linear_texture", "linear_broadcast", "linear_tiled", "linear_any"] as const;
type Variant = typeof VARIANTS[number];
type Values = DimValues<LinearDims>;
/** Register tile of `linear_texture`: rows, and vec4 of a row. */
const TILE = { ROWS: 16, VECS: 2, QUADS: 4 };
/** That of `linear_broadcast`, and what follows from it and the subgroup's size. */
const BROADCAST_TILE = { ROWS: 32, VECS: 1, GROUPS: 2, QUADS: 8, STEPS: 2 };
const SUBGROUP = 16;
const tileOf = (variant: Variant): { ROWS: number; VECS: number } | undefined =>
  variant === "linear_texture" ? TILE : variant === "linear_broadcast" ? BROADCAST_TILE : undefined;

const span = (d: Values): number => d.tokens === 0 ? 0 : (d.tokens - 1) * d.stride + d.outputs;
const productCost = (d: Values): { flops: number; bytes: number } => ({
  flops: 2 * d.tokens * d.inputs * d.outputs,
  bytes: 4 * (d.tokens * (d.inputs + d.outputs) + d.inputs * d.outputs),
});
/** Workgroups for rows x columns of output: 16 register tiles side by side, tiles of 64 x 64, or an element an invocation. */
function tiled(variant: Variant, columns: number, rows: number): Grid {
  const tile = tileOf(variant);
  if (tile) return [Math.ceil(columns / (16 * 4 * tile.VECS)), Math.ceil(rows / tile.ROWS), 1];
  if (variant === "linear") return [Math.ceil(columns / 128), Math.ceil(rows / 16), 1];
  if (variant === "linear_tiled") return [Math.ceil(columns / 64), Math.ceil(rows / 64), 1];
  return [Math.ceil(columns / 64), rows, 1];
}

function make<B extends string>(
  variant: Variant,
  entry: string,
  bindings: Readonly<Record<B, Access>>,
  sizes: (d: Values) => Record<B, number>,
  grid: (d: Values) => Grid,
  cost = productCost,
): KernelSpec<B, LinearDims> {
  const tile = tileOf(variant);
  return defineKernel({
    name: `${variant}.${entry}`,
    source: tile ? SHADERS.texel + SHADERS[variant] : SHADERS[variant],
    entry,
    // The first two are the operands of the product.
    bindings: tile
      ? Object.fromEntries(
        Object.entries(bindings).map(([name, access], i) => [name, i < 2 ? "texture" : access]),
      ) as Record<B, Access>
      : bindings,
    ...tile && { consts: tile },
    dims: DIMS,
    sizes,
    grid,
    cost,
  });
}

const forward = (v: Variant): KernelSpec<"x" | "weight" | "y", LinearDims> =>
  make(
    v,
    "forward",
    { x: "read", weight: "read", y: "write" },
    (d) => ({ x: d.tokens * d.inputs, weight: d.outputs * d.inputs, y: span(d) }),
    (d) => tiled(v, d.outputs, d.tokens),
  );
const forwardBias = (v: Variant): KernelSpec<"x" | "weight" | "y" | "bias", LinearDims> =>
  make(
    v,
    "forward_bias",
    { x: "read", weight: "read", y: "write", bias: "read" },
    (d) => ({ x: d.tokens * d.inputs, weight: d.outputs * d.inputs, y: span(d), bias: d.outputs }),
    (d) => tiled(v, d.outputs, d.tokens),
  );
const forwardResidual = (v: Variant): KernelSpec<"x" | "weight" | "y" | "residual", LinearDims> =>
  make(
    v,
    "forward_residual",
    { x: "read", weight: "read", y: "write", residual: "read" },
    (d) => ({ x: d.tokens * d.inputs, weight: d.outputs * d.inputs, y: span(d), residual: span(d) }),
    (d) => tiled(v, d.outputs, d.tokens),
  );
const backwardInput = (v: Variant): KernelSpec<"dy" | "weight" | "dx", LinearDims> =>
  make(
    v,
    "backward_input",
    { dy: "read", weight: "read", dx: "inout" },
    (d) => ({ dy: span(d), weight: d.outputs * d.inputs, dx: d.tokens * d.inputs }),
    (d) => tiled(v, d.inputs, d.tokens),
  );
const backwardWeight = (v: Variant): KernelSpec<"dy" | "x" | "dweight", LinearDims> =>
  make(
    v,
    "backward_weight",
    { dy: "read", x: "read", dweight: "inout" },
    (d) => ({ dy: span(d), x: d.tokens * d.inputs, dweight: d.outputs * d.inputs }),
    (d) => tiled(v, d.inputs, d.outputs),
  );

/** `y += bias`, for the rare layer that has both a bias and a residual. */
export const addBias: KernelSpec<"bias" | "y", LinearDims> = make(
  "linear",
  "add_bias",
  { bias: "read", y: "inout" },
  (d) => ({ bias: d.outputs, y: span(d) }),
  (d) => [Math.ceil(d.outputs / 64), d.tokens, 1],
  (d) => ({ flops: d.tokens * d.outputs, bytes: 8 * d.tokens * d.outputs }),
);

const kernelsOf = (v: Variant) => ({
  forward: forward(v),
  forwardBias: forwardBias(v),
  forwardResidual: forwardResidual(v),
  backwardInput: backwardInput(v),
  backwardWeight: backwardWeight(v),
});
type Kernels = ReturnType<typeof kernelsOf>;

const texture = kernelsOf("linear_texture");
const broadcast = Object.fromEntries(
  Object.entries(kernelsOf("linear_broadcast")).map(([name, kernel]) => [name, {
    ...kernel,
    subgroup: { size: SUBGROUP, otherwise: texture[name as keyof Kernels] },
  }]),
) as unknown as Kernels;

/**
 * All kernels of the layer by variant; the tests and the benchmark go through them. `linear_texture` reads its operands
 * through textures (software adapters) where they fit one and widths are multiples of 4, `linear_broadcast` reads so too
 * and shares the loads within subgroups of 16 (a program takes `linear_texture` for it where there are none), `linear`
 * needs neither, `linear_tiled` passes operands through workgroup memory (GPUs), `linear_any` takes any size.
 */
export const linearKernels: Readonly<Record<Variant, Kernels>> = {
  linear: kernelsOf("linear"),
  linear_texture: texture,
  linear_broadcast: broadcast,
  linear_tiled: kernelsOf("linear_tiled"),
  linear_any: kernelsOf("linear_any"),
};

/** A kernel that a program exchanges for the variant of its adapter. */
function byAdapter<K extends keyof Kernels>(name: K): Kernels[K] {
  const general = linearKernels.linear[name];
  return {
    ...general,
    fit: ({ outputs, stride }: Readonly<Record<string, unknown>>, { software }: AdapterTraits) =>
      !software
        ? linearKernels.linear_tiled[name]
        : (outputs as number) % 4 === 0 && (stride as number) % 4 === 0
        ? linearKernels.linear_broadcast[name]
        : general,
  } as Kernels[K];
}
const wide: Kernels = {
  forward: byAdapter("forward"),
  forwardBias: byAdapter("forwardBias"),
  forwardResidual: byAdapter("forwardResidual"),
  backwardInput: byAdapter("backwardInput"),
  backwardWeight: byAdapter("backwardWeight"),
};

/** Sizes of a linear layer in a program. `stride` defaults to `outputs`. */
export interface LinearShape {
  readonly tokens: Dim;
  readonly inputs: number;
  readonly outputs: number;
  readonly stride?: number;
}

const dimsOf = (s: LinearShape, accumulate = 0): Record<LinearDims, Dim> => ({
  tokens: s.tokens,
  inputs: s.inputs,
  outputs: s.outputs,
  stride: s.stride ?? s.outputs,
  accumulate,
});
/** Operands are read in fours where their rows allow it. */
const kernelsFor = (inputs: number, stride = 4): Kernels =>
  inputs % 4 === 0 && stride % 4 === 0 ? wide : linearKernels.linear_any;

/** Adds `y [tokens, outputs] = x [tokens, inputs] · weightᵀ (+ bias) (+ residual)`. */
export function addLinear(
  program: Program,
  t: { x: Tensor; weight: Tensor; y: Tensor; bias?: Tensor; residual?: Tensor },
  shape: LinearShape,
): void {
  // The forward products read x and weight in fours, whatever the stride of y.
  const kernels = kernelsFor(shape.inputs);
  const dims = dimsOf(shape);
  if (t.residual) {
    program.add(kernels.forwardResidual, { x: t.x, weight: t.weight, y: t.y, residual: t.residual }, dims);
    if (t.bias) program.add(addBias, { bias: t.bias, y: t.y }, dims);
  } else if (t.bias) {
    program.add(kernels.forwardBias, { x: t.x, weight: t.weight, y: t.y, bias: t.bias }, dims);
  } else program.add(kernels.forward, { x: t.x, weight: t.weight, y: t.y }, dims);
}

/** Adds `dx [tokens, inputs] = dy · weight`, or `+=` with `accumulate`. */
export function addLinearBackwardInput(
  program: Program,
  t: { dy: Tensor; weight: Tensor; dx: Tensor },
  shape: LinearShape,
  accumulate = false,
): void {
  program.add(
    kernelsFor(shape.inputs, shape.stride ?? shape.outputs).backwardInput,
    t,
    dimsOf(shape, accumulate ? 1 : 0),
  );
}

/** Adds `dweight [outputs, inputs] += dyᵀ · x`. */
export function addLinearBackwardWeight(
  program: Program,
  t: { dy: Tensor; x: Tensor; dweight: Tensor },
  shape: LinearShape,
): void {
  program.add(kernelsFor(shape.inputs, shape.stride ?? shape.outputs).backwardWeight, t, dimsOf(shape));
}
