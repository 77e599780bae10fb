/**
 * Cases and planted mistakes of shaders/rope_cache.ts.
 * @module
 */
import { ropeTables } from "../../shaders/rope.ts";
import { ropeCacheKernels } from "../../shaders/rope_cache.ts";
import { kvWrite } from "../reference/kv_cache.ts";
import { rope } from "../reference/rope.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

const THETA = 10000;

/** Equal, grouped and single heads, the smallest head and one whose half is an odd number of vec4s; tokens without a row. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (
    const [tokens, heads, kvHeads, headDim] of [[1, 1, 1, 8], [5, 4, 2, 32], [23, 3, 3, 24], [65, 6, 1, 16]]
  ) {
    for (const kernel of Object.values(ropeCacheKernels)) {
      const half = kernel.halves !== undefined;
      const dims = { tokens, heads, kv_heads: kvHeads, head_dim: headDim };
      const stride = (heads + 2 * kvHeads) * headDim;
      const cacheRows = tokens + 5;
      const qkv = randomArray([tokens, stride]);
      const positions = Uint32Array.from({ length: tokens }, (_, t) => (t * 7 + 1) % 50);
      // Rows in reverse with a hole; every third token (but never all of them) is skipped.
      const rows = Uint32Array.from(
        { length: tokens },
        (_, t) => t % 3 === 1 ? 0xffffffff : cacheRows - 2 - t,
      );
      const [k_cache, v_cache] = [1, 2].map(() => randomArray([cacheRows, kvHeads * headDim]));
      const turned = rope(qkv, positions, tokens, heads + kvHeads, stride, headDim, THETA, 1);
      const kept = (cache: Float32Array, part: 0 | 1): Float64Array => {
        const values = kvWrite(cache, turned, rows, dims, part);
        return half ? values.map(Math.f16round) : values;
      };
      list.push({
        name: `tokens=${tokens} heads=${heads}/${kvHeads} head_dim=${headDim}`,
        kernel,
        inputs: { qkv, positions, ...ropeTables(50, headDim, THETA), rows, k_cache, v_cache },
        dims,
        expected: () => ({
          qkv: qkv.map((v, i) => i % stride < heads * headDim ? turned[i] : v),
          k_cache: kept(k_cache, 0),
          v_cache: kept(v_cache, 1),
        }),
        // A value half way between two of f16 may be rounded either way.
        tolerance: half ? 1e-3 : 1e-5,
      });
    }
  }
  return list;
}

const planted = (kernel: keyof typeof ropeCacheKernels, why: string, from: string, to: string) => ({
  kernel: ropeCacheKernels[kernel].name,
  mistake: { why, from, to },
});

/** Each is rejected by a case. */
export const mistakes: readonly { kernel: string; mistake: Mistake }[] = [
  planted("rope_cache", "keys are not turned", "keep_key(dest, x);", "keep_key(dest, a);"),
  planted("rope_cache", "values are turned", "keep_value(dest + half, b);", "keep_value(dest + half, y);"),
  planted("rope_cache", "both sines with one sign", "let y = b * c + a * s;", "let y = b * c - a * s;"),
  planted("rope_cache", "the token's index for its position", "positions[t] * half", "t * half"),
  planted(
    "rope_cache_kept",
    "skipped rows go to row 0",
    "let row = rows[t];",
    "let row = select(rows[t], 0u, rows[t] == 0xffffffffu);",
  ),
  planted("rope_cache_kept", "the first head of the cache for all", "(head - d.heads) % d.kv_heads", "0u"),
  planted("rope_cache_kept", "only the first head is turned", "head += shared_by", "head += heads"),
  planted("rope_cache_half", "q goes where k stood", "if (head < d.heads) {", "if (head <= d.heads) {"),
];
