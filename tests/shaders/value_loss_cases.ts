/**
 * Cases of the value loss.
 * @module
 */
import { valueLoss } from "../../shaders/value_loss.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

const CLIP = 0.25;
const COEFFICIENT = 0.5;

/** Half of max((V − R)², (clip(V) − R)²), not weighted. */
export function valueTerm(value: number, old: number, goal: number, clip: number): number {
  const held = Math.min(old + clip, Math.max(old - clip, value));
  return 0.5 * Math.max((value - goal) ** 2, (held - goal) ** 2);
}

/** `broken` [index, value] replaces an entry of `value`, or of `target` where `inTarget`. */
function lossCase(
  tokens: number,
  broken?: { input: "value" | "target"; at: number; to: number },
): KernelCase {
  const value = randomArray([tokens]);
  const target = randomArray([tokens, 4]);
  for (let t = 0; t < tokens; t++) target[4 * t + 2] = Math.abs(target[4 * t + 2]) + 0.1;
  if (broken) ({ value, target })[broken.input][broken.at] = broken.to;
  return {
    name: `tokens=${tokens}${broken ? ` ${broken.input}[${broken.at}] = ${broken.to}` : ""}`,
    kernel: valueLoss,
    inputs: { value, target, dvalue: randomArray([tokens]), stats: randomArray([tokens, 4]) },
    dims: { tokens, clip: CLIP, coefficient: COEFFICIENT },
    tolerance: 1e-5,
    expected: ({ value, target }): Record<string, Float64Array> => {
      const dvalue = new Float64Array(tokens), stats = new Float64Array(4 * tokens);
      for (let t = 0; t < tokens; t++) {
        const v = value[t], old = target[4 * t], goal = target[4 * t + 1], w = target[4 * t + 2];
        if (![v, old, goal].every(Number.isFinite)) {
          dvalue[t] = NaN;
          continue;
        }
        const clipped = 2 * valueTerm(v, old, goal, CLIP) > (v - goal) ** 2;
        dvalue[t] = clipped ? 0 : COEFFICIENT * w * (v - goal);
        stats.set([w * valueTerm(v, old, goal, CLIP), clipped ? 1 : 0, v, 0], 4 * t);
      }
      // The statistics of what is not finite are not specified, but for saying so.
      return broken ? { dvalue } : { dvalue, stats };
    },
  };
}

/** One token, partial and several workgroups, inputs that are not finite. */
export function cases(): KernelCase[] {
  return [
    lossCase(1),
    lossCase(64),
    lossCase(321),
    lossCase(5, { input: "value", at: 2, to: NaN }),
    lossCase(5, { input: "target", at: 4, to: -Infinity }),
    lossCase(5, { input: "target", at: 17, to: NaN }),
  ];
}

const mistake = (why: string, from: string, to: string) => ({
  kernel: valueLoss.name,
  mistake: { why, from, to },
});

/** Planted mistakes; each is rejected by at least one case. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  mistake("gradient through the clip", "0.0, plain < clipped)", "0.0, false)"),
  mistake("the better of the two", "max(plain, clipped)", "min(plain, clipped)"),
  mistake(
    "clipped around the return",
    "goal.x - d.clip, goal.x + d.clip",
    "goal.y - d.clip, goal.y + d.clip",
  ),
  mistake("no coefficient", "d.coefficient * goal.z", "goal.z"),
  mistake("not weighted", "d.coefficient * goal.z", "d.coefficient"),
  mistake("the half is forgotten", "0.5 * goal.z", "goal.z"),
  mistake("towards the old value", "let miss = v - goal.y;", "let miss = v - goal.x;"),
  mistake("a NaN of the old value passes", "finite(goal.x) && ", ""),
];
