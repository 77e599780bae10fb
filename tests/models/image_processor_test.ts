/** Settings files, patch order and values, and the whole way from a file. */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import sharp from "sharp";
import { UserError } from "../../gpu/errors.ts";
import {
  imagePatches,
  type ImageProcessor,
  imageTokens,
  loadImageProcessor,
  patchesOf,
  processImage,
} from "../../models/image_processor.ts";

const PROCESSOR: ImageProcessor = {
  min_pixels: 3136,
  max_pixels: 31360,
  patch_size: 14,
  temporal_patch_size: 2,
  merge_size: 2,
  rescale_factor: 1 / 255,
  image_mean: [0.5, 0.4, 0.3],
  image_std: [0.2, 0.25, 0.3],
};

/** Undoes the patches by where the order says each value stands, from any processor's settings. */
function undo(
  pixelValues: Float32Array,
  h: number,
  w: number,
  p: ImageProcessor,
): { rgb: Uint8Array; frames: boolean } {
  const { patch_size: n, merge_size: m, temporal_patch_size: frames } = p;
  const rgb = new Uint8Array(h * n * w * n * 3);
  let equal = true;
  for (let y = 0; y < h * n; y++) {
    for (let x = 0; x < w * n; x++) {
      const [row, column] = [Math.floor(y / n), Math.floor(x / n)];
      const square = Math.floor(row / m) * (w / m) + Math.floor(column / m);
      const patch = square * m * m + row % m * m + column % m;
      for (let c = 0; c < 3; c++) {
        const at = (t: number): number =>
          pixelValues[((patch * 3 + c) * frames + t) * n * n + y % n * n + x % n];
        for (let t = 1; t < frames; t++) equal &&= at(t) === at(0);
        rgb[3 * (y * w * n + x) + c] = Math.round(
          (at(0) * p.image_std[c] + p.image_mean[c]) / p.rescale_factor,
        );
      }
    }
  }
  return { rgb, frames: equal };
}

const settings = fc.record({
  h: fc.integer({ min: 1, max: 3 }),
  w: fc.integer({ min: 1, max: 3 }),
  patch_size: fc.integer({ min: 1, max: 5 }),
  merge_size: fc.integer({ min: 1, max: 3 }),
  temporal_patch_size: fc.integer({ min: 1, max: 3 }),
});

Deno.test("imagePatches: undone by the rule of the order, the picture comes back", () => {
  fc.assert(fc.property(settings, fc.integer(), ({ h, w, ...sizes }, seed) => {
    const p = { ...PROCESSOR, ...sizes };
    const [rows, columns] = [h * p.merge_size, w * p.merge_size];
    const [height, width] = [rows * p.patch_size, columns * p.patch_size];
    const rgb = Uint8Array.from({ length: height * width * 3 }, (_, i) => Math.imul(i + 1, seed | 1) >>> 11);
    const { pixelValues, grid } = imagePatches(rgb, height, width, p);
    assertEquals(grid, { t: 1, h: rows, w: columns });
    assertEquals(pixelValues.length, height * width * 3 * p.temporal_patch_size);
    assertEquals(imageTokens(grid, p), h * w);
    const back = undo(pixelValues, rows, columns, p);
    assertEquals([...back.rgb], [...rgb]);
    assert(back.frames);
  }));
});

Deno.test("imagePatches: values are (level · factor − mean) / std; mistakes in either are seen", () => {
  const rgb = Uint8Array.from({ length: 28 * 56 * 3 }, (_, i) => i * 7);
  const values = (p: ImageProcessor): Float32Array => imagePatches(rgb, 28, 56, p).pixelValues;
  const right = values(PROCESSOR);
  // First patch, second channel, first frame, y = 2, x = 3.
  const level = rgb[3 * (2 * 56 + 3) + 1];
  assertAlmostEquals(right[1 * 2 * 196 + 2 * 14 + 3], (level / 255 - 0.4) / 0.25, 1e-6);
  const { image_mean, image_std } = PROCESSOR;
  const mistakes = {
    "mean and deviation swapped": values({ ...PROCESSOR, image_mean: image_std, image_std: image_mean }),
    "channels of the mean turned": values({ ...PROCESSOR, image_mean: [...image_mean].reverse() }),
    "no merge squares": values({ ...PROCESSOR, merge_size: 1 }),
    "height and width swapped": imagePatches(rgb, 56, 28, PROCESSOR).pixelValues,
  };
  for (const [why, wrong] of Object.entries(mistakes)) {
    const { rgb: back } = undo(wrong, 2, 4, PROCESSOR);
    assert(back.some((v, i) => v !== rgb[i]), `${why}: accepted`);
  }
});

Deno.test("imagePatches: sides that do not make whole squares are refused", () => {
  const error = assertThrows(() => imagePatches(new Uint8Array(14 * 28 * 3), 14, 28, PROCESSOR), Error);
  assertStringIncludes(error.message, "28 × 14 picture");
});

