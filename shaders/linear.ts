/**
 * Linear layer: forward with an optional bias and residual, and the gradients. Formulas in linear.wgsl.
 * @module
 */
import { defineKernel, type DimValues, type Grid, type KernelSpec } from "../gpu/kernel.ts";
import type { Dim, Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { SHADERS } from "./bundle.ts";

/** Sizes of a linear launch; rows of y, residual and dy lie `stride` elements apart. */
export type LinearDims = "tokens" | "inputs" | "outputs" | "stride" | "accumulate";

const DIMS = { tokens: "u32", inputs: "u32", outputs: "u32", stride: "u32", accumulate: "u32" } as const;
const VARIANTS = ["linear", "linear_any"] as const;
type Variant = typeof VARIANTS[number];
type Values = DimValues<LinearDims>;

const span = (d: Values): number => d.tokens === 0 ? 0 : (d.tokens - 1) * d.stride + d.outputs;
const productCost = (d: Values): { flops: number; bytes: number } => ({
  flops: 2 * d.tokens * d.inputs * d.outputs,
  bytes: 4 * (d.tokens * (d.inputs + d.outputs) + d.inputs * d.outputs),
});
/** Grid of a kernel that owns `tile` columns x 16 rows a workgroup, or of the one-element-an-invocation variant. */
const tiled = (variant: Variant, columns: number, rows: number): Grid =>
  variant === "linear"
    ? [Math.ceil(columns / 128), Math.ceil(rows / 16), 1]
    : [Math.ceil(columns / 64), rows, 1];

function make<B extends string>(
  variant: Variant,
  entry: string,
  bindings: Record<B, "read" | "write" | "inout">,
  sizes: (d: Values) => Record<B, number>,
  grid: (d: Values) => Grid,
  cost = productCost,
): KernelSpec<B, LinearDims> {
  return defineKernel({
    name: `${variant}.${entry}`,
    source: SHADERS[variant],
    entry,
    bindings,
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

/** All kernels of the layer by variant; the tests and the benchmark go through them. */
export const linearKernels = {
  linear: {
    forward: forward("linear"),
    forwardBias: forwardBias("linear"),
    forwardResidual: forwardResidual("linear"),
    backwardInput: backwardInput("linear"),
    backwardWeight: backwardWeight("linear"),
  },
  linear_any: {
    forward: forward("linear_any"),
    forwardBias: forwardBias("linear_any"),
    forwardResidual: forwardResidual("linear_any"),
    backwardInput: backwardInput("linear_any"),
    backwardWeight: backwardWeight("linear_any"),
  },
} as const;

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
const variantOf = (s: LinearShape): Variant =>
  s.inputs % 4 === 0 && (s.stride ?? s.outputs) % 4 === 0 ? "linear" : "linear_any";

/** Adds `y [tokens, outputs] = x [tokens, inputs] · weightᵀ (+ bias) (+ residual)`. */
export function addLinear(
  program: Program,
  t: { x: Tensor; weight: Tensor; y: Tensor; bias?: Tensor; residual?: Tensor },
  shape: LinearShape,
): void {
  // The forward products read x and weight in fours, whatever the stride of y.
  const kernels = linearKernels[shape.inputs % 4 === 0 ? "linear" : "linear_any"];
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
  program.add(linearKernels[variantOf(shape)].backwardInput, t, dimsOf(shape, accumulate ? 1 : 0));
}

/** Adds `dweight [outputs, inputs] += dyᵀ · x`. */
export function addLinearBackwardWeight(
  program: Program,
  t: { dy: Tensor; x: Tensor; dweight: Tensor },
  shape: LinearShape,
): void {
  program.add(linearKernels[variantOf(shape)].backwardWeight, t, dimsOf(shape));
}
