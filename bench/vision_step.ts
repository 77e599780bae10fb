/** Steps with pictures: a model's whole training step, and a vision tower alone forward and backward. @module */
import type { Gpu } from "../gpu/device.ts";
import { CausalLM } from "../models/causal_lm.ts";
import { visionBlock } from "../models/vision_config.ts";
import { VisionTower } from "../models/vision_tower.ts";
import { attentionCosts, causalProduct } from "./attention.ts";
import { type Clock, wallTime } from "./clock.ts";
import { type StepTime, timeStep } from "./step.ts";
import { timeTraining } from "./training_step.ts";
import { attentionProduct, patchesIn, picturesOf, type VisionShape } from "./vision_shapes.ts";
import { spread, tokenIds } from "./workload.ts";

/** Evenly spread numbers in ±0.05: no time here depends on how they are distributed. */
const evenWeights = (_: string, shape: readonly number[]) =>
  spread(shape.reduce((a, b) => a * b, 1)).map((x) => x / 10);

/** Launches of attention in a pass that are alike. */
interface AttentionPart {
  readonly headDim: number;
  /** Operations of one of its products. */
  readonly product: number;
  readonly launches: number;
}

/** Attention in the tower's blocks: in windows, and over whole pictures. */
function towerAttention(s: VisionShape): AttentionPart[] {
  const vision = s.config.vision!;
  const headDim = visionBlock(vision).head_dim;
  const whole = vision.fullatt_block_indexes.length;
  return [
    { headDim, product: attentionProduct(s, "windows"), launches: vision.depth - whole },
    { headDim, product: attentionProduct(s, "images"), launches: whole },
  ];
}

/** Operations of a launch by kernel name: the mean where parts with heads of one size share a kernel. */
export function meanAttentionCosts(parts: readonly AttentionPart[]): Record<string, { flops: number }> {
  const costs: Record<string, { flops: number }> = {};
  for (const { headDim } of parts) {
    const alike = parts.filter((part) => part.headDim === headDim);
    const launches = alike.reduce((sum, part) => sum + part.launches, 0);
    const product = alike.reduce((sum, part) => sum + part.product * part.launches, 0) / launches;
    for (const [name, flops] of Object.entries(attentionCosts(headDim, product))) costs[name] = { flops };
  }
  return costs;
}

/** Forward and backward through patch embedding, blocks and merger; tokens are image tokens. */
export async function towerStep(gpu: Gpu, s: VisionShape, rounds: number, clock: Clock): Promise<StepTime> {
  const vision = s.config.vision!;
  const model = await CausalLM.create(gpu, s.config, evenWeights, {
    trainable: true,
    freeze: ["language_model"],
  });
  const tower = new VisionTower(model, { patches: patchesIn(s), train: true });
  tower.load(picturesOf(s));
  gpu.write(tower.gradient!, spread(tower.gradient!.size));
  const result = await timeStep(
    {
      name: `vision_tower.${s.name}`,
      what:
        `${s.pictures} picture of ${vision.patch_size * s.side} x ${vision.patch_size * s.side} pixels, ` +
        `forward and backward through ${vision.depth} block of width ${vision.hidden_size}; image tokens`,
      tokens: tower.size.tokens,
      time: () =>
        wallTime(gpu, async () => {
          await tower.forward();
          await tower.backward();
          await gpu.read(tower.embeddings);
        }),
      prepare: () => model.parameters.clearGradients(),
      programs: [tower.programs.forward, tower.programs.backward!],
      costs: meanAttentionCosts(towerAttention(s)),
    },
    rounds,
    clock,
  );
  tower.free();
  model.free();
  return result;
}

/** A training step on one picture and some text a sequence, every text token scored. */
export async function visionTrainingStep(
  gpu: Gpu,
  s: VisionShape,
  rounds: number,
  clock: Clock,
): Promise<StepTime> {
  const vision = s.config.vision!;
  const places = s.side ** 2 / vision.spatial_merge_size ** 2;
  // Ids of text stay below the picture's own.
  const ids = tokenIds(s.pictures * s.text, vision.image_token_id);
  const text: AttentionPart = {
    headDim: s.config.head_dim,
    product: causalProduct(s.config, s.pictures, places + s.text),
    launches: s.config.num_hidden_layers,
  };
  return await timeTraining(
    gpu,
    {
      name: `vision_training_step.${s.name}`,
      what:
        `forward, backward and AdamW on ${s.pictures} sequences of a picture (${places} tokens) and ${s.text} tokens of text`,
      tokens: s.pictures * (places + s.text),
      costs: meanAttentionCosts([text, ...towerAttention(s)]),
      config: s.config,
      weights: evenWeights,
      batch: picturesOf(s).map((picture, i) => ({
        ids: [
          ...new Array<number>(places).fill(vision.image_token_id),
          ...ids.subarray(i * s.text, (i + 1) * s.text),
        ],
        scoreFrom: places,
        images: [picture],
      })),
      patches: patchesIn(s),
    },
    rounds,
    clock,
  );
}
