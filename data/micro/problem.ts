/**
 * What a family of the micro-world is: a maker of problems which also knows how to work them out, right or wrong.
 * A picture family adds its picture to the problem it returns.
 * @module
 */
import type { Rng } from "../random.ts";
import type { Drawing } from "./drawing.ts";

/** The difficulty knob, 1 to 6. */
export type Difficulty = 1 | 2 | 3 | 4 | 5 | 6;

/** All difficulties, easiest first. */
export const DIFFICULTIES: readonly Difficulty[] = [1, 2, 3, 4, 5, 6];

/** The coarse level shown in tables. */
export type Level = "easy" | "medium" | "hard";

/** k = 1, 2 easy; 3, 4 medium; 5, 6 hard. */
export function levelOf(k: Difficulty): Level {
  return k <= 2 ? "easy" : k <= 4 ? "medium" : "hard";
}

/**
 * Why a stretch of a trace is a decision, that is, not forced by what was written before it:
 * `style` how (or how long) to work; `choice` what to try next; `reading` what was seen in the picture;
 * `result` the outcome of a step; `verdict` whether a check agreed; `answer` the digits in the box.
 */
export type DecisionKind = "style" | "choice" | "reading" | "result" | "verdict" | "answer";

/** A stretch of a trace; without a `kind` it follows from the problem and the stretches before it. */
export interface Piece {
  /** The characters. */
  text: string;
  /** Why they are a decision. */
  kind?: DecisionKind;
}

/** A walk through a problem: its text in pieces and what it arrives at. */
export interface Work {
  /** The text. */
  pieces: Piece[];
  /** The number it ends with. */
  result: number;
}

/** Asked once before each step's result, in order: 0 to get it right, -1 or +1 the direction of the mistake. */
export type Slip = () => -1 | 0 | 1;

/** A problem with a whole, non-negative answer. */
export interface MicroProblem {
  /** Name of the family. */
  family: string;
  /** The difficulty. */
  k: Difficulty;
  /** The question, as the user asks it; with a picture it holds one `<image>` mark. */
  problem: string;
  /** What the question is about. */
  picture?: Drawing;
  /** The right answer. */
  answer: number;
  /** How often `work` asks for a slip. */
  steps: number;
  /** The word that ends the work: " so", " therefore". */
  conclusion: string;
  /** Works the problem out, step by step. */
  work(slip: Slip): Work;
}

/**
 * What makes two problems the same: the question, and what its picture shows (not where exactly in its cell). The
 * held-out split goes by it.
 */
export function identityOf({ problem, picture }: Pick<MicroProblem, "problem" | "picture">): string {
  return picture === undefined ? problem : `${problem}\n${picture.content}`;
}

/** A maker of problems. */
export interface Family {
  /** Names the source of its rows. */
  name: string;
  /** A problem of difficulty `k`; the same stream gives the same problem. */
  generate(k: Difficulty, rng: Rng): MicroProblem;
}

/** The digits 0 to 9. Those of one problem are distinct: copying a repeated digit needs counting, not reading. */
export const DIGITS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** A whole number that a slip has moved, kept at 0 or above. */
export function slipped(value: number, slip: -1 | 0 | 1): number {
  return value + slip < 0 ? value + 1 : value + slip;
}
