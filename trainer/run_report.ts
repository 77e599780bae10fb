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

/** A line of generations.jsonl for a rollout of the reinforcement stage. */
export function rolloutRecord(step: number, t: ShapedTrajectory): LogRecord {
  return {
    step,
    stage: "aepo",
    id: t.problem.row.id,
    group: t.group,
    sample: t.sample,
    ...(t.branch && { branch: t.branch }),
    problem: t.problem.row.problem,
    response: t.text,
    answer: t.problem.row.answer,
    accuracy: t.accuracy,
    difficulty: t.bucket,
    length: t.tokens.length,
    n_he: t.highEntropy,
    reward: t.reward,
    advantage: t.advantage,
    finish: t.finish,
  };
}

/** A line of generations.jsonl for a response of an evaluation. */
export function responseRecord(step: number, evaluation: string, r: JudgedResponse): LogRecord {
  return {
    step,
    stage: `evaluate ${evaluation}`,
    id: r.problem.row.id,
    sample: r.sample,
    response: r.text,
    answer: r.problem.row.answer,
    accuracy: r.correct ? 1 : 0,
    length: r.length,
    n_he: r.highEntropy,
    finish: r.finish,
  };
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
