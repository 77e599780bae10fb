import { assert } from "@std/assert";
import { finiteDifferences } from "../reference/finite_differences.ts";
import * as reference from "../reference/rope.ts";
import { randomArray, worstDifference } from "./case.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./rope_cases.ts";

checkKernels("rope", cases, mistakes);

Deno.test("rope: the inverse rotation is the gradient", () => {
  const [tokens, heads, headDim, theta] = [3, 2, 6, 100];
  const stride = (heads + 1) * headDim;
  const x = randomArray([tokens, stride]);
  const dy = randomArray([tokens, stride]);
  const rotate = (a: ArrayLike<number>, sign: number): Float64Array =>
    reference.rope(a, [4, 0, 9], tokens, heads, stride, headDim, theta, sign);
  const numeric = finiteDifferences((a) => rotate(a, 1).reduce((sum, y, i) => sum + y * dy[i], 0), x);
  assert(worstDifference(rotate(dy, -1), numeric).worst < 1e-6);
});
