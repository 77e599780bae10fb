/**
 * The micro-world: problems with checkable answers, each with reasoning traces of several lengths.
 * Everything is keyed by a seed; the held-out split is a hash of the problem's text and of what its picture shows.
 * @module
 */
import { UserError } from "../../gpu/errors.ts";
import type { Picture } from "../picture.ts";
import { Rng } from "../random.ts";
import type { Row } from "../rows.ts";
import { type Split, splitOf } from "../split.ts";
import { sum, word } from "./chain.ts";
import { odd, tally } from "./colours.ts";
import { chart, grid } from "./figures.ts";
import {
  DIFFICULTIES,
  type Difficulty,
  type Family,
  identityOf,
  type Level,
  levelOf,
  type MicroProblem,
} from "./problem.ts";
import { count, gap } from "./scan.ts";
import { pair } from "./search.ts";
import { type ErrorModel, type Style, STYLES, type Trace, writeTrace } from "./trace.ts";

/** The families without pictures, in the order in which problems go round them; the usual ones. */
export const TEXT_FAMILIES: readonly Family[] = [sum, word, count, gap, pair];

/** The families with one picture a problem. */
export const PICTURE_FAMILIES: readonly Family[] = [tally, grid, chart, odd];

/** Names of all families, text first: what `families` takes. */
export const FAMILY_NAMES: readonly string[] = [...TEXT_FAMILIES, ...PICTURE_FAMILIES].map((family) =>
  family.name
);

/** What a model takes: text alone, or pictures too. */
export type BaseKind = "text" | "vision";

/** Names of the families that a model of each kind can see. */
export const VISIBLE_FAMILIES: Readonly<Record<BaseKind, readonly string[]>> = {
  text: TEXT_FAMILIES.map((family) => family.name),
  vision: FAMILY_NAMES,
};

/** The styles a teacher writes for each level: short ones where they suffice, long ones where they are needed. */
export const TEACHER_STYLES: Readonly<Record<Level, readonly Style[]>> = {
  easy: ["direct", "steps"],
  medium: ["direct", "steps", "check"],
  hard: ["steps", "check"],
};

/** The teacher arrives at the right answer, but some of its checks find something to mend. */
export const TEACHER_ERRORS: ErrorModel = { step: 0, firstPass: 0.08, direct: 0 };

/** So many draws in a row that were all seen before mean that a family has no more problems to give. */
const EXHAUSTED_AFTER = 400;

/** A micro-world problem as a training row. `candidates` are the texts of `traces`; `source` is the family. */
export interface MicroRow extends Row {
  /** From k. */
  level: Level;
  /** Teacher responses, shortest style first, all with the right answer. */
  candidates: string[];
  /** The picture, for the picture families. */
  images?: Picture[];
  /** The difficulty. */
  k: Difficulty;
  /** The candidates with their decisions. */
  traces: Trace[];
}

/** What `microRows` is asked for. */
export interface MicroRowOptions {
  /** A whole number. */
  seed: number;
  /** How many rows. */
  count: number;
  /** Which side of the split the problems come from. */
  split: Split;
  /** Names of families in the order in which rows go round them; default the text families. */
  families?: readonly string[];
  /** Default 1 to 6. */
  difficulties?: readonly Difficulty[];
}

function familiesNamed(names: readonly string[] | undefined): readonly Family[] {
  if (!names) return TEXT_FAMILIES;
  const known = FAMILY_NAMES.join(", ");
  if (names.length === 0) throw new UserError(`families: the list is empty; choose from ${known}`);
  return names.map((name) => {
    const family = [...TEXT_FAMILIES, ...PICTURE_FAMILIES].find((f) => f.name === name);
    if (!family) throw new UserError(`families: there is no family "${name}"; choose from ${known}`);
    return family;
  });
}

function difficultiesChecked(list: readonly Difficulty[]): readonly Difficulty[] {
  const bad = list.find((k) => !DIFFICULTIES.includes(k));
  if (bad !== undefined || list.length === 0) {
    throw new UserError(
      `difficulties: ${bad ?? "the list is empty"}; choose from ${DIFFICULTIES.join(", ")}`,
    );
  }
  return list;
}

