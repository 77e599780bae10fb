/**
 * The picture families `tally` and `odd`: the colours of things are read from a picture.
 * @module
 */
import { IMAGE_MARK } from "../picture.ts";
import type { Rng } from "../random.ts";
import { SHAPES } from "./canvas.ts";
import { type ColourName, Drawing, type Item, PALETTE } from "./drawing.ts";
import { type Difficulty, DIGITS, type Family, type Piece, type Slip, type Work } from "./problem.ts";

type Shape = Item & { kind: "shape" };

/** `k + 2` shapes, no two alike in shape and colour; how many have the wanted colour is uniform. */
function drawShapes(k: Difficulty, wanted: ColourName, rng: Rng): Shape[] {
  const count = k + 2;
  const matching = rng.below(Math.min(count, SHAPES.length) + 1);
  const shapes = (colour: ColourName): Shape[] => SHAPES.map((shape) => ({ kind: "shape", shape, colour }));
  const others = PALETTE.filter((colour) => colour !== wanted).flatMap(shapes);
  return rng.sample(
    [...rng.sample(shapes(wanted), matching), ...rng.sample(others, count - matching)],
    count,
  );
}

/** "red circle:1;blue square;red cross:2;": a slip misreads a colour, which gains or loses one. */
function workTally(shapes: readonly Shape[], wanted: ColourName, slip: Slip): Work {
  const pieces: Piece[] = [];
  let result = 0;
  for (const { shape, colour } of shapes) {
    const error = slip();
    const mistaken = colour === wanted
      ? PALETTE[(PALETTE.indexOf(wanted) + error + PALETTE.length) % PALETTE.length]
      : wanted;
    const read = error === 0 ? colour : mistaken;
    pieces.push({ text: `${read} ${shape}`, kind: "reading" });
    if (read === wanted) pieces.push({ text: ":" }, { text: `${++result}`, kind: "result" });
    pieces.push({ text: ";" });
  }
  return { pieces, result };
}

/** "how many red shapes?": k + 2 shapes in three colours. */
export const tally: Family = {
  name: "tally",
  generate: (k, rng) => {
    const wanted = rng.pick(PALETTE);
    const shapes = drawShapes(k, wanted, rng);
    return {
      family: "tally",
      k,
      problem: `${IMAGE_MARK}how many ${wanted} shapes?`,
      picture: Drawing.grid(shapes, rng),
      answer: shapes.filter(({ colour }) => colour === wanted).length,
      steps: shapes.length,
      conclusion: " so",
      work: (slip) => workTally(shapes, wanted, slip),
    };
  },
};

type Digit = Item & { kind: "digit" };

/** "4 red;7 red;9 blue;1 red; odd 9": a slip misreads a colour; the last digit read as odd, or else the last, is named. */
function workOdd(digits: readonly Digit[], usual: ColourName, odd: ColourName, slip: Slip): Work {
  const pieces: Piece[] = [];
  let result = digits.at(-1)!.digit;
  for (const { digit, colour } of digits) {
    const read = slip() === 0 ? colour : colour === usual ? odd : usual;
    if (read === odd) result = digit;
    pieces.push({ text: `${digit}`, kind: "reading" }, { text: " " }, { text: read, kind: "reading" });
    pieces.push({ text: ";" });
  }
  pieces.push({ text: " odd " }, { text: `${result}`, kind: "result" });
  return { pieces, result };
}

/** "odd one out?": k + 2 different digits, all of one colour but the answer. */
export const odd: Family = {
  name: "odd",
  generate: (k, rng) => {
    const [usual, other] = rng.sample(PALETTE, 2);
    const digits = rng.sample(DIGITS, k + 2);
    const place = rng.below(digits.length);
    const items = digits.map((digit, i): Digit => ({
      kind: "digit",
      digit,
      colour: i === place ? other : usual,
    }));
    return {
      family: "odd",
      k,
      problem: `${IMAGE_MARK}odd one out?`,
      picture: Drawing.grid(items, rng),
      answer: digits[place],
      steps: items.length,
      conclusion: " so",
      work: (slip) => workOdd(items, usual, other, slip),
    };
  },
};
