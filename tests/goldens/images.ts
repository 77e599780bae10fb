/**
 * Pictures against what the reference image processor made of them: decoding, sizes, resampling, patches, settings;
 * and the same comparison over planted mistakes, each of which it must reject.
 * @module
 */
import sharp from "sharp";
import { UserError } from "../../gpu/errors.ts";
import { decodeImage } from "../../models/image.ts";
import {
  imagePatches,
  type ImageProcessor,
  loadImageProcessor,
  processImage,
} from "../../models/image_processor.ts";
import { resizeBicubic, smartResize } from "../../models/image_resize.ts";
import { openSafetensors } from "../../models/safetensors.ts";
import { maxDifference, type Report } from "./report.ts";
import { Worst } from "./worst.ts";

/** What is checked, step by step; a mistake is one of them replaced. */
const STEPS = { decode: decodeImage, size: smartResize, resize: resizeBicubic, patches: imagePatches };
type Steps = typeof STEPS;

interface GoldenImage {
  name: string;
  path: string;
  width: number;
  height: number;
  newWidth: number;
  newHeight: number;
  grid: number[];
  decoded: Uint8Array;
  resized: Uint8Array;
  pixelValues: Float32Array;
}

interface Goldens {
  images: GoldenImage[];
  /** Height, width, least and most pixels, and the size or null. */
  sizes: [number, number, number, number, [number, number] | null][];
  processor: ImageProcessor;
}

// JPEG decoders differ by up to 2 levels in the inverse transform and the upsampling of colour; everything else is exact.
const LIMITS = { png: 0, jpeg: 2, sizes: 0, resize: 0, patches: 1e-5 };
type Results = Record<keyof typeof LIMITS, Worst>;

/** Checks `goldensFolder/qwen2_5_vl-tiny` and the processor settings of both vision-language checkpoints. */
export async function checkImages(goldensFolder: string, report: Report): Promise<void> {
  const folder = `${goldensFolder}/qwen2_5_vl-tiny`;
  const json = JSON.parse(await Deno.readTextFile(`${folder}/images.json`));
  const settings = new Worst();
  for (const name of ["qwen2_5_vl-tiny", "qwen2_5_vl-tiny-hubstyle"]) {
    const processor = await loadImageProcessor(`${goldensFolder}/${name}/checkpoint`);
    for (const [key, value] of Object.entries(processor)) settings.same(value, json[key], `${name} ${key}`);
  }
  settings.report("images/settings", 0, report);

  const processor = await loadImageProcessor(`${folder}/checkpoint`);
  const goldens = await readGoldens(folder, json, processor);
  const results = await compare(STEPS, goldens);
  for (const [name, worst] of Object.entries(results)) {
    worst.report(`images/${name}`, LIMITS[name as keyof Results], report);
  }
  const whole = new Worst();
  for (const { name, path, pixelValues, grid } of goldens.images) {
    const made = await processImage(path, processor);
    whole.same(Object.values(made.grid), grid, `${name} grid`);
    whole.absolute(maxDifference(made.pixelValues, pixelValues), 0, name);
  }
  whole.report("images/file to pixel_values", LIMITS.patches, report);

  for (const [why, steps] of MISTAKES) {
    const wrong = await compare({ ...STEPS, ...steps }, goldens);
    const caught = Object.entries(wrong).filter(([key, w]) => w.value > LIMITS[key as keyof Results]);
    const detail = caught.map(([key, { value }]) => `${key} off by ${value.toPrecision(2)}`).join(", ");
    report(`images/rejected: ${why}`, caught.length > 0 ? 0 : 1, 0, detail);
  }
}

async function readGoldens(folder: string, json: any, processor: ImageProcessor): Promise<Goldens> {
  const tensors = await openSafetensors(`${folder}/images.safetensors`);
  const images = await Promise.all(json.images.map(async (image: any): Promise<GoldenImage> => ({
    name: image.file,
    path: `${folder}/images/${image.file}`,
    width: image.width,
    height: image.height,
    newWidth: image.resized_width,
    newHeight: image.resized_height,
    grid: image.image_grid_thw,
    decoded: await tensors.readRaw(`${image.file}.decoded_rgb_uint8`),
    resized: await tensors.readRaw(`${image.file}.resized_rgb_uint8_pil`),
    pixelValues: await tensors.readF32(`${image.file}.pixel_values_pil`),
  })));
  const sizes = JSON.parse(await Deno.readTextFile(`${folder}/smart_resize.json`)).rows;
  return { images, sizes, processor };
}

