/**
 * The picture families `grid` and `chart`: numbers are read from a picture, digit by digit or bar by bar.
 * @module
 */
import { IMAGE_MARK } from "../picture.ts";
import type { Rng } from "../random.ts";
import { Drawing, PALETTE } from "./drawing.ts";
import {
  type Difficulty,
  DIGITS,
  type Family,
  type MicroProblem,
  type Piece,
  type Slip,
  slipped,
  type Work,
} from "./problem.ts";

/** The highest bar. */
const HIGHEST = 9;

/** "4+2=6 then +9=15": a slip moves the total from its term on. */
function workGrid(digits: readonly number[], slip: Slip): Work {
  const pieces: Piece[] = [{ text: `${digits[0]}`, kind: "reading" }];
  let result = digits[0];
  digits.slice(1).forEach((digit, i) => {
    result = slipped(result + digit, slip());
    pieces.push({ text: i === 0 ? "+" : " then +" }, { text: `${digit}`, kind: "reading" });
    pieces.push({ text: "=" }, { text: `${result}`, kind: "result" });
  });
  return { pieces, result };
}

/** "add the digits.": k + 1 different digits in a grid, no zeros. */
export const grid: Family = {
  name: "grid",
  generate: (k, rng) => {
    const digits = rng.sample(DIGITS.slice(1), k + 1);
    return {
      family: "grid",
      k,
      problem: `${IMAGE_MARK}add the digits.`,
      picture: Drawing.grid(digits.map((digit) => ({ kind: "digit", digit, colour: "black" })), rng),
      answer: digits.reduce((a, b) => a + b),
      steps: k,
      conclusion: " so",
      work: (slip) => workGrid(digits, slip),
    };
  },
};

/** `count` different heights; the largest is uniform over what is possible, so that guessing "9" does not pay. */
function drawHeights(count: number, rng: Rng): number[] {
  const largest = count + rng.below(HIGHEST - count + 1);
  const below = rng.sample(DIGITS.slice(1, largest), count - 1);
  return rng.sample([largest, ...below], count);
}

/** "7;2;9 high;4;": a slip overlooks a new highest bar, and one at the first bar misreads it. */
function workLargest(heights: readonly number[], slip: Slip): Work {
  const pieces: Piece[] = [];
  let high = 0;
  heights.forEach((height, i) => {
    const error = slip();
    const read = i === 0 ? slipped(height, error) : height;
    pieces.push({ text: `${read}`, kind: "reading" });
    if (i === 0) {
      high = read;
      pieces.push({ text: ";" });
    } else if (read > high && error === 0) {
      high = read;
      pieces.push({ text: " high", kind: "result" }, { text: ";" });
    } else {
      pieces.push({ text: ";", kind: "result" });
    }
  });
  return { pieces, result: high };
}

/** "7;2 low;9 high;4; then 9-2=7": a slip overlooks a new extreme, and the last one spoils the difference. */
function workSpread(heights: readonly number[], slip: Slip): Work {
  const [first, ...rest] = heights;
  let low = first, high = first;
  const pieces: Piece[] = [{ text: `${first}`, kind: "reading" }, { text: ";" }];
  for (const height of rest) {
    const overlooked = slip() !== 0;
    pieces.push({ text: `${height}`, kind: "reading" });
    if (height < low && !overlooked) {
      low = height;
      pieces.push({ text: " low", kind: "result" }, { text: ";" });
    } else if (height > high && !overlooked) {
      high = height;
      pieces.push({ text: " high", kind: "result" }, { text: ";" });
    } else {
      pieces.push({ text: ";", kind: "result" });
    }
  }
  const result = slipped(high - low, slip());
  pieces.push({ text: " then " }, { text: `${high}`, kind: "result" }, { text: "-" });
  pieces.push({ text: `${low}`, kind: "result" }, { text: "=" }, { text: `${result}`, kind: "result" });
  return { pieces, result };
}

function chartProblem(k: Difficulty, rng: Rng): MicroProblem {
  const spread = rng.chance(0.5);
  const colour = rng.pick(PALETTE);
  const heights = drawHeights(k + 1, rng);
  const largest = Math.max(...heights);
  return {
    family: "chart",
    k,
    problem: `${IMAGE_MARK}${spread ? "largest minus smallest" : "largest"} bar?`,
    picture: Drawing.strip(heights.map((value) => ({ kind: "bar", value, colour })), rng),
    answer: spread ? largest - Math.min(...heights) : largest,
    steps: heights.length,
    conclusion: " so",
    work: (slip) => spread ? workSpread(heights, slip) : workLargest(heights, slip),
  };
}

/** "largest bar?" or "largest minus smallest bar?": k + 1 bars of different heights, 1 to 9. */
export const chart: Family = { name: "chart", generate: chartProblem };
