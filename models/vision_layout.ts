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
import type { VisionConfig } from "./vision_config.ts";

/** Frames, rows of patches and columns of patches (`image_grid_thw`). */
export type Grid = readonly [frames: number, height: number, width: number];

/** A picture as the tower takes it. */
export interface ImagePatches {
  /** Its size in patches; a still picture has one frame. */
  readonly grid: Grid;
  /** [height · width, channels · temporal patch · side²] normalised values (`pixel_values`), patches in merge groups. */
  readonly values: Float32Array;
}

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
export function imageTokens(grid: Grid, merge: number): number {
  const [frames, height, width] = grid;
  const whole = (n: number): boolean => Number.isSafeInteger(n) && n > 0 && n % merge === 0;
  if (frames !== 1) throw new UserError(`image_grid_thw [${grid}]: videos are not supported, only one frame`);
  if (!whole(height) || !whole(width)) {
    throw new UserError(`image_grid_thw [${grid}]: height and width must be multiples of ${merge} patches`);
  }
  return height * width / merge ** 2;
}

/** Lays pictures out, one after the other. */
export function visionLayout(grids: readonly Grid[], sizes: LayoutSizes): VisionLayout {
  const merge = sizes.spatial_merge_size;
  const window = Math.floor(sizes.window_size / merge / sizes.patch_size);
  const perGroup = merge ** 2;
  const groups = grids.reduce((n, grid) => n + imageTokens(grid, merge), 0);
  const windowIndex = new Uint32Array(groups);
  const places = new Uint32Array(groups * perGroup * 2);
  const windowBounds = [0];
  const imageBounds = [0];
  let first = 0;
  let at = 0;
  for (const [, height, width] of grids) {
    const rows = height / merge;
    const columns = width / merge;
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