/** Each step from the golden input of that step. */
async function compare(steps: Steps, { images, sizes, processor }: Goldens): Promise<Results> {
  const results: Results = {
    png: new Worst(),
    jpeg: new Worst(),
    sizes: new Worst(),
    resize: new Worst(),
    patches: new Worst(),
  };
  for (const image of images) {
    const { name, width, height, newWidth, newHeight } = image;
    const decoded = await steps.decode(image.path);
    const format = results[name.endsWith(".png") ? "png" : "jpeg"];
    format.same([decoded.width, decoded.height], [width, height], name);
    format.absolute(maxDifference(decoded.rgb, image.decoded), 0, name);
    const limits = { minPixels: processor.min_pixels, maxPixels: processor.max_pixels };
    results.sizes.same(steps.size(height, width, limits), [newHeight, newWidth], name);
    const resized = steps.resize(image.decoded, width, height, newWidth, newHeight);
    results.resize.absolute(maxDifference(resized, image.resized), 0, name);
    const patches = steps.patches(image.resized, newHeight, newWidth, processor);
    results.patches.same(Object.values(patches.grid), image.grid, `${name} grid`);
    results.patches.absolute(maxDifference(patches.pixelValues, image.pixelValues), 0, name);
  }
  for (const [height, width, minPixels, maxPixels, wanted] of sizes) {
    const where = `${height} × ${width} within ${minPixels} to ${maxPixels}`;
    results.sizes.same(sizeOrNull(steps.size, height, width, { minPixels, maxPixels }), wanted, where);
  }
  return results;
}

function sizeOrNull(size: typeof smartResize, ...args: Parameters<typeof smartResize>): number[] | null {
  try {
    return size(...args);
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
  }
}

/** [height, width, 3] to [width, height, 3]. */
function transpose(rgb: Uint8Array, height: number, width: number): Uint8Array {
  const turned = new Uint8Array(rgb.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      turned.set(rgb.subarray(3 * (y * width + x), 3 * (y * width + x) + 3), 3 * (x * height + y));
    }
  }
  return turned;
}

const MISTAKES: [why: string, steps: Partial<Steps>][] = [
  ["alpha blended over white", {
    decode: async (path) => {
      const { data, info } = await sharp(path).flatten({ background: "white" }).toColourspace("srgb").raw()
        .toBuffer({ resolveWithObject: true });
      return { width: info.width, height: info.height, rgb: data };
    },
  }],
  ["sizes rounded half up", {
    size: (height, width, { factor = 28, minPixels, maxPixels }) => {
      const size = [height, width].map((side) => Math.round(side / factor) * factor) as [number, number];
      const fits = size[0] * size[1] >= minPixels && size[0] * size[1] <= maxPixels;
      return fits ? size : smartResize(height, width, { factor, minPixels, maxPixels });
    },
  }],
  ["columns resampled before rows", {
    resize: (rgb, width, height, newWidth, newHeight) =>
      transpose(
        resizeBicubic(transpose(rgb, height, width), height, width, newHeight, newWidth),
        newWidth,
        newHeight,
      ),
  }],
  ["mean and deviation swapped", {
    patches: (rgb, height, width, p) =>
      imagePatches(rgb, height, width, { ...p, image_mean: p.image_std, image_std: p.image_mean }),
  }],
  ["x and y swapped", {
    patches: (rgb, height, width, processor) => {
      const { pixelValues } = imagePatches(transpose(rgb, height, width), width, height, processor);
      return { pixelValues, grid: imagePatches(rgb, height, width, processor).grid };
    },
  }],
  ["patches in reading order, not in squares", {
    patches: (rgb, height, width, p) => imagePatches(rgb, height, width, { ...p, merge_size: 1 }),
  }],
  ["blue before red", {
    patches: (rgb, height, width, processor) =>
      imagePatches(rgb.map((_, i) => rgb[i - i % 3 + 2 - i % 3]), height, width, processor),
  }],
];
