/**
 * What a run writes into its logs and says on the terminal.
 * @module
 */
import type { Curriculum } from "./adacs.ts";
import type { IterationReport } from "./aepo.ts";
import type { Evaluation, GroupFigures, JudgedResponse } from "./evaluate.ts";
import type { LogRecord } from "./metrics_log.ts";
import type { BlindRecord, EvaluationRecord } from "./run_state.ts";
import type { ShapedTrajectory } from "./trajectory.ts";

/** What a rollout's line says besides the trajectory. */
export interface RolloutContext {
  /** Iteration, from 1. */
  readonly step: number;
  /** [L] text of each token; joined they are the response with its special tokens. */
  readonly pieces: readonly string[];
  /** Names of the problem's pictures in the run folder. */
  readonly images: readonly string[];
  /** [L] Ã, each token's advantage. */
  readonly advantages: ArrayLike<number>;
  /** Weight of the KL term outside and inside windows. */
  readonly klWeight: { readonly outside: number; readonly inside: number };
  /** Whether the update learned from its group. */
  readonly learned: boolean;
}

/**
 * A line of generations.jsonl for a rollout of the reinforcement stage. Numbers of tokens are rounded to what can be
 * told apart on a screen, and windows are [first, end) pairs of tokens: the line stays near 30 bytes a token.
 */
export function rolloutRecord(t: ShapedTrajectory, context: RolloutContext): LogRecord {
  const { row } = t.problem;
  const { step, pieces, images, advantages, klWeight, learned } = context;
  return {
    step,
    stage: "aepo",
    id: row.id,
    source: row.source,
    ...(row.level !== undefined && { level: row.level }),
    group: t.group,
    sample: t.sample,
    ...(t.branch && {
      parent: t.branch.parent,
      branch_step: t.branch.step,
      branch_entropy: rounded([t.branch.entropy], 4)[0],
    }),
    problem: row.problem,
    ...(images.length > 0 && { images }),
    response: t.text,
    answer: row.answer,
    accuracy: t.accuracy,
    difficulty: t.bucket,
    length: t.tokens.length,
    n_he: t.highEntropy,
    reward: t.reward,
    advantage: t.advantage,
    learned,
    finish: t.finish,
    kl_weight: klWeight,
    tokens: pieces,
    logps: rounded(t.logps, 3),
    entropies: rounded(t.entropies, 3),
    windows: rounded(t.windows, 3),
    high_entropy: spans(t.mask),
    advantages: rounded(advantages, 3),
  };
}

/**
 * A line of generations.jsonl for a response of an evaluation.
 * @param shown what is logged of its tokens; undefined: nothing, and neither the problem
 */
export function responseRecord(
  step: number,
  evaluation: string,
  r: JudgedResponse,
  shown?: Pick<RolloutContext, "pieces" | "images">,
): LogRecord {
  const { row } = r.problem;
  return {
    step,
    stage: `evaluate ${evaluation}`,
    id: row.id,
    source: row.source,
    ...(row.level !== undefined && { level: row.level }),
    sample: r.sample,
    response: r.text,
    answer: row.answer,
    accuracy: r.correct ? 1 : 0,
    length: r.length,
    n_he: r.highEntropy,
    finish: r.finish,
    ...(shown && r.tokens && {
      problem: row.problem,
      ...(shown.images.length > 0 && { images: shown.images }),
      tokens: shown.pieces,
      entropies: rounded(r.tokens.entropies, 3),
      windows: rounded(r.tokens.windows, 3),
      high_entropy: spans(r.tokens.mask),
    }),
  };
}

function rounded(values: ArrayLike<number>, digits: number): number[] {
  return Array.from(values, (x) => Number(x.toFixed(digits)));
}

/** Where a mask is 1, as [first, end) pairs. */
export function spans(mask: ArrayLike<number>): [number, number][] {
  const found: [number, number][] = [];
  for (let t = 0; t < mask.length; t++) {
    if (!mask[t]) continue;
    if (found.at(-1)?.[1] === t) found.at(-1)![1] = t + 1;
    else found.push([t, t + 1]);
  }
  return found;
}

/** What the state keeps of an evaluation. */
export function evaluationRecord(e: Evaluation): EvaluationRecord {
  const { responses: _, ...record } = e;
  return record;
}

/** Metrics of an evaluation, in all and by group: `val/accuracy`, `val/<level>/…`, `val/<source>/…`, `val/<source>/<level>/…`. */
export function validationMetrics(e: Evaluation, prefix = "val"): Record<string, number> {
  const metrics: Record<string, number> = {};
  const add = (path: string, f: GroupFigures) => {
    metrics[`${path}/accuracy`] = f.accuracy;
    metrics[`${path}/response_length/mean`] = f.length;
    metrics[`${path}/n_he`] = f.highEntropy;
  };
  add(prefix, e.all);
  metrics[`${prefix}/response_length/clip_ratio`] = e.all.clipped;
  for (const [source, f] of Object.entries(e.bySource)) add(`${prefix}/${source}`, f);
  for (const [source, levels] of Object.entries(e.bySourceAndLevel)) {
    for (const [level, f] of Object.entries(levels)) add(`${prefix}/${source}/${level}`, f);
  }
  // Last: the levels keep their keys should a source be called "easy".
  for (const [level, f] of Object.entries(e.byLevel)) add(`${prefix}/${level}`, f);
  return metrics;
}

/** What the control without pictures came to, in a sentence. */
export function blindLine({ evaluation, seen, blind }: BlindRecord): string {
  const percent = (f: GroupFigures) => `${(100 * f.accuracy).toFixed(1)} %`;
  return `${seen.problems} problems with pictures (${evaluation}): ${
    percent(seen)
  } right with their pictures, ` +
    `${percent(blind.all)} with gray ones`;
}

/** What AdaCS chose, in sentences. */
export function curriculumLines(c: Curriculum): string[] {
  const ends = Object.entries(c.ends).map(([source, e]) => `${source} ${e.hard}/${e.easy}`).join(", ");
  return [
    `AdaCS: ${c.examples.length} examples, by pass rate 0/${c.samples} … ${c.samples}/${c.samples}: ${
      c.taken.join(" ")
    }; ` +
    `target lengths L(0)/L(1) in tokens: ${ends}`,
    ...c.notes.map((n) => `AdaCS: ${n}`),
  ];
}

/** Accuracy, length and entropy of an iteration, for the progress line. */
export function iterationNote({ metrics: m }: IterationReport): string {
  const n = (key: string) => m[key] as number;
  return `accuracy ${(100 * n("reward/accuracy")).toFixed(0)} %, length ${
    n("response_length/mean").toFixed(1)
  }, entropy ${n("entropy/mean").toFixed(3)}`;
}
