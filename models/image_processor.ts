/**
 * What a vision-language model's processor makes of a picture: resized, normalised, and cut into patches in the order
 * in which the vision tower reads them. The processor of Qwen2-VL and Qwen2.5-VL, on Pillow's arithmetic.
 * @module
 */
import { join } from "node:path";
import { UserError } from "../gpu/errors.ts";
import { decodeImage, type DecodeOptions, type RgbImage } from "./image.ts";
import { resizeBicubic, smartResize } from "./image_resize.ts";
import { Fields, isObject, type Json } from "./json_fields.ts";

/** Settings of an image processor, under Hugging Face's names. */
export interface ImageProcessor {
  /** Fewest pixels of a resized picture. */
  min_pixels: number;
  /** Most pixels of a resized picture. */
  max_pixels: number;
  /** Side of a patch in pixels. */
  patch_size: number;
  /** Frames in a patch; a still picture fills all of them. */
  temporal_patch_size: number;
  /** Side, in patches, of the squares that become one token. */
  merge_size: number;
  /** Multiplies a level of 0 to 255 before the mean is taken off. */
  rescale_factor: number;
  /** Mean of red, green and blue. */
  image_mean: number[];
  /** Standard deviation of red, green and blue. */
  image_std: number[];
}

/** Patches of a picture: a still one has `t` = 1. */
export interface ImageGrid {
  /** Temporal patches. */
  t: number;
  /** Rows of patches. */
  h: number;
  /** Columns of patches. */
  w: number;
}

/** The vision tower's input for one picture. */
export interface ImagePatches {
  /** [h · w, 3 · temporal_patch_size · patch_size²] of `grid`; see {@link imagePatches}. */
  pixelValues: Float32Array<ArrayBuffer>;
  /** `image_grid_thw`. */
  grid: ImageGrid;
}

const PROCESSORS = [
  "Qwen2VLImageProcessor",
  "Qwen2VLImageProcessorFast",
  "Qwen2VLImageProcessorPil",
  "Qwen2_5_VLImageProcessor",
];
const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STD = [0.26862954, 0.26130258, 0.27577711];
/** PIL's number of its bicubic filter. */
const BICUBIC = 3;

/**
 * Reads the image processor of a model folder: `image_processor` of `processor_config.json` (transformers 5), else
 * `preprocessor_config.json`; the limits as `min_pixels` and `max_pixels` or as `size`. What is left out has the
 * defaults of Qwen2-VL's processor. The "fast" processors are read as the exact one, from which they differ by a level.
 * @param limits Pixel limits in place of the folder's.
 * @throws UserError when neither file is there, or a value is out of range, or the processor does what is not done here.
 */
export async function loadImageProcessor(
  folder: string,
  limits: { min_pixels?: number; max_pixels?: number } = {},
): Promise<ImageProcessor> {
  const fields = (await readJson(join(folder, "processor_config.json")))?.child("image_processor") ??
    await readJson(join(folder, "preprocessor_config.json"));
  if (fields === undefined) {
    throw new UserError(
      `${folder}: has no image processor (preprocessor_config.json, or processor_config.json with an image_processor)`,
    );
  }
  const type = fields.need("image_processor_type");
  if (!PROCESSORS.includes(type as string)) {
    fields.refuse("image_processor_type", `unknown; known are ${PROCESSORS.join(", ")}`);
  }
  for (const step of ["do_resize", "do_rescale", "do_normalize", "do_convert_rgb"]) {
    if (!fields.flag(step, true)) fields.refuse(step, "a processor without this step is not computed");
  }
  if ((fields.get("resample") ?? BICUBIC) !== BICUBIC) {
    fields.refuse("resample", `only ${BICUBIC} (bicubic) is computed`);
  }
  const size = fields.child("size");
  const limit = (key: "min_pixels" | "max_pixels", edge: string, fallback: number): number =>
    limits[key] ??
      (fields.get(key) === undefined && size ? size.count(edge, fallback) : fields.count(key, fallback));
  const processor: ImageProcessor = {
    min_pixels: limit("min_pixels", "shortest_edge", 56 * 56),
    max_pixels: limit("max_pixels", "longest_edge", 28 * 28 * 1280),
    patch_size: fields.count("patch_size", 14),
    temporal_patch_size: fields.count("temporal_patch_size", 2),
    merge_size: fields.count("merge_size", 2),
    rescale_factor: fields.positive("rescale_factor", 1 / 255),
    image_mean: threeNumbers(fields, "image_mean", CLIP_MEAN),
    image_std: threeNumbers(fields, "image_std", CLIP_STD),
  };
  if (processor.image_std.some((s) => s <= 0)) fields.refuse("image_std", "must be above 0");
  const { min_pixels, max_pixels } = processor;
  if (min_pixels > max_pixels) {
    throw new UserError(
      `${fields.where}: min_pixels = ${min_pixels} is more than max_pixels = ${max_pixels}`,
    );
  }
  return processor;
}

