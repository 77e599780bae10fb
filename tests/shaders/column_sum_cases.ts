/**
 * Cases and planted mistakes of shaders/column_sum.ts.
 * @module
 */
import { chunks, columnSum, columnSumFinish } from "../../shaders/column_sum.ts";
import { ADAPTERS, fitted } from "../../shaders/values.ts";
import * as reference from "../reference/column_sum.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** One value, odd widths, multiples of 4; tokens that fill the last chunk and that do not; all variants. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (const [tokens, width, chunk] of [[1, 1, 8], [123, 5, 16], [32, 68, 16], [33, 128, 32]]) {
    for (const adapter of ADAPTERS) {
      const name = `tokens=${tokens} width=${width} chunk=${chunk} ${adapter}`;
      const rows = chunks(tokens, chunk);
      const dy = randomArray([tokens, width]);
      list.push({
        name,
        kernel: fitted(columnSum, width, adapter),
        inputs: { dy, partial: randomArray([rows, width]) },
        dims: { tokens, width, chunk },
        expected: () => ({ partial: reference.columnSum(dy, tokens, width, chunk) }),
        tolerance: 1e-5,
      });
      const partial = randomArray([tokens, width]);
      const out = randomArray([width]);
      list.push({
        name: `rows=${tokens} width=${width} ${adapter}`,
        kernel: fitted(columnSumFinish, width, adapter),
        inputs: { partial, out },
        dims: { rows: tokens, width },
        expected: () => ({
          out: reference.columnSum(partial, tokens, width, tokens).map((s, j) => s + out[j]),
        }),
        tolerance: 1e-5,
      });
    }
  }
  return list;
}

/** Each is rejected by a case. */
export const mistakes: readonly { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "column_sum",
    mistake: {
      why: "the last chunk running past the tokens",
      from: "t < min(first + sum_dims.chunk, sum_dims.tokens)",
      to: "t < first + sum_dims.chunk - 1u",
    },
  },
  {
    kernel: "column_sum",
    mistake: { why: "the first token of a chunk skipped", from: "var t = first;", to: "var t = first + 1u;" },
  },
  {
    kernel: "column_sum.finish",
    mistake: { why: "the gradient overwritten", from: "out[j] += sum;", to: "out[j] = sum;" },
  },
];
