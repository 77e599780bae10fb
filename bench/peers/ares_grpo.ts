/** One GRPO iteration of this project: rollouts, reference log-probabilities, one update. @module */
import type { Gpu } from "../../gpu/device.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import type { ModelConfig } from "../../models/config.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { loadConfig } from "../../trainer/config.ts";
import type { Policy } from "../../trainer/policy.ts";
import { KlBudget } from "../../trainer/kl_budget.ts";
import { PolicyUpdate } from "../../trainer/policy_update.ts";
import { type Rollout, RolloutEngine } from "../../trainer/rollout.ts";
import type { ShapedTrajectory } from "../../trainer/trajectory.ts";
import type { Session } from "./serve.ts";
import { adamw, promptsOf, sampling } from "./ares_setup.ts";
import { ADAMW, type GrpoWork, weights } from "./work.ts";

/** Advantages of one group whose every second rollout is right. */
function trajectory(
  { prompt, sample, tokens, logps, entropies }: Rollout,
  ids: number[],
): ShapedTrajectory {
  const right = sample % 2;
  return {
    problem: {
      row: { id: `${prompt}`, problem: "", answer: "", source: "" },
      prompt: ids,
      candidates: [],
    },
    group: prompt,
    sample,
    tokens,
    logps,
    entropies,
    text: "",
    finish: "length",
    accuracy: right,
    format: 0,
    bucket: "medium",
    windows: entropies,
    mask: new Float32Array(tokens.length),
    highEntropy: 0,
    reward: { overall: right, shaping: 0, format: 0, overlong: 0 },
    advantage: 2 * right - 1,
    lambda: 0,
  };
}

/** Sets up policy, reference and update; each run is one iteration with its own rollouts. */
export async function grpoIteration(
  gpu: Gpu,
  w: GrpoWork,
  model: ModelConfig,
): Promise<Session["run"]> {
  const { config } = loadConfig({
    preset: "grpo",
    overrides: [
      `data.rollout_batch_size=${w.prompts}`,
      `worker.rollout.n=${w.rollouts}`,
      `data.max_prompt_length=${w.prompt}`,
      `data.max_response_length=${w.fresh}`,
      "worker.actor.mini_batches=1",
    ],
  });
  const { actor, rollout } = config.worker;
  const policy = await CausalLM.create(gpu, model, weights, {
    trainable: true,
  });
  const reference = policy.frozenCopy();
  const engine = new RolloutEngine(policy, {
    slots: w.prompts * w.rollouts,
    blockSize: rollout.block_size,
    chunk: rollout.chunk,
    maxLength: w.prompt + w.fresh,
  });
  const tokensPerPass = actor.micro_batch_tokens;
  const graph = new SequenceGraph(policy, {
    tokens: tokensPerPass,
    train: true,
  });
  const optimizer = adamw(gpu, policy);
  // What an update reads of a policy; the rest is tokenizer and folder, and this model has neither.
  const parts = { model: policy, graph, tokensPerPass, patchesPerPass: 0, accompany: () => {} };
  const update = new PolicyUpdate(
    parts as unknown as Policy,
    reference,
    optimizer,
    config,
  );
  const prompts = promptsOf(w.prompts, w.prompt, w.model.vocab_size);
  const settings = {
    klBudget: new KlBudget(config),
    threshold: 0,
    lr: ADAMW.lr,
  };
  let seed = 0;
  return async (repeats) => {
    let tokens = 0;
    for (let i = 0; i < repeats; i++) {
      const rollouts = await engine.generate(prompts, { ...sampling(w.fresh, seed++), n: w.rollouts });
      const groups = prompts.map((prompt, p) =>
        rollouts.filter((r) => r.prompt === p).map((r) => trajectory(r, prompt))
      );
      const { metrics } = await update.run(groups, settings, { lap: () => {} });
      tokens = metrics["batch/trained_tokens"];
    }
    return tokens;
  };
}
