/**
 * Full rows of logits, for sampling from a few tokens at a time; training never holds them.
 * @module
 */
import type { Program } from "../gpu/program.ts";
import { rowWindows, type Tensor, view } from "../gpu/tensor.ts";
import { addLinear } from "../shaders/linear.ts";
import type { CausalLM } from "./causal_lm.ts";

/**
 * Records `out [tokens, vocab_size] = normed [tokens, hidden] · headᵀ`.
 * @param normed hidden states after the final norm
 */
export function recordLogits(
  program: Program,
  model: CausalLM,
  normed: Tensor,
  out: Tensor,
  tokens: number | (() => number),
): void {
  const { operand: weight } = model.headWeight;
  const [vocabulary, width] = weight.shape;
  // A later window of the weight writes further columns of the same rows: a view that starts at its first column.
  for (const w of rowWindows(weight, model.gpu.device.limits.maxStorageBufferBindingSize)) {
    const columns = view(out, w.first, [out.size - w.first]);
    addLinear(program, { x: normed, weight: w.tensor, y: columns }, {
      tokens,
      inputs: width,
      outputs: w.rows,
      stride: vocabulary,
    });
  }
}
