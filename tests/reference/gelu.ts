/**
 * The exact GELU in plain f64 loops (Hendrycks & Gimpel 2016): the specification of shaders/gelu.wgsl.
 * @module
 */

/** The normal distribution function: its power series near 0, the continued fraction of its tail beyond. */
export function normal(x: number): number {
  const density = Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
  if (Math.abs(x) < 4) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 100; n++) sum += term *= x * x / (2 * n + 1);
    return 0.5 + density * sum;
  }
  let fraction = Math.abs(x);
  for (let n = 100; n >= 1; n--) fraction = Math.abs(x) + n / fraction;
  return x < 0 ? density / fraction : 1 - density / fraction;
}

/** y = x · P(x). */
export function geluForward(x: ArrayLike<number>): Float64Array {
  return Float64Array.from(x, (v) => v * normal(v));
}

/** dx = dy (P(x) + x p(x)). */
export function geluBackward(x: ArrayLike<number>, dy: ArrayLike<number>): Float64Array {
  return Float64Array.from(
    x,
    (v, i) => dy[i] * (normal(v) + v * Math.exp(-v * v / 2) / Math.sqrt(2 * Math.PI)),
  );
}
