/**
 * The pictures of rows, made into the vision tower's input when they are needed: a data set's worth of patches would not
 * fit the host's memory.
 * @module
 */
import { isPicture, type RowImage } from "../data/picture.ts";
import { decodeImage } from "../models/image.ts";
import {
  type ImageGrid,
  type ImagePatches,
  imagePatches,
  type ImageProcessor,
  loadImageProcessor,
  patchesOf,
} from "../models/image_processor.ts";
import type { VisionConfig } from "../models/vision_config.ts";
import { mergeGroups } from "../models/vision_layout.ts";

/** The level of a picture that shows nothing: halfway between black and white. */
const GRAY = 128;

/** Reads pictures for one model. */
export class PictureReader {
  /** The model's tower. */
  readonly vision: VisionConfig;
  #processor: ImageProcessor;

  private constructor(processor: ImageProcessor, vision: VisionConfig) {
    this.#processor = processor;
    this.vision = vision;
  }

  /** Reads the image processor of a model's folder. */
  static async load(folder: string, vision: VisionConfig): Promise<PictureReader> {
    return new PictureReader(await loadImageProcessor(folder), vision);
  }

  /**
   * Patches of a row's pictures, in order.
   * @throws UserError for a picture that is missing, broken, too large or too narrow, with its reason
   */
  read(images: readonly RowImage[]): Promise<ImagePatches[]> {
    return Promise.all(images.map(async (image) => {
      const pixels = isPicture(image)
        ? { width: image.width, height: image.height, rgb: image.rgb() }
        : await decodeImage(typeof image === "string" ? image : image.bytes);
      return patchesOf(pixels, this.#processor);
    }));
  }

  /** A uniformly gray picture on the same grid, so in the same place of the prompt. */
  gray(grid: ImageGrid): ImagePatches {
    const { patch_size } = this.#processor;
    const height = grid.h * patch_size;
    const width = grid.w * patch_size;
    return imagePatches(new Uint8Array(3 * height * width).fill(GRAY), height, width, this.#processor);
  }

  /** Ids with every image token repeated as often as its picture has merge groups; undefined when their numbers differ. */
  expand(ids: readonly number[], pictures: readonly ImagePatches[]): number[] | undefined {
    const { image_token_id, spatial_merge_size } = this.vision;
    let used = 0;
    const expanded = ids.flatMap((id) => {
      if (id !== image_token_id) return [id];
      const picture = pictures[used++];
      return picture ? new Array<number>(mergeGroups(picture.grid, spatial_merge_size)).fill(id) : [];
    });
    return used === pictures.length ? expanded : undefined;
  }
}
