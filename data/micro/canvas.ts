/**
 * A rasteriser for small pictures: filled shapes, bars and digits on whole pixels, without smoothing, so that the
 * same calls give the same bytes everywhere.
 * @module
 */

/** Red, green and blue, 0 to 255. */
export type Rgb = readonly [number, number, number];

/** A shape that fills a square box: in it, `u` to the right and `v` downwards go from -1 to 1. */
export type ShapeName = "circle" | "square" | "triangle" | "diamond" | "cross";

/** Whether a point of the box lies inside the shape. */
const INSIDE: Readonly<Record<ShapeName, (u: number, v: number) => boolean>> = {
  circle: (u, v) => u * u + v * v <= 1,
  square: (u, v) => Math.abs(u) <= 0.9 && Math.abs(v) <= 0.9,
  triangle: (u, v) => Math.abs(u) <= (v + 1) / 2,
  diamond: (u, v) => Math.abs(u) + Math.abs(v) <= 1,
  cross: (u, v) => Math.abs(u) <= 0.3 || Math.abs(v) <= 0.3,
};

/** All shapes. */
export const SHAPES: readonly ShapeName[] = ["circle", "square", "triangle", "diamond", "cross"];

/** Dots of a digit, across and down. */
export const GLYPH_SIZE: readonly [number, number] = [5, 7];

/** The digits, 5 dots across and 7 down: each row's five bits, leftmost dot highest. */
const GLYPHS: readonly (readonly number[])[] = [
  [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
  [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
  [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111],
  [0b11110, 0b00001, 0b00001, 0b01110, 0b00001, 0b00001, 0b11110],
  [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
  [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
  [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
  [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
  [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
  [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
];

/** A picture being drawn. Places are the left top pixel of what is drawn; what falls outside is cut off. */
export class Canvas {
  /** Pixels in a row. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
  /** `[height, width, 3]`: what was drawn so far. */
  readonly rgb: Uint8Array;

  /** An empty picture of one colour. */
  constructor(width: number, height: number, background: Rgb) {
    this.width = width;
    this.height = height;
    this.rgb = new Uint8Array(width * height * 3);
    this.bar(0, 0, width, height, background);
  }

  /** A filled rectangle. */
  bar(x: number, y: number, width: number, height: number, colour: Rgb): void {
    const right = Math.min(this.width, x + width), bottom = Math.min(this.height, y + height);
    for (let row = Math.max(0, y); row < bottom; row++) {
      for (let column = Math.max(0, x); column < right; column++) {
        this.rgb.set(colour, (row * this.width + column) * 3);
      }
    }
  }

  /** A filled shape in a box of `size` × `size` pixels; a pixel is filled where its middle lies inside. */
  shape(name: ShapeName, x: number, y: number, size: number, colour: Rgb): void {
    const inside = INSIDE[name];
    for (let row = 0; row < size; row++) {
      for (let column = 0; column < size; column++) {
        if (inside((2 * column + 1) / size - 1, (2 * row + 1) / size - 1)) {
          this.bar(x + column, y + row, 1, 1, colour);
        }
      }
    }
  }

  /** A digit 0 to 9 in a box of 5 × 7 dots, each a square of `dot` pixels. */
  digit(digit: number, x: number, y: number, dot: number, colour: Rgb): void {
    const [across] = GLYPH_SIZE;
    GLYPHS[digit].forEach((bits, row) => {
      for (let column = 0; column < across; column++) {
        if (bits >> (across - 1 - column) & 1) this.bar(x + column * dot, y + row * dot, dot, dot, colour);
      }
    });
  }
}
