/**
 * How the shipped base model is pretrained; `deno task pretrain` reads this.
 * @module
 */
import type { PretrainMixture } from "./world.ts";

/** A stretch of pretraining with its own mixture and learning-rate ramp. */
export interface PretrainPhase extends PretrainMixture {
  /** Also names the phase's stream of examples. */
  name: string;
  /** Tokens to train on, prompts, chat marks and end marks included. */
  tokens: number;
  /** Learning rate at the start and the end of the phase; linear between, by tokens seen. */
  learningRate: readonly [number, number];
}

/** A pretraining recipe. */
export interface PretrainRecipe {
  /** Of the weights and of the examples. */
  seed: number;
  phases: readonly PretrainPhase[];
}

const ERRORS = { step: 0.02, firstPass: 0.08, direct: 0.02 };
const STYLES = { easy: [1, 4, 4], medium: [3, 4, 2], hard: [4, 5, 1] } as const;

/** The recipe. */
export const RECIPE: PretrainRecipe = {
  seed: 1,
  phases: [
    {
      name: "short",
      tokens: 800_000,
      difficultyWeights: [1, 1, 1, 0, 0, 0],
      styleWeights: STYLES,
      errors: ERRORS,
      learningRate: [2e-3, 2e-3],
    },
    {
      name: "all",
      tokens: 3_000_000,
      difficultyWeights: [3, 4, 4, 4, 3, 2],
      styleWeights: STYLES,
      errors: ERRORS,
      learningRate: [2e-3, 2e-4],
    },
  ],
};
