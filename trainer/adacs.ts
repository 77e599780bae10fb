/**
 * AdaCS, the adaptive cold start: pass rates from samples, target lengths per source, the teacher responses nearest to
 * them, uniform over pass-rate brackets, then supervised fine-tuning.
 * @module
 */
import { Rng } from "../data/random.ts";
import type { Sequence } from "../models/packed_batch.ts";
import { type AdacsSelection, selectAdacs } from "./adacs_selection.ts";
import type { AdacsConfig } from "./config_types.ts";
import { gradeResponses } from "./grade_responses.ts";
import type { Monitor } from "./monitor.ts";
import type { Policy } from "./policy.ts";
import type { Problem } from "./problems.ts";

/** One example of the fine-tuning set. */
export interface CurriculumExample {
  /** Index into the problems. */
  readonly problem: number;
  /** Index into the problem's candidates. */
  readonly candidate: number;
}

/** The curated set, in training order, and how it came about. */
export interface Curriculum {
  /** In training order; one may come more than once. */
  readonly examples: readonly CurriculumExample[];
  /** Right answers of each problem among the samples. */
  readonly correct: readonly number[];
  /** K, the responses sampled of each problem. */
  readonly samples: number;
  /** L(0) and L(1) of each source, tokens. */
  readonly ends: AdacsSelection["ends"];
  /** Problems and chosen examples by bracket 0 … samples. */
  readonly available: readonly number[];
  /** Chosen examples by bracket 0 … samples. */
  readonly taken: readonly number[];
  /** What had to be done differently, in sentences. */
  readonly notes: readonly string[];
}

/** Settings of the sampling that {@link AdacsConfig} does not hold. */
export interface CurationOptions {
  /** Sampling temperature. */
  readonly temperature: number;
  /** Sample from the smallest set of tokens with at least this probability. */
  readonly top_p: number;
  /** Sample from this many most likely tokens; 0: all. */
  readonly top_k: number;
  /** Most new tokens of a response. */
  readonly max_tokens: number;
  /** Of the sampling and of the choice. */
  readonly seed: number;
  /** Ends the sampling; there is no curriculum then. */
  readonly signal?: AbortSignal;
}

/** Samples every problem `samples` times and counts right answers. */
async function passRates(
  policy: Policy,
  problems: readonly Problem[],
  samples: number,
  o: CurationOptions,
  monitor: Monitor,
): Promise<number[]> {
  const phase = monitor.phase("AdaCS: sampling pass rates", problems.length * samples, "responses");
  let finished = 0;
  let tokens = 0;
  const rollouts = await policy.engine.generate(
    problems.map((p) => ({ ids: p.prompt, images: p.images, key: ["adacs", p.row.id] })),
    {
      n: samples,
      temperature: o.temperature,
      top_p: o.top_p,
      top_k: o.top_k,
      min_p: 0,
      repetition_penalty: 1,
      max_tokens: o.max_tokens,
      stop: policy.generation.eos_token_id,
      seed: o.seed,
      signal: o.signal,
      onChunk: (p) => {
        tokens += p.tokens;
        phase.advance(p.finished - finished, `${tokens} tokens`);
        finished = p.finished;
      },
    },
  );
  const verdicts = await gradeResponses(
    rollouts.map((r) => ({ row: problems[r.prompt].row, text: policy.writer.text(r.tokens) })),
  );
  const correct = new Array<number>(problems.length).fill(0);
  rollouts.forEach((r, i) => correct[r.prompt] += verdicts[i].same ? 1 : 0);
  const mean = correct.reduce((a, b) => a + b, 0) / Math.max(1, rollouts.length);
  phase.finish(`pass rate ${(100 * mean).toFixed(1)} %`);
  return correct;
}

/** Samples, chooses and orders the fine-tuning set; it is empty, and a note says why, when no problem has a teacher response. */
export async function curate(
  policy: Policy,
  problems: readonly Problem[],
  config: AdacsConfig,
  o: CurationOptions,
  monitor: Monitor,
): Promise<Curriculum | undefined> {
  const correct = await passRates(policy, problems, config.samples, o, monitor);
  if (o.signal?.aborted) return undefined;
  const lengths = problems.map((p) => p.candidates.map((c) => c.length));
  const passes = lengths.flat().length * config.epochs;
  const selection = selectAdacs(
    problems.map((p, i) => ({
      source: p.row.source,
      correct: correct[i],
      samples: config.samples,
      candidateLengths: lengths[i],
    })),
    {
      count: passes,
      maxTokens: config.max_tokens ?? undefined,
      minBracket: config.min_bracket,
      selection: config.selection,
    },
    rand(o.seed),
  );
  return {
    examples: selection.chosen.map(({ problem, candidate }) => ({ problem, candidate })),
    correct,
    samples: config.samples,
    ends: selection.ends,
    available: selection.available,
    taken: selection.taken,
    notes: selection.notes,
  };
}

function rand(seed: number): () => number {
  const rng = new Rng("adacs selection", seed);
  return () => rng.float();
}

/** A sequence to fine-tune on, its pictures not yet made. */
export type LazySequence = Omit<Sequence, "images"> & Pick<Problem, "images">;

/** The batches of the fine-tuning, in order; the last one may be smaller. */
export function curriculumBatches(
  curriculum: Curriculum,
  problems: readonly Problem[],
  batchSize: number,
): LazySequence[][] {
  const sequences = curriculum.examples.map(({ problem, candidate }) => {
    const p = problems[problem];
    return { ids: [...p.prompt, ...p.candidates[candidate]], scoreFrom: p.prompt.length, images: p.images };
  });
  const batches = [];
  for (let i = 0; i < sequences.length; i += batchSize) batches.push(sequences.slice(i, i + batchSize));
  return batches;
}

/** Makes the pictures of a batch; those of sequences of one problem once, and they share them. */
export function withPictures(batch: readonly LazySequence[]): Promise<Sequence[]> {
  const made = new Map<LazySequence["images"], ReturnType<NonNullable<LazySequence["images"]>>>();
  return Promise.all(batch.map(async (s) => {
    if (s.images && !made.has(s.images)) made.set(s.images, s.images());
    return { ...s, images: await made.get(s.images) };
  }));
}
