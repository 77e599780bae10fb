/**
 * How the shipped base model is pretrained; `deno task pretrain` reads this.
 *
 * The base is badly calibrated on purpose: it checks easy problems twice and guesses at hard ones, which is what the
 * two training stages have to put right. It also stops early, while long sums still go wrong, so that reinforcement
 * learning has something left to gain.
 * @module
 */
import { type BaseKind, type PretrainMixture, VISIBLE_FAMILIES } from "./world.ts";

/** A stretch of pretraining with its own mixture and learning rates. */
export interface PretrainPhase extends PretrainMixture {
  /** Also names the phase's stream of examples: `pretrainExamples(seed, name, phase)`. */
  name: string;
  /** The phase ends with the first batch that reaches so many tokens: prompts, chat and end marks included. */
  tokens: number;
  /** Learning rate at the start and at the end of the phase, linear in the tokens seen between. */
  learningRate: readonly [number, number];
  /** AdamW's moments and the warm-up begin anew, so that the phase can also start from a model that was saved. */
  afresh?: true;
}

/** A pretraining recipe. */
export interface PretrainRecipe {
  /** Names the model's files. */
  kind: BaseKind;
  /** Of the first weights and of the examples. */
  seed: number;
  /** Sequences in one update; each is one prompt with its response and `<|im_end|>`, positions from 0. */
  batchSize: number;
  /** The learning rate rises linearly from 0 over so many tokens at the very start and where a phase begins afresh. */
  warmupTokens: number;
  /** Of AdamW, whose moments go on from phase to phase unless one begins afresh; its epsilon is 1e-8. */
  betas: readonly [number, number];
  /** Decoupled, times the learning rate at each update, on every parameter. */
  weightDecay: number;
  /** Gradients are scaled down to this global norm. */
  maxGradNorm: number;
  /** Run one after the other. The loss is the mean over the batch's response tokens, `<|im_end|>` included. */
  phases: readonly PretrainPhase[];
}

const MIXTURE = {
  styleWeights: { easy: [1, 4, 4], medium: [6, 4, 1], hard: [12, 4, 1] },
  errors: { step: 0.02, firstPass: 0.08, direct: 0.02 },
} as const;

/** The recipe of a model for text alone. */
export const TEXT_RECIPE: PretrainRecipe = {
  kind: "text",
  seed: 1,
  batchSize: 32,
  warmupTokens: 60_000,
  betas: [0.9, 0.99],
  weightDecay: 0.01,
  maxGradNorm: 1,
  phases: [
    {
      ...MIXTURE,
      name: "short",
      tokens: 500_000,
      difficultyWeights: [1, 1, 1, 0, 0, 0],
      learningRate: [3e-3, 3e-3],
    },
    {
      ...MIXTURE,
      name: "all",
      tokens: 1_800_000,
      difficultyWeights: [3, 4, 4, 4, 3, 2],
      learningRate: [3e-3, 3e-4],
    },
  ],
};

/** The recipe of `models/micro`: text and pictures, all families evenly. */
export const RECIPE: PretrainRecipe = {
  ...TEXT_RECIPE,
  kind: "vision",
  batchSize: 16,
  warmupTokens: 20_000,
  phases: [
    {
      ...MIXTURE,
      name: "short",
      families: VISIBLE_FAMILIES.vision,
      tokens: 800_000,
      difficultyWeights: [1, 1, 1, 0, 0, 0],
      learningRate: [2e-3, 2e-3],
    },
    {
      ...MIXTURE,
      name: "all",
      families: VISIBLE_FAMILIES.vision,
      tokens: 3_500_000,
      difficultyWeights: [3, 4, 4, 4, 3, 2],
      learningRate: [2e-3, 1e-4],
      afresh: true,
    },
  ],
};
