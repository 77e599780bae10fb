/**
 * Sums over tokens in two deterministic stages: the gradients of biases, and the end of other two-stage reductions.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { valuePrelude, variants } from "./values.ts";

/** Rows of partial sums for `tokens` tokens, `chunk` of them a row. */
export function chunks(tokens: number, chunk: number): number {
  return Math.ceil(tokens / chunk);
}

/** partial [chunks, N]: dy [T, N] summed over each chunk of `chunk` tokens (fewer than 65,535). */
export const columnSum: KernelSpec<"dy" | "partial", "tokens" | "width" | "chunk"> = variants((v) =>
  defineKernel({
    name: "column_sum",
    source: valuePrelude(v) + SHADERS.column_sum,
    entry: "column_sum",
    bindings: { dy: v.read, partial: "write" },
    dims: { tokens: "u32", width: "u32", chunk: "u32" },
    consts: { GROUP: v.group },
    sizes: ({ tokens, width, chunk }) => ({ dy: tokens * width, partial: chunks(tokens, chunk) * width }),
    grid: ({ tokens, width, chunk }) => linearGrid(chunks(tokens, chunk) * width / v.lanes, v.group),
    cost: ({ tokens, width, chunk }) => ({
      flops: tokens * width,
      bytes: 4 * (tokens + chunks(tokens, chunk)) * width,
    }),
  })
);

/** out [N] += the sum of the rows of partial [rows, N]; `rows` stays below 65,535. */
export const columnSumFinish: KernelSpec<"partial" | "out", "rows" | "width"> = variants((v) =>
  defineKernel({
    name: "column_sum.finish",
    source: valuePrelude(v) + SHADERS.column_sum,
    entry: "finish",
    bindings: { partial: "read", out: "inout" },
    dims: { rows: "u32", width: "u32" },
    consts: { GROUP: v.group },
    sizes: ({ rows, width }) => ({ partial: rows * width, out: width }),
    grid: ({ width }) => linearGrid(width / v.lanes, v.group),
    cost: ({ rows, width }) => ({ flops: rows * width, bytes: 4 * (rows + 2) * width }),
  })
);
