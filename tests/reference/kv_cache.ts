/**
 * The key/value cache in plain loops.
 * @module
 */

/** Sizes of {@link kvWrite}. */
export interface KvShape {
  tokens: number;
  heads: number;
  kv_heads: number;
  head_dim: number;
}

/** `cache` with the k (part 0) or v (part 1) heads of every qkv row copied to its row; 0xffffffff writes nothing. */
export function kvWrite(
  cache: ArrayLike<number>,
  qkv: ArrayLike<number>,
  rows: ArrayLike<number>,
  { tokens, heads, kv_heads, head_dim }: KvShape,
  part: 0 | 1,
): Float64Array {
  const out = Float64Array.from(cache);
  const width = kv_heads * head_dim, stride = heads * head_dim + 2 * width;
  for (let t = 0; t < tokens; t++) {
    if (rows[t] === 0xffffffff) continue;
    for (let c = 0; c < width; c++) {
      out[rows[t] * width + c] = qkv[t * stride + heads * head_dim + part * width + c];
    }
  }
  return out;
}

/** `cache` with row pairs[2i] copied to row pairs[2i + 1]. */
export function kvCopyRows(
  cache: ArrayLike<number>,
  pairs: ArrayLike<number>,
  width: number,
): Float64Array {
  const out = Float64Array.from(cache);
  for (let i = 0; i < pairs.length; i += 2) {
    for (let c = 0; c < width; c++) out[pairs[i + 1] * width + c] = cache[pairs[i] * width + c];
  }
  return out;
}