/** A problem on the wanted side of the split. */
function drawProblem(family: Family, k: Difficulty, split: Split, rng: Rng): MicroProblem {
  for (;;) {
    const problem = family.generate(k, rng);
    if (splitOf(identityOf(problem)) === split) return problem;
  }
}

/**
 * Rows that go round the families and difficulties evenly, no problem twice while its family and difficulty
 * have new ones (at k = 1 `sum` and `gap` have about a hundred problems in all).
 * @throws UserError for an unknown family or difficulty
 */
export function* microRows(options: MicroRowOptions): Generator<MicroRow, void, undefined> {
  const { seed, split } = options;
  const families = familiesNamed(options.families);
  const difficulties = difficultiesChecked(options.difficulties ?? DIFFICULTIES);
  const seen = new Set<string>();
  for (let i = 0; i < options.count; i++) {
    const family = families[i % families.length];
    const k = difficulties[Math.floor(i / families.length) % difficulties.length];
    const rng = new Rng("micro rows", seed, split, i);
    let problem = drawProblem(family, k, split, rng);
    for (let tries = 0; seen.has(identityOf(problem)) && tries < EXHAUSTED_AFTER; tries++) {
      problem = drawProblem(family, k, split, rng);
    }
    seen.add(identityOf(problem));
    const level = levelOf(k);
    const traces = TEACHER_STYLES[level].map((style) => writeTrace(problem, style, TEACHER_ERRORS, rng));
    yield {
      id: `micro-${split}-${seed}-${i}`,
      problem: problem.problem,
      answer: `${problem.answer}`,
      candidates: traces.map((trace) => trace.text),
      source: family.name,
      ...(problem.picture && { images: [problem.picture] }),
      level,
      k,
      traces,
    };
  }
}

/** One pretraining example: `prompt` is the user's turn, `response` the assistant's, both without chat marks. */
export interface PretrainExample {
  /** The user's turn, without chat marks. */
  prompt: string;
  /** The assistant's turn, without the end mark. */
  response: string;
  /** The picture, for the picture families; the prompt holds its `<image>` mark. */
  images?: Picture[];
  /** Name of the family. */
  family: string;
  /** The difficulty. */
  k: Difficulty;
  /** The response with its decisions. */
  trace: Trace;
}

/** What pretraining examples are drawn from. */
export interface PretrainMixture {
  /** Weight of k = 1..6. */
  difficultyWeights: readonly number[];
  /** Weights of direct, steps and check, per level. */
  styleWeights: Readonly<Record<Level, readonly [number, number, number]>>;
  /** How often traces go wrong. */
  errors: ErrorModel;
  /** Names of families, drawn evenly (a name given twice comes twice as often); default the text families. */
  families?: readonly string[];
}

/**
 * An endless stream of pretraining examples from the training side of the split: families evenly, difficulties
 * and styles by the mixture. Examples are independent draws, so that every batch mixes lengths.
 * @param stream tells apart the streams of one seed (one per phase of the recipe)
 * @throws UserError for an unknown family
 */
export function* pretrainExamples(
  seed: number,
  stream: string,
  mixture: PretrainMixture,
): Generator<PretrainExample, never, undefined> {
  const families = familiesNamed(mixture.families);
  for (let i = 0;; i++) {
    const rng = new Rng("micro pretraining", seed, stream, i);
    const k = DIFFICULTIES[rng.weighted(mixture.difficultyWeights)];
    const problem = drawProblem(rng.pick(families), k, "train", rng);
    const style = STYLES[rng.weighted(mixture.styleWeights[levelOf(k)])];
    const trace = writeTrace(problem, style, mixture.errors, rng);
    yield {
      prompt: problem.problem,
      response: trace.text,
      ...(problem.picture && { images: [problem.picture] }),
      family: problem.family,
      k,
      trace,
    };
  }
}
