/** The update of the weights: gradient norm and AdamW. @module */
import { storagePlan } from "../models/parameters.ts";
import { adamw, adamwBf16Kahan, adamwHalf } from "../shaders/adamw.ts";
import { gradNormFinish, partialsOf, sumOfSquares } from "../shaders/grad_norm.ts";
import type { Traits } from "./linear.ts";
import type { ModelShape } from "./shapes.ts";
import { type Workload, workload } from "./workload.ts";

const SETTINGS = {
  lr: 1e-4,
  one_minus_beta1: 0.1,
  one_minus_beta2: 0.01,
  eps: 1e-8,
  weight_decay: 0.01,
  correction1: 1,
  correction2: 1,
};
/** [norm, clip factor, finite, 0]: a gradient that is applied. */
const NORM = Float32Array.of(1, 1, 1, 0);

/** The kernels on a model's largest matrix, and the end of its gradient norm. */
export function optimizerWorkloads(s: ModelShape, { precision }: Traits): Workload[] {
  const sizes = storagePlan(s.config).map(({ shape }) => shape.reduce((a, b) => a * b, 1));
  const n = Math.max(...sizes);
  const parts = sizes.reduce((sum, size) => sum + partialsOf(size), 0);
  const shape = `${s.name} ${n} weights`;
  const dims = { n, ...SETTINGS };
  // Squared gradients are not negative.
  const v = new Float32Array(n).fill(0.01);
  const packed = new Uint32Array(Math.ceil(n / 2)).fill(0x3c003c00);
  const bf16 = { p: packed, g: packed, m: packed, v: packed, c: new Uint32Array(packed.length), norm: NORM };
  return [
    workload(sumOfSquares, shape, { n, slot: 0 }),
    workload(gradNormFinish, `${s.name} ${parts} partial sums`, { parts, max_norm: 1 }),
    workload((precision === "float16" ? adamwHalf : adamw) as typeof adamw, shape, dims, { v, norm: NORM }),
    workload(adamwBf16Kahan, shape, dims, bf16),
  ];
}
