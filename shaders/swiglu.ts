/**
 * The gated activation of the feed-forward block; the formulas stand in swiglu.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { valuePrelude, variants } from "./values.ts";

/** y [T, I] = silu(gate) · up, with gate_up [T, 2I] = (gate | up); `width` is I. */
export const swigluForward: KernelSpec<"gate_up" | "y", "tokens" | "width"> = variants((v) =>
  defineKernel({
    name: "swiglu.forward",
    source: valuePrelude(v) + SHADERS.swiglu,
    entry: "forward",
    bindings: { gate_up: v.read, y: "write" },
    dims: { tokens: "u32", width: "u32" },
    consts: { GROUP: v.flat },
    sizes: ({ tokens, width }) => ({ gate_up: 2 * tokens * width, y: tokens * width }),
    grid: ({ tokens, width }) => linearGrid(tokens * width / v.lanes, v.flat),
    cost: ({ tokens, width }) => ({ flops: 5 * tokens * width, bytes: 12 * tokens * width }),
  })
);

/** dgate_up [T, 2I], overwritten, from gate_up [T, 2I] and dy [T, I]. */
export const swigluBackward: KernelSpec<"gate_up" | "dy" | "dgate_up", "tokens" | "width"> = variants((v) =>
  defineKernel({
    name: "swiglu.backward",
    source: valuePrelude(v) + SHADERS.swiglu,
    entry: "backward",
    bindings: { gate_up: v.read, dy: v.read, dgate_up: "write" },
    dims: { tokens: "u32", width: "u32" },
    consts: { GROUP: v.flat },
    sizes: ({ tokens, width }) => ({
      gate_up: 2 * tokens * width,
      dy: tokens * width,
      dgate_up: 2 * tokens * width,
    }),
    grid: ({ tokens, width }) => linearGrid(tokens * width / v.lanes, v.flat),
    cost: ({ tokens, width }) => ({ flops: 11 * tokens * width, bytes: 20 * tokens * width }),
  })
);
