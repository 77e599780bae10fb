/** Cases and planted mistakes of the most likely token. @module */
import { topTokenKernels } from "../../shaders/top_token.ts";
import * as reference from "../reference/top_token.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/**
 * Vocabularies below, at and above what a workgroup reads at a time (256 and 1,024), padded rows, ties, dead slots, first,
 * later and missing output rows.
 */
const SHAPES = [
  [1, 1, 1, 0],
  [5, 63, 64, 1],
  [3, 123, 123, 2],
  [4, 330, 340, 1],
  [2, 65, 68, 9],
  [4, 256, 260, 0],
  [3, 1025, 1028, 1],
  [6, 2600, 2601, 1],
];

/** Every shape in both variants. */
export function cases(): KernelCase[] {
  return Object.values(topTokenKernels).flatMap((kernel) =>
    SHAPES.map(
      ([slots, vocab, stride, row]): KernelCase => {
        // Rounded to fours: the largest occurs several times, of many tokens late only; padding is larger than all.
        const logits = randomArray([slots, stride], 4).map((x, i) => {
          const v = i % stride;
          return v < vocab ? 4 * Math.round(x / 4) + (v >= 1024 ? 4 : 0) : 99;
        });
        const alive = Array.from({ length: slots }, (_, s) => s % 3 !== 1);
        const state = new Uint32Array(8 * slots);
        alive.forEach((lives, s) => state[8 * s + 2] = lives ? 1 : 0);
        return {
          name: `slots=${slots} vocab=${vocab} row=${row}`,
          kernel,
          inputs: {
            logits,
            slots: state,
            tick: Uint32Array.of(row * slots),
            out: new Uint32Array(3 * slots).fill(7),
          },
          dims: { slots, vocab, stride },
          tolerance: 0,
          expected: ({ logits, tick, out }) => ({
            out: reference.topToken(logits, alive, tick[0], out, { vocab, stride }),
          }),
        };
      },
    )
  );
}

/** Mistakes that the cases must reject, in both variants. */
export const mistakes: { kernel: string; mistake: Mistake }[] = Object.values(topTokenKernels).flatMap((
  { name },
) =>
  [
    { why: "padding counts", from: "v + $j * LANES < d.vocab", to: "v + $j * LANES < d.stride" },
    {
      why: "tokens of the last trip are lost",
      from: "v + $j * LANES < d.vocab",
      to: "v + 3 * LANES < d.vocab",
    },
    { why: "one trip", from: "v < d.vocab; v +=", to: "v < min(d.vocab, 4u * LANES); v +=" },
    { why: "a later equal one", from: "if (y$j > best)", to: "if (y$j >= best)" },
    { why: "the first of four stands for all", from: "first = v + $j * LANES;", to: "first = v;" },
    {
      why: "the lower lane wins a tie",
      from: " || (top[i + step] == top[i] && token[i + step] < token[i])",
      to: "",
    },
    { why: "always the first row", from: "tick[0] + s", to: "s" },
    { why: "dead slots too", from: "slots[s * 8u + 2u] == 1u", to: "true" },
  ].map((mistake) => ({ kernel: name, mistake }))
);
