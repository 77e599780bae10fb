/**
 * Evaluation: pass@1, avg@k, lengths and high-entropy counts over problems, by difficulty, by source and
 * by both.
 * @module
 */
import { batchThreshold, countHighEntropy, windowEntropy, windowMask } from "./entropy.ts";
import { formatReward } from "./grade.ts";
import { gradeResponses } from "./grade_responses.ts";
import type { Monitor } from "./monitor.ts";
import type { Policy } from "./policy.ts";
import type { Problem } from "./problems.ts";

/** How to evaluate. */
export interface EvaluationOptions {
  /** Samples of each problem. */
  readonly n: number;
  /** 0 is greedy. */
  readonly temperature: number;
  /** Sample from the smallest set of tokens with at least this probability. */
  readonly top_p: number;
  /** Most new tokens of a response. */
  readonly max_tokens: number;
  /** Of the sampling. */
  readonly seed: number;
  /** Window and quantile of the high-entropy count. */
  readonly window: number;
  /** Quantile q of a response's window entropies whose mean is the threshold τ. */
  readonly quantile: number;
  /** τ that high-entropy tokens are counted with, nats; undefined: the one of this evaluation's own responses. */
  readonly threshold?: number;
  /** Ends the evaluation early; responses that were not finished are not counted. */
  readonly signal?: AbortSignal;
}

/** What is known of a response's tokens; arrays are [L]. */
export interface ResponseTokens {
  /** New tokens, the end token included. */
  readonly ids: Uint32Array;
  /** Entropies, nats. */
  readonly entropies: ArrayLike<number>;
  /** Window entropies, nats. */
  readonly windows: ArrayLike<number>;
  /** 1 inside high-entropy windows. */
  readonly mask: ArrayLike<number>;
}

/** One judged response. */
export interface JudgedResponse {
  /** What was asked. */
  readonly problem: Problem;
  /** Which sample of the problem, from 0. */
  readonly sample: number;
  /** The response without special tokens. */
  readonly text: string;
  /** Whether the answer is the gold answer. */
  readonly correct: boolean;
  /** 1 when the response has the wanted form. */
  readonly format: number;
  /** New tokens, the end token included. */
  readonly length: number;
  /** Tokens inside high-entropy windows (N_HE). */
  readonly highEntropy: number;
  /** Ended by a stop token, or cut at the limit. */
  readonly finish: "stop" | "length";
  /** Its tokens, where they were kept. */
  readonly tokens?: ResponseTokens;
}

/** Figures of one group of problems. */
export interface GroupFigures {
  /** Problems in the group. */
  readonly problems: number;
  /** Responses in the group. */
  readonly samples: number;
  /** Mean accuracy over all samples: avg@k. */
  readonly accuracy: number;
  /** 95 % interval of `accuracy`; problems are the units, since samples of one problem go together. */
  readonly interval: readonly [number, number];
  /** Share of problems whose first sample is right. */
  readonly passAt1: number;
  /** 95 % interval of `passAt1` (Wilson). */
  readonly passAt1Interval: readonly [number, number];
  /** Mean new tokens of a response. */
  readonly length: number;
  /** Mean N_HE of a response. */
  readonly highEntropy: number;
  /** Share of responses cut at the length limit. */
  readonly clipped: number;
}

/** What an evaluation found. */
export interface Evaluation {
  /** Over all problems. */
  readonly all: GroupFigures;
  /** By the rows' difficulty label. */
  readonly byLevel: Readonly<Record<string, GroupFigures>>;
  /** By the rows' source. */
  readonly bySource: Readonly<Record<string, GroupFigures>>;
  /** By source, then by difficulty label. */
  readonly bySourceAndLevel: Readonly<Record<string, Readonly<Record<string, GroupFigures>>>>;
  /** Over the problems with pictures; undefined where none has any. */
  readonly withPictures?: GroupFigures;
  /** Entropy threshold τ that high-entropy tokens were counted with, nats. */
  readonly threshold: number;
  /** Every response, in the order (problem, sample). */
  readonly responses: readonly JudgedResponse[];
}

