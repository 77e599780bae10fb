/**
 * The families `sum` and `word`: a running total through gains and losses that never falls below 0.
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

/** How often a term is taken away, where the total allows it. */
const LOSS_CHANCE = 0.35;

const NAMES = ["ana", "bob", "eva", "kim", "leo", "tom"];
const THINGS = ["books", "coins", "cups", "pens"];

interface Chain {
  start: number;
  /** Signed and not 0. */
  terms: number[];
  total: number;
}

/** A start and `k` signed terms; k + 1 distinct digits, no zeros. */
function drawChain(k: Difficulty, rng: Rng): Chain {
  const [start, ...digits] = rng.sample(DIGITS.slice(1), k + 1);
  let total = start;
  const terms = digits.map((digit) => {
    const term = digit <= total && rng.chance(LOSS_CHANCE) ? -digit : digit;
    total += term;
    return term;
  });
  return { start, terms, total };
}

/** "+4" or "-4". */
function signed(term: number): string {
  return term < 0 ? `${term}` : `+${term}`;
}

/** "4+2=6 then +9=15 then -3=12"; one slip asked for per term, which moves the total from there on. */
function workChain({ start, terms }: Chain, slip: Slip): Work {
  const pieces: Piece[] = [];
  let result = start;
  terms.forEach((term, i) => {
    result = slipped(result + term, slip());
    pieces.push({ text: i === 0 ? `${start}${signed(term)}=` : ` then ${signed(term)}=` });
    pieces.push({ text: `${result}`, kind: "result" });
  });
  return { pieces, result };
}

/** "what is 4+2-3+9?": k + 1 digits. */
export const sum: Family = {
  name: "sum",
  generate: (k, rng) => {
    const chain = drawChain(k, rng);
    return {
      family: "sum",
      k,
      problem: `what is ${chain.start}${chain.terms.map(signed).join("")}?`,
      answer: chain.total,
      steps: k,
      conclusion: " so",
      work: (slip) => workChain(chain, slip),
    };
  },
};

/** "ana has 9 coins, gets 5, loses 2. how many now?": k gains or losses. */
export const word: Family = {
  name: "word",
  generate: (k, rng) => {
    const chain = drawChain(k, rng);
    const events = chain.terms.map((term) => `, ${term < 0 ? "loses" : "gets"} ${Math.abs(term)}`);
    return {
      family: "word",
      k,
      problem: `${rng.pick(NAMES)} has ${chain.start} ${rng.pick(THINGS)}${events.join("")}. how many now?`,
      answer: chain.total,
      steps: k,
      conclusion: " therefore",
      work: (slip) => workChain(chain, slip),
    };
  },
};
