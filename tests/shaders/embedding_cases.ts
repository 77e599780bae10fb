/**
 * Cases and planted mistakes of shaders/embedding.ts.
 * @module
 */
import {
  embeddingBackward,
  embeddingForward,
  embeddingForwardHalf,
  embeddingPlan,
} from "../../shaders/embedding.ts";
import { ADAPTERS, fitted } from "../../shaders/values.ts";
import * as reference from "../reference/embedding.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** The whole table and windows at its start, middle and end; ids that occur often, once and never; all variants. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (
    const [tokens, width, vocabulary, firstRow, rows] of [
      [1, 1, 1, 0, 1],
      [5, 123, 9, 0, 9],
      [65, 8, 20, 5, 7],
      [33, 36, 40, 0, 20],
      [33, 36, 40, 20, 20],
    ]
  ) {
    for (const adapter of ADAPTERS) {
      const name = `tokens=${tokens} width=${width} rows=${firstRow}+${rows}/${vocabulary} ${adapter}`;
      const ids = Uint32Array.from(
        randomArray([tokens], vocabulary / 2),
        (x) => Math.floor(x + vocabulary / 2),
      );
      const window = { width, firstRow, rows };
      const weight = randomArray([rows, width]);
      const y = randomArray([tokens, width]);
      const dweight = randomArray([rows, width]);
      const dy = randomArray([tokens, width]);
      const plan = embeddingPlan(ids);
      list.push({
        name,
        kernel: fitted(embeddingForward, width, adapter),
        inputs: { ids, weight, y },
        dims: { tokens, width, first_row: firstRow, rows },
        expected: () => ({ y: reference.embeddingForward(ids, weight, y, window) }),
        tolerance: 0,
      });
      if (width % 4 === 0 && adapter === ADAPTERS[0]) {
        list.push({
          name,
          kernel: embeddingForwardHalf,
          inputs: { ids, weight, y },
          dims: { tokens, width, first_row: firstRow, rows },
          expected: () => ({ y: reference.embeddingForward(ids, weight.map(Math.f16round), y, window) }),
          tolerance: 0,
        });
      }
      list.push({
        name,
        kernel: fitted(embeddingBackward, width, adapter),
        inputs: { ...plan, dy, dweight },
        dims: { unique: plan.unique.length, width, first_row: firstRow, rows },
        expected: () => ({ dweight: reference.embeddingBackward(ids, dy, dweight, window) }),
        tolerance: 1e-5,
      });
    }
  }
  return list;
}

/** Each is rejected by a case. */
export const mistakes: readonly { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "embedding.forward",
    mistake: {
      why: "the window's start ignored",
      from: "ids[at.y] - forward_dims.first_row",
      to: "ids[at.y]",
    },
  },
  {
    kernel: "embedding.forward",
    mistake: { why: "ids outside the window written", from: "if (row < forward_dims.rows) { y", to: "{ y" },
  },
  {
    kernel: "embedding_half.forward",
    mistake: { why: "the window's start ignored", from: "ids[at.y] - d.first_row", to: "ids[at.y]" },
  },
  {
    kernel: "embedding_half.forward",
    mistake: { why: "ids outside the window written", from: "if (row < d.rows) { y", to: "{ y" },
  },
  {
    kernel: "embedding.backward",
    mistake: {
      why: "only the first token of an id counted",
      from: "k < starts[u + 1u];",
      to: "k < starts[u] + 1u;",
    },
  },
  {
    kernel: "embedding.backward",
    mistake: { why: "the gradient overwritten", from: "at.x] += sum;", to: "at.x] = sum;" },
  },
];
