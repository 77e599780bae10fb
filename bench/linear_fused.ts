/** Products fused with a norm and a gate at the decode batch, in the adapter's variants. @module */
import type { KernelSpec } from "../gpu/kernel.ts";
import { layerShapes } from "../models/layer.ts";
import { fusedKernels } from "../shaders/linear_fused_variants.ts";
import type { Traits } from "./linear.ts";
import type { ModelShape } from "./shapes.ts";
import { type Workload, workload } from "./workload.ts";

/** The decode step's fused products of a model, in every variant that the adapter may take for them. */
export function fusedWorkloads(s: ModelShape, { software, precision }: Traits): Workload[] {
  const { qkv, gateUp } = layerShapes(s.config, s.slots);
  const dims = ({ inputs, outputs }: typeof qkv) => ({
    tokens: s.slots,
    inputs,
    outputs,
    stride: outputs,
    accumulate: 0,
    eps: s.config.rms_norm_eps,
  });
  const half = { ...gateUp, outputs: gateUp.outputs / 2 };
  return Object.entries(fusedKernels).flatMap(([variant, kernels]) => {
    if (software !== /^linear_(texture|broadcast)/.test(variant)) return [];
    // Those of rounded operands where such are asked for: not every adapter has them.
    if (kernels.gated.needs && precision !== "float16") return [];
    return Object.entries(kernels).map(([product, kernel]) => {
      const shape = product.startsWith("gated") ? half : qkv;
      const label = `${s.name} ${s.slots} x ${shape.inputs} x ${shape.outputs}, ${product}`;
      return workload(kernel as KernelSpec, label, dims(shape));
    });
  });
}
