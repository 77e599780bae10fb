/** Plain f64 loops of the exact KL: the specification of shaders/full_kl.wgsl. @module */
import { headForward, headGradient } from "./head.ts";

/** Two policies' logits, [rows, stride] each. */
export interface TwoLogits {
  logits: ArrayLike<number>;
  reference: ArrayLike<number>;
  rows: number;
  vocabulary: number;
  stride: number;
  temperature: number;
}

/** log softmax(z / T) of one row, [vocabulary]. */
function logProbs(
  z: ArrayLike<number>,
  row: number,
  { vocabulary, stride, temperature }: TwoLogits,
): number[] {
  const x = Array.from({ length: vocabulary }, (_, v) => z[row * stride + v] / temperature);
  const top = Math.max(...x);
  const lse = top + Math.log(x.reduce((sum, y) => sum + Math.exp(y - top), 0));
  return x.map((y) => y - lse);
}

/** Σ_v p_v (log p_v − log r_v) of every row. */
export function fullKl(two: TwoLogits): Float64Array {
  return Float64Array.from({ length: two.rows }, (_, r) => {
    const p = logProbs(two.logits, r, two), q = logProbs(two.reference, r, two);
    return p.reduce((sum, x, v) => sum + Math.exp(x) * (x - q[v]), 0);
  });
}

/** ∂L/∂z of the policy from ∂L/∂logp, ∂L/∂H and ∂L/∂KL of each row; padding columns are zero. */
export function fullKlGradient(
  two: TwoLogits,
  targets: ArrayLike<number>,
  slopes: { dlogp: ArrayLike<number>; dentropy: ArrayLike<number>; dkl: ArrayLike<number> },
): Float64Array {
  const { rows, vocabulary, stride, temperature } = two;
  const out = headGradient(
    two.logits,
    targets,
    slopes.dlogp,
    slopes.dentropy,
    rows,
    vocabulary,
    stride,
    temperature,
  );
  const kl = fullKl(two);
  for (let r = 0; r < rows; r++) {
    const p = logProbs(two.logits, r, two), q = logProbs(two.reference, r, two);
    p.forEach((x, v) =>
      out[r * stride + v] += slopes.dkl[r] * Math.exp(x) * (x - q[v] - kl[r]) / temperature
    );
  }
  return out;
}

/** (0, H, lse, KL) of every row, as the forward pass leaves them. */
export function results(two: TwoLogits, of: "logits" | "reference"): Float32Array<ArrayBuffer> {
  const { rows, vocabulary, stride, temperature } = two;
  const f = headForward(two[of], new Uint32Array(rows), rows, vocabulary, stride, temperature);
  const kl = fullKl(two);
  return Float32Array.from(
    { length: 4 * rows },
    (_, i) => [0, f.entropy[i >> 2], f.lse[i >> 2], kl[i >> 2]][i % 4],
  );
}
