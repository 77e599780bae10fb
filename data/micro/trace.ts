/**
 * Reasoning traces: `<think>` … `</think>\boxed{…}` in three lengths, with a model of the mistakes made on the way.
 * @module
 */
import type { Rng } from "../random.ts";
import {
  type DecisionKind,
  type MicroProblem,
  type Piece,
  type Slip,
  slipped,
  type Work,
} from "./problem.ts";

/**
 * `direct` guesses at once; `steps` works the problem out; `check` works it out, then once more from the start,
 * and takes the second outcome.
 */
export type Style = "direct" | "steps" | "check";

/** All styles, shortest first. */
export const STYLES: readonly Style[] = ["direct", "steps", "check"];

/** Chances of a mistake, each in [0, 1]. */
export interface ErrorModel {
  /** Each step of every pass. */
  step: number;
  /** The first pass of a `check` trace goes wrong at one step, chosen at random. */
  firstPass: number;
  /** A `direct` answer is wrong with this chance times (k + 1). */
  direct: number;
}

/** No mistake anywhere. */
export const FLAWLESS: ErrorModel = { step: 0, firstPass: 0, direct: 0 };

/** A decision's place: UTF-16 offsets into the trace's text, end exclusive. */
export interface Decision {
  /** First character. */
  start: number;
  /** One past the last character. */
  end: number;
  /** Why it is one. */
  kind: DecisionKind;
}

/** A written-out answer. */
export interface Trace {
  /** How the problem was worked. */
  style: Style;
  /** From `<think>` to the closing brace of the box; no end-of-turn mark. */
  text: string;
  /** The number in the box. */
  answer: number;
  /** Whether that number is the problem's answer. */
  correct: boolean;
  /** Where content was decided, in order, without overlaps. */
  decisions: Decision[];
}

function slipWith(chance: number, rng: Rng): Slip {
  return () => rng.chance(chance) ? (rng.chance(0.5) ? 1 : -1) : 0;
}

/** Slips at exactly one step of the pass. */
function slipOnce(steps: number, rng: Rng): Slip {
  let left = rng.below(steps);
  return () => left-- === 0 ? (rng.chance(0.5) ? 1 : -1) : 0;
}

function firstPass(problem: MicroProblem, errors: ErrorModel, rng: Rng): Work {
  const slip = rng.chance(errors.firstPass) ? slipOnce(problem.steps, rng) : slipWith(errors.step, rng);
  return problem.work(slip);
}

function thoughts(problem: MicroProblem, style: Style, errors: ErrorModel, rng: Rng): Work {
  if (style === "direct") {
    const slip = slipWith(errors.direct * (problem.k + 1), rng)();
    return { pieces: [{ text: "easy", kind: "style" }], result: slipped(problem.answer, slip) };
  }
  const opening: Piece[] = [{ text: "first", kind: "style" }, { text: " " }];
  if (style === "steps") {
    const { pieces, result } = problem.work(slipWith(errors.step, rng));
    return { pieces: [...opening, ...pieces, { text: problem.conclusion, kind: "style" }], result };
  }
  const first = firstPass(problem, errors, rng);
  const second = problem.work(slipWith(errors.step, rng));
  const verdict: Piece[] = first.result === second.result
    ? [{ text: " correct", kind: "verdict" }]
    : [{ text: " no", kind: "verdict" }, { text: ", actually " }, {
      text: `${second.result}`,
      kind: "result",
    }];
  const again: Piece[] = [{ text: " wait", kind: "style" }, { text: ", check: " }];
  return {
    pieces: [...opening, ...first.pieces, ...again, ...second.pieces, ...verdict],
    result: second.result,
  };
}

/** Writes one trace for a problem; the same stream gives the same trace. */
export function writeTrace(problem: MicroProblem, style: Style, errors: ErrorModel, rng: Rng): Trace {
  const { pieces, result } = thoughts(problem, style, errors, rng);
  const all: Piece[] = [
    { text: "<think>" },
    ...pieces,
    { text: "</think>\\boxed{" },
    { text: `${result}`, kind: "answer" },
    { text: "}" },
  ];
  const decisions: Decision[] = [];
  let text = "";
  for (const piece of all) {
    if (piece.kind) {
      decisions.push({ start: text.length, end: text.length + piece.text.length, kind: piece.kind });
    }
    text += piece.text;
  }
  return { style, text, answer: result, correct: result === problem.answer, decisions };
}

/**
 * Which tokens of a trace decide content: those that share at least one character with a decision.
 * @param tokens the trace's tokens as text; joined they must give the trace's text (more may follow it)
 * @returns one entry per token, null where the token decides nothing
 */
export function decisionTokens(trace: Trace, tokens: readonly string[]): (DecisionKind | null)[] {
  let start = 0;
  return tokens.map((token) => {
    const end = start + token.length;
    const hit = trace.decisions.find((decision) => decision.start < end && start < decision.end);
    start = end;
    return hit?.kind ?? null;
  });
}
