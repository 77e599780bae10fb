/**
 * What this adapter reaches at best with the kernels here: the products of square matrices that the linear
 * layers make, and a plain copy. The share of these that a kernel reaches says how much is left in it, on any adapter.
 * @module
 */
import type { KernelSpec } from "../gpu/kernel.ts";
import { linearKernels } from "../shaders/linear_variants.ts";
import type { Ceilings, Row } from "./row.ts";
import { copyWorkload } from "./copy.ts";
import type { Traits } from "./linear.ts";
import { type Workload, workload } from "./workload.ts";

/** Variants that may be the fastest on large products. */
const FASTEST = {
  software: ["linear_broadcast"],
  gpu: ["linear_tiled", "linear_tiled_128x64", "linear_tiled_128x128"],
  half: ["linear_half", "linear_half_128x128", "linear_half_sums", "linear_half_sums_128x128"],
} as const;

/** Forward and both gradients of a linear layer with `n` tokens, inputs and outputs, in the adapter's variants. */
export function matmuls(n: number, { software, precision }: Traits): Workload[] {
  const dims = { tokens: n, inputs: n, outputs: n, stride: n, accumulate: 0 };
  // On a CPU f16 is the slower one, and such products take minutes.
  const half = precision === "float16" && !software ? FASTEST.half : [];
  return [...FASTEST[software ? "software" : "gpu"], ...half].flatMap((variant) => {
    const { forward, backwardInput, backwardWeight } = linearKernels[variant];
    return [forward, backwardInput, backwardWeight].map((kernel) =>
      workload(kernel as KernelSpec, `${n} x ${n} x ${n}`, dims)
    );
  });
}

/** All candidates; 16 MiB are more than a CPU's cache holds, 64 MiB more than a GPU's. */
export function ceilingWorkloads(traits: Traits): Workload[] {
  return [
    ...matmuls(512, traits),
    ...matmuls(1024, traits),
    ...[16, 64].flatMap((size) => [copyWorkload("vec4f", size), copyWorkload("mat4x4f", size)]),
  ];
}

/** The best of the measured candidates. */
export function bestOf(rows: readonly Row[]): Ceilings {
  const best = (list: readonly Row[], key: "gflops" | "gbs") =>
    list.reduce((a, b) => (b[key] ?? 0) > (a[key] ?? 0) ? b : a);
  const isCopy = (row: Row) => row.gflops === null;
  return {
    matmul: best(rows.filter((row) => !isCopy(row)), "gflops"),
    copy: best(rows.filter(isCopy), "gbs"),
  };
}
