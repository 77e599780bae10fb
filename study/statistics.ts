/**
 * The study's statistics, on plain numbers: t-intervals, a least-squares line, precision and recall of a threshold.
 * @module
 */

/** A mean over seeds with its 95 % interval. */
export interface Interval {
  /** Mean of the values. */
  readonly mean: number;
  /** Ends of the interval; undefined for fewer than two values, which say nothing about their spread. */
  readonly low?: number;
  /** See {@link low}. */
  readonly high?: number;
  /** Values. */
  readonly n: number;
}

/** 0.975 quantiles of Student's t for 1 … 10 degrees of freedom. */
const T = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281];

/** 0.975 quantile of Student's t: a table, then Cornish and Fisher's expansion around the normal's (below 1e-3 off). */
export function tQuantile(degrees: number): number {
  if (degrees <= T.length) return T[degrees - 1];
  const z = 1.959964;
  return z + (z ** 3 + z) / (4 * degrees) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2) +
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * degrees ** 3);
}

/** Mean and 95 % t-interval; undefined without values. */
export function tInterval(values: readonly number[]): Interval | undefined {
  const n = values.length;
  if (n === 0) return undefined;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  if (n === 1) return { mean, n };
  const variance = values.reduce((s, x) => s + (x - mean) ** 2, 0) / (n - 1);
  const half = tQuantile(n - 1) * Math.sqrt(variance / n);
  return { mean, low: mean - half, high: mean + half, n };
}

/** A least-squares line y = intercept + slope · x. */
export interface Line {
  readonly slope: number;
  readonly intercept: number;
  /** Share of y's variance that it explains. */
  readonly r2: number;
  /** Points. */
  readonly n: number;
}

/** Fits a line; undefined where x does not vary. */
export function fitLine(points: readonly (readonly [x: number, y: number])[]): Line | undefined {
  const n = points.length;
  const mean = (k: 0 | 1) => points.reduce((s, p) => s + p[k], 0) / n;
  const [mx, my] = [mean(0), mean(1)];
  const sum = (f: (x: number, y: number) => number) => points.reduce((s, [x, y]) => s + f(x - mx, y - my), 0);
  const [xx, xy, yy] = [sum((x) => x * x), sum((x, y) => x * y), sum((_, y) => y * y)];
  if (n < 2 || xx === 0) return undefined;
  const slope = xy / xx;
  return { slope, intercept: my - slope * mx, r2: yy === 0 ? 1 : xy * xy / (xx * yy), n };
}

/** How well scores at or above a threshold find the true ones. */
export interface Detection {
  readonly threshold: number;
  readonly precision: number;
  readonly recall: number;
  /** Harmonic mean of both; 0 where nothing true is found. */
  readonly f1: number;
}

/** Precision, recall and F1 of `score >= threshold`; NaN scores are never at it. */
export function detect(
  scores: ArrayLike<number>,
  truth: ArrayLike<number | boolean>,
  threshold: number,
): Detection {
  let [hits, found, real] = [0, 0, 0];
  for (let i = 0; i < scores.length; i++) {
    const at = scores[i] >= threshold;
    if (at) found++;
    if (truth[i]) real++;
    if (at && truth[i]) hits++;
  }
  const precision = found === 0 ? 0 : hits / found;
  const recall = real === 0 ? 0 : hits / real;
  return { threshold, precision, recall, f1: found + real === 0 ? 0 : 2 * hits / (found + real) };
}

/** The threshold, among the scores, of the highest F1; the highest such threshold where several reach it. */
export function bestThreshold(scores: ArrayLike<number>, truth: ArrayLike<number | boolean>): number {
  const order = Array.from({ length: scores.length }, (_, i) => i).filter((i) => !Number.isNaN(scores[i]))
    .sort((a, b) => scores[b] - scores[a]);
  let real = 0;
  for (let i = 0; i < truth.length; i++) if (truth[i]) real++;
  let best = { f1: -1, threshold: Infinity };
  let hits = 0;
  order.forEach((i, k) => {
    if (truth[i]) hits++;
    // Equal scores lie on one side of any threshold.
    if (k + 1 < order.length && scores[order[k + 1]] === scores[i]) return;
    const f1 = 2 * hits / (k + 1 + real);
    if (f1 > best.f1) best = { f1, threshold: scores[i] };
  });
  return best.threshold;
}
