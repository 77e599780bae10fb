import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UserError } from "../../gpu/errors.ts";
import { mropePositions, MropeTables } from "../../models/mrope.ts";
import { ropeTables } from "../../shaders/rope.ts";

const MODEL = { image_token_id: 9, video_token_id: 8, spatial_merge_size: 2 };
const grid = (h: number, w: number) => ({ t: 1, h, w });
const rows = (positions: Uint32Array) =>
  [0, 1, 2].map((
    axis,
  ) => [...positions.subarray(axis * positions.length / 3, (axis + 1) * positions.length / 3)]);

Deno.test("positions: text before, between and after two pictures, one wide and one tall", () => {
  const ids = [1, 2, 9, 9, 9, 9, 9, 9, 3, 9, 9, 9, 4, 5];
  const { positions, ropeDelta, images } = mropePositions(ids, [grid(4, 6), grid(6, 2)], MODEL);
  assertEquals(rows(positions), [
    [0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 6, 6, 9, 10],
    [0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7, 8, 9, 10],
    [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 6, 6, 9, 10],
  ]);
  assertEquals([ropeDelta, images], [-3, 2]);
});

Deno.test("positions: pictures side by side, at the start and at the end", () => {
  const { positions, ropeDelta } = mropePositions([9, 9, 9, 9, 9, 9], [grid(2, 4), grid(4, 4)], MODEL);
  assertEquals(rows(positions), [[0, 0, 2, 2, 2, 2], [0, 0, 2, 2, 3, 3], [0, 1, 2, 3, 2, 3]]);
  assertEquals(ropeDelta, -2);
  assertEquals(mropePositions([], [], MODEL), { positions: new Uint32Array(0), ropeDelta: 0, images: 0 });
});

Deno.test("positions: text alone counts on; what follows a sequence's last picture stays for the next one", () => {
  fc.assert(fc.property(fc.array(fc.nat(7)), (ids) => {
    const { positions, ropeDelta, images } = mropePositions(ids, [grid(2, 2)], MODEL);
    assertEquals(rows(positions), Array(3).fill([...ids.keys()]));
    assertEquals([ropeDelta, images], [0, 0]);
  }));
});

Deno.test("positions: refused are tokens without a picture, pictures cut short, and videos", () => {
  const refused = (ids: number[], why: string) =>
    assertThrows(() => mropePositions(ids, [grid(4, 4)], MODEL), UserError, why);
  refused([9, 9, 9, 9, 9], "token 4 is an image token, but there are only 1 pictures");
  refused([1, 9, 9, 9, 1], "picture 0 of 4 x 4 patches has 4 image tokens, the text has 3");
  refused([9, 9], "the text has 2");
  refused([1, 8], "token 1: videos");
});

Deno.test("tables: each section turns by its own axis; equal axes give the model's own table, bit for bit", () => {
  const own = ropeTables(40, 16, 1e4);
  const tables = new MropeTables(16, 1e4, [2, 3, 3]);
  const cos = new Float32Array(3 * 8).fill(NaN);
  const sin = new Float32Array(3 * 8).fill(NaN);
  tables.fill(Uint32Array.of(5, 7, 30, 8, 39, 0), cos, sin, 1);
  const expected = (table: Float32Array) =>
    [[5, 30, 39], [7, 8, 0]].flatMap(([t, h, w]) => [
      ...table.subarray(8 * t, 8 * t + 2),
      ...table.subarray(8 * h + 2, 8 * h + 5),
      ...table.subarray(8 * w + 5, 8 * w + 8),
    ]);
  assertEquals([...cos.subarray(8)], expected(own.cos));
  assertEquals([...sin.subarray(8)], expected(own.sin));
  assertEquals(cos.subarray(0, 8).every(Number.isNaN), true);
  tables.fill(Uint32Array.of(3, 3, 3), cos, sin, 0);
  assertEquals([...cos.subarray(0, 8)], [...own.cos.subarray(24, 32)]);
});