async function readJson(file: string): Promise<Fields | undefined> {
  let json: unknown;
  try {
    json = JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new UserError(`${file}: cannot be read (${(error as Error).message})`);
  }
  if (!isObject(json)) throw new UserError(`${file}: must hold a JSON object`);
  return new Fields(json as Json, file);
}

function threeNumbers(fields: Fields, key: string, fallback: number[]): number[] {
  const value = fields.get(key) ?? fallback;
  if (!Array.isArray(value) || value.length !== 3 || !value.every(Number.isFinite)) {
    fields.refuse(key, "must be three numbers: red, green, blue");
  }
  return value as number[];
}

/**
 * Normalises a resized picture, (level · rescale_factor − mean) / std, and cuts it into patches. A row is one patch.
 * Rows go through the merge squares (row by row of squares), and inside a square row by row of patches. Inside a row:
 * channel, frame (the same picture in each), y, x.
 * @param rgb [height, width, 3]; both sides multiples of patch_size · merge_size.
 */
export function imagePatches(
  rgb: Uint8Array,
  height: number,
  width: number,
  processor: ImageProcessor,
): ImagePatches {
  const { patch_size: patch, temporal_patch_size: frames, merge_size: merge } = processor;
  if (rgb.length !== height * width * 3 || height % (patch * merge) || width % (patch * merge)) {
    throw new Error(
      `${rgb.length} levels of a ${width} × ${height} picture do not make squares of ${merge} × ${merge} patches of ${patch}`,
    );
  }
  const levels = [0, 1, 2].map((c) =>
    Float32Array.from(
      { length: 256 },
      (_, level) => (level * processor.rescale_factor - processor.image_mean[c]) / processor.image_std[c],
    )
  );
  const grid = { t: 1, h: height / patch, w: width / patch };
  const pixelValues = new Float32Array(grid.h * grid.w * 3 * frames * patch * patch);
  let at = 0;
  const cut = (row: number, column: number): void => {
    for (let c = 0; c < 3; c++) {
      const start = at;
      for (let y = row * patch; y < (row + 1) * patch; y++) {
        for (let x = column * patch; x < (column + 1) * patch; x++) {
          pixelValues[at++] = levels[c][rgb[3 * (y * width + x) + c]];
        }
      }
      const frame = at - start;
      for (let t = 1; t < frames; t++, at += frame) pixelValues.copyWithin(at, start, start + frame);
    }
  };
  for (let top = 0; top < grid.h; top += merge) {
    for (let left = 0; left < grid.w; left += merge) {
      for (let i = 0; i < merge * merge; i++) cut(top + Math.floor(i / merge), left + i % merge);
    }
  }
  return { pixelValues, grid };
}

/**
 * Resizes a picture and makes the vision tower's input of it.
 * @throws UserError when one side is more than 200 times the other.
 */
export function patchesOf(image: RgbImage, processor: ImageProcessor): ImagePatches {
  const [height, width] = smartResize(image.height, image.width, {
    factor: processor.patch_size * processor.merge_size,
    minPixels: processor.min_pixels,
    maxPixels: processor.max_pixels,
  });
  const resized = resizeBicubic(image.rgb, image.width, image.height, width, height);
  return imagePatches(resized, height, width, processor);
}

/**
 * From a picture's file to the vision tower's input: {@link decodeImage}, then {@link patchesOf}.
 * @throws UserError when the picture cannot be used; the message says why.
 */
export async function processImage(
  source: string | Uint8Array,
  processor: ImageProcessor,
  options: DecodeOptions = {},
): Promise<ImagePatches> {
  return patchesOf(await decodeImage(source, options), processor);
}

/** Tokens that a picture takes in the prompt: one for each merge square. */
export function imageTokens(grid: ImageGrid, processor: Pick<ImageProcessor, "merge_size">): number {
  return grid.t * grid.h * grid.w / processor.merge_size ** 2;
}
