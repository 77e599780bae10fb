/** Tests of the exact KL. @module */
import { assert } from "@std/assert";
import { finiteDifferences } from "../reference/finite_differences.ts";
import { fullKl, fullKlGradient } from "../reference/full_kl.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./full_kl_cases.ts";

checkKernels("full_kl", cases, mistakes);

Deno.test("full_kl: the reference's gradient is that of its KL", () => {
  const logits = [0.3, -1.2, 2, 0.7, -0.4], reference = [1, -0.5, 1.5, -2, 0.2];
  const shape = { rows: 1, vocabulary: 5, stride: 5, temperature: 0.7 };
  const slopes = finiteDifferences((z) => fullKl({ ...shape, logits: z, reference })[0], logits, 1e-5);
  const none = [0];
  const got = fullKlGradient({ ...shape, logits, reference }, [0], { dlogp: none, dentropy: none, dkl: [1] });
  slopes.forEach((slope, v) => assert(Math.abs(slope - got[v]) < 1e-7, `${v}: ${got[v]} for ${slope}`));
});
