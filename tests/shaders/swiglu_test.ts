import { assert } from "@std/assert";
import { finiteDifferences } from "../reference/finite_differences.ts";
import * as reference from "../reference/swiglu.ts";
import { randomArray, worstDifference } from "./case.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./swiglu_cases.ts";

checkKernels("swiglu", cases, mistakes);

Deno.test("swiglu: the reference's gradient agrees with finite differences", () => {
  const x = randomArray([3, 10], 3);
  const dy = randomArray([3, 5]);
  const loss = (a: Float64Array): number =>
    reference.swigluForward(a, 3, 5).reduce((sum, y, i) => sum + y * dy[i], 0);
  const { worst } = worstDifference(reference.swigluBackward(x, dy, 3, 5), finiteDifferences(loss, x));
  assert(worst < 1e-6, `${worst}`);
});
