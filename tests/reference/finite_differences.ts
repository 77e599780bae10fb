/**
 * Gradients by central differences in f64, against which the references' backward formulas are checked.
 * @module
 */

/** The gradient of `loss` at `x`, by central differences of step `step`. */
export function finiteDifferences(
  loss: (x: Float64Array) => number,
  x: ArrayLike<number>,
  step = 1e-5,
): Float64Array {
  const at = Float64Array.from(x);
  const gradient = new Float64Array(at.length);
  for (let i = 0; i < at.length; i++) {
    const value = at[i];
    at[i] = value + step;
    const above = loss(at);
    at[i] = value - step;
    gradient[i] = (above - loss(at)) / (2 * step);
    at[i] = value;
  }
  return gradient;
}
