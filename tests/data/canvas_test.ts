import { assert, assertEquals } from "@std/assert";
import { Canvas, type Rgb, SHAPES } from "../../data/micro/canvas.ts";

const WHITE: Rgb = [255, 255, 255], INK: Rgb = [1, 2, 3];

/** Rows of "#" for ink and "." for paper. */
function rows(canvas: Canvas): string[] {
  return Array.from({ length: canvas.height }, (_, y) =>
    Array.from({ length: canvas.width }, (_, x) => {
      const [r, g, b] = canvas.rgb.slice((y * canvas.width + x) * 3);
      if (r === 1 && g === 2 && b === 3) return "#";
      assertEquals([r, g, b], [...WHITE]);
      return ".";
    }).join(""));
}

Deno.test("canvas: bars are cut off at the edges and touch nothing else", () => {
  const canvas = new Canvas(5, 3, WHITE);
  canvas.bar(-1, 1, 3, 9, INK);
  canvas.bar(4, -2, 9, 3, INK);
  canvas.bar(2, 1, 0, 1, INK);
  assertEquals(rows(canvas), ["....#", "##...", "##..."]);
});

Deno.test("canvas: shapes have their areas, are symmetric, and stay in their box", () => {
  const size = 40;
  const areas = { circle: Math.PI / 4, square: 0.81, triangle: 0.5, diamond: 0.5, cross: 0.51 };
  for (const shape of SHAPES) {
    const canvas = new Canvas(size + 4, size + 6, WHITE);
    canvas.shape(shape, 2, 3, size, INK);
    const drawn = rows(canvas);
    const area = drawn.join("").split("#").length - 1;
    // Pixels on the outline count whole.
    assert(Math.abs(area / size ** 2 - areas[shape]) < 1.1 / size, `${shape}: ${area / size ** 2}`);
    for (const row of drawn) assertEquals(row, [...row].reverse().join(""), shape);
    if (shape !== "triangle") assertEquals(drawn, drawn.toReversed(), shape);
    assert([0, 1, 2, -1, -2, -3].every((y) => !drawn.at(y)!.includes("#")), shape);
    assert(drawn.every((row) => !/^.?#/.test(row)), shape);
  }
});

Deno.test("canvas: any two digits differ in at least three dots, and a dot is a square of pixels", () => {
  const digits = Array.from({ length: 10 }, (_, digit) => {
    const canvas = new Canvas(5, 7, WHITE);
    canvas.digit(digit, 0, 0, 1, INK);
    return rows(canvas).join("");
  });
  for (let a = 0; a < 10; a++) {
    for (let b = 0; b < a; b++) {
      const different = [...digits[a]].filter((dot, i) => dot !== digits[b][i]).length;
      assert(different >= 3, `${a} and ${b} differ in ${different} dots`);
    }
  }
  const large = new Canvas(12, 16, WHITE);
  large.digit(7, 1, 1, 2, INK);
  const drawn = rows(large);
  for (let y = 0; y < 7; y++) {
    for (let x = 0; x < 5; x++) {
      const dot = digits[7][y * 5 + x];
      assertEquals(drawn[2 * y + 1].slice(2 * x + 1, 2 * x + 3), dot + dot);
      assertEquals(drawn[2 * y + 2].slice(2 * x + 1, 2 * x + 3), dot + dot);
    }
  }
});
