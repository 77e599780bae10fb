import { assert } from "@std/assert";
import { finiteDifferences } from "../reference/finite_differences.ts";
import * as reference from "../reference/gelu.ts";
import { randomArray, worstDifference } from "./case.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./gelu_cases.ts";

checkKernels("gelu", cases, mistakes);

Deno.test("gelu: the reference's gradient agrees with finite differences", () => {
  const x = randomArray([3, 11], 5);
  const dy = randomArray([3, 11]);
  const loss = (a: Float64Array): number =>
    reference.geluForward(a).reduce((sum, y, i) => sum + y * dy[i], 0);
  const { worst } = worstDifference(reference.geluBackward(x, dy), finiteDifferences(loss, x));
  assert(worst < 1e-6, `${worst}`);
});

Deno.test("gelu: the reference's normal distribution: tabled values, and both expansions where they meet", () => {
  for (
    const [x, p] of [[0, 0.5], [1, 0.8413447460685429], [-2, 0.022750131948179195], [
      -6,
      9.865876450376946e-10,
    ]]
  ) {
    assert(Math.abs(reference.normal(x) - p) <= 1e-12 * p, `${x}`);
  }
  for (const x of [-4, 4]) {
    const [inside, outside] = [reference.normal(x * (1 - 1e-12)), reference.normal(x)];
    assert(Math.abs(inside - outside) < 1e-10 * outside, `${x}: ${inside} and ${outside}`);
  }
});
