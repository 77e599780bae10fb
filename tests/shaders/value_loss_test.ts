/** Tests of the value loss. @module */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { valueLoss as wholeLoss } from "../../trainer/policy_objective.ts";
import { finiteDifferences } from "../reference/finite_differences.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes, valueTerm } from "./value_loss_cases.ts";

checkKernels("value_loss", cases, mistakes);

Deno.test("value_loss: the reference's gradient is that of its loss, and its sum the release's loss", () => {
  const c = cases().find((c) => c.dims.tokens === 321)!;
  const { tokens, clip, coefficient } = c.dims;
  const { value, target } = c.inputs;
  const { dvalue, stats } = c.expected(c.inputs);
  let clipped = 0;
  for (let t = 0; t < tokens; t++) {
    const [old, goal, w] = target.subarray(4 * t, 4 * t + 3);
    const term = (v: number) => coefficient * w * valueTerm(v, old, goal, clip);
    const [slope] = finiteDifferences(([v]) => term(v), [value[t]], 1e-6);
    assert(Math.abs(slope - dvalue[t]) < 1e-6, `token ${t}: ${dvalue[t]}, differences say ${slope}`);
    clipped += stats[4 * t + 1];
  }
  assert(clipped > 20 && clipped < tokens - 20, `${clipped} of ${tokens} are clipped`);
  const column = (k: number) => Float64Array.from({ length: tokens }, (_, t) => target[4 * t + k]);
  const whole = wholeLoss(
    { offsets: [0, tokens], values: value, oldValues: column(0), returns: column(1) },
    clip,
    "token",
  );
  const unweighted = Array.from({ length: tokens }, (_, t) => stats[4 * t] / target[4 * t + 2]);
  assertAlmostEquals(whole.loss, unweighted.reduce((a, b) => a + b, 0) / tokens, 1e-9);
  assertEquals(Math.round(whole.vf_clipfrac * tokens), clipped);
});
