/**
 * Attention of one query token per slot over a paged cache, in plain f64 loops.
 * @module
 */

/** Sizes of {@link attentionDecode}. */
export interface DecodeShape {
  slots: number;
  heads: number;
  kv_heads: number;
  head_dim: number;
  max_blocks: number;
  block_size: number;
  scale: number;
}

/** out[s, h] = Σ_t softmax_t(scale q·k_t) v_t over t = 0 … position[s]; zeros for dead slots. [slots, heads · head_dim]. */
export function attentionDecode(
  qkv: ArrayLike<number>,
  keys: ArrayLike<number>,
  values: ArrayLike<number>,
  table: ArrayLike<number>,
  slots: ArrayLike<number>,
  shape: DecodeShape,
): Float64Array {
  const { heads, kv_heads, head_dim, max_blocks, block_size, scale } = shape;
  const out = new Float64Array(shape.slots * heads * head_dim);
  const stride = (heads + 2 * kv_heads) * head_dim;
  for (let s = 0; s < shape.slots; s++) {
    if (slots[s * 8 + 2] !== 1) continue;
    const rows = Array.from(
      { length: slots[s * 8 + 1] + 1 },
      (_, t) => table[s * max_blocks + Math.floor(t / block_size)] * block_size + t % block_size,
    );
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h / (heads / kv_heads));
      const at = (row: number, i: number) => (row * kv_heads + kvHead) * head_dim + i;
      const scores = rows.map((row) => {
        let dot = 0;
        for (let i = 0; i < head_dim; i++) dot += qkv[s * stride + h * head_dim + i] * keys[at(row, i)];
        return dot * scale;
      });
      const top = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let i = 0; i < head_dim; i++) {
        let sum = 0;
        rows.forEach((row, t) => sum += weights[t] * values[at(row, i)]);
        out[(s * heads + h) * head_dim + i] = sum / total;
      }
    }
  }
  return out;
}
