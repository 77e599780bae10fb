/**
 * Cases and planted mistakes of shaders/gelu.ts.
 * @module
 */
import { geluBackward, geluForward } from "../../shaders/gelu.ts";
import { type Adapter, ADAPTERS, fitted } from "../../shaders/values.ts";
import * as reference from "../reference/gelu.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** One value, odd and even widths, all variants; the tails alone, and values whose square overflows f32. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (const [tokens, width, scale] of [[1, 1, 1], [5, 123, 3], [17, 24, 6], [3, 8, 1e25]]) {
    for (const adapter of ADAPTERS) {
      const name = `tokens=${tokens} width=${width} scale=${scale} ${adapter}`;
      const x = randomArray([tokens, width], scale);
      const dy = randomArray([tokens, width]);
      list.push(...pair(name, x, dy, tokens, width, adapter));
    }
  }
  // With positive values the tail would hide behind their size; its own largest value is 4e-3.
  const tail = Float32Array.from({ length: 120 }, (_, i) => -3 - i / 60);
  list.push(...pair("tokens=10 width=12 tail", tail, randomArray([10, 12]), 10, 12, "gpu"));
  return list;
}

function pair(
  name: string,
  x: Float32Array<ArrayBuffer>,
  dy: Float32Array<ArrayBuffer>,
  tokens: number,
  width: number,
  adapter: Adapter,
): KernelCase[] {
  const dims = { tokens, width };
  return [{
    name,
    kernel: fitted(geluForward, width, adapter),
    inputs: { x, y: randomArray([tokens, width]) },
    dims,
    expected: () => ({ y: reference.geluForward(x) }),
    tolerance: 1e-5,
  }, {
    name,
    kernel: fitted(geluBackward, width, adapter),
    inputs: { x, dy, dx: randomArray([tokens, width]) },
    dims,
    expected: () => ({ dx: reference.geluBackward(x, dy) }),
    tolerance: 1e-5,
  }];
}

/** Each is rejected by a case. */
export const mistakes: readonly { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "gelu.forward",
    mistake: {
      why: "the tanh approximation",
      from: "y[i] = v * normal(v);",
      to:
        "y[i] = 0.5 * v * (1.0 + tanh(clamp(0.7978846 * (v + 0.044715 * v * v * v), Value(-15.0), Value(15.0))));",
    },
  },
  {
    kernel: "gelu.forward",
    mistake: { why: "the tail of the other side", from: "v < Value(0.0)", to: "v > Value(0.0)" },
  },
  {
    kernel: "gelu.backward",
    mistake: { why: "P taken for constant", from: " + v * 0.39894228 * bell(v)", to: "" },
  },
  {
    kernel: "gelu.backward",
    mistake: { why: "the density without its scale", from: "v * 0.39894228 * bell(v)", to: "v * bell(v)" },
  },
];
