/** Plain f64 loops of a linear layer: the specification of shaders/linear*.wgsl. @module */

/** y[t,n] = Σ_k x[t,k] w[n,k] (+ bias[n]) (+ residual[t,n]); rows `stride` apart, padding left as `y` had it. */
export function linear(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  y: ArrayLike<number>,
  s: { tokens: number; inputs: number; outputs: number; stride: number },
  bias?: ArrayLike<number>,
  residual?: ArrayLike<number>,
): Float64Array {
  const out = Float64Array.from(y);
  for (let t = 0; t < s.tokens; t++) {
    for (let n = 0; n < s.outputs; n++) {
      let sum = 0;
      for (let k = 0; k < s.inputs; k++) sum += x[t * s.inputs + k] * w[n * s.inputs + k];
      out[t * s.stride + n] = sum + (bias ? bias[n] : 0) + (residual ? residual[t * s.stride + n] : 0);
    }
  }
  return out;
}

/** dx[t,k] = (dx[t,k] +) Σ_n dy[t,n] w[n,k] */
export function linearBackwardInput(
  dy: ArrayLike<number>,
  w: ArrayLike<number>,
  dx: ArrayLike<number>,
  s: { tokens: number; inputs: number; outputs: number; stride: number },
  accumulate: boolean,
): Float64Array {
  const out = Float64Array.from(dx);
  for (let t = 0; t < s.tokens; t++) {
    for (let k = 0; k < s.inputs; k++) {
      let sum = accumulate ? dx[t * s.inputs + k] : 0;
      for (let n = 0; n < s.outputs; n++) sum += dy[t * s.stride + n] * w[n * s.inputs + k];
      out[t * s.inputs + k] = sum;
    }
  }
  return out;
}

/** dw[n,k] += Σ_t dy[t,n] x[t,k] */
export function linearBackwardWeight(
  dy: ArrayLike<number>,
  x: ArrayLike<number>,
  dw: ArrayLike<number>,
  s: { tokens: number; inputs: number; outputs: number; stride: number },
): Float64Array {
  const out = Float64Array.from(dw);
  for (let n = 0; n < s.outputs; n++) {
    for (let k = 0; k < s.inputs; k++) {
      let sum = dw[n * s.inputs + k];
      for (let t = 0; t < s.tokens; t++) sum += dy[t * s.stride + n] * x[t * s.inputs + k];
      out[n * s.inputs + k] = sum;
    }
  }
  return out;
}
