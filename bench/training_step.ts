/** One training step: forward, backward, AdamW, and the read-back of the loss. @module */
import type { Gpu } from "../gpu/device.ts";
import { CausalLM } from "../models/causal_lm.ts";
import { SequenceGraph } from "../models/sequence_graph.ts";
import { AdamW } from "../trainer/optimizer.ts";
import { initialWeights } from "../trainer/pretrain.ts";
import { SftTrainer } from "../trainer/sft.ts";
import { attentionFlops } from "./attention.ts";
import { type Clock, wallTime } from "./clock.ts";
import type { ModelShape } from "./shapes.ts";
import { type StepTime, timeStep } from "./step.ts";
import { tokenIds } from "./workload.ts";

/** Times a model's training step on its full batch, every token but a sequence's first scored. */
export async function trainingStep(
  gpu: Gpu,
  s: ModelShape,
  rounds: number,
  clock: Clock,
): Promise<StepTime> {
  const model = await CausalLM.create(gpu, s.config, initialWeights(0), { trainable: true });
  const graph = new SequenceGraph(model, { tokens: s.tokens, train: true });
  const optimizer = new AdamW(gpu, model.parameters, {
    lr: 1e-4,
    betas: [0.9, 0.99],
    eps: 1e-8,
    weight_decay: 0.01,
    max_grad_norm: 1,
  });
  const trainer = new SftTrainer(graph, optimizer);
  const ids = tokenIds(s.tokens, s.config.vocab_size);
  const batch = Array.from({ length: s.sequences }, (_, i) => ({
    ids: ids.subarray(i * s.length, (i + 1) * s.length),
    scoreFrom: 1,
  }));
  const { forward, backward } = graph.programs;
  const flops = Object.entries(attentionFlops(s)).map(([name, flops]) => [name, { flops }]);
  const result = await timeStep(
    {
      name: `training_step.${s.name}`,
      what: `forward, backward and AdamW on ${s.sequences} sequences of ${s.length} tokens`,
      tokens: s.tokens,
      time: () => wallTime(gpu, () => trainer.step(batch)),
      prepare: () => model.parameters.clearGradients(),
      programs: [forward, backward!, optimizer.program],
      costs: Object.fromEntries(flops),
    },
    rounds,
    clock,
  );
  trainer.free();
  optimizer.free();
  graph.free();
  model.parameters.free();
  return result;
}
