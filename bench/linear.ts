/** Products: every layer's, forward and both gradients, at the training batch; forward at the decode batch. @module */
import type { AdapterTraits, KernelSpec } from "../gpu/kernel.ts";
import { layerShapes } from "../models/layer.ts";
import {
  addBias,
  type LinearDims,
  type LinearKernels,
  linearKernels,
  linearRowsKernels,
} from "../shaders/linear_variants.ts";
import type { ModelShape } from "./shapes.ts";
import { type Workload, workload } from "./workload.ts";

/** What decides about products. */
export type Traits = Pick<AdapterTraits, "software" | "precision" | "subgroups">;

const dims = (tokens: number, inputs: number, outputs: number): Record<LinearDims, number> => ({
  tokens,
  inputs,
  outputs,
  stride: outputs,
  accumulate: 0,
});

/** The products' variant for large sizes that an adapter gets, for subgroups of 16 where it is a software adapter. */
export function linearOf({ software, precision }: Traits): LinearKernels {
  if (precision === "float16") return linearKernels.linear_half;
  return linearKernels[software ? "linear_broadcast" : "linear_tiled"];
}

/** The products of a model, in the variant that the adapter gets. */
export function linearWorkloads(s: ModelShape, traits: Traits): Workload[] {
  const { forward, forwardBias, forwardResidual, backwardInput, backwardWeight } = linearOf(traits);
  const kernels = {
    qkv: forwardBias,
    out: forwardResidual,
    gateUp: forward,
    down: forwardResidual,
    head: forward,
  };
  const list: Workload[] = [];
  const head = { inputs: s.config.hidden_size, outputs: s.config.vocab_size };
  for (const [name, { inputs, outputs }] of Object.entries({ ...layerShapes(s.config, 0), head })) {
    const kernel = kernels[name as keyof typeof kernels];
    const train = dims(name === "head" ? s.rows : s.tokens, inputs, outputs);
    const label = (d: typeof train) => `${s.name} ${name} ${d.tokens} x ${inputs} x ${outputs}`;
    const decode = dims(s.slots, inputs, outputs);
    list.push(workload(kernel, label(train), train));
    list.push(workload(backwardInput, label(train), train));
    list.push(workload(backwardWeight, label(train), train));
    list.push(workload(kernel, label(decode), decode));
  }
  return list;
}

/** Shapes of no model: a wide product of few rows, and what only odd widths and rare layers need. */
export function otherLinearWorkloads({ software, precision }: Traits): Workload[] {
  // Those of rounded operands where such are asked for: not every adapter has them.
  const half = precision === "float16";
  const asked = (kernel: { needs?: string }): boolean => half || kernel.needs === undefined;
  const few = dims(8, 1024, 4096);
  const odd = dims(253, 127, 61);
  const even = dims(512, 128, 256);
  // Timed whatever the adapter takes, so that the two can be compared; a GPU's tiles of other sizes on a GPU.
  const { linear_any, ...inFours } = linearKernels;
  const wide = Object.entries(inFours).filter(([variant]) => !(software && /(tiled|half)_/.test(variant)))
    .flatMap(([, kernels]) => Object.values(kernels)).filter(asked);
  const fewRows = software
    ? [linearKernels.linear_broadcast, linearKernels.linear_broadcast_16].map(({ forward }) => forward)
    : [
      linearKernels.linear_tiled_16x64.forward,
      ...Object.values(linearRowsKernels).flatMap((kernels) => Object.values(kernels)).filter(asked),
    ];
  return [
    ...fewRows.map((kernel) => workload(kernel as KernelSpec, "8 x 1024 x 4096", few)),
    ...wide.map((kernel) => workload(kernel as KernelSpec, "512 x 128 x 256", even)),
    ...Object.values(linear_any).map((kernel) => workload(kernel as KernelSpec, "253 x 127 x 61", odd)),
    workload(addBias, "512 x 256", even, {}, { flops: 512 * 256, bytes: 4 * (2 * 512 + 1) * 256 }),
  ];
}
