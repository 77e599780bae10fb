/**
 * What this adapter reaches at best with the kernels here: products of square matrices, and copies of 16 MiB.
 * The share of these that a kernel reaches says how much is left in it, on any adapter.
 * @module
 */
import { embeddingForward } from "../shaders/embedding.ts";
import { kvCopyRows } from "../shaders/kv_cache.ts";
import { linearKernels } from "../shaders/linear.ts";
import { gatherRows } from "../shaders/rows.ts";
import { fitted } from "../shaders/values.ts";
import type { Ceilings, Row } from "./row.ts";
import { spread, type Workload, workload } from "./workload.ts";

/** Forward and both gradients of a linear layer with `n` tokens, inputs and outputs. */
export function matmuls(n: number): Workload[] {
  const dims = { tokens: n, inputs: n, outputs: n, stride: n, accumulate: 0 };
  const { forward, backwardInput, backwardWeight } = linearKernels.linear;
  const shape = `${n} x ${n} x ${n}`;
  return [
    workload(forward, shape, dims),
    workload(backwardInput, shape, dims),
    workload(backwardWeight, shape, dims),
  ];
}

/** Copies of `rows` rows of 128 numbers, each read and written once. */
export function copies(rows: number, software: boolean): Workload[] {
  const width = 128;
  const shape = `copy ${rows} x ${width}`;
  const order = Uint32Array.from({ length: rows }, (_, i) => i);
  const table = spread(rows * width);
  // In two caches: rows of the first half go to the second.
  const pairs = Uint32Array.from({ length: rows }, (_, i) => i % 2 === 0 ? i / 2 : (rows + i - 1) / 2);
  const tokens = { tokens: rows, width, first_row: 0, rows };
  return [
    workload(fitted(embeddingForward, width, software), shape, tokens, { ids: order, weight: table }),
    workload(kvCopyRows, shape, { count: rows / 2, width }, { pairs, k_cache: table, v_cache: table }),
    workload(gatherRows, shape, { rows, width }, { index: order, x: table }),
  ];
}

/** All candidates. */
export function ceilingWorkloads(software: boolean): Workload[] {
  return [...matmuls(512), ...matmuls(1024), ...copies(32768, software)];
}

/** The best of the measured candidates. */
export function bestOf(rows: readonly Row[]): Ceilings {
  const best = (list: readonly Row[], key: "gflops" | "gbs") =>
    list.reduce((a, b) => (b[key] ?? 0) > (a[key] ?? 0) ? b : a);
  const isCopy = (row: Row) => row.shape.startsWith("copy");
  return {
    matmul: best(rows.filter((row) => !isCopy(row)), "gflops"),
    copy: best(rows.filter(isCopy), "gbs"),
  };
}
