/**
 * Cases and planted mistakes of shaders/grad_norm.ts.
 * @module
 */
import { gradNormFinish, partialsOf, sumOfSquares } from "../../shaders/grad_norm.ts";
import { fitted, REDUCERS } from "../../shaders/values.ts";
import * as reference from "../reference/grad_norm.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** Sizes of one value, odd, whole workgroups and one more, at slots; norms to clip, not to clip, NaN and infinity. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (const adapter of REDUCERS) {
    const suffix = ` ${adapter}`;
    for (const [n, slot] of [[1, 0], [123, 3], [8192, 1], [12292, 2]]) {
      const g = randomArray([n], 3);
      const partial = randomArray([slot + partialsOf(n) + 2]);
      list.push({
        name: `n=${n} slot=${slot}${suffix}`,
        kernel: fitted(sumOfSquares, n, adapter),
        inputs: { g, partial },
        dims: { n, slot },
        expected: () => {
          const expected = Float64Array.from(partial);
          expected.set(reference.sumOfSquares(g, 4096), slot);
          return { partial: expected };
        },
        tolerance: 1e-5,
      });
    }
    const finish = (
      name: string,
      partial: Float32Array<ArrayBuffer>,
      parts: number,
      max_norm: number,
      width = 1,
    ): void => {
      list.push({
        name: `${name} parts=${parts} max_norm=${max_norm}${suffix}`,
        kernel: fitted(gradNormFinish, width, adapter),
        inputs: { partial, result: randomArray([4]) },
        dims: { parts, max_norm },
        expected: () => ({ result: reference.gradNormFinish(partial, parts, max_norm) }),
        tolerance: 1e-5,
      });
    };
    const partial = randomArray([200]).map((x) => x * x);
    finish("one value", partial, 1, 0);
    finish("clipped", partial, 123, 1);
    finish("not clipped", partial, 200, 1000);
    finish("zero", new Float32Array(5), 5, 1);
    for (const bad of [NaN, Infinity]) finish(`${bad}`, partial.with(70, bad), 130, 1);
    finish("in fours", partial, 64, 1, 4);
    finish("overflow", new Float32Array(4).fill(3e38), 4, 1);
  }
  return list;
}

/** Each is rejected by a case. */
export const mistakes: readonly { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "grad_norm_subgroup.sum_of_squares",
    mistake: { why: "the first subgroup's sum alone", from: "i < team.teams; i++", to: "i < 1u; i++" },
  },
  {
    kernel: "grad_norm_subgroup.finish",
    mistake: {
      why: "subgroups overwrite each other's sums",
      from: "group_pairs[team.id] = own;",
      to: "group_pairs[0] = own;",
    },
  },
  {
    kernel: "grad_norm.sum_of_squares",
    mistake: { why: "the slot ignored", from: "partial[sum_dims.slot + w]", to: "partial[w]" },
  },
  {
    kernel: "grad_norm.sum_of_squares",
    mistake: { why: "values instead of squares", from: "squares += v * v;", to: "squares += abs(v);" },
  },
  {
    kernel: "grad_norm.finish",
    mistake: {
      why: "gradients scaled up to the limit",
      from: "min(1.0, finish_dims.max_norm",
      to: "(finish_dims.max_norm",
    },
  },
  {
    kernel: "grad_norm.finish",
    mistake: {
      why: "a limit of 0 taken at its word",
      from: "finish_dims.max_norm > 0.0",
      to: "finish_dims.max_norm >= 0.0",
    },
  },
  {
    kernel: "grad_norm.finish",
    mistake: {
      why: "NaN sought by comparison",
      from: "(bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u",
      to: "x != x",
    },
  },
  {
    kernel: "grad_norm.finish",
    mistake: { why: "the norm not rooted", from: "let norm = sqrt(sums.x);", to: "let norm = sums.x;" },
  },
];
