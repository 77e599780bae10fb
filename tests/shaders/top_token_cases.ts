/** Cases and planted mistakes of the most likely token. @module */
import { topToken } from "../../shaders/top_token.ts";
import * as reference from "../reference/top_token.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** Vocabularies below, at and above a workgroup, padded rows, ties, dead slots, first, later and missing output rows. */
export function cases(): KernelCase[] {
  return [[1, 1, 1, 0], [5, 63, 64, 1], [3, 123, 123, 2], [4, 300, 304, 1], [2, 65, 68, 9]].map(
    ([slots, vocab, stride, row]): KernelCase => {
      // Rounded to halves: the largest occurs several times; padding is larger than all.
      const logits = randomArray([slots, stride], 4).map((x, i) =>
        i % stride < vocab ? Math.round(2 * x) / 2 : 99
      );
      const alive = Array.from({ length: slots }, (_, s) => s % 3 !== 1);
      const state = new Uint32Array(8 * slots);
      alive.forEach((lives, s) => state[8 * s + 2] = lives ? 1 : 0);
      return {
        name: `slots=${slots} vocab=${vocab} row=${row}`,
        kernel: topToken,
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
  );
}

/** Mistakes that the cases must reject. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  { kernel: "top_token", mistake: { why: "padding counts", from: "v < d.vocab", to: "v < d.stride" } },
  { kernel: "top_token", mistake: { why: "a later equal one", from: "if (y > best)", to: "if (y >= best)" } },
  {
    kernel: "top_token",
    mistake: {
      why: "the lower lane wins a tie",
      from: " || (top[i + step] == top[i] && token[i + step] < token[i])",
      to: "",
    },
  },
  { kernel: "top_token", mistake: { why: "always the first row", from: "tick[0] + s", to: "s" } },
  {
    kernel: "top_token",
    mistake: { why: "dead slots too", from: "slots[s * 8u + 2u] == 1u", to: "true" },
  },
];
