/**
 * Packed attention with grouped queries in plain f64 loops, with all scores at hand: the specification of
 * shaders/attention.wgsl.
 * @module
 */

/** Sizes and inputs of an attention. */
export interface Attention {
  /** [T, (heads + 2 kvHeads) · headDim]: q heads, k heads, v heads. */
  readonly qkv: ArrayLike<number>;
  /** [T, 2]: first token and end of the segment of each token. */
  readonly segments: ArrayLike<number>;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly causal: boolean;
  readonly scale: number;
}

/** The keys first..end-1 that token t sees. */
function seen(a: Attention, t: number): [first: number, end: number] {
  return [a.segments[2 * t], a.causal ? t + 1 : a.segments[2 * t + 1]];
}

/** Index in qkv of the first value of head `head`, counted over q, k and v heads. */
function place(a: Attention, t: number, head: number): number {
  return (t * (a.heads + 2 * a.kvHeads) + head) * a.headDim;
}

function dot(x: ArrayLike<number>, i: number, y: ArrayLike<number>, j: number, n: number): number {
  let sum = 0;
  for (let d = 0; d < n; d++) sum += x[i + d] * y[j + d];
  return sum;
}

/** out [T, heads · headDim] and the log-sum-exp of every row of scores, lse [T, heads]. */
export function attentionForward(a: Attention): { out: Float64Array; lse: Float64Array } {
  const out = new Float64Array(a.tokens * a.heads * a.headDim);
  const lse = new Float64Array(a.tokens * a.heads);
  for (let t = 0; t < a.tokens; t++) {
    const [first, end] = seen(a, t);
    for (let h = 0; h < a.heads; h++) {
      const kvHead = Math.floor(h * a.kvHeads / a.heads);
      const scores = [];
      for (let j = first; j < end; j++) {
        const k = place(a, j, a.heads + kvHead);
        scores.push(a.scale * dot(a.qkv, place(a, t, h), a.qkv, k, a.headDim));
      }
      const top = Math.max(...scores);
      const sum = scores.reduce((total, s) => total + Math.exp(s - top), 0);
      lse[t * a.heads + h] = top + Math.log(sum);
      for (let j = first; j < end; j++) {
        const p = Math.exp(scores[j - first] - top) / sum;
        const v = place(a, j, a.heads + a.kvHeads + kvHead);
        for (let d = 0; d < a.headDim; d++) out[(t * a.heads + h) * a.headDim + d] += p * a.qkv[v + d];
      }
    }
  }
  return { out, lse };
}

/** delta [T, heads] = dout · out. */
export function attentionDelta(
  dout: ArrayLike<number>,
  out: ArrayLike<number>,
  tokens: number,
  heads: number,
  headDim: number,
): Float64Array {
  return Float64Array.from(
    { length: tokens * heads },
    (_, i) => dot(dout, i * headDim, out, i * headDim, headDim),
  );
}

/** dqkv, from the saved lse and delta. */
export function attentionBackward(
  a: Attention,
  dout: ArrayLike<number>,
  lse: ArrayLike<number>,
  delta: ArrayLike<number>,
): Float64Array {
  const dqkv = new Float64Array(a.qkv.length);
  for (let t = 0; t < a.tokens; t++) {
    const [first, end] = seen(a, t);
    for (let h = 0; h < a.heads; h++) {
      const row = t * a.heads + h;
      const kvHead = Math.floor(h * a.kvHeads / a.heads);
      const q = place(a, t, h);
      for (let j = first; j < end; j++) {
        const k = place(a, j, a.heads + kvHead);
        const v = place(a, j, a.heads + a.kvHeads + kvHead);
        const p = Math.exp(a.scale * dot(a.qkv, q, a.qkv, k, a.headDim) - lse[row]);
        const ds = a.scale * p * (dot(dout, row * a.headDim, a.qkv, v, a.headDim) - delta[row]);
        for (let d = 0; d < a.headDim; d++) {
          dqkv[q + d] += ds * a.qkv[k + d];
          dqkv[k + d] += ds * a.qkv[q + d];
          dqkv[v + d] += p * dout[row * a.headDim + d];
        }
      }
    }
  }
  return dqkv;
}
