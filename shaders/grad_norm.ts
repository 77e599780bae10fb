/**
 * The norm of all gradients together and the factor that clips it; the formulas stand in grad_norm.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { reducers, teamConsts, teamPrelude, valuePrelude } from "./values.ts";

/** Values that one workgroup of {@link sumOfSquares} adds up. */
const PER_GROUP = 4096;

/** Partial sums that {@link sumOfSquares} writes for `n` values. */
export function partialsOf(n: number): number {
  return Math.ceil(n / PER_GROUP);
}

/**
 * partial[slot …]: the squares of g [n] summed over each 4,096 values. One launch for each gradient, at
 * consecutive slots: slot + partialsOf(n) is the next one's.
 */
export const sumOfSquares: KernelSpec<"g" | "partial", "n" | "slot"> = reducers((v) =>
  defineKernel({
    name: "grad_norm.sum_of_squares",
    source: valuePrelude(v) + teamPrelude(v) + SHADERS.grad_norm,
    entry: "sum_of_squares",
    bindings: { g: v.read, partial: "write" },
    dims: { n: "u32", slot: "u32" },
    consts: { ...teamConsts(v), PER_GROUP },
    sizes: ({ n, slot }) => ({ g: n, partial: slot + partialsOf(n) }),
    grid: ({ n }) => linearGrid(n, PER_GROUP),
    cost: ({ n }) => ({ flops: 2 * n, bytes: 4 * (n + partialsOf(n)) }),
  })
);

/**
 * result [4] = [norm, clip factor = min(1, max_norm / (norm + 1e-6)), 1 if all partial [parts] are finite else 0, 0].
 * max_norm = 0 means no clipping. Where something is not finite the clip factor is 0.
 */
export const gradNormFinish: KernelSpec<"partial" | "result", "parts" | "max_norm"> = reducers((v) =>
  defineKernel({
    name: "grad_norm.finish",
    source: valuePrelude(v) + teamPrelude(v) + SHADERS.grad_norm,
    entry: "finish",
    bindings: { partial: "read", result: "write" },
    dims: { parts: "u32", max_norm: "f32" },
    consts: { ...teamConsts(v), PER_GROUP },
    sizes: ({ parts }) => ({ partial: parts, result: 4 }),
    grid: () => [1, 1, 1],
    cost: ({ parts }) => ({ flops: parts, bytes: 4 * (parts + 4) }),
  })
);
