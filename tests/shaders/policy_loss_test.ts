/** Tests of the AEPO gradient. @module */
import { assert } from "@std/assert";
import { finiteDifferences } from "../reference/finite_differences.ts";
import { klOf, policyLoss, type PolicyShape, policyTerm } from "../reference/policy_loss.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./policy_loss_cases.ts";

checkKernels("policy_loss", cases, mistakes);

Deno.test("policy_loss: the reference's gradient is that of its loss", () => {
  for (const c of cases()) {
    if (!("dlogp" in c.inputs) || c.name.includes("= ")) continue;
    const o = c.dims as unknown as PolicyShape;
    const { behaviour, sequence, sequence_of, result, advantages } = c.inputs;
    const x = { behaviour, sequence, sequence_of, result, advantages };
    const logps = Float64Array.from({ length: o.tokens }, (_, t) => result[4 * t]);
    const terms = (t: number, logp: number) => {
      const s = 8 * sequence_of[t];
      return sequence[s + 1] * (policyTerm(logp, behaviour[4 * t], advantages[t], o) +
        sequence[s + (behaviour[4 * t + 3] ? 3 : 2)] *
          klOf(logp, behaviour[4 * t + 1], o.kl_kind, result[4 * t + 3]));
    };
    const { dlogp } = policyLoss(x, o);
    for (let t = 0; t < o.tokens; t++) {
      const [slope] = finiteDifferences(([logp]) => terms(t, logp), [logps[t]], 1e-6);
      const scale = Math.max(1, Math.abs(dlogp[t]));
      assert(
        Math.abs(slope - dlogp[t]) < 1e-6 * scale,
        `${c.name} token ${t}: ${dlogp[t]}, differences say ${slope}`,
      );
    }
  }
});
