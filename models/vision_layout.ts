/**
 * Where the patches of pictures stand: which merge groups share an attention window, in what order the windows are laid
 * out, and the height and width of every patch. Host arrays only. After `get_window_index` and `rot_pos_emb` of
 * transformers' Qwen2.5-VL.
 *
 * A picture's patches come in merge groups of merge × merge, groups by row and column, patches by row and column within
 * their group. The tower runs in window order: the groups are permuted so that those of a window are neighbours; the
 * patches of a group stay together.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import type { ImageGrid, ImagePatches } from "./image_processor.ts";
import { ropeTables } from "../shaders/rope.ts";
import { patchWidth, visionBlock, type VisionConfig } from "./vision_config.ts";

/** The layout of a batch of pictures: P patches in G merge groups. */
export interface VisionLayout {
  /** P. */
  readonly patches: number;
  /** [G] the group, counted over all pictures in the order of their values, at each place of the window order. */
  readonly windowIndex: Uint32Array<ArrayBuffer>;
  /** First patch of every window in window order, then P (`cu_window_seqlens`). */
  readonly windowBounds: readonly number[];
  /** First patch of every picture, then P (`cu_seqlens`). */
  readonly imageBounds: readonly number[];
  /** [P, 2] row and column of every patch in its picture, in the order of the values. */
  readonly places: Uint32Array<ArrayBuffer>;
}

/** The sizes of {@link VisionConfig} that a layout depends on. */
export type LayoutSizes = Pick<VisionConfig, "patch_size" | "spatial_merge_size" | "window_size">;

/**
 * Merge groups of a picture, and so its tokens in the text.
 * @throws UserError for a video and for a grid that does not divide into groups
 */
export function mergeGroups(grid: ImageGrid, merge: number): number {
  const whole = (n: number): boolean => Number.isSafeInteger(n) && n > 0 && n % merge === 0;
  const shown = `image_grid_thw [${grid.t}, ${grid.h}, ${grid.w}]`;
  if (grid.t !== 1) throw new UserError(`${shown}: videos are not supported, only one frame`);
  if (!whole(grid.h) || !whole(grid.w)) {
    throw new UserError(`${shown}: height and width must be multiples of ${merge} patches`);
  }
  return grid.h * grid.w / merge ** 2;
}

/** Lays pictures out, one after the other. */
export function visionLayout(grids: readonly ImageGrid[], sizes: LayoutSizes): VisionLayout {
  const merge = sizes.spatial_merge_size;
  const window = Math.floor(sizes.window_size / merge / sizes.patch_size);
  const perGroup = merge ** 2;
  const groups = grids.reduce((n, grid) => n + mergeGroups(grid, merge), 0);
  const windowIndex = new Uint32Array(groups);
  const places = new Uint32Array(groups * perGroup * 2);
  const windowBounds = [0];
  const imageBounds = [0];
  let first = 0;
  let at = 0;
  for (const { h, w } of grids) {
    const rows = h / merge;
    const columns = w / merge;
    for (let top = 0; top < rows; top += window) {
      for (let left = 0; left < columns; left += window) {
        for (let row = top; row < Math.min(rows, top + window); row++) {
          for (let column = left; column < Math.min(columns, left + window); column++) {
            windowIndex[at++] = first + row * columns + column;
          }
        }
        windowBounds.push(at * perGroup);
      }
    }
    for (let group = 0; group < rows * columns; group++) {
      for (let patch = 0; patch < perGroup; patch++) {
        const place = 2 * ((first + group) * perGroup + patch);
        places[place] = Math.floor(group / columns) * merge + Math.floor(patch / merge);
        places[place + 1] = group % columns * merge + patch % merge;
      }
    }
    first += rows * columns;
    imageBounds.push(first * perGroup);
  }
  return { patches: groups * perGroup, windowIndex, windowBounds, imageBounds, places };
}

/** [P, 2] first element and end of the segment of each of P elements, from the bounds of the segments. */
export function segmentsOf(bounds: readonly number[]): Uint32Array<ArrayBuffer> {
  const segments = new Uint32Array(2 * bounds[bounds.length - 1]);
  for (let i = 1; i < bounds.length; i++) {
    for (let p = bounds[i - 1]; p < bounds[i]; p++) {
      segments[2 * p] = bounds[i - 1];
      segments[2 * p + 1] = bounds[i];
    }
  }
  return segments;
}

/** Host arrays of a batch of pictures in window order: P patches, G image tokens, D the width of a head of the tower. */
export interface PackedImages {
  /** P. */
  readonly patches: number;
  /** [P, channels · temporal patch · side²] */
  readonly pixels: Float32Array<ArrayBuffer>;
  /** [P, 2] window of every patch. */
  readonly windows: Uint32Array<ArrayBuffer>;
  /** [P, 2] picture of every patch. */
  readonly images: Uint32Array<ArrayBuffer>;
  /** [P, D / 2] */
  readonly cos: Float32Array<ArrayBuffer>;
  /** [P, D / 2] */
  readonly sin: Float32Array<ArrayBuffer>;
  /** [G] where each image token, in the order of the text, stands in the window order. */
  readonly order: Uint32Array<ArrayBuffer>;
}

/**
 * Brings pictures into window order. Half of a head's pairs turn by a patch's row and half by its column, each with the
 * frequencies of a head half as wide (`Qwen2_5_VisionRotaryEmbedding`).
 * @throws RangeError for values that do not fit their grid; UserError for a grid that is not supported
 */
export function packImages(images: readonly ImagePatches[], v: VisionConfig): PackedImages {
  const grids = images.map(({ grid }) => grid);
  const { patches, windowIndex, windowBounds, imageBounds, places } = visionLayout(grids, v);
  const perGroup = v.spatial_merge_size ** 2;
  const groupValues = perGroup * patchWidth(v);
  const sources = images.flatMap(({ grid, pixelValues }, i) => {
    const groups = mergeGroups(grid, v.spatial_merge_size);
    if (pixelValues.length !== groups * groupValues) {
      throw new RangeError(
        `picture ${i} of ${grid.h} x ${grid.w} patches takes ${
          groups * groupValues
        } values, got ${pixelValues.length}`,
      );
    }
    return Array.from(
      { length: groups },
      (_, g) => pixelValues.subarray(g * groupValues, (g + 1) * groupValues),
    );
  });
  const half = visionBlock(v).head_dim / 2;
  const part = half / 2;
  const table = ropeTables(Math.max(0, ...grids.flatMap(({ h, w }) => [h, w])), half, v.rope_theta);
  const pixels = new Float32Array(patches * patchWidth(v));
  const cos = new Float32Array(patches * half);
  const sin = new Float32Array(patches * half);
  const order = new Uint32Array(windowIndex.length);
  windowIndex.forEach((group, at) => {
    order[group] = at;
    pixels.set(sources[group], at * groupValues);
    for (let p = 0; p < perGroup; p++) {
      for (let axis = 0; axis < 2; axis++) {
        const from = places[2 * (group * perGroup + p) + axis] * part;
        const to = (at * perGroup + p) * half + axis * part;
        cos.set(table.cos.subarray(from, from + part), to);
        sin.set(table.sin.subarray(from, from + part), to);
      }
    }
  });
  const windows = segmentsOf(windowBounds);
  return { patches, pixels, windows, images: segmentsOf(imageBounds), cos, sin, order };
}
