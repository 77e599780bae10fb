/** Plain f64 loops of the language-model head: the specification of shaders/head.wgsl and models/head.ts. @module */

/** Per row: log-probability of the target, exact entropy and log-sum-exp of softmax(z / T). */
export function headForward(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  rows: number,
  vocabulary: number,
  stride: number,
  temperature: number,
): { logp: Float64Array; entropy: Float64Array; lse: Float64Array } {
  const logp = new Float64Array(rows);
  const entropy = new Float64Array(rows);
  const lse = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    let most = -Infinity;
    for (let v = 0; v < vocabulary; v++) most = Math.max(most, logits[r * stride + v] / temperature);
    let sum = 0;
    for (let v = 0; v < vocabulary; v++) sum += Math.exp(logits[r * stride + v] / temperature - most);
    lse[r] = most + Math.log(sum);
    for (let v = 0; v < vocabulary; v++) {
      const l = logits[r * stride + v] / temperature - lse[r];
      entropy[r] -= Math.exp(l) * l;
      if (v === targets[r]) logp[r] = l;
    }
  }
  return { logp, entropy, lse };
}

/** ∂L/∂z given ∂L/∂logp and ∂L/∂H of each row; padding columns are zero. */
export function headGradient(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  dlogp: ArrayLike<number>,
  dentropy: ArrayLike<number>,
  rows: number,
  vocabulary: number,
  stride: number,
  temperature: number,
): Float64Array {
  const { entropy, lse } = headForward(logits, targets, rows, vocabulary, stride, temperature);
  const out = new Float64Array(rows * stride);
  for (let r = 0; r < rows; r++) {
    for (let v = 0; v < vocabulary; v++) {
      const l = logits[r * stride + v] / temperature - lse[r];
      const p = Math.exp(l);
      const hit = v === targets[r] ? 1 : 0;
      out[r * stride + v] = (dlogp[r] * (hit - p) - dentropy[r] * p * (l + entropy[r])) /
        temperature;
    }
  }
  return out;
}
