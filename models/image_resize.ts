/**
 * The size a picture gets, and the resampling to it, as the "slow" (Pillow) image processors of transformers do both.
 * @module
 */
import { UserError } from "../gpu/errors.ts";

/** Limits of {@link smartResize}. */
export interface ResizeLimits {
  /** Both sides become multiples of this: patch size × merge size; default 28. */
  factor?: number;
  /** Fewest pixels of the result. */
  minPixels: number;
  /** Most pixels of the result, unless a side would fall below `factor`. */
  maxPixels: number;
}

const MAX_RATIO = 200;

/**
 * The size nearest to the picture's whose sides are multiples of `factor`, scaled to lie within the pixel limits with
 * the aspect ratio about kept: `smart_resize` of Qwen2-VL's processor, rounding half to even.
 * @returns `[height, width]`.
 * @throws UserError when one side is more than 200 times the other.
 */
export function smartResize(
  height: number,
  width: number,
  { factor = 28, minPixels, maxPixels }: ResizeLimits,
): [number, number] {
  const ratio = Math.max(height, width) / Math.min(height, width);
  if (!(ratio <= MAX_RATIO)) {
    throw new UserError(
      `a picture of ${width} × ${height} pixels: one side is more than ${MAX_RATIO} times the other`,
    );
  }
  const nearest = (side: number): number => roundHalfToEven(side / factor) * factor;
  const [high, wide] = [nearest(height), nearest(width)];
  if (high * wide > maxPixels) {
    const shrink = Math.sqrt(height * width / maxPixels);
    const down = (side: number): number => Math.max(factor, Math.floor(side / shrink / factor) * factor);
    return [down(height), down(width)];
  }
  if (high * wide < minPixels) {
    const grow = Math.sqrt(minPixels / (height * width));
    const up = (side: number): number => Math.ceil(side * grow / factor) * factor;
    return [up(height), up(width)];
  }
  return [high, wide];
}

function roundHalfToEven(x: number): number {
  const below = Math.floor(x);
  const above = x - below;
  return above > 0.5 || (above === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/** Bits of the fraction of a weight: with 8-bit levels and a little overshoot, a sum stays within 32 bits. */
const FRACTION_BITS = 22;

/**
 * Resamples 8-bit RGB with Pillow's antialiased bicubic filter: Keys' kernel with a = −1/2, stretched by the ratio when
 * shrinking, weights of each output pixel summing to 1 and rounded to 22 fractional bits; first along rows, then along
 * columns, each pass rounded and clipped to 8 bits.
 * @param rgb [height, width, 3]. @returns [newHeight, newWidth, 3].
 */
export function resizeBicubic(
  rgb: Uint8Array,
  width: number,
  height: number,
  newWidth: number,
  newHeight: number,
): Uint8Array {
  if (rgb.length !== height * width * 3) {
    throw new Error(`a picture of ${rgb.length} levels is not [${height}, ${width}, 3]`);
  }
  const across = width === newWidth ? rgb : resample(rgb, height, width, 3, newWidth);
  return height === newHeight ? across : resample(across, 1, height, newWidth * 3, newHeight);
}

/** The inputs that one output is made of: `weights` (integers, 2^22 is one) of the inputs from `first` on. */
interface Taps {
  first: number;
  weights: number[];
}

/** Keys' cubic convolution kernel with a = −1/2. */
function bicubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

function tapsOf(length: number, newLength: number): Taps[] {
  const scale = length / newLength;
  const stretch = Math.max(1, scale);
  const reach = 2 * stretch;
  // Multiplied, not divided: the last bit of a weight decides how some of them round.
  const shrink = 1 / stretch;
  return Array.from({ length: newLength }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(length, Math.trunc(centre + reach + 0.5));
    const weights: number[] = [];
    let sum = 0;
    for (let x = first; x < end; x++) {
      const weight = bicubic((x - centre + 0.5) * shrink);
      weights.push(weight);
      sum += weight;
    }
    const one = 2 ** FRACTION_BITS;
    // Half away from zero.
    const fixed = weights.map((w) => w / sum).map((w) => Math.trunc(w * one + (w < 0 ? -0.5 : 0.5)));
    return { first, weights: fixed };
  });
}

/** Resamples the middle axis of [outer, length, inner]. */
function resample(
  data: Uint8Array,
  outer: number,
  length: number,
  inner: number,
  newLength: number,
): Uint8Array {
  const result = new Uint8ClampedArray(outer * newLength * inner);
  const half = 2 ** (FRACTION_BITS - 1);
  for (const [i, { first, weights }] of tapsOf(length, newLength).entries()) {
    for (let o = 0; o < outer; o++) {
      const from = (o * length + first) * inner;
      const to = (o * newLength + i) * inner;
      for (let j = 0; j < inner; j++) {
        let sum = half;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * data[from + k * inner + j];
        result[to + j] = sum >> FRACTION_BITS;
      }
    }
  }
  return new Uint8Array(result.buffer);
}
