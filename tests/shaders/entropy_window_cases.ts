/**
 * Cases of the window kernels.
 * @module
 */
import { hweMask, meanThreshold, spanQuantile, windowMean } from "../../shaders/entropy_window.ts";
import * as reference from "../reference/entropy_window.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** Packed spans with a gap of two tokens in front, which nothing may touch. */
function spansOf(lengths: number[]): { spans: Uint32Array; tokens: number } {
  let at = 2;
  const spans = Uint32Array.from(lengths.flatMap((n) => {
    at += n;
    return [at - n, n];
  }));
  return { spans, tokens: at };
}

function entropies(tokens: number): Float32Array<ArrayBuffer> {
  // Some exactly alike, as a sure model gives: ties in every rank.
  return randomArray([tokens], 3).map((x, i) => i % 7 === 3 ? 0.5 : Math.abs(x));
}

function casesFor(lengths: number[], window: number, q: number): KernelCase[] {
  const { spans, tokens } = spansOf(lengths);
  const sequences = lengths.length;
  const dims = { sequences, window, kind: 0, q: Math.fround(q) };
  const name = `lengths=${lengths} window=${window} q=${q}`;
  const entropy = entropies(tokens);
  const tolerance = 1e-5;
  const quantiles = entropies(sequences).map((x, i) => lengths[i] === 0 ? -1 : x);
  const threshold = Float32Array.of(entropy[2] ?? 1);
  return [
    ...[0, 1].map((kind): KernelCase => ({
      name: `${name} kind=${kind}`,
      kernel: windowMean,
      inputs: { entropy, spans, out: randomArray([tokens]) },
      dims: { ...dims, kind },
      tolerance,
      expected: ({ entropy, spans, out }) => ({
        out: reference.windowMean(entropy, spans, out, window, kind),
      }),
    })),
    {
      name,
      kernel: spanQuantile,
      inputs: { values: entropy.map((x, i) => i % 5 === 1 ? -x : x), spans, out: randomArray([sequences]) },
      dims,
      tolerance,
      expected: ({ values, spans }) => ({ out: reference.spanQuantile(values, spans, dims.q) }),
    },
    {
      name,
      kernel: meanThreshold,
      inputs: { values: quantiles, out: randomArray([1]) },
      dims,
      tolerance,
      expected: ({ values }) => ({ out: reference.meanThreshold(values) }),
    },
    {
      name,
      kernel: hweMask,
      // The first token stands exactly at the threshold: it is inside.
      inputs: {
        window_mean: entropy,
        spans,
        threshold,
        mask: randomArray([tokens]),
        counts: randomArray([sequences]),
      },
      dims,
      tolerance: 0,
      expected: ({ window_mean, spans, threshold, mask }) =>
        reference.hweMask(window_mean, spans, threshold[0], mask),
    },
  ];
}

/** The reference's first threshold, −1: every window that exists is inside, and no other. */
function firstThresholdCase(): KernelCase {
  const { spans, tokens } = spansOf([70, 5]);
  return {
    name: "τ = −1 and windows that do not exist",
    kernel: hweMask,
    inputs: {
      window_mean: entropies(tokens).map((x, i) => i % 4 === 1 ? -1 : x),
      spans,
      threshold: Float32Array.of(-1),
      mask: randomArray([tokens]),
      counts: randomArray([2]),
    },
    dims: { sequences: 2, window: 4, kind: 1, q: 0.95 },
    tolerance: 0,
    expected: ({ window_mean, spans, threshold, mask }) =>
      reference.hweMask(window_mean, spans, threshold[0], mask),
  };
}

/** Empty and one-token spans, lengths around the workgroup's 64, windows longer than the sequence. */
export function cases(): KernelCase[] {
  return [
    ...casesFor([1], 4, 0.95),
    ...casesFor([0, 0], 4, 0.95),
    ...casesFor([5, 0, 64, 65, 123, 21], 4, 0.95),
    ...casesFor([3, 2, 20, 1], 7, 0.5),
    ...casesFor([1000, 9, 333], 1, 0.9),
    ...casesFor([128, 6], 32, 1),
    ...casesFor([11, 70], 3, 0),
    firstThresholdCase(),
  ];
}

const mistake = (kernel: { name: string }, why: string, from: string, to: string) => ({
  kernel: kernel.name,
  mistake: { why, from, to },
});

/** Planted mistakes; each is rejected by at least one case. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  mistake(
    windowMean,
    "windows run into the next sequence",
    "min(start + d.window, length)",
    "start + d.window",
  ),
  mistake(windowMean, "always the paper's window", "t + d.kind", "t"),
  mistake(windowMean, "divided by w at the end too", "f32(max(end, start + 1u) - start)", "f32(d.window)"),
  mistake(windowMean, "incomplete windows pass", "start + d.window <= length;", "start <= length;"),
  mistake(spanQuantile, "no interpolation", "(upper - lower) * (rank - f32(low))", "(upper - lower) * 0.0"),
  mistake(spanQuantile, "rank q n", "d.q * f32(length - 1u)", "d.q * f32(length) * 0.999"),
  mistake(spanQuantile, "ties are not counted", "if (covered < low + 2u && ", "if (covered > 0u && "),
  mistake(spanQuantile, "an empty sequence counts as 0", "out[group.x] = -1.0", "out[group.x] = 0.0"),
  mistake(meanThreshold, "empty sequences pull it down", "values[i] > -0.5", "values[i] > -5.0"),
  mistake(hweMask, "strictly above", ">= tau[0]", "> tau[0]"),
  mistake(hweMask, "windows that do not exist are inside", "values[first + t] > -0.5 && ", ""),
  mistake(hweMask, "counts of the whole batch's first", "counts[group.x]", "counts[0]"),
];
