/** The size rule and the resampling, against plain loops over the definition. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UserError } from "../../gpu/errors.ts";
import { resizeBicubic, smartResize } from "../../models/image_resize.ts";

const LIMITS = { minPixels: 3136, maxPixels: 31360 };

Deno.test("smartResize: multiples of the factor, half to even, within the limits", () => {
  // 70 / 28 = 2.5 and 98 / 28 = 3.5: to 2 and to 4.
  assertEquals(smartResize(70, 98, LIMITS), [56, 112]);
  assertEquals(smartResize(112, 84, LIMITS), [112, 84]);
  assertEquals(smartResize(1000, 500, LIMITS), [224, 112]);
  assertEquals(smartResize(14, 14, LIMITS), [56, 56]);
  assertEquals(smartResize(1, 200, LIMITS), [28, 812]);
  assertEquals(smartResize(30, 50, { factor: 16, minPixels: 256, maxPixels: 65536 }), [32, 48]);
});

Deno.test("smartResize: a side more than 200 times the other is refused with its size", () => {
  for (const [height, width] of [[1, 201], [201, 1], [10, 2010], [0, 5]]) {
    const error = assertThrows(() => smartResize(height, width, LIMITS), UserError);
    assert(error.message.includes(`${width} × ${height} pixels`), error.message);
  }
});

Deno.test("smartResize: properties over sizes and limits", () => {
  const side = fc.integer({ min: 1, max: 5000 });
  fc.assert(
    fc.property(
      side,
      side,
      fc.integer({ min: 784, max: 2e5 }),
      fc.integer({ min: 1, max: 20 }),
      (h, w, least, times) => {
        fc.pre(Math.max(h, w) <= 200 * Math.min(h, w));
        const limits = { minPixels: least, maxPixels: least * (times + 3) };
        const [height, width] = smartResize(h, w, limits);
        assert(height > 0 && width > 0 && height % 28 === 0 && width % 28 === 0);
        assert(height * width >= Math.min(least, 784));
        // A long strip keeps one factor of height, so only it may pass the upper limit.
        if (height > 28 && width > 28 && h * w > limits.maxPixels) {
          assert(
            height * width <= limits.maxPixels,
          );
        }
        assertEquals(smartResize(w, h, limits), [width, height], "turned");
      },
    ),
  );
});

/** The definition in doubles: every input weighs in by its distance; each pass rounded to 8 bits. */
function definition(rgb: Uint8Array, w: number, h: number, newW: number, newH: number): Uint8Array {
  const keys = (t: number): number => {
    const x = Math.abs(t);
    if (x < 1) return 1.5 * x ** 3 - 2.5 * x ** 2 + 1;
    return x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0;
  };
  const line = (input: number[], length: number): number[] =>
    Array.from({ length }, (_, i) => {
      const scale = input.length / length;
      const weights = input.map((_, x) => keys((x + 0.5 - (i + 0.5) * scale) / Math.max(1, scale)));
      const total = weights.reduce((a, b) => a + b);
      const sum = weights.reduce((a, weight, x) => a + weight * input[x], 0) / total;
      return Math.min(255, Math.max(0, Math.floor(sum + 0.5)));
    });
  const across = new Uint8Array(h * newW * 3);
  for (let y = 0; y < h; y++) {
    for (let c = 0; c < 3; c++) {
      const row = line(Array.from({ length: w }, (_, x) => rgb[3 * (y * w + x) + c]), newW);
      row.forEach((v, x) => across[3 * (y * newW + x) + c] = v);
    }
  }
  const result = new Uint8Array(newH * newW * 3);
  for (let x = 0; x < newW; x++) {
    for (let c = 0; c < 3; c++) {
      const column = line(Array.from({ length: h }, (_, y) => across[3 * (y * newW + x) + c]), newH);
      column.forEach((v, y) => result[3 * (y * newW + x) + c] = v);
    }
  }
  return result;
}

const sides = fc.integer({ min: 1, max: 40 });
const picture = fc.tuple(sides, sides).chain(([width, height]) =>
  fc.record({
    width: fc.constant(width),
    height: fc.constant(height),
    rgb: fc.uint8Array({ minLength: width * height * 3, maxLength: width * height * 3 }),
  })
);

Deno.test("resizeBicubic: the definition, up and down, to 1-pixel sides and back", () => {
  let levels = 0;
  let off = 0;
  fc.assert(
    fc.property(picture, sides, sides, ({ width, height, rgb }, newWidth, newHeight) => {
      const got = resizeBicubic(rgb, width, height, newWidth, newHeight);
      const wanted = definition(rgb, width, height, newWidth, newHeight);
      assertEquals(got.length, wanted.length);
      for (let i = 0; i < got.length; i++) {
        assert(Math.abs(got[i] - wanted[i]) <= 1, `level ${i}: ${got[i]} for ${wanted[i]}`);
        if (got[i] !== wanted[i]) off++;
      }
      levels += got.length;
    }),
    { numRuns: 60, seed: 5 },
  );
  // Only a sum within 2^-22 of a half can round differently; the first pass' level then reaches a few of the second.
  assert(off <= levels * 1e-3, `${off} of ${levels} levels differ`);
});

Deno.test("resizeBicubic: equal size changes nothing, one colour stays that colour", () => {
  fc.assert(fc.property(picture, ({ width, height, rgb }) => {
    assertEquals([...resizeBicubic(rgb, width, height, width, height)], [...rgb]);
  }));
  fc.assert(fc.property(sides, sides, sides, sides, fc.nat(255), (w, h, newW, newH, level) => {
    const flat = resizeBicubic(new Uint8Array(w * h * 3).fill(level), w, h, newW, newH);
    assert(flat.length === newW * newH * 3 && flat.every((v) => v === level));
  }));
});

Deno.test("resizeBicubic: shrinking averages (antialiasing), an edge overshoots and is clipped", () => {
  const stripes = Uint8Array.from({ length: 256 * 3 }, (_, i) => Math.floor(i / 3) % 2 ? 255 : 0);
  for (const v of resizeBicubic(stripes, 256, 1, 16, 1)) assert(Math.abs(v - 127.5) < 12, `${v}`);
  const edge = Uint8Array.from({ length: 8 * 3 }, (_, i) => i < 12 ? 50 : 200);
  const grown = resizeBicubic(edge, 8, 1, 32, 1);
  assert(Math.min(...grown) < 50 && Math.max(...grown) > 200);
  const hard = edge.map((v) => v === 50 ? 0 : 255);
  assertEquals([resizeBicubic(hard, 8, 1, 32, 1)[0], resizeBicubic(hard, 8, 1, 32, 1).at(-1)], [0, 255]);
});

Deno.test("resizeBicubic: a wrong number of levels is refused", () => {
  const error = assertThrows(() => resizeBicubic(new Uint8Array(10), 2, 2, 4, 4), Error);
  assertEquals(error.message, "a picture of 10 levels is not [2, 2, 3]");
});
