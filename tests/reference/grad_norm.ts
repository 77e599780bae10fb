/**
 * The gradients' norm and clip factor in plain f64 loops (torch's clip_grad_norm_): the specification of
 * shaders/grad_norm.wgsl.
 * @module
 */

/** The sum of squares of each `perGroup` values of g. */
export function sumOfSquares(g: ArrayLike<number>, perGroup: number): Float64Array {
  const partial = new Float64Array(Math.ceil(g.length / perGroup));
  for (let i = 0; i < g.length; i++) partial[Math.floor(i / perGroup)] += g[i] ** 2;
  return partial;
}

/** [norm, clip factor, finite, 0] of the first `parts` sums of squares; a sum beyond f32 counts as infinite. */
export function gradNormFinish(partial: ArrayLike<number>, parts: number, maxNorm: number): Float64Array {
  let sum = 0;
  for (let i = 0; i < parts; i++) sum += partial[i];
  const norm = Math.sqrt(sum > 3.4028234e38 ? Infinity : sum);
  if (!Number.isFinite(norm)) return Float64Array.of(norm, 0, 0, 0);
  return Float64Array.of(norm, maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1, 1, 0);
}
