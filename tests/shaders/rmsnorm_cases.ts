/**
 * Cases and planted mistakes of shaders/rmsnorm.ts.
 * @module
 */
import { rmsnormBackward, rmsnormBackwardWeight, rmsnormForward } from "../../shaders/rmsnorm.ts";
import { fitted, REDUCERS } from "../../shaders/values.ts";
import * as reference from "../reference/rmsnorm.ts";
import { type KernelCase, type Mistake, oneSubgroup, randomArray } from "./case.ts";

const EPS = 1e-3; // large, so that a misplaced epsilon shows

/** Widths of one value, odd, a multiple of 4; tokens around the workgroup's 4, 16 and 64 rows; all variants. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (const [tokens, width] of [[1, 1], [5, 123], [17, 64], [65, 36], [129, 8]]) {
    for (const adapter of REDUCERS) {
      const name = `tokens=${tokens} width=${width} ${adapter}`;
      const x = randomArray([tokens, width], 2);
      const weight = randomArray([width], 2);
      const dy = randomArray([tokens, width]);
      const rstd = Float32Array.from(reference.rmsnormForward(x, weight, tokens, width, EPS).rstd);
      const dx = randomArray([tokens, width]);
      const forward = {
        inputs: { x, weight, y: randomArray([tokens, width]), rstd: randomArray([tokens]) },
        dims: { tokens, width, eps: EPS },
        expected: () => reference.rmsnormForward(x, weight, tokens, width, Math.fround(EPS)),
        tolerance: 1e-5,
      };
      const backward = {
        inputs: { dy, x, weight, rstd, dx },
        dims: { tokens, width },
        expected: () => ({
          dx: reference.rmsnormBackward(dy, x, weight, rstd, tokens, width).map((g, i) => g + dx[i]),
        }),
        tolerance: 1e-5,
      };
      const kernels = [
        fitted(rmsnormForward, width, adapter),
        fitted(rmsnormBackward, width, adapter),
      ] as const;
      list.push({ name, kernel: kernels[0], ...forward }, { name, kernel: kernels[1], ...backward });
      // Columns, not rows, are added up here.
      if (adapter === "subgroups") {
        list.push({ name: `${name} a subgroup`, kernel: oneSubgroup(kernels[0]), ...forward });
        list.push({ name: `${name} a subgroup`, kernel: oneSubgroup(kernels[1]), ...backward });
        continue;
      }
      const chunk = 16;
      list.push({
        name: `${name} chunk=${chunk}`,
        kernel: fitted(rmsnormBackwardWeight, width, adapter),
        inputs: { dy, x, rstd, partial: randomArray([Math.ceil(tokens / chunk), width]) },
        dims: { tokens, width, chunk },
        expected: () => ({
          partial: reference.rmsnormBackwardWeight(dy, x, rstd, tokens, width, chunk),
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
    kernel: "rmsnorm.forward",
    mistake: {
      why: "epsilon outside the square root",
      from: "/ f32(forward_dims.width) + forward_dims.eps)",
      to: "/ f32(forward_dims.width)) + forward_dims.eps",
    },
  },
  {
    kernel: "rmsnorm.forward",
    mistake: {
      why: "the sum of squares instead of their mean",
      from: " / f32(forward_dims.width) +",
      to: " +",
    },
  },
  {
    kernel: "rmsnorm.backward",
    mistake: {
      why: "the gradient through rstd forgotten",
      from: " - backward_x[at] * slope",
      to: "",
    },
  },
  {
    kernel: "rmsnorm.backward",
    mistake: { why: "dx overwritten", from: "= dx[at] + r", to: "= r" },
  },
  {
    kernel: "rmsnorm.backward",
    mistake: {
      why: "every team adds up the first's products",
      from: "let first = team.lane - team.lane % SHARE;\n  var sum = 0.0;",
      to: "let first = 0u;\n  var sum = 0.0;",
    },
  },
  {
    kernel: "rmsnorm_subgroup.forward",
    mistake: {
      why: "each thread its own sum",
      from: "mine: f32) -> f32 { return subgroupAdd(mine); }",
      to: "mine: f32) -> f32 { return mine; }",
    },
  },
  {
    kernel: "rmsnorm_subgroup.forward",
    mistake: {
      why: "the second turn takes the first's row again",
      from: "return turn * team.teams + team.id;",
      to: "return team.id;",
    },
  },
  {
    kernel: "rmsnorm_subgroup.backward",
    mistake: { why: "the next workgroup's rows too", from: "row < ROWS && t < backward", to: "t < backward" },
  },
  {
    kernel: "rmsnorm.backward_weight",
    mistake: { why: "rstd forgotten", from: " * weight_rstd[t]", to: "" },
  },
];
