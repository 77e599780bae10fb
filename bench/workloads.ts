/**
 * Everything that is timed kernel by kernel.
 * @module
 */
import { attentionWorkloads, otherAttentionWorkloads } from "./attention.ts";
import { blockWorkloads } from "./block.ts";
import { decodeWorkloads, rareDecodeWorkloads } from "./decode.ts";
import { endWorkloads } from "./ends.ts";
import { fusedWorkloads } from "./linear_fused.ts";
import { linearWorkloads, otherLinearWorkloads, type Traits } from "./linear.ts";
import { optimizerWorkloads } from "./optimizer.ts";
import { policyWorkloads } from "./policy.ts";
import { SHAPES, WIDE_HEADS } from "./shapes.ts";
import { visionWorkloads } from "./vision.ts";
import type { Workload } from "./workload.ts";

/** Every kernel on the shapes of both models, in the variants that suit the adapter; kernel by kernel. */
export function allWorkloads(traits: Traits): Workload[] {
  const { software } = traits;
  const list = Object.values(SHAPES).flatMap((s) => [
    ...linearWorkloads(s, traits),
    ...fusedWorkloads(s, traits),
    ...attentionWorkloads(s, software),
    ...blockWorkloads(s),
    ...endWorkloads(s, traits),
    ...decodeWorkloads(s, traits),
    ...optimizerWorkloads(s, traits),
  ]);
  list.push(
    ...attentionWorkloads(WIDE_HEADS, software),
    ...otherAttentionWorkloads(software),
    ...otherLinearWorkloads(traits),
    ...policyWorkloads(SHAPES.tiny),
    ...visionWorkloads(traits),
    ...rareDecodeWorkloads(traits),
  );
  return list.sort((a, b) => a.kernel.name < b.kernel.name ? -1 : a.kernel.name > b.kernel.name ? 1 : 0);
}
