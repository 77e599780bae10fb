/**
 * Attention of decode steps: one query token per slot over a paged cache.
 * @module
 */
import { GpuError } from "../gpu/errors.ts";
import { defineKernel, type DimValues, type KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { HALF_CACHES } from "./kv_cache.ts";
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
/** Most query heads of a workgroup of the group variant: more take more registers than leave room for a second workgroup. */
const MOST_HEADS = 8;
/** Quads of positions that such a workgroup works on at a time; the text's TEAMS. */
const TEAMS = 32;
/** Bytes of workgroup memory that every adapter has. */
const MEMORY = 16384;

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
 * @param half for caches of f16 values
 * @throws GpuError unless `headDim` is a multiple of 8 from 8 to 256
 */
export function attentionDecode(headDim: number, half = false): Kernel {
  checkHead(headDim);
  return once(`${headDim} ${half}`, () => ({
    ...attentionDecodeGroup(headDim, 1, half),
    fit: ({ heads, kv_heads }, { software }) => {
      const group = (heads as number) / (kv_heads as number);
      if (half || !software) return attentionDecodeGroup(headDim, groupHeads(headDim, group), half);
      if (headDim > TEXTURE_HEAD) return attentionDecodeStorage(headDim);
      return attentionDecodeTexture(headDim, equalParts(group, Math.floor(TEXTURE_VALUES / headDim)));
    },
  }));
}

/** Heads of a part where a group is served in parts of equal size, of at most `most`. */
const equalParts = (group: number, most: number): number => Math.ceil(group / Math.ceil(group / most));

/** Query heads of a workgroup of {@link attentionDecodeGroup}, of a group of so many: as many as its memory has room for. */
export function groupHeads(headDim: number, group: number): number {
  let most = MOST_HEADS;
  while (memoryOf(headDim, most) > MEMORY) most--;
  return equalParts(group, most);
}

/**
 * The variant for GPUs; a workgroup serves `heads` query heads that share a kv head.
 * @param half for caches of f16 values
 * @throws GpuError as {@link attentionDecode} does
 */
export function attentionDecodeGroup(headDim: number, heads = 1, half = false): Kernel {
  checkHead(headDim);
  return once(`${headDim} group ${heads} ${half}`, () => makeGroup(headDim, heads, half));
}

/**
 * The variant for software adapters and heads that are too wide for the texture variant. It takes them half to two thirds
 * of the group variant's time (lavapipe, heads of 160 to 256 values, contexts of 100 to 500).
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

/** @param bytes of a cached value */
const common = (headDim: number, bytes = 4) => ({
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
    bytes: d.slots * headDim *
      (bytes * 2 * d.kv_heads * d.max_blocks * d.block_size + 4 * (2 * d.heads + 2 * d.kv_heads)),
  }),
});

/** Threads that read a row of k side by side: whole loads of all of them, of at most a cache line of f32. */
function teamOf(headDim: number): number {
  return [8, 4, 2].find((team) => headDim / 4 % team === 0)!;
}

/** Heads whose scores a workgroup adds up at a time: 8 KiB of them at most, as a rule. */
function roundOf(headDim: number, heads: number): number {
  return [4, 2, 1].find((round) =>
    round * teamOf(headDim) <= 16 && round <= Math.min(heads, teamOf(headDim))
  )!;
}

/** Vec4s through which a workgroup's threads add up and share what they made. */
function exchangeOf(headDim: number, heads: number): number {
  return TEAMS * Math.max(heads, roundOf(headDim, heads) * teamOf(headDim));
}

/** Bytes of a workgroup's variables: queries, the exchange, rows of the positions of a chunk and a factor a head. */
function memoryOf(headDim: number, heads: number): number {
  return heads * (4 * headDim + 4) + 16 * exchangeOf(headDim, heads) + 4 * 4 * TEAMS;
}

function makeGroup(headDim: number, heads: number, half: boolean): Kernel {
  const D4 = headDim / 4;
  const TEAM = teamOf(headDim);
  const THREADS = TEAMS * TEAM;
  const PARTS = Math.min(TEAMS, Math.floor(THREADS / D4));
  const ROUND = roundOf(headDim, heads);
  return defineKernel({
    ...common(headDim, half ? 2 : 4),
    name: `attention_decode_group${half ? "_half" : ""}.${headDim}.${heads}`,
    source: (half ? SHADERS.cached_f16 : SHADERS.cached_f32) + SHADERS.attention_decode_group,
    ...half && HALF_CACHES,
    consts: {
      HEAD_DIM: headDim,
      D4,
      HEADS: heads,
      TEAM,
      THREADS,
      STEP: [2, 1].find((step) => D4 / TEAM % step === 0)!,
      PARTS,
      DEEP: TEAMS % (2 * PARTS) === 0 ? 2 : 1,
      ROUND,
      ROUNDS: Math.ceil(heads / ROUND),
      EXCHANGE: exchangeOf(headDim, heads),
      ITEMS: Math.ceil(heads / TEAM),
    },
    bindings: { qkv: "read", k_cache: "read", v_cache: "read", table: "read", slots: "read", out: "write" },
    grid: (d) => [d.kv_heads * Math.ceil(d.heads / d.kv_heads / heads), d.slots, 1],
  });
}

function makeStorage(headDim: number): Kernel {
  return defineKernel({
    ...common(headDim),
    name: `attention_decode.${headDim}`,
    source: SHADERS.attention_decode,
    consts: { HEAD_DIM: headDim },
    bindings: { qkv: "read", k_cache: "read", v_cache: "read", table: "read", slots: "read", out: "write" },
    grid: (d) => [d.kv_heads * Math.ceil(d.heads / d.kv_heads / 2), d.slots, 1],
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
