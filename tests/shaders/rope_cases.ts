/**
 * Cases and planted mistakes of shaders/rope.ts.
 * @module
 */
import { rope, ropeTables } from "../../shaders/rope.ts";
import * as reference from "../reference/rope.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

const THETA = 10000;

/** Head sizes by one pair, odd halves, multiples of 8 and of 32, forward and backward, all variants. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (
    const [tokens, heads, kvHeads, headDim] of [[1, 1, 1, 2], [5, 3, 1, 10], [33, 4, 2, 32], [123, 2, 2, 8], [
      35,
      3,
      1,
      96,
    ]]
  ) {
    for (const software of [false, true]) {
      for (const sign of [1, -1]) {
        const stride = (heads + 2 * kvHeads) * headDim;
        const rotated = heads + kvHeads;
        const qkv = randomArray([tokens, stride]);
        const positions = Uint32Array.from({ length: tokens }, (_, t) => (t * 7) % 50);
        list.push({
          name: `tokens=${tokens} heads=${heads}+${kvHeads} head_dim=${headDim} sign=${sign} ${
            software ? "software" : "gpu"
          }`,
          kernel: rope.fit!({ head_dim: headDim }, { software, subgroup: 0 }, {}),
          inputs: { qkv, positions, ...ropeTables(50, headDim, THETA) },
          dims: { tokens, heads: rotated, stride, head_dim: headDim, sign },
          expected: () => ({
            qkv: reference.rope(qkv, positions, tokens, rotated, stride, headDim, THETA, sign),
          }),
          tolerance: 1e-5,
        });
      }
    }
  }
  return list;
}

/** Each is rejected by a case. */
export const mistakes: readonly { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "rope",
    mistake: {
      why: "neighbouring values paired instead of halves",
      from: "2u * EACH * to.x - pair;",
      to: "2u * EACH * to.x;",
    },
  },
  { kernel: "rope", mistake: { why: "the sign ignored", from: "dims.sign * sine[row", to: "sine[row" } },
  {
    kernel: "rope",
    mistake: { why: "the token's index for its position", from: "positions[t] * half", to: "t * half" },
  },
  {
    kernel: "rope",
    mistake: { why: "both sines with one sign", from: "b$i * c$i + a$i * s$i", to: "b$i * c$i - a$i * s$i" },
  },
  {
    kernel: "rope",
    mistake: { why: "one angle for neighbouring vectors", from: "cosine[row + $i]", to: "cosine[row]" },
  },
];
