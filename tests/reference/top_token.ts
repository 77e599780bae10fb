/** Plain loops of shaders/top_token.wgsl. @module */

/** The first largest of every live row's `vocab` logits, written into row `tick` of `out`. */
export function topToken(
  logits: ArrayLike<number>,
  alive: readonly boolean[],
  tick: number,
  out: ArrayLike<number>,
  { vocab, stride }: { vocab: number; stride: number },
): Float64Array {
  const result = Float64Array.from(out);
  alive.forEach((lives, s) => {
    const row = Array.from({ length: vocab }, (_, v) => logits[s * stride + v]);
    if (tick + s < result.length) result[tick + s] = lives ? row.indexOf(Math.max(...row)) : 0xffffffff;
  });
  return result;
}
