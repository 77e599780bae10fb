/**
 * The families `count` and `gap`: a list of digits is read once, and something is kept on the way.
 * @module
 */
import { DIGITS, type Family, type Piece, type Slip, slipped, type Work } from "./problem.ts";

/** "7>6:1;8>6:2;3 no;": a slip takes a digit for the wrong side of the bound. */
function workCount(digits: readonly number[], bound: number, slip: Slip): Work {
  const pieces: Piece[] = [];
  let result = 0;
  for (const digit of digits) {
    const exceeds = (digit > bound) !== (slip() !== 0);
    pieces.push({ text: `${digit}` });
    if (exceeds) {
      result++;
      pieces.push({ text: ">", kind: "result" }, { text: `${bound}:` }, {
        text: `${result}`,
        kind: "result",
      });
    } else {
      pieces.push({ text: " no", kind: "result" });
    }
    pieces.push({ text: ";" });
  }
  return { pieces, result };
}

/** "how many of 7,8,6,0 exceed 5?": k + 2 digits, and a bound that is none of them. */
export const count: Family = {
  name: "count",
  generate: (k, rng) => {
    const bound = 1 + rng.below(8);
    const digits = rng.sample(DIGITS.filter((digit) => digit !== bound), k + 2);
    return {
      family: "count",
      k,
      problem: `how many of ${digits.join(",")} exceed ${bound}?`,
      answer: digits.filter((digit) => digit > bound).length,
      steps: digits.length,
      conclusion: " so",
      work: (slip) => workCount(digits, bound, slip),
    };
  },
};

/** "7;2 low;9 high;4; then 9-2=7": a slip overlooks a new extreme, or spoils the difference at the end. */
function workGap(digits: readonly number[], slip: Slip): Work {
  let low = digits[0], high = digits[0];
  const pieces: Piece[] = [{ text: `${digits[0]};` }];
  for (const digit of digits.slice(1)) {
    const overlooked = slip() !== 0;
    pieces.push({ text: `${digit}` });
    if (digit < low && !overlooked) {
      low = digit;
      pieces.push({ text: " low", kind: "result" }, { text: ";" });
    } else if (digit > high && !overlooked) {
      high = digit;
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

/** "largest minus smallest of 7,2,9,4?": k + 1 digits. */
export const gap: Family = {
  name: "gap",
  generate: (k, rng) => {
    const digits = rng.sample(DIGITS, k + 1);
    return {
      family: "gap",
      k,
      problem: `largest minus smallest of ${digits.join(",")}?`,
      answer: Math.max(...digits) - Math.min(...digits),
      steps: digits.length,
      conclusion: " so",
      work: (slip) => workGap(digits, slip),
    };
  },
};
