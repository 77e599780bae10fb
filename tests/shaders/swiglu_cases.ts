/**
 * Cases and planted mistakes of shaders/swiglu.ts.
 * @module
 */
import { swigluBackward, swigluForward } from "../../shaders/swiglu.ts";
import { ADAPTERS, fitted } from "../../shaders/values.ts";
import * as reference from "../reference/swiglu.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** One value, odd and even widths, all variants; gates of ±1,000, where an exponential overflows. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (const [tokens, width, scale] of [[1, 1, 1], [5, 123, 4], [17, 24, 4], [9, 8, 1000]]) {
    for (const adapter of ADAPTERS) {
      const name = `tokens=${tokens} width=${width} scale=${scale} ${adapter}`;
      const gate_up = randomArray([tokens, 2 * width], scale);
      const dy = randomArray([tokens, width]);
      const dims = { tokens, width };
      list.push({
        name,
        kernel: fitted(swigluForward, width, adapter),
        inputs: { gate_up, y: randomArray([tokens, width]) },
        dims,
        expected: () => ({ y: reference.swigluForward(gate_up, tokens, width) }),
        tolerance: 1e-5,
      });
      list.push({
        name,
        kernel: fitted(swigluBackward, width, adapter),
        inputs: { gate_up, dy, dgate_up: randomArray([tokens, 2 * width]) },
        dims,
        expected: () => ({ dgate_up: reference.swigluBackward(gate_up, dy, tokens, width) }),
        tolerance: 1e-5,
      });
    }
  }
  return list;
}

/** Each is rejected by a case. */
export const mistakes: readonly { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "swiglu.forward",
    mistake: {
      why: "gate and up exchanged",
      from: "* sigmoid(g) * gate_up[at + n]",
      to: "* sigmoid(gate_up[at + n]) * gate_up[at + n]",
    },
  },
  {
    kernel: "swiglu.backward",
    mistake: { why: "the sigmoid taken for constant", from: " * (1.0 + g * (1.0 - s))", to: "" },
  },
  {
    kernel: "swiglu.backward",
    mistake: { why: "the gate's own factor forgotten", from: "= d * g * s;", to: "= d * s;" },
  },
];