/** Wilson's 95 % interval of a share of `n`. */
export function wilson(share: number, n: number): [number, number] {
  if (n === 0) return [0, 1];
  const z = 1.959964;
  const centre = (share + z * z / (2 * n)) / (1 + z * z / n);
  const half = z / (1 + z * z / n) * Math.sqrt(share * (1 - share) / n + z * z / (4 * n * n));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

/**
 * 95 % interval of a mean over problems (normal approximation with the sample standard deviation); Wilson's where every
 * problem has the same mean and the deviation says nothing.
 */
export function meanInterval(means: readonly number[]): [number, number] {
  const n = means.length;
  const mean = means.reduce((a, b) => a + b, 0) / Math.max(1, n);
  const variance = means.reduce((s, x) => s + (x - mean) ** 2, 0) / Math.max(1, n - 1);
  if (n < 2 || variance === 0) return wilson(mean, n);
  const half = 1.959964 * Math.sqrt(variance / n);
  return [Math.max(0, mean - half), Math.min(1, mean + half)];
}

/** Figures of some responses. */
export function figures(responses: readonly JudgedResponse[]): GroupFigures {
  const byProblem = new Map<Problem, JudgedResponse[]>();
  for (const r of responses) byProblem.set(r.problem, [...byProblem.get(r.problem) ?? [], r]);
  const mean = (f: (r: JudgedResponse) => number) =>
    responses.reduce((s, r) => s + f(r), 0) / Math.max(1, responses.length);
  const means = [...byProblem.values()].map((list) => list.filter((r) => r.correct).length / list.length);
  const first = responses.filter((r) => r.sample === 0);
  const passAt1 = first.filter((r) => r.correct).length / Math.max(1, first.length);
  return {
    problems: byProblem.size,
    samples: responses.length,
    accuracy: mean((r) => r.correct ? 1 : 0),
    interval: meanInterval(means),
    passAt1,
    passAt1Interval: wilson(passAt1, first.length),
    length: mean((r) => r.length),
    highEntropy: mean((r) => r.highEntropy),
    clipped: mean((r) => r.finish === "length" ? 1 : 0),
  };
}

/** Figures of judged responses, in all and by group. */
export function summarise(responses: readonly JudgedResponse[], threshold: number): Evaluation {
  const level = (p: Problem) => p.row.level;
  const source = (p: Problem) => p.row.source;
  const pictured = responses.filter((r) => r.problem.images);
  return {
    all: figures(responses),
    byLevel: grouped(responses, level, figures),
    bySource: grouped(responses, source, figures),
    bySourceAndLevel: grouped(responses, source, (own) => grouped(own, level, figures)),
    ...(pictured.length > 0 && { withPictures: figures(pictured) }),
    threshold,
    responses,
  };
}

function grouped<T>(
  responses: readonly JudgedResponse[],
  key: (p: Problem) => string | undefined,
  sum: (group: readonly JudgedResponse[]) => T,
): Record<string, T> {
  const groups = new Map<string, JudgedResponse[]>();
  for (const r of responses) {
    const name = key(r.problem);
    if (name === undefined) continue;
    const list = groups.get(name);
    if (list) list.push(r);
    else groups.set(name, [r]);
  }
  return Object.fromEntries([...groups].map(([name, list]) => [name, sum(list)]));
}

/** Samples, judges and counts. `name` is shown while it works. */
export async function evaluate(
  policy: Policy,
  problems: readonly Problem[],
  options: EvaluationOptions,
  monitor: Monitor,
  name: string,
): Promise<Evaluation> {
  const phase = monitor.phase(name, problems.length * options.n, "responses");
  let finished = 0;
  let tokens = 0;
  const rollouts = await policy.engine.generate(
    problems.map((p) => ({ ids: p.prompt, images: p.images, key: ["evaluate", p.row.id] })),
    {
      n: options.n,
      temperature: options.temperature,
      top_p: options.top_p,
      top_k: 0,
      min_p: 0,
      repetition_penalty: 1,
      max_tokens: options.max_tokens,
      stop: policy.generation.eos_token_id,
      seed: options.seed,
      signal: options.signal,
      onChunk: (p) => {
        tokens += p.tokens;
        phase.advance(p.finished - finished, `${tokens} tokens`);
        finished = p.finished;
      },
    },
  );
  const texts = rollouts.map((r) => policy.writer.text(r.tokens));
  const verdicts = await gradeResponses(
    rollouts.map((r, i) => ({ row: problems[r.prompt].row, text: texts[i] })),
  );
  const windows = rollouts.map((r) => windowEntropy(r.entropies, options.window));
  const threshold = options.threshold ??
    (rollouts.length > 0 ? batchThreshold(windows, options.quantile) : NaN);
  const responses = rollouts.map((r, i): JudgedResponse => {
    const mask = windowMask(windows[i], threshold);
    return {
      problem: problems[r.prompt],
      sample: r.sample,
      text: texts[i],
      correct: verdicts[i].same,
      format: formatReward(texts[i]),
      length: r.tokens.length,
      highEntropy: countHighEntropy(mask),
      finish: r.finish,
      tokens: { ids: r.tokens, entropies: r.entropies, windows: windows[i], mask },
    };
  });
  const evaluation = summarise(responses, threshold);
  const { all } = evaluation;
  phase.finish(`accuracy ${(100 * all.accuracy).toFixed(1)} %, ${all.length.toFixed(1)} tokens a response`);
  return evaluation;
}
