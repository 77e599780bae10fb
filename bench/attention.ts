/** Packed causal attention at the training batch. @module */
import type { BlockConfig } from "../models/block_config.ts";
import {
  attentionBackwardKeyValue,
  attentionBackwardQuery,
  attentionDelta,
  attentionForward,
} from "../shaders/attention.ts";
import type { ModelShape } from "./shapes.ts";
import { type Workload, workload } from "./workload.ts";

/** Operations of one launch by kernel name, where one product of attention over all heads takes `product`. */
export function attentionCosts(headDim: number, product: number): Record<string, number> {
  return {
    // q kᵀ and p v
    [attentionForward(headDim).name]: 2 * product,
    // q kᵀ again, dout vᵀ, and one product for dq or two for dk and dv
    [attentionBackwardQuery(headDim).name]: 3 * product,
    [attentionBackwardKeyValue(headDim).name]: 4 * product,
  };
}

/** Operations of one product of causal attention: pairs of tokens that see each other, over all heads. */
export function causalProduct(c: BlockConfig, sequences: number, length: number): number {
  return 2 * c.head_dim * c.num_attention_heads * sequences * length * (length + 1) / 2;
}

/** Operations of one launch by kernel name at a model's training batch. */
export function attentionFlops({ config: c, sequences, length }: ModelShape): Record<string, number> {
  return attentionCosts(c.head_dim, causalProduct(c, sequences, length));
}

/** Start and end of every token's sequence, [tokens, 2]. */
function segments({ tokens, length }: ModelShape): Uint32Array<ArrayBuffer> {
  const table = new Uint32Array(2 * tokens);
  for (let t = 0; t < tokens; t++) {
    const start = t - t % length;
    table.set([start, start + length], 2 * t);
  }
  return table;
}

/** Forward and backward of a model's attention. */
export function attentionWorkloads(s: ModelShape): Workload[] {
  const { config: c, tokens } = s;
  const flops = attentionFlops(s);
  const heads = c.num_attention_heads;
  const dims = {
    tokens,
    heads,
    kv_heads: c.num_key_value_heads,
    causal: 1,
    scale: 1 / Math.sqrt(c.head_dim),
  };
  const shape = `${s.name} ${s.sequences} x ${s.length} tokens, ${heads} heads of ${c.head_dim}`;
  const data = { segments: segments(s) };
  const backward = [attentionBackwardQuery(c.head_dim), attentionBackwardKeyValue(c.head_dim)];
  const forward = attentionForward(c.head_dim);
  return [
    workload(forward, shape, dims, data, { flops: flops[forward.name] }),
    workload(attentionDelta(c.head_dim), shape, { tokens, heads }),
    ...backward.map((kernel) => workload(kernel, shape, dims, data, { flops: flops[kernel.name] })),
  ];
}