async function withSettings(
  files: Record<string, unknown>,
  run: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, json] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder}/${name}`, typeof json === "string" ? json : JSON.stringify(json));
    }
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const type = { image_processor_type: "Qwen2VLImageProcessor" };

Deno.test("loadImageProcessor: both files, both spellings of the limits, the defaults", async () => {
  const size = { shortest_edge: 784, longest_edge: 7840 };
  await withSettings({ "preprocessor_config.json": { ...type, ...PROCESSOR } }, async (folder) => {
    assertEquals(await loadImageProcessor(folder), PROCESSOR);
    assertEquals(await loadImageProcessor(folder, { max_pixels: 4000 }), { ...PROCESSOR, max_pixels: 4000 });
  });
  const nested = { image_processor: { ...type, size, merge_size: 4 } };
  // Where both are there, transformers reads the newer one.
  const both = { "processor_config.json": nested, "preprocessor_config.json": { ...type, ...PROCESSOR } };
  await withSettings(both, async (folder) => {
    const { min_pixels, max_pixels, merge_size } = await loadImageProcessor(folder);
    assertEquals([min_pixels, max_pixels, merge_size], [784, 7840, 4]);
  });
  const older = { "processor_config.json": { processor_class: "x" }, "preprocessor_config.json": type };
  await withSettings(older, async (folder) => {
    const { min_pixels, max_pixels, rescale_factor, patch_size } = await loadImageProcessor(folder);
    assertEquals([min_pixels, max_pixels, rescale_factor, patch_size], [3136, 1003520, 1 / 255, 14]);
  });
  await withSettings({ "preprocessor_config.json": { ...type, size, min_pixels: 1000 } }, async (folder) => {
    const { min_pixels, max_pixels } = await loadImageProcessor(folder);
    assertEquals([min_pixels, max_pixels], [1000, 7840]);
  });
});

Deno.test("loadImageProcessor: what is not computed is refused by key and value", async () => {
  const cases: [json: unknown, why: RegExp][] = [
    [{ image_processor_type: "CLIPImageProcessor" }, /image_processor_type = "CLIPImageProcessor": unknown/],
    [{}, /image_processor_type is missing/],
    [{ ...type, do_resize: false }, /do_resize = false/],
    [{ ...type, do_normalize: false }, /do_normalize = false/],
    [{ ...type, resample: 2 }, /resample = 2: only 3 \(bicubic\)/],
    [{ ...type, image_mean: [0.5, 0.5] }, /image_mean = \[0\.5,0\.5\]: must be three numbers/],
    [{ ...type, image_std: [0.5, 0, 0.5] }, /image_std = .*above 0/],
    [{ ...type, patch_size: "14" }, /patch_size = "14"/],
    [{ ...type, min_pixels: 5000, max_pixels: 4000 }, /min_pixels = 5000 is more than max_pixels = 4000/],
    [[], /must hold a JSON object/],
    ["{", /preprocessor_config\.json: cannot be read/],
  ];
  for (const [json, why] of cases) {
    await withSettings({ "preprocessor_config.json": json }, async (folder) => {
      const error = await assertRejects(() => loadImageProcessor(folder), UserError);
      assertMatch(error.message, why);
    });
  }
  await withSettings({}, async (folder) => {
    const error = await assertRejects(() => loadImageProcessor(folder), UserError);
    assertStringIncludes(error.message, "has no image processor");
  });
});

Deno.test("processImage: from a file to patches; rendered pixels take the same way", async () => {
  const [width, height] = [100, 60];
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, i) => i * i >> 4);
  const png = await sharp(rgb, { raw: { width, height, channels: 3 } }).png().toBuffer();
  const made = await processImage(png, PROCESSOR);
  assertEquals(made.grid, { t: 1, h: 4, w: 8 });
  assertEquals(imageTokens(made.grid, PROCESSOR), 8);
  assertEquals(made.pixelValues.length, 4 * 8 * 1176);
  assertEquals(patchesOf({ width, height, rgb }, PROCESSOR), made);
});

Deno.test("processImage: one pixel high works to 1 : 200 and is refused beyond", async () => {
  const strip = (width: number): Promise<Uint8Array> =>
    sharp({ create: { width, height: 1, channels: 3, background: "#ff8000" } }).png().toBuffer();
  const { grid, pixelValues } = await processImage(await strip(200), PROCESSOR);
  assertEquals(grid, { t: 1, h: 2, w: 58 });
  assertAlmostEquals(pixelValues[0], (1 - 0.5) / 0.2, 1e-6);
  const error = await assertRejects(async () => processImage(await strip(201), PROCESSOR), UserError);
  assertEquals(error.message, "a picture of 201 × 1 pixels: one side is more than 200 times the other");
});
