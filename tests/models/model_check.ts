/**
 * The check of a model against f64 loops: scores of every row, and the gradient of every parameter by finite differences.
 * @module
 */
import type { ModelConfig } from "../../models/config.ts";
import { packSequences, type Sequence } from "../../models/packed_batch.ts";
import { modelForward, type Scores } from "../reference/model.ts";
import { disagreement, type ParameterProbes, probe } from "./gradient_probe.ts";
import {
  difference,
  type Pass,
  randomSequences,
  randomSlopes,
  randomWeights,
  type Slopes,
  widen,
} from "./tiny_model.ts";

/** Largest relative difference of scores; measured: 1e-6. */
const SCORES = 1e-5;
/** Largest relative difference of a slope; measured: 4e-6. */
const GRADIENTS = 3e-5;

/** A model and a batch whose scores and slopes are known. */
export class ModelCheck {
  readonly config: ModelConfig;
  readonly weights: ReadonlyMap<string, Float32Array>;
  readonly sequences: readonly Sequence[];
  readonly slopes: Slopes;
  readonly temperature: number;
  readonly #scores: Scores;
  readonly #probes: readonly ParameterProbes[];

  /** @param lengths `[length, scoreFrom]` of the sequences */
  constructor(config: ModelConfig, lengths: readonly [number, number][], temperature: number) {
    this.config = config;
    this.temperature = temperature;
    this.weights = randomWeights(config);
    this.sequences = randomSequences(config, lengths);
    const slopes = this.slopes = randomSlopes(this.sequences);
    const weights = widen(this.weights);
    const batch = packSequences(this.sequences);
    const forward = () => modelForward(weights, config, batch, temperature);
    this.#scores = forward();
    const loss = (): number => {
      const { logp, entropy } = forward();
      return logp.reduce((sum, x, r) => sum + slopes.dlogp[r] * x + slopes.dentropy[r] * entropy[r], 0);
    };
    // Most rows of an untied embedding do not occur and have no gradient.
    const used = new Set(batch.ids);
    const occurs = (name: string, index: number) =>
      name !== "model.embed_tokens.weight" || used.has(Math.floor(index / config.hidden_size));
    this.#probes = probe(weights, loss, 24, occurs);
  }

  /** What is wrong with a pass over {@link sequences}; undefined when nothing is. */
  complaint(pass: Pass): string | undefined {
    for (const kind of ["logp", "entropy"] as const) {
      const off = difference(pass[kind], this.#scores[kind]);
      if (!(off <= SCORES)) return `${kind} is off by ${off}`;
    }
    const { worst, where } = disagreement(this.#probes, pass.gradients);
    return worst <= GRADIENTS ? undefined : `off by ${worst}: ${where}`;
  }
}
