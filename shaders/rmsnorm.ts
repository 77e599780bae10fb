/**
 * RMS normalisation, forward and backward; the formulas stand in rmsnorm.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { chunks } from "./column_sum.ts";
import { reducers, teamConsts, teamPrelude, valuePrelude, type Variant, variants } from "./values.ts";

const source = (v: Variant): string => valuePrelude(v) + teamPrelude(v) + SHADERS.rmsnorm;

/** y [T, W] = x [T, W] · rstd · weight [W]; keeps rstd [T] for backward. */
export const rmsnormForward: KernelSpec<"x" | "weight" | "y" | "rstd", "tokens" | "width" | "eps"> = reducers(
  (v) =>
    defineKernel({
      name: "rmsnorm.forward",
      source: source(v),
      entry: "forward",
      bindings: { x: v.read, weight: v.read, y: "write", rstd: "write" },
      dims: { tokens: "u32", width: "u32", eps: "f32" },
      consts: teamConsts(v),
      sizes: ({ tokens, width }) => ({ x: tokens * width, weight: width, y: tokens * width, rstd: tokens }),
      grid: ({ tokens }) => linearGrid(tokens, v.rows),
      cost: ({ tokens, width }) => ({
        flops: 4 * tokens * width,
        bytes: 4 * (2 * tokens * width + width + tokens),
      }),
    }),
);

/** dx [T, W] += the gradient of dy [T, W] through the norm of x [T, W]. */
export const rmsnormBackward: KernelSpec<"dy" | "x" | "weight" | "rstd" | "dx", "tokens" | "width"> =
  reducers((v) =>
    defineKernel({
      name: "rmsnorm.backward",
      source: source(v),
      entry: "backward",
      bindings: { dy: v.read, x: v.read, weight: v.read, rstd: "read", dx: "inout" },
      dims: { tokens: "u32", width: "u32" },
      consts: teamConsts(v),
      sizes: ({ tokens, width }) => ({
        dy: tokens * width,
        x: tokens * width,
        weight: width,
        rstd: tokens,
        dx: tokens * width,
      }),
      grid: ({ tokens }) => linearGrid(tokens, v.rows),
      cost: ({ tokens, width }) => ({
        flops: 8 * tokens * width,
        bytes: 4 * (4 * tokens * width + width + tokens),
      }),
    })
  );

/**
 * partial [chunks, W]: the weight's gradient summed over each chunk of `chunk` tokens (fewer than 65,535);
 * `columnSumFinish` adds the rows to the gradient.
 */
export const rmsnormBackwardWeight: KernelSpec<
  "dy" | "x" | "rstd" | "partial",
  "tokens" | "width" | "chunk"
> = variants((v) =>
  defineKernel({
    name: "rmsnorm.backward_weight",
    source: source(v),
    entry: "backward_weight",
    bindings: { dy: v.read, x: v.read, rstd: "read", partial: "write" },
    dims: { tokens: "u32", width: "u32", chunk: "u32" },
    consts: teamConsts(v),
    sizes: ({ tokens, width, chunk }) => ({
      dy: tokens * width,
      x: tokens * width,
      rstd: tokens,
      partial: chunks(tokens, chunk) * width,
    }),
    grid: ({ tokens, width, chunk }) => linearGrid(chunks(tokens, chunk) * width / v.lanes, v.group),
    cost: ({ tokens, width, chunk }) => ({
      flops: 3 * tokens * width,
      bytes: 4 * (2 * tokens * width + tokens + chunks(tokens, chunk) * width),
    }),
  })
);
