/**
 * The micro-world's pictures: items in reading order, one to a cell of 28 × 28 pixels (one image token of a
 * Qwen2.5-VL tower: 2 × 2 patches of 14), each moved a little within its cell.
 * @module
 */
import type { Picture } from "../picture.ts";
import type { Rng } from "../random.ts";
import { Canvas, GLYPH_SIZE, type Rgb, type ShapeName } from "./canvas.ts";

/** Pixels along a cell's side. */
export const CELL = 28;

/** Names of the colours, as problems and traces call them. */
export type ColourName = "red" | "green" | "blue" | "black";

/**
 * The colours' values: over the paper's gray, those that problems ask about differ in hue alone, not in lightness, so that a
 * patch weighs what they are and not that they are there.
 */
export const COLOURS: Readonly<Record<ColourName, Rgb>> = {
  red: [255, 64, 64],
  green: [64, 255, 64],
  blue: [64, 64, 255],
  black: [16, 16, 16],
};

/** The colours that problems ask about. */
export const PALETTE: readonly ColourName[] = ["red", "green", "blue"];

/** The paper: the middle of what a patch can be. */
export const BACKGROUND: Rgb = [128, 128, 128];

/** Pixels of a shape's box; it keeps 4 pixels from its cell's sides before it is moved. */
const SHAPE_SIZE = 20;
/** Pixels of one dot of a digit. */
const DOT = 3;
/** Pixels a bar grows by for each unit. */
export const BAR_UNIT = 3;
const BAR_WIDTH = 16;
/** Shapes, digits and bars are moved by at most so many pixels: neighbours never touch. */
const MOVED: Readonly<Record<Item["kind"], readonly [number, number]>> = {
  shape: [3, 3],
  digit: [2, 2],
  bar: [3, 0],
};

/** What stands in a cell. */
export type Item =
  | { readonly kind: "shape"; readonly shape: ShapeName; readonly colour: ColourName }
  | { readonly kind: "digit"; readonly digit: number; readonly colour: ColourName }
  /** A bar on the picture's lower edge, 1 to 9 units high. */
  | { readonly kind: "bar"; readonly value: number; readonly colour: ColourName };

/** An item's name in words: "red circle", "black 4", "bar 7". A bar's colour says nothing and is left out. */
export function itemName(item: Item): string {
  return item.kind === "shape"
    ? `${item.colour} ${item.shape}`
    : item.kind === "digit"
    ? `${item.colour} ${item.digit}`
    : `bar ${item.value}`;
}

/** An item in its cell. */
export interface Placed {
  /** What. */
  readonly item: Item;
  /** Pixels to the right of its usual place. */
  readonly dx: number;
  /** Pixels below its usual place. */
  readonly dy: number;
}

/** Cells across and down for so many items in reading order: at least 4 cells, so that no picture is enlarged. */
function gridFor(count: number): [number, number] {
  return count <= 4 ? [2, 2] : count <= 6 ? [3, 2] : [3, 3];
}

/** A picture that is drawn when it is asked for; until then it is a list of items. */
export class Drawing implements Picture {
  /** Pixels in a row, a multiple of 28. */
  readonly width: number;
  /** Rows, a multiple of 28. */
  readonly height: number;
  /** What is drawn, in reading order. */
  readonly placed: readonly Placed[];
  /** What there is to see, in words: the items in reading order, without where exactly they stand. */
  readonly content: string;

  private constructor(columns: number, rows: number, items: readonly Item[], rng: Rng) {
    this.width = columns * CELL;
    this.height = rows * CELL;
    this.placed = items.map((item) => {
      const [mx, my] = MOVED[item.kind];
      return { item, dx: rng.below(2 * mx + 1) - mx, dy: rng.below(2 * my + 1) - my };
    });
    this.content = items.map(itemName).join(", ");
  }

  /** Up to 9 items in rows: 2 × 2, 3 × 2 or 3 × 3 cells. */
  static grid(items: readonly Item[], rng: Rng): Drawing {
    return new Drawing(...gridFor(items.length), items, rng);
  }

  /** Items side by side, at least 4 cells wide. */
  static strip(items: readonly Item[], rng: Rng): Drawing {
    return new Drawing(Math.max(4, items.length), 1, items, rng);
  }

  /** Renders the picture: `[height, width, 3]`. */
  rgb(): Uint8Array {
    const canvas = new Canvas(this.width, this.height, BACKGROUND);
    const columns = this.width / CELL;
    this.placed.forEach(({ item, dx, dy }, i) => {
      const left = i % columns * CELL + dx, top = Math.floor(i / columns) * CELL + dy;
      const colour = COLOURS[item.colour];
      if (item.kind === "shape") {
        const margin = (CELL - SHAPE_SIZE) / 2;
        canvas.shape(item.shape, left + margin, top + margin, SHAPE_SIZE, colour);
      } else if (item.kind === "digit") {
        const [across, down] = GLYPH_SIZE;
        const x = left + Math.floor((CELL - across * DOT) / 2), y = top + Math.floor((CELL - down * DOT) / 2);
        canvas.digit(item.digit, x, y, DOT, colour);
      } else {
        const height = item.value * BAR_UNIT;
        canvas.bar(left + (CELL - BAR_WIDTH) / 2, top + CELL - height, BAR_WIDTH, height, colour);
      }
    });
    return canvas.rgb;
  }
}
