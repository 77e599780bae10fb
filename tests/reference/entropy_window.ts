/**
 * Windows over packed entropies, quantiles by sorting, threshold, masks and counts, in plain f64 loops. `spans` holds
 * (first token, length) of every sequence.
 * @module
 */

/** Mean of H_t … H_{t+w−1}, cut at the end (kind 0), or of H_{t+1} … H_{t+w}, −1 where not whole (kind 1), over `out`. */
export function windowMean(
  entropy: ArrayLike<number>,
  spans: ArrayLike<number>,
  out: ArrayLike<number>,
  window: number,
  kind: number,
): Float64Array {
  const result = Float64Array.from(out);
  for (let i = 0; i < spans.length; i += 2) {
    const [first, end] = [spans[i], spans[i] + spans[i + 1]];
    for (let t = first; t < end; t++) {
      const start = t + kind, stop = Math.min(end, start + window);
      if (kind === 1 && start + window > end) {
        result[t] = -1;
        continue;
      }
      let sum = 0;
      for (let j = start; j < stop; j++) sum += entropy[j];
      result[t] = sum / (stop - start);
    }
  }
  return result;
}

/** The q-quantile of every span at rank q (n − 1), linearly interpolated; −1 for an empty one. */
export function spanQuantile(values: ArrayLike<number>, spans: ArrayLike<number>, q: number): Float64Array {
  return Float64Array.from({ length: spans.length / 2 }, (_, i) => {
    const n = spans[2 * i + 1];
    if (n === 0) return -1;
    const sorted = Array.from({ length: n }, (_, t) => values[spans[2 * i] + t]).sort((a, b) => a - b);
    const low = Math.floor(q * (n - 1));
    const high = Math.min(n - 1, low + 1);
    return sorted[low] + (sorted[high] - sorted[low]) * (q * (n - 1) - low);
  });
}

/** Mean of the values that are not −1; 0 without any. */
export function meanThreshold(values: ArrayLike<number>): Float64Array {
  const there = Array.from(values).filter((x) => x > -0.5);
  return Float64Array.of(there.reduce((a, b) => a + b, 0) / Math.max(1, there.length));
}

/** mask [N] over `before`, and its sum per span; a window of −1 does not exist and is never inside. */
export function hweMask(
  windows: ArrayLike<number>,
  spans: ArrayLike<number>,
  threshold: number,
  before: ArrayLike<number>,
): { mask: Float64Array; counts: Float64Array } {
  const mask = Float64Array.from(before), counts = new Float64Array(spans.length / 2);
  for (let i = 0; i < counts.length; i++) {
    for (let t = spans[2 * i]; t < spans[2 * i] + spans[2 * i + 1]; t++) {
      mask[t] = windows[t] !== -1 && windows[t] >= threshold ? 1 : 0;
      counts[i] += mask[t];
    }
  }
  return { mask, counts };
}
