/**
 * Writing and copying rows of the key/value cache. A cache is `[blocks · block_size, Hkv · D]` of f32 or f16, one for k
 * and one for v per layer; block tables say which rows belong to a sequence.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

type Write = KernelSpec<
  "qkv" | "rows" | "k_cache" | "v_cache",
  "tokens" | "heads" | "kv_heads" | "head_dim"
>;
type Copy = KernelSpec<"pairs" | "k_cache" | "v_cache", "count" | "width">;

/** Of kernels whose caches hold f16 values. */
export const HALF_CACHES = { needs: "shader-f16", halves: ["k_cache", "v_cache"] } as const;

/**
 * Copies the k and v parts of each qkv row into the cache. `qkv` [tokens, (heads + 2 kv_heads) · head_dim], k already
 * rotated; `rows` [tokens] are cache rows, no two alike, or `NO_ROW` of rows.ts: nothing is written; `head_dim` is a multiple of 4.
 */
export const kvWrite: Write = defineKernel({
  name: "kv_cache.write",
  source: SHADERS.cached_f32 + SHADERS.kv_cache,
  entry: "write",
  bindings: { qkv: "read", rows: "read", k_cache: "inout", v_cache: "inout" },
  dims: { tokens: "u32", heads: "u32", kv_heads: "u32", head_dim: "u32" },
  sizes: (d) => ({
    qkv: d.tokens * (d.heads + 2 * d.kv_heads) * d.head_dim,
    rows: d.tokens,
    k_cache: d.kv_heads * d.head_dim,
    v_cache: d.kv_heads * d.head_dim,
  }),
  grid: (d) => linearGrid(d.tokens * d.kv_heads * d.head_dim / 4, 64),
  cost: (d) => ({ flops: 0, bytes: d.tokens * (4 * d.kv_heads * d.head_dim + 1) * 4 }),
});

/** {@link kvWrite} into caches of f16 values. */
export const kvWriteHalf: Write = defineKernel({
  ...kvWrite,
  ...HALF_CACHES,
  name: "kv_cache_half.write",
  source: SHADERS.cached_f16 + SHADERS.kv_cache,
  cost: (d) => ({ flops: 0, bytes: d.tokens * (12 * d.kv_heads * d.head_dim + 4) }),
});

/**
 * Copies cache rows: `pairs` [count, 2] = (from, to). No row may be written twice or be both read and written.
 * `width` = Hkv · D, a multiple of 4.
 */
export const kvCopyRows: Copy = defineKernel({
  name: "kv_cache.copy_rows",
  source: SHADERS.cached_f32 + SHADERS.kv_cache,
  entry: "copy_rows",
  bindings: { pairs: "read", k_cache: "inout", v_cache: "inout" },
  dims: { count: "u32", width: "u32" },
  sizes: (d) => ({ pairs: 2 * d.count, k_cache: d.width, v_cache: d.width }),
  grid: (d) => linearGrid(d.count * d.width / 4, 64),
  cost: (d) => ({ flops: 0, bytes: d.count * (4 * d.width + 2) * 4 }),
});

/** {@link kvCopyRows} of caches of f16 values. */
export const kvCopyRowsHalf: Copy = defineKernel({
  ...kvCopyRows,
  ...HALF_CACHES,
  name: "kv_cache_half.copy_rows",
  source: SHADERS.cached_f16 + SHADERS.kv_cache,
  cost: (d) => ({ flops: 0, bytes: d.count * (8 * d.width + 8) }),
});
