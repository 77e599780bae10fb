/**
 * Rotary position embedding in plain f64 loops (Su et al. 2021, in HF's half-rotation order): the specification of
 * shaders/rope.wgsl.
 * @module
 */

/** qkv [T, stride] with the first `heads` heads of every row rotated by `sign` times their angle. */
export function rope(
  qkv: ArrayLike<number>,
  positions: ArrayLike<number>,
  tokens: number,
  heads: number,
  stride: number,
  headDim: number,
  theta: number,
  sign: number,
): Float64Array {
  const out = Float64Array.from(qkv);
  const half = headDim / 2;
  for (let t = 0; t < tokens; t++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < half; i++) {
        const angle = sign * positions[t] * theta ** (-2 * i / headDim);
        const at = t * stride + h * headDim + i;
        out[at] = qkv[at] * Math.cos(angle) - qkv[at + half] * Math.sin(angle);
        out[at + half] = qkv[at + half] * Math.cos(angle) + qkv[at] * Math.sin(angle);
      }
    }
  }
  return out;
}
