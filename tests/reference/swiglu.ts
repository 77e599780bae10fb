/**
 * The gated activation in plain f64 loops (Shazeer 2020): the specification of shaders/swiglu.wgsl.
 * @module
 */

const sigmoid = (g: number): number => 1 / (1 + Math.exp(-g));

/** y [T, I] = silu(gate) · up of gate_up [T, 2I]. */
export function swigluForward(gateUp: ArrayLike<number>, tokens: number, width: number): Float64Array {
  const y = new Float64Array(tokens * width);
  for (let t = 0; t < tokens; t++) {
    for (let j = 0; j < width; j++) {
      const g = gateUp[t * 2 * width + j];
      y[t * width + j] = g * sigmoid(g) * gateUp[t * 2 * width + width + j];
    }
  }
  return y;
}

/** dgate_up [T, 2I]. */
export function swigluBackward(
  gateUp: ArrayLike<number>,
  dy: ArrayLike<number>,
  tokens: number,
  width: number,
): Float64Array {
  const out = new Float64Array(tokens * 2 * width);
  for (let t = 0; t < tokens; t++) {
    for (let j = 0; j < width; j++) {
      const at = t * 2 * width + j;
      const [g, u, d] = [gateUp[at], gateUp[at + width], dy[t * width + j]];
      const s = sigmoid(g);
      out[at] = d * u * (s + g * s * (1 - s));
      out[at + width] = d * g * s;
    }
  }
  return out;
}
