/**
 * AdamW in plain f64 loops (torch.optim.AdamW), and with bf16 storage and Kahan summation: the specification of
 * shaders/adamw.wgsl and shaders/adamw_bf16.wgsl.
 * @module
 */

/** Settings of one step. */
export interface AdamwStep {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** 1, 2, … */
  readonly step: number;
  /** Factor on the gradient. */
  readonly clip: number;
}

/** p, m, v after one step. */
export function adamw(
  p: ArrayLike<number>,
  g: ArrayLike<number>,
  m: ArrayLike<number>,
  v: ArrayLike<number>,
  s: AdamwStep,
): { p: Float64Array; m: Float64Array; v: Float64Array } {
  const out = { p: Float64Array.from(p), m: Float64Array.from(m), v: Float64Array.from(v) };
  for (let i = 0; i < p.length; i++) {
    const slope = s.clip * g[i];
    out.m[i] = s.beta1 * m[i] + (1 - s.beta1) * slope;
    out.v[i] = s.beta2 * v[i] + (1 - s.beta2) * slope * slope;
    const mean = out.m[i] / (1 - s.beta1 ** s.step);
    const square = out.v[i] / (1 - s.beta2 ** s.step);
    out.p[i] = p[i] * (1 - s.lr * s.weightDecay) - s.lr * mean / (Math.sqrt(square) + s.eps);
  }
  return out;
}

/** The f32 `x` rounded to bf16, ties to even. */
export function toBf16(x: number): number {
  const word = new Uint32Array(Float32Array.of(x).buffer);
  word[0] = (word[0] + 0x7fff + ((word[0] >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(word.buffer)[0];
}

/** p, m, v, c after one step on bf16 values; every r() rounds to bf16, and every operation before it to f32. */
export function adamwBf16Kahan(
  p: ArrayLike<number>,
  g: ArrayLike<number>,
  m: ArrayLike<number>,
  v: ArrayLike<number>,
  c: ArrayLike<number>,
  s: AdamwStep,
): { p: Float64Array; m: Float64Array; v: Float64Array; c: Float64Array } {
  const f = Math.fround;
  const r = (x: number): number => toBf16(f(x));
  const out = {
    p: Float64Array.from(p),
    m: Float64Array.from(m),
    v: Float64Array.from(v),
    c: Float64Array.from(c),
  };
  for (let i = 0; i < p.length; i++) {
    const slope = r(g[i] * f(s.clip));
    const mean = r(r(f(s.beta1) * m[i]) + f(f(1 - s.beta1) * slope));
    const square = r(r(f(s.beta2) * v[i]) + f(f(f(1 - s.beta2) * slope) * slope));
    const root = r(r(r(Math.sqrt(square)) / f(Math.sqrt(1 - s.beta2 ** s.step))) + f(s.eps));
    const before = r(p[i] * f(1 - s.lr * s.weightDecay));
    const owed = r(c[i] - f(f(s.lr / (1 - s.beta1 ** s.step)) * f(mean / root)));
    out.p[i] = r(before + owed);
    out.m[i] = mean;
    out.v[i] = square;
    out.c[i] = r(owed + r(before - out.p[i]));
  }
  return out;
}
