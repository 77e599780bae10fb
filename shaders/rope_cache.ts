/**
 * Rotation and writing to the cache in one launch, for decode steps; formulas and shapes stand in rope_cache.wgsl.
 * @module
 */
import { type Access, defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { TEXTURE_HEAD } from "./attention_decode.ts";
import { SHADERS } from "./bundle.ts";
import { HALF_CACHES } from "./kv_cache.ts";

type RopeCache = KernelSpec<
  "qkv" | "positions" | "cos" | "sin" | "rows" | "k_cache" | "v_cache",
  "tokens" | "heads" | "kv_heads" | "head_dim"
>;

/** The values of a head that a thread has. */
const PAIR = 8;

function make(name: string, cache: Access, half = false): RopeCache {
  const software = cache === "kept";
  const [GROUP, WHOLE, KEPT] = software ? [16, 1, 1] : [64, 0, 0];
  return defineKernel({
    name: `${name}.write`,
    source: (half ? SHADERS.cached_f16 : SHADERS.cached_f32) + SHADERS.rope_cache,
    entry: "rope_cache",
    bindings: {
      qkv: "inout",
      positions: "read",
      cos: "read",
      sin: "read",
      rows: "read",
      k_cache: cache,
      v_cache: cache,
    },
    ...half && HALF_CACHES,
    dims: { tokens: "u32", heads: "u32", kv_heads: "u32", head_dim: "u32" },
    consts: { GROUP, WHOLE, KEPT },
    // The rows that are read and written depend on the data: one is the least.
    sizes: (d) => ({
      qkv: d.tokens * (d.heads + 2 * d.kv_heads) * d.head_dim,
      positions: d.tokens,
      cos: d.head_dim / 2,
      sin: d.head_dim / 2,
      rows: d.tokens,
      k_cache: d.kv_heads * d.head_dim,
      v_cache: d.kv_heads * d.head_dim,
    }),
    grid: (d) => linearGrid(d.tokens * (WHOLE ? 1 : d.heads + 2 * d.kv_heads) * d.head_dim / PAIR, GROUP),
    cost: (d) => ({
      flops: 3 * d.tokens * (d.heads + d.kv_heads) * d.head_dim,
      bytes: d.tokens * d.head_dim * (4 * (2 * d.heads + 2 * d.kv_heads + 1) + (half ? 4 : 8) * d.kv_heads),
    }),
  });
}

/** The kernels by variant, for the tests. */
export const ropeCacheKernels = {
  rope_cache: make("rope_cache", "inout"),
  rope_cache_half: make("rope_cache_half", "inout", true),
  rope_cache_kept: make("rope_cache_kept", "kept"),
} as const;

/**
 * Rotates the q heads of qkv [tokens, (heads + 2 kv_heads) · head_dim] in place and writes rotated k and v to rows of the
 * caches. positions [tokens] choose rows of the tables cos, sin [P, head_dim / 2]; `rows` [tokens] are cache rows, no two
 * alike, or `NO_ROW` of rows.ts: nothing is written. head_dim is a multiple of 8. A software adapter's variant keeps the
 * textures current through which its attention reads the caches.
 */
export const ropeCache: RopeCache = {
  ...ropeCacheKernels.rope_cache,
  fit: ({ head_dim }, { software }) =>
    software && (head_dim as number) <= TEXTURE_HEAD
      ? ropeCacheKernels.rope_cache_kept
      : ropeCacheKernels.rope_cache,
};
/** {@link ropeCache} for caches of f16 values. */
export const ropeCacheHalf: RopeCache = ropeCacheKernels.rope_cache_half;
