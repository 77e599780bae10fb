/**
 * How well window entropy finds the tokens that decide content (the paper's Figure 2a). The micro-world's generator knows
 * them; entropies are teacher-forced over its traces of held-out problems.
 * @module
 */
import { decisionTokens } from "../data/micro/trace.ts";
import { type MicroRow, microRows } from "../data/micro/world.ts";
import { Rng } from "../data/random.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Sequence } from "../models/packed_batch.ts";
import { scoreTokens } from "../models/scoring.ts";
import { withPictures } from "../trainer/adacs.ts";
import type { Config } from "../trainer/config_types.ts";
import { windowEntropy } from "../trainer/entropy.ts";
import { Policy } from "../trainer/policy.ts";
import { microFamilies } from "../trainer/run_rows.ts";
import { bestThreshold, detect, type Detection } from "./statistics.ts";

/** Window sizes that are compared; 1 is the token's own entropy. */
export const WINDOWS: readonly number[] = [1, 2, 4, 8, 16];

/** Problems whose traces are scored: a few thousand tokens tell F1 to about a hundredth. */
const PROBLEMS = 192;

/** A trace's entropies and which of its tokens are decisions. */
export interface ScoredTrace {
  /** [L] nats. */
  readonly entropies: ArrayLike<number>;
  /** [L] */
  readonly decisions: readonly boolean[];
  /** Whether the threshold is chosen on it, or what the threshold finds is counted. */
  readonly validation: boolean;
}

/** What window size w is worth. */
export interface WindowScore extends Detection {
  /** Tokens of a window. */
  readonly window: number;
}

/**
 * For each window size: the threshold of the highest F1 over the validation half of the traces, and what it finds in the
 * other. A token is found where the mean entropy of its window, from the token on, reaches the threshold.
 */
export function windowScores(
  traces: readonly ScoredTrace[],
  windows: readonly number[] = WINDOWS,
): WindowScore[] {
  return windows.map((window) => {
    const pooled = (validation: boolean) => {
      const part = traces.filter((t) => t.validation === validation);
      return {
        scores: part.flatMap((t) => [...windowEntropy(t.entropies, window)]),
        truth: part.flatMap((t) => t.decisions),
      };
    };
    const [validation, test] = [pooled(true), pooled(false)];
    const threshold = bestThreshold(validation.scores, validation.truth);
    return { window, ...detect(test.scores, test.truth, threshold) };
  });
}

/** F1 of calling every token a decision, on the half where F1 is counted: what a method has to be above. */
export function everyTokenF1(traces: readonly ScoredTrace[]): number {
  const truth = traces.filter((t) => !t.validation).flatMap((t) => t.decisions);
  return detect(truth.map(() => 0), truth, 0).f1;
}

/** Scores the teacher's traces of held-out problems under a model, problem by problem. */
export async function scoreTraces(gpu: Gpu, folder: string, config: Config): Promise<ScoredTrace[]> {
  const { data, worker: { actor, rollout } } = config;
  const policy = await Policy.load(gpu, folder, {
    trainable: false,
    prompts: data,
    micro_batch_tokens: 1,
    micro_batch_patches: actor.micro_batch_patches,
    recompute: false,
    max_num_seqs: 1,
    block_size: rollout.block_size,
    chunk: rollout.chunk,
  });
  try {
    const rows = microRows({
      seed: data.seed,
      count: Math.min(PROBLEMS, data.micro.val_count),
      split: "heldout",
      families: microFamilies(data.micro, policy.model.config.vision !== undefined),
    });
    const { problems } = await policy.writer.problems([...rows]);
    const known: Omit<ScoredTrace, "entropies">[] = [];
    const sequences: Sequence[] = [];
    for (const p of problems) {
      // All traces of a problem in one half.
      const validation = new Rng("study halves", p.row.id).chance(0.5);
      const [own] = await withPictures([{ ids: [], scoreFrom: p.prompt.length, images: p.images }]);
      for (const trace of (p.row as MicroRow).traces) {
        const response = policy.writer.response(trace.text);
        const stream = policy.writer.tokenizer.stream();
        const pieces = Array.from(response, (id) => stream.push(id));
        known.push({ decisions: decisionTokens(trace, pieces).map((kind) => kind !== null), validation });
        sequences.push({ ...own, ids: [...p.prompt, ...response] });
      }
    }
    const scores = await scoreTokens(policy.model, sequences, {
      temperature: rollout.temperature,
      tokensPerPass: actor.micro_batch_tokens,
    });
    return scores.map(({ entropy }, i) => ({ entropies: entropy, ...known[i] }));
  } finally {
    policy.free();
  }
}
