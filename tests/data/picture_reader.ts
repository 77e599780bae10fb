/**
 * Reads the micro-world's pictures from their pixels alone, knowing nothing of how they are drawn: what is joined and
 * of one colour is a thing, and its outline says which.
 * @module
 */
import type { Picture } from "../../data/picture.ts";

/** A thing seen in a picture. */
export interface Thing {
  /** "red", "green", "blue" or "black". */
  colour: string;
  /** Name of a shape, a digit, or the height of a bar in units of 3 pixels. */
  what: string | number;
}

/** Dots as a person sees them. */
const SEEN_DIGITS = [
  " ### |#   #|#  ##|# # #|##  #|#   #| ### ",
  " # |## | # | # | # | # |###",
  " ### |#   #|    #|  ## | #   |#    |#####",
  "#### |    #|    #| ### |    #|    #|#### ",
  "   # |  ## | # # |#  # |#####|   # |   # ",
  "#####|#    |#### |    #|    #|#   #| ### ",
  "  ## | #   |#    |#### |#   #|#   #| ### ",
  "#####|    #|   # |  #  | #   | #   | #   ",
  " ### |#   #|#   #| ### |#   #|#   #| ### ",
  " ### |#   #|#   #| ####|    #|   # | ##  ",
];

interface Blob {
  colour: number;
  left: number;
  top: number;
  /** Rows of booleans, cut to the thing's outline. */
  mask: boolean[][];
}

/** Pixels of one colour that touch, corners included; the corner pixel's colour is the paper. */
function blobs({ width, height }: Picture, rgb: Uint8Array): Blob[] {
  const colours = Array.from(
    { length: width * height },
    (_, i) => rgb[3 * i] << 16 | rgb[3 * i + 1] << 8 | rgb[3 * i + 2],
  );
  const seen = colours.map((colour) => colour === colours[0]);
  const found: Blob[] = [];
  for (let start = 0; start < colours.length; start++) {
    if (seen[start]) continue;
    seen[start] = true;
    const pixels = [start];
    for (let n = 0; n < pixels.length; n++) {
      const x = pixels[n] % width, y = Math.floor(pixels[n] / width);
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          if (x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height) continue;
          const next = (y + dy) * width + x + dx;
          if (seen[next] || colours[next] !== colours[start]) continue;
          seen[next] = true;
          pixels.push(next);
        }
      }
    }
    const xs = pixels.map((p) => p % width), ys = pixels.map((p) => Math.floor(p / width));
    const left = Math.min(...xs), top = Math.min(...ys);
    const mask = Array.from(
      { length: Math.max(...ys) - top + 1 },
      () => Array<boolean>(Math.max(...xs) - left + 1).fill(false),
    );
    pixels.forEach((_, i) => mask[ys[i] - top][xs[i] - left] = true);
    found.push({ colour: colours[start], left, top, mask });
  }
  return found;
}

function colourName(colour: number): string {
  const channels = [colour >> 16, colour >> 8 & 255, colour & 255];
  const most = Math.max(...channels);
  return most < 64 ? "black" : ["red", "green", "blue"][channels.indexOf(most)];
}

function shapeName({ mask }: Blob): string {
  const widths = mask.map((row) => row.filter(Boolean).length);
  const filled = widths.reduce((a, b) => a + b) / (mask.length * mask[0].length);
  const pointed = widths[0] < 5;
  if (filled === 1) return "square";
  if (filled > 0.7) return "circle";
  if (!pointed) return "cross";
  return widths.at(-1)! > 15 ? "triangle" : "diamond";
}

function digitIn({ mask }: Blob): number {
  const dots = mask.filter((_, y) => y % 3 === 1).map((row) =>
    row.filter((_, x) => x % 3 === 1).map((on) => on ? "#" : " ").join("")
  );
  return SEEN_DIGITS.indexOf(dots.join("|"));
}

/**
 * The things of a picture in reading order.
 * @param kind what to take them for
 */
export function readPicture(picture: Picture, kind: "shape" | "digit" | "bar"): Thing[] {
  const rgb = picture.rgb();
  if (rgb.length !== picture.width * picture.height * 3) throw new Error(`${rgb.length} bytes`);
  const cell = ({ left, top }: Blob): number => Math.floor(top / 28) * 1000 + Math.floor(left / 28);
  return blobs(picture, rgb).toSorted((a, b) => cell(a) - cell(b)).map((blob) => {
    const colour = colourName(blob.colour);
    if (kind === "shape") return { colour, what: shapeName(blob) };
    if (kind === "digit") return { colour, what: digitIn(blob) };
    if (blob.top + blob.mask.length !== picture.height) throw new Error("a bar above the ground");
    return { colour, what: blob.mask.length / 3 };
  });
}

/** Answers a picture problem from its question and its pixels; `seen` is what was read, in words. */
export function solvePicture(problem: string, picture: Picture): { answer: number; seen: string[] } {
  const tally = /^<image>how many (\w+) shapes\?$/.exec(problem);
  if (tally) {
    const shapes = readPicture(picture, "shape");
    return {
      answer: shapes.filter(({ colour }) => colour === tally[1]).length,
      seen: shapes.map(({ colour, what }) => `${colour} ${what}`),
    };
  }
  const bars = /^<image>largest (minus smallest )?bar\?$/.exec(problem);
  if (bars) {
    const heights = readPicture(picture, "bar").map(({ what }) => Number(what)).toSorted((a, b) => a - b);
    return {
      answer: heights.at(-1)! - (bars[1] ? heights[0] : 0),
      seen: readPicture(picture, "bar").map(({ what }) => `${what}`),
    };
  }
  const digits = readPicture(picture, "digit");
  if (problem === "<image>add the digits.") {
    return {
      answer: digits.reduce((sum, { what }) => sum + Number(what), 0),
      seen: digits.map(({ what }) => `${what}`),
    };
  }
  if (problem !== "<image>odd one out?") throw new Error(`no way to solve ${problem}`);
  const alone = digits.filter(({ colour }) => digits.filter((other) => other.colour === colour).length === 1);
  if (alone.length !== 1) throw new Error(`${alone.length} odd ones`);
  return { answer: Number(alone[0].what), seen: digits.map(({ colour, what }) => `${what} ${colour}`) };
}
