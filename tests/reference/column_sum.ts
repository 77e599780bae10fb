/**
 * Sums over tokens in plain f64 loops: the specification of shaders/column_sum.wgsl.
 * @module
 */

/** One row [N] for each chunk of `chunk` rows of dy [T, N]. */
export function columnSum(dy: ArrayLike<number>, tokens: number, width: number, chunk: number): Float64Array {
  const partial = new Float64Array(Math.ceil(tokens / chunk) * width);
  for (let t = 0; t < tokens; t++) {
    for (let j = 0; j < width; j++) partial[Math.floor(t / chunk) * width + j] += dy[t * width + j];
  }
  return partial;
}
