/** A run's policy: loaded in the sizes that its configuration names. @module */
import type { Gpu } from "../gpu/device.ts";
import { branchesPerRoot } from "./branching.ts";
import type { Config } from "./config_types.ts";
import { Policy } from "./policy.ts";
import { rulesOf } from "./rules.ts";

/**
 * Loads the policy that a run trains.
 * @param folder the configured model or a checkpoint
 * @throws UserError when the folder, its tokenizer or its weights do not fit together
 */
export function loadRunPolicy(gpu: Gpu, folder: string, config: Config): Promise<Policy> {
  const { aepo, data, worker: { actor, rollout } } = config;
  return Policy.load(gpu, folder, {
    trainable: true,
    prompts: data,
    micro_batch_tokens: actor.micro_batch_tokens,
    micro_batch_patches: actor.micro_batch_patches,
    freeze: actor.model.freeze_vision_tower ? ["vision_tower", "merger"] : [],
    recompute: actor.model.enable_gradient_checkpointing,
    max_num_seqs: rollout.max_num_seqs,
    block_size: rollout.block_size,
    chunk: rollout.chunk,
    top_tokens: aepo.enabled && rulesOf(config).mask === "trigger",
    branches: aepo.branching.enabled ? branchesPerRoot(rollout.n, aepo.branching.share) : 0,
  });
}
