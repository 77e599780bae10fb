/**
 * Cases and planted mistakes of shaders/rmsnorm.ts.
 * @module
 */
import { rmsnormBackward, rmsnormBackwardWeight, rmsnormForward } from "../../shaders/rmsnorm.ts";
import { ADAPTERS, fitted } from "../../shaders/values.ts";
import * as reference from "../reference/rmsnorm.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

const EPS = 1e-3; // large, so that a misplaced epsilon shows

/** Widths of one value, odd, a multiple of 4; tokens around the workgroup's 4, 16 and 64 rows; all variants. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (const [tokens, width] of [[1, 1], [5, 123], [17, 64], [65, 36], [129, 8]]) {
    for (const adapter of ADAPTERS) {
      const name = `tokens=${tokens} width=${width} ${adapter}`;
      const x = randomArray([tokens, width], 2);
      const weight = randomArray([width], 2);
      const dy = randomArray([tokens, width]);
      const rstd = Float32Array.from(reference.rmsnormForward(x, weight, tokens, width, EPS).rstd);
      const dx = randomArray([tokens, width]);
      list.push({
        name,
        kernel: fitted(rmsnormForward, width, adapter),
        inputs: { x, weight, y: randomArray([tokens, width]), rstd: randomArray([tokens]) },
        dims: { tokens, width, eps: EPS },
        expected: () => reference.rmsnormForward(x, weight, tokens, width, Math.fround(EPS)),
        tolerance: 1e-5,
      });
      list.push({
        name,
        kernel: fitted(rmsnormBackward, width, adapter),
        inputs: { dy, x, weight, rstd, dx },
        dims: { tokens, width },
        expected: () => ({
          dx: reference.rmsnormBackward(dy, x, weight, rstd, tokens, width).map((g, i) => g + dx[i]),
        }),
        tolerance: 1e-5,
      });
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
    kernel: "rmsnorm.backward_weight",
    mistake: { why: "rstd forgotten", from: " * weight_rstd[t]", to: "" },
  },
];
