/** One training step: forward, backward, AdamW, and the read-back of the loss. @module */
import type { Gpu } from "../gpu/device.ts";
import { CausalLM, type Initializer } from "../models/causal_lm.ts";
import type { ModelConfig } from "../models/config.ts";
import type { Sequence } from "../models/packed_batch.ts";
import { SequenceGraph } from "../models/sequence_graph.ts";
import { AdamW } from "../trainer/optimizer.ts";
import { initialWeights } from "../trainer/pretrain.ts";
import { SftTrainer } from "../trainer/sft.ts";
import { attentionFlops } from "./attention.ts";
import { type Clock, wallTime } from "./clock.ts";
import type { ModelShape } from "./shapes.ts";
import { type Step, type StepTime, timeStep } from "./step.ts";
import { tokenIds } from "./workload.ts";

/** A step on a batch that is one pass. */
export interface TrainingStep extends Pick<Step, "name" | "what" | "tokens" | "costs"> {
  readonly config: ModelConfig;
  readonly weights: Initializer;
  readonly batch: readonly Sequence[];
  /** Patches of the batch's pictures; none for text alone. */
  readonly patches?: number;
}

/** Times a model's training step on its full batch, every token but a sequence's first scored. */
export async function trainingStep(
  gpu: Gpu,
  s: ModelShape,
  rounds: number,
  clock: Clock,
): Promise<StepTime> {
  const ids = tokenIds(s.tokens, s.config.vocab_size);
  const costs = Object.entries(attentionFlops(s)).map(([name, flops]) => [name, { flops }]);
  return await timeTraining(
    gpu,
    {
      name: `training_step.${s.name}`,
      what: `forward, backward and AdamW on ${s.sequences} sequences of ${s.length} tokens`,
      tokens: s.tokens,
      costs: Object.fromEntries(costs),
      config: s.config,
      weights: initialWeights(0),
      batch: Array.from({ length: s.sequences }, (_, i) => ({
        ids: ids.subarray(i * s.length, (i + 1) * s.length),
        scoreFrom: 1,
      })),
    },
    rounds,
    clock,
  );
}

/** Times a training step and takes it apart. */
export async function timeTraining(
  gpu: Gpu,
  { config, weights, batch, patches = 0, ...step }: TrainingStep,
  rounds: number,
  clock: Clock,
): Promise<StepTime> {
  const model = await CausalLM.create(gpu, config, weights, { trainable: true });
  const graph = new SequenceGraph(model, { tokens: step.tokens, patches, train: true });
  const optimizer = new AdamW(gpu, model.parameters, {
    lr: 1e-4,
    betas: [0.9, 0.99],
    eps: 1e-8,
    weight_decay: 0.01,
    max_grad_norm: 1,
  });
  const trainer = new SftTrainer(graph, optimizer);
  const { forward, backward } = graph.programs;
  const tower = graph.vision?.programs;
  const programs = [tower?.forward, forward, backward, tower?.backward, optimizer.program];
  const result = await timeStep(
    {
      ...step,
      time: () => wallTime(gpu, () => trainer.step(batch)),
      prepare: () => model.parameters.clearGradients(),
      programs: programs.filter((program) => program !== undefined),
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
