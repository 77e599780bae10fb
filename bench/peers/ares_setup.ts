/** What this project's own peer programs share: prompts, sampling, the optimizer. @module */
import type { Gpu } from "../../gpu/device.ts";
import type { CausalLM } from "../../models/causal_lm.ts";
import { AdamW } from "../../trainer/optimizer.ts";
import type { GenerateOptions } from "../../trainer/rollout.ts";
import { tokenIds } from "../workload.ts";
import { ADAMW, TOP_P } from "./work.ts";

/** The optimizer of all peers over a model's parameters. */
export function adamw(gpu: Gpu, model: CausalLM): AdamW {
  return new AdamW(gpu, model.parameters, {
    lr: ADAMW.lr,
    betas: [ADAMW.beta1, ADAMW.beta2],
    eps: ADAMW.eps,
    weight_decay: ADAMW.weightDecay,
    max_grad_norm: ADAMW.maxNorm,
  });
}

/** `count` prompts of `length` tokens. */
export function promptsOf(count: number, length: number, vocabulary: number): number[][] {
  const ids = tokenIds(count * length, vocabulary);
  return Array.from({ length: count }, (_, i) => [...ids.subarray(i * length, (i + 1) * length)]);
}

/** Temperature 1 and the peers' nucleus, without a stop token. */
export function sampling(fresh: number, seed: number): GenerateOptions {
  return {
    temperature: 1,
    top_p: TOP_P,
    top_k: 0,
    min_p: 0,
    repetition_penalty: 1,
    max_tokens: fresh,
    stop: [],
    seed,
  };
}
