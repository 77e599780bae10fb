/**
 * The family `pair`: two numbers are searched for by trying. Which ones to try next follows from nothing, so that the
 * tokens of a try are one decision together, and hard problems need more tries.
 * @module
 */
import type { Rng } from "../random.ts";
import {
  type Difficulty,
  DIGITS,
  type Family,
  type Piece,
  type Slip,
  slipped,
  type Work,
} from "./problem.ts";

/** How many numbers there are to choose from, for k = 1 to 6: 3 to 10 pairs. */
const NUMBERS: Readonly<Record<Difficulty, number>> = { 1: 3, 2: 3, 3: 4, 4: 4, 5: 5, 6: 5 };

/** The search succeeds at one of its first tries, so that it nearly always fits a response twice: a slip makes it longer. */
const MOST_TRIES = 8;

type Pair = readonly [number, number];

const total = ([a, b]: Pair): number => a + b;

function pairsOf(numbers: readonly number[]): Pair[] {
  return numbers.flatMap((a, i) => numbers.slice(i + 1).map((b): Pair => [a, b]));
}

/** "3+8=11;9+5=14": a slip spoils a sum, which misses the pair or takes a wrong one for it. */
function workPair(order: readonly Pair[], wanted: number, slip: Slip): Work {
  const pieces: Piece[] = [];
  let result = 0;
  for (const [a, b] of order) {
    const sum = slipped(a + b, slip());
    if (pieces.length > 0) pieces.push({ text: ";" });
    pieces.push({ text: `${a}+${b}`, kind: "choice" }, { text: "=" }, { text: `${sum}`, kind: "result" });
    result = Math.max(a, b);
    if (sum === wanted) break;
  }
  return { pieces, result };
}

/** Numbers among which one pair alone has its sum. */
function drawNumbers(count: number, rng: Rng): { numbers: number[]; pairs: Pair[]; found: Pair } {
  for (;;) {
    const numbers = rng.sample(DIGITS.slice(1), count);
    const pairs = pairsOf(numbers);
    const lone = pairs.filter((pair) =>
      pairs.every((other) => other === pair || total(other) !== total(pair))
    );
    if (lone.length > 0) return { numbers, pairs, found: rng.pick(lone) };
  }
}

/** "two of 3,8,5,9 make 14. the larger?": 3 to 5 numbers, tried in an order without a reason. */
export const pair: Family = {
  name: "pair",
  generate: (k, rng) => {
    const { numbers, pairs, found } = drawNumbers(NUMBERS[k], rng);
    const others = rng.sample(pairs.filter((other) => other !== found), pairs.length - 1);
    const before = rng.below(Math.min(pairs.length, MOST_TRIES));
    const order = [...others.slice(0, before), found, ...others.slice(before)]
      .map(([a, b]): Pair => rng.chance(0.5) ? [a, b] : [b, a]);
    return {
      family: "pair",
      k,
      problem: `two of ${numbers.join(",")} make ${total(found)}. the larger?`,
      answer: Math.max(...found),
      steps: before + 1,
      conclusion: " so",
      work: (slip) => workPair(order, total(found), slip),
    };
  },
};
