/**
 * Reads the cases, pictures and tensors of a `qwen2_5_vl-*` folder.
 * @module
 */
import type { ImageGrid, ImagePatches } from "../../models/image_processor.ts";
import type { Sequence } from "../../models/packed_batch.ts";
import { openSafetensors } from "../../models/safetensors.ts";

/** `image_grid_thw` of a picture. */
export type Thw = [number, number, number];

/** A prompt with its answer and what the reference makes of it. */
export interface GoldenCase {
  name: string;
  images: string[];
  input_ids: number[];
  labels: number[];
  image_grid_thw: Thw[];
  position_ids_t_h_w: number[][];
  rope_delta: number;
  loss: number;
}

/** Tensors by name. */
export type Tensors = Map<string, Float32Array<ArrayBuffer>>;

/** The product's form of a grid. */
export const gridOf = ([t, h, w]: Thw): ImageGrid => ({ t, h, w });
/** A parsed file. */
export const readJson = (path: string) => JSON.parse(Deno.readTextFileSync(path));

/** The float32 tensors of a safetensors file. */
export async function tensors(path: string): Promise<Tensors> {
  const file = await openSafetensors(path);
  const all: Tensors = new Map();
  for (const [name, { dtype }] of file.tensors) if (dtype === "F32") all.set(name, await file.readF32(name));
  return all;
}

/** Pictures by file name, with the pixel values that the reference computed. */
export async function readImages(folder: string): Promise<Map<string, ImagePatches>> {
  const listed: { file: string; image_grid_thw: Thw }[] = readJson(`${folder}/images.json`).images;
  const all = await tensors(`${folder}/images.safetensors`);
  return new Map(listed.map(({ file, image_grid_thw }) => [
    file,
    { grid: gridOf(image_grid_thw), pixelValues: all.get(`${file}.pixel_values_pil`)! },
  ]));
}

/** A case as the model takes it. */
export const sequenceOf = (
  c: GoldenCase,
  images: Map<string, ImagePatches>,
  scoreFrom: number,
): Sequence => ({
  ids: c.input_ids,
  scoreFrom,
  images: c.images.map((file) => images.get(file)!),
});
/** First token that the loss counts. */
export const answerStart = (c: GoldenCase): number => c.labels.findIndex((label) => label !== -100);
