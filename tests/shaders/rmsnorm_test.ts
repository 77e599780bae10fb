import { assert } from "@std/assert";
import { finiteDifferences } from "../reference/finite_differences.ts";
import * as reference from "../reference/rmsnorm.ts";
import { randomArray, worstDifference } from "./case.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./rmsnorm_cases.ts";

checkKernels("rmsnorm", cases, mistakes);

Deno.test("rmsnorm: the reference's gradients agree with finite differences", () => {
  const [tokens, width, eps] = [3, 7, 1e-3];
  const x = randomArray([tokens, width]);
  const weight = randomArray([width]);
  const dy = randomArray([tokens, width]);
  const loss = (a: ArrayLike<number>, w: ArrayLike<number>): number =>
    reference.rmsnormForward(a, w, tokens, width, eps).y.reduce((sum, y, i) => sum + y * dy[i], 0);
  const { rstd } = reference.rmsnormForward(x, weight, tokens, width, eps);
  const dx = reference.rmsnormBackward(dy, x, weight, rstd, tokens, width);
  const dweight = reference.rmsnormBackwardWeight(dy, x, rstd, tokens, width, tokens);
  assert(worstDifference(dx, finiteDifferences((a) => loss(a, weight), x)).worst < 1e-6);
  assert(worstDifference(dweight, finiteDifferences((w) => loss(x, w), weight)).worst < 1e-6);
});
