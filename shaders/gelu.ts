/**
 * The exact GELU of the vision merger; the formulas stand in gelu.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { valuePrelude, variants } from "./values.ts";

/** y [T, W] = x · P(x) of x [T, W], P the normal distribution function. */
export const geluForward: KernelSpec<"x" | "y", "tokens" | "width"> = variants((v) =>
  defineKernel({
    name: "gelu.forward",
    source: valuePrelude(v) + SHADERS.gelu,
    entry: "forward",
    bindings: { x: v.read, y: "write" },
    dims: { tokens: "u32", width: "u32" },
    consts: { GROUP: v.flat },
    sizes: ({ tokens, width }) => ({ x: tokens * width, y: tokens * width }),
    grid: ({ tokens, width }) => linearGrid(tokens * width / v.lanes, v.flat),
    cost: ({ tokens, width }) => ({ flops: 28 * tokens * width, bytes: 8 * tokens * width }),
  })
);

/** dx [T, W], overwritten, from x [T, W] and dy [T, W]. */
export const geluBackward: KernelSpec<"x" | "dy" | "dx", "tokens" | "width"> = variants((v) =>
  defineKernel({
    name: "gelu.backward",
    source: valuePrelude(v) + SHADERS.gelu,
    entry: "backward",
    bindings: { x: v.read, dy: v.read, dx: "write" },
    dims: { tokens: "u32", width: "u32" },
    consts: { GROUP: v.flat },
    sizes: ({ tokens, width }) => ({ x: tokens * width, dy: tokens * width, dx: tokens * width }),
    grid: ({ tokens, width }) => linearGrid(tokens * width / v.lanes, v.flat),
    cost: ({ tokens, width }) => ({ flops: 32 * tokens * width, bytes: 12 * tokens * width }),
  })
);
