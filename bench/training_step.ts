/** One training step: forward, backward, AdamW, and the read-back of the loss. @module */
import type { Gpu } from "../gpu/device.ts";
import type { MemoryClass } from "../gpu/tensor.ts";
import { CausalLM, type Initializer } from "../models/causal_lm.ts";
import type { ModelConfig } from "../models/config.ts";
import type { Sequence } from "../models/packed_batch.ts";
import { SequenceGraph } from "../models/sequence_graph.ts";
import { AdamW } from "../trainer/optimizer.ts";
import { initialWeights } from "../trainer/pretrain.ts";
import { SftTrainer } from "../trainer/sft.ts";
import { attentionFlops } from "./attention.ts";
import { type Clock, median, wallTime } from "./clock.ts";
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
  /** Recompute each block in the backward pass. */
  readonly recompute?: boolean;
}

/** Times a model's training step on its full batch, every token but a sequence's first scored. */
export async function trainingStep(
  gpu: Gpu,
  s: ModelShape,
  rounds: number,
  clock: Clock,
): Promise<StepTime> {
  return await timeTraining(gpu, stepOf(s), rounds, clock);
}

function stepOf(s: ModelShape): TrainingStep {
  const ids = tokenIds(s.tokens, s.config.vocab_size);
  const costs = Object.entries(attentionFlops(s)).map(([name, flops]) => [name, { flops }]);
  return {
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
  };
}

/** {@link trainingStep} with recomputation: its price in time, taken in turns with a step without, and what it saves. */
export async function recomputingStep(
  gpu: Gpu,
  s: ModelShape,
  rounds: number,
  clock: Clock,
): Promise<StepTime> {
  return await timeTraining(
    gpu,
    { ...stepOf(s), name: `training_step_recompute.${s.name}`, recompute: true },
    rounds,
    clock,
  );
}

/** Times a training step and takes it apart; its memory is counted before anything else is. */
export async function timeTraining(
  gpu: Gpu,
  { config, weights, batch, patches = 0, recompute = false, ...step }: TrainingStep,
  rounds: number,
  clock: Clock,
): Promise<StepTime> {
  const { byClass: before } = gpu.pool.report();
  const model = await CausalLM.create(gpu, config, weights, { trainable: true });
  const optimizer = new AdamW(gpu, model.parameters, {
    lr: 1e-4,
    betas: [0.9, 0.99],
    eps: 1e-8,
    weight_decay: 0.01,
    max_grad_norm: 1,
  });
  const make = async (recompute: boolean) => {
    const graph = new SequenceGraph(model, { tokens: step.tokens, patches, train: true, recompute });
    const { forward, backward } = graph.programs;
    const tower = graph.vision?.programs;
    const programs = [tower?.forward, forward, backward, tower?.backward, optimizer.program]
      .filter((program) => program !== undefined);
    for (const program of programs) await program.build();
    const { byClass } = gpu.pool.report();
    const memory = Object.fromEntries(
      Object.entries(byClass).map(([name, bytes]) => [name, bytes - before[name as MemoryClass]]),
    ) as Record<MemoryClass, number>;
    return { graph, trainer: new SftTrainer(graph, optimizer), programs, memory };
  };
  const plain = await make(false);
  let measured = plain;
  if (recompute) {
    // Alone, or textures that both use would count for one of them only.
    plain.trainer.free();
    plain.graph.free();
    measured = await make(true);
  }
  const { trainer, programs, memory } = measured;
  const other = recompute ? await make(false) : undefined;
  const without: number[] = [];
  const result = await timeStep(
    {
      ...step,
      time: async () => {
        if (other) without.push(await wallTime(gpu, () => other.trainer.step(batch)));
        return await wallTime(gpu, () => trainer.step(batch));
      },
      prepare: () => model.parameters.clearGradients(),
      programs,
    },
    rounds,
    clock,
  );
  for (const { trainer, graph } of other ? [measured, other] : [measured]) {
    trainer.free();
    graph.free();
  }
  optimizer.free();
  model.free();
  return {
    ...result,
    memory,
    // The first one compiled.
    ...other && { overhead: result.milliseconds / median(without.slice(1)) - 1, memoryWithout: plain.memory },
  };
}
