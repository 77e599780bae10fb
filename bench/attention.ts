/** Packed causal attention at the training batch. @module */
import type { BlockConfig } from "../models/block_config.ts";
import {
  type AttentionKernels,
  attentionPlain,
  attentionTexture,
  attentionTiled,
  attentionTiledSmall,
} from "../shaders/attention_variants.ts";
import { type ModelShape, SHAPES, WIDE_HEADS } from "./shapes.ts";
import { type Workload, workload } from "./workload.ts";

/** The kernels that an adapter gets by rule. */
export function attentionOf(headDim: number, software: boolean): AttentionKernels {
  return software ? attentionTexture(headDim) ?? attentionPlain(headDim) : attentionTiled(headDim);
}

/** The other ones: those that a GPU may measure, and on either kind of adapter those that the other kind gets. */
function othersOf(headDim: number, software: boolean): AttentionKernels[] {
  return software
    ? [attentionTiled(headDim)]
    : [attentionTiledSmall(headDim), attentionPlain(headDim), attentionTexture(headDim) ?? []].flat();
}

/** Operations of one launch by kernel name, in every variant, where one product of attention over all heads takes `product`. */
export function attentionCosts(headDim: number, product: number): Record<string, number> {
  const all = [false, true].flatMap((software) => [
    attentionOf(headDim, software),
    ...othersOf(headDim, software),
  ]);
  return Object.fromEntries(all.flatMap(({ forward, backwardQuery, backwardKeyValue }) => [
    // q kᵀ and p v
    [forward.name, 2 * product],
    // q kᵀ again, dout vᵀ, and one product for dq or two for dk and dv
    [backwardQuery.name, 3 * product],
    [backwardKeyValue.name, 4 * product],
  ]));
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

/** Forward and backward of a model's attention, in the variant that the adapter gets. */
export function attentionWorkloads(s: ModelShape, software: boolean): Workload[] {
  return timed(s, attentionOf(s.config.head_dim, software));
}

/** The same in the other variants, so that they can be compared: on a software adapter the small heads only. */
export function otherAttentionWorkloads(software: boolean): Workload[] {
  return (software ? [SHAPES.tiny] : [SHAPES.tiny, SHAPES.small, WIDE_HEADS]).flatMap((s) => {
    const { head_dim } = s.config;
    const own = attentionOf(head_dim, software).delta;
    // Variants that are for the same kind of adapter share it.
    return othersOf(head_dim, software).flatMap((kernels) =>
      timed(s, kernels).filter(({ kernel }) => kernel.name !== own.name)
    );
  });
}

function timed(
  s: ModelShape,
  { forward, delta, backwardQuery, backwardKeyValue }: AttentionKernels,
): Workload[] {
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
  return [
    workload(forward, shape, dims, data, { flops: flops[forward.name] }),
    workload(delta, shape, { tokens, heads }),
    ...[backwardQuery, backwardKeyValue].map((kernel) =>
      workload(kernel, shape, dims, data, { flops: flops[kernel.name] })
    ),
  ];
}
