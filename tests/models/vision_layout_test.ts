import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UserError } from "../../gpu/errors.ts";
import { packImages, segmentsOf, visionLayout } from "../../models/vision_layout.ts";
import { randomPictures, tinyVisionConfig } from "./tiny_vision.ts";

const SIZES = { patch_size: 2, spatial_merge_size: 2, window_size: 8 };
const grid = (h: number, w: number) => ({ t: 1, h, w });

Deno.test("layout: windows by row and column, cut at the right and at the bottom, for two pictures", () => {
  // 3 x 5 groups in windows of 2 x 2, then 1 x 2 groups.
  const layout = visionLayout([grid(6, 10), grid(2, 4)], SIZES);
  assertEquals(layout.patches, 68);
  assertEquals([...layout.windowIndex], [0, 1, 5, 6, 2, 3, 7, 8, 4, 9, 10, 11, 12, 13, 14, 15, 16]);
  assertEquals(layout.windowBounds, [0, 16, 32, 40, 48, 56, 60, 68]);
  assertEquals(layout.imageBounds, [0, 60, 68]);
  const places = (p: number, n: number) =>
    Array.from({ length: n }, (_, i) => [...layout.places.subarray(2 * (p + i), 2 * (p + i) + 2)]);
  assertEquals(places(0, 5), [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2]]);
  // Group 6 is the second of the second row of groups; group 15 the first of the second picture.
  assertEquals(places(24, 4), [[2, 2], [2, 3], [3, 2], [3, 3]]);
  assertEquals(places(60, 8), [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3]]);
});

Deno.test("layout: no picture, and a picture of one group", () => {
  const none = visionLayout([], SIZES);
  assertEquals([none.patches, none.windowIndex.length, none.windowBounds], [0, 0, [0]]);
  assertEquals(segmentsOf(none.windowBounds), new Uint32Array(0));
  const one = visionLayout([grid(2, 2)], SIZES);
  assertEquals([...one.windowIndex, ...one.windowBounds], [0, 0, 4]);
});

Deno.test("layout: two patches share a window exactly when they lie in the same square of the same picture", () => {
  const side = fc.integer({ min: 1, max: 7 }).map((n) => 2 * n);
  fc.assert(fc.property(fc.array(fc.tuple(side, side), { minLength: 1, maxLength: 3 }), (sides) => {
    const layout = visionLayout(sides.map(([h, w]) => grid(h, w)), SIZES);
    assertEquals([...layout.windowIndex].sort((a, b) => a - b), [...layout.windowIndex.keys()]);
    const windows = segmentsOf(layout.windowBounds);
    const pictures = segmentsOf(layout.imageBounds);
    const squares = new Map<string, number>();
    layout.windowIndex.forEach((group, at) => {
      for (let p = 0; p < 4; p++) {
        const patch = 4 * group + p;
        const [row, column] = layout.places.subarray(2 * patch, 2 * patch + 2);
        const picture = pictures[2 * patch];
        const square = `${picture} ${Math.floor(row / 4)} ${Math.floor(column / 4)}`;
        const window = windows[2 * (4 * at + p)];
        assertEquals(squares.get(square) ?? window, window);
        squares.set(square, window);
      }
    });
    assertEquals(new Set(squares.values()).size, squares.size);
    assertEquals(layout.windowBounds.length - 1, squares.size);
  }));
});

Deno.test("segments: first and end of every element's segment", () => {
  assertEquals([...segmentsOf([0, 2, 2, 5])], [0, 2, 0, 2, 2, 5, 2, 5, 2, 5]);
});

Deno.test("pictures in window order: values move by groups, tables turn by row and by column", () => {
  const config = tinyVisionConfig();
  const v = config.vision!;
  const [picture] = randomPictures(config, [[4, 10]]);
  const packed = packImages([picture], v);
  assertEquals([...packed.order], [0, 1, 4, 5, 8, 2, 3, 6, 7, 9]);
  const width = 24;
  // Group 4, the last of the first row, stands at place 8.
  assertEquals(
    packed.pixels.subarray(8 * 4 * width, 9 * 4 * width),
    picture.pixelValues.subarray(4 * 4 * width, 5 * 4 * width),
  );
  // Its last patch is at row 1, column 9. Heads of 8: frequencies 1 and 1/100 for either.
  const row = 8 * 4 + 3;
  const angles = [1, 1 / 100, 9, 9 / 100];
  const close = (a: ArrayLike<number>, b: number[]) =>
    b.forEach((x, i) => assert(Math.abs(a[i] - x) < 1e-6, `${i}: ${a[i]}, not ${x}`));
  close(packed.cos.subarray(4 * row, 4 * row + 4), angles.map(Math.cos));
  close(packed.sin.subarray(4 * row, 4 * row + 4), angles.map(Math.sin));
});

Deno.test("layout: refused are videos and grids that do not divide into groups", () => {
  assertThrows(() => visionLayout([{ t: 2, h: 4, w: 4 }], SIZES), UserError, "[2, 4, 4]: videos");
  for (const [h, w] of [[3, 4], [4, 0], [4, 2.5], [NaN, 4]]) {
    assertThrows(() => visionLayout([grid(h, w)], SIZES), UserError, "multiples of 2");
  }
});
