/**
 * Attention of decode steps: one query token per slot over a paged cache.
 * @module
 */
import { GpuError } from "../gpu/errors.ts";
import { defineKernel, type DimValues, type KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { SLOT_WORDS } from "./slots.ts";

/** Bindings of {@link attentionDecode}. */
export type AttentionDecodeBinding = "qkv" | "k_cache" | "v_cache" | "table" | "slots" | "out";
/** Dims of {@link attentionDecode}; only the first `rows` of the caches are read, `scale` is usually 1/√head_dim. */
export type AttentionDecodeDim =
  | "slots"
  | "heads"
  | "kv_heads"
  | "max_blocks"
  | "block_size"
  | "rows"
  | "scale";

type Kernel = KernelSpec<AttentionDecodeBinding, AttentionDecodeDim>;

/** Widest head of the texture variant: what its compiler does in seconds. */
export const TEXTURE_HEAD = 128;
/** Most query values of an invocation of it. */
const TEXTURE_VALUES = 256;

const made = new Map<string, Kernel>();

function once(key: string, make: () => Kernel): Kernel {
  let kernel = made.get(key);
  if (!kernel) made.set(key, kernel = make());
  return kernel;
}

function checkHead(headDim: number): void {
  if (!(headDim >= 8 && headDim <= 256 && headDim % 8 === 0)) {
    throw new GpuError(`attention: head size ${headDim} is not a multiple of 8 from 8 to 256`);
  }
}

/**
 * The kernel for one head size, which a program exchanges for the variant of its adapter. `qkv` [slots, (heads + 2
 * kv_heads) · D], rotated; caches [at least rows, kv_heads · D]; `table` [slots, max_blocks] block ids, all of them within
 * `rows` of the caches; `slots` [slots, 8]; `out` [slots, heads · D]. The token at `position` has its own k and v in the
 * cache already. Dead slots get zeros.
 * @throws GpuError unless `headDim` is a multiple of 8 from 8 to 256
 */
export function attentionDecode(headDim: number): Kernel {
  return once(`${headDim}`, () => {
    const storage = attentionDecodeStorage(headDim);
    return {
      ...storage,
      fit: ({ heads, kv_heads }, { software }) => {
        if (!software || headDim > TEXTURE_HEAD) return storage;
        // As many heads of a group as fit one invocation, in parts of equal size.
        const group = (heads as number) / (kv_heads as number);
        const parts = Math.ceil(group / Math.floor(TEXTURE_VALUES / headDim));
        return attentionDecodeTexture(headDim, Math.ceil(group / parts));
      },
    };
  });
}

/**
 * The variant that reads everything from buffers.
 * @throws GpuError as {@link attentionDecode} does
 */
export function attentionDecodeStorage(headDim: number): Kernel {
  checkHead(headDim);
  return once(`${headDim} storage`, () => makeStorage(headDim));
}

/**
 * The variant that reads the caches through textures, for software adapters; an invocation serves `heads` query heads that
 * share a kv head.
 * @throws GpuError as {@link attentionDecode} does
 */
export function attentionDecodeTexture(headDim: number, heads = 1): Kernel {
  checkHead(headDim);
  return once(`${headDim} texture ${heads}`, () => makeTexture(headDim, heads));
}

const common = (headDim: number) => ({
  entry: "decode",
  dims: {
    slots: "u32",
    heads: "u32",
    kv_heads: "u32",
    max_blocks: "u32",
    block_size: "u32",
    rows: "u32",
    scale: "f32",
  } as const,
  sizes: (d: DimValues<AttentionDecodeDim>) => ({
    qkv: d.slots * (d.heads + 2 * d.kv_heads) * headDim,
    k_cache: d.rows * d.kv_heads * headDim,
    v_cache: d.rows * d.kv_heads * headDim,
    table: d.slots * d.max_blocks,
    slots: d.slots * SLOT_WORDS,
    out: d.slots * d.heads * headDim,
  }),
  // Positions are known on the GPU only: the cost is that of full tables, an upper bound.
  cost: (d: DimValues<AttentionDecodeDim>) => ({
    flops: 4 * d.slots * d.heads * d.max_blocks * d.block_size * headDim,
    bytes: 4 * d.slots * headDim *
      (2 * d.kv_heads * d.max_blocks * d.block_size + 2 * d.heads + 2 * d.kv_heads),
  }),
});

function makeStorage(headDim: number): Kernel {
  const small = headDim <= 32;
  return defineKernel({
    ...common(headDim),
    name: `attention_decode.${headDim}`,
    source: small ? SHADERS.attention_decode_small : SHADERS.attention_decode,
    consts: { HEAD_DIM: headDim },
    bindings: { qkv: "read", k_cache: "read", v_cache: "read", table: "read", slots: "read", out: "write" },
    grid: (d) => {
      const pairs = d.kv_heads * Math.ceil(d.heads / d.kv_heads / 2);
      return small ? [Math.ceil(d.slots * pairs / 8), 1, 1] : [pairs, d.slots, 1];
    },
  });
}

function makeTexture(headDim: number, heads: number): Kernel {
  return defineKernel({
    ...common(headDim),
    name: `attention_decode_texture.${headDim}.${heads}`,
    source: SHADERS.texel + SHADERS.attention_decode_texture,
    consts: { HEAD_DIM: headDim, D4: headDim / 4, HEADS: heads },
    bindings: {
      qkv: "read",
      k_cache: "texture",
      v_cache: "texture",
      table: "read",
      slots: "read",
      out: "write",
    },
    grid: (d) => [Math.ceil(d.slots * d.kv_heads * Math.ceil(d.heads / d.kv_heads / heads) / 16), 1, 1],
  });
}
