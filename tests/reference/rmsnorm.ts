/**
 * RMS normalisation in plain f64 loops (Zhang and Sennrich 2019): the specification of shaders/rmsnorm.wgsl.
 * @module
 */

/** y [T, W] and rstd [T] of x [T, W] and weight [W]. */
export function rmsnormForward(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  tokens: number,
  width: number,
  eps: number,
): { y: Float64Array; rstd: Float64Array } {
  const y = new Float64Array(tokens * width);
  const rstd = new Float64Array(tokens);
  for (let t = 0; t < tokens; t++) {
    let squares = 0;
    for (let j = 0; j < width; j++) squares += x[t * width + j] ** 2;
    rstd[t] = 1 / Math.sqrt(squares / width + eps);
    for (let j = 0; j < width; j++) y[t * width + j] = x[t * width + j] * rstd[t] * weight[j];
  }
  return { y, rstd };
}

/** The gradient with respect to x [T, W], to be added to dx. */
export function rmsnormBackward(
  dy: ArrayLike<number>,
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  rstd: ArrayLike<number>,
  tokens: number,
  width: number,
): Float64Array {
  const dx = new Float64Array(tokens * width);
  for (let t = 0; t < tokens; t++) {
    let dot = 0;
    for (let j = 0; j < width; j++) dot += dy[t * width + j] * weight[j] * x[t * width + j];
    for (let j = 0; j < width; j++) {
      const i = t * width + j;
      dx[i] = rstd[t] * dy[i] * weight[j] - rstd[t] ** 3 * x[i] * dot / width;
    }
  }
  return dx;
}

/** The gradient with respect to weight [W], one row [W] for each chunk of `chunk` tokens. */
export function rmsnormBackwardWeight(
  dy: ArrayLike<number>,
  x: ArrayLike<number>,
  rstd: ArrayLike<number>,
  tokens: number,
  width: number,
  chunk: number,
): Float64Array {
  const partial = new Float64Array(Math.ceil(tokens / chunk) * width);
  for (let t = 0; t < tokens; t++) {
    for (let j = 0; j < width; j++) {
      partial[Math.floor(t / chunk) * width + j] += dy[t * width + j] * x[t * width + j] * rstd[t];
    }
  }
  return partial;
}
