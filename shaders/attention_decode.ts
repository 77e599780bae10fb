/**
 * Attention of decode steps: one query token per slot over a paged cache.
 * @module
 */
import { GpuError } from "../gpu/errors.ts";
import { defineKernel, type KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { SLOT_WORDS } from "./slots.ts";

/** Bindings of {@link attentionDecode}. */
export type AttentionDecodeBinding = "qkv" | "k_cache" | "v_cache" | "table" | "slots" | "out";
/** Dims of {@link attentionDecode}; `scale` is usually 1/√head_dim. */
export type AttentionDecodeDim = "slots" | "heads" | "kv_heads" | "max_blocks" | "block_size" | "scale";

const made = new Map<number, KernelSpec<AttentionDecodeBinding, AttentionDecodeDim>>();

/**
 * The kernel for one head size. `qkv` [slots, (heads + 2 kv_heads) · D], rotated; caches [rows, kv_heads · D]; `table`
 * [slots, max_blocks] block ids; `slots` [slots, 8]; `out` [slots, heads · D]. The token at `position` has its own k and v
 * in the cache already. Dead slots get zeros.
 * @throws GpuError unless `headDim` is a multiple of 8 from 8 to 256
 */
export function attentionDecode(headDim: number): KernelSpec<AttentionDecodeBinding, AttentionDecodeDim> {
  if (!(headDim >= 8 && headDim <= 256 && headDim % 8 === 0)) {
    throw new GpuError(`attention: head size ${headDim} is not a multiple of 8 from 8 to 256`);
  }
  let kernel = made.get(headDim);
  if (!kernel) made.set(headDim, kernel = make(headDim));
  return kernel;
}

function make(headDim: number): KernelSpec<AttentionDecodeBinding, AttentionDecodeDim> {
  const small = headDim <= 32;
  return defineKernel({
    name: `attention_decode.${headDim}`,
    source: small ? SHADERS.attention_decode_small : SHADERS.attention_decode,
    entry: "decode",
    consts: { HEAD_DIM: headDim },
    bindings: { qkv: "read", k_cache: "read", v_cache: "read", table: "read", slots: "read", out: "write" },
    dims: {
      slots: "u32",
      heads: "u32",
      kv_heads: "u32",
      max_blocks: "u32",
      block_size: "u32",
      scale: "f32",
    },
    sizes: (d) => ({
      qkv: d.slots * (d.heads + 2 * d.kv_heads) * headDim,
      k_cache: d.block_size * d.kv_heads * headDim,
      v_cache: d.block_size * d.kv_heads * headDim,
      table: d.slots * d.max_blocks,
      slots: d.slots * SLOT_WORDS,
      out: d.slots * d.heads * headDim,
    }),
    grid: (d) => {
      const pairs = d.kv_heads * Math.ceil(d.heads / d.kv_heads / 2);
      return small ? [Math.ceil(d.slots * pairs / 8), 1, 1] : [pairs, d.slots, 1];
    },
    // Positions are known on the GPU only: the cost is that of full tables, an upper bound.
    cost: (d) => ({
      flops: 4 * d.slots * d.heads * d.max_blocks * d.block_size * headDim,
      bytes: 4 * d.slots * headDim *
        (2 * d.kv_heads * d.max_blocks * d.block_size + 2 * d.heads + 2 * d.kv_heads),
    }),
  });
}
