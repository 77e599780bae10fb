/**
 * Multimodal rotary positions of Qwen2.5-VL: text tokens stand at one position, image tokens at a time, a height and a
 * width, and each turns its own section of a head's pairs. After `get_rope_index` and `apply_multimodal_rotary_pos_emb`
 * of transformers. Host arrays only.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { ropeTables } from "../shaders/rope.ts";
import type { ImageGrid } from "./image_processor.ts";
import type { VisionConfig } from "./vision_config.ts";
import { mergeGroups } from "./vision_layout.ts";

/** What {@link mropePositions} needs to know of a model. */
export type ImageTokenIds = Pick<VisionConfig, "image_token_id" | "video_token_id" | "spatial_merge_size">;

/** Positions of one sequence of T tokens. */
export interface MropePositions {
  /** [3, T] time, height and width. */
  readonly positions: Uint32Array<ArrayBuffer>;
  /** Largest position + 1 − T, never above 0: a token that is added at index i ≥ T stands at i + delta. */
  readonly ropeDelta: number;
  /** Pictures of the sequence. */
  readonly images: number;
}

/**
 * Positions of a sequence. A picture's tokens start at the position p that a text token would have there: time p, height
 * p + row, width p + column of their merge group; the text after it goes on at the largest of these + 1.
 * @param grids The pictures in order, from the sequence's first one on; more may follow.
 * @throws UserError when the image tokens in the text are not those of the pictures
 */
export function mropePositions(
  ids: ArrayLike<number>,
  grids: readonly ImageGrid[],
  model: ImageTokenIds,
): MropePositions {
  const T = ids.length;
  const merge = model.spatial_merge_size;
  const positions = new Uint32Array(3 * T);
  let next = 0;
  let images = 0;
  for (let t = 0; t < T;) {
    if (ids[t] === model.video_token_id) throw new UserError(`token ${t}: videos are not supported`);
    if (ids[t] !== model.image_token_id) {
      positions[t] = positions[T + t] = positions[2 * T + t] = next++;
      t++;
      continue;
    }
    const grid = grids[images];
    if (!grid) throw new UserError(`token ${t} is an image token, but there are only ${images} pictures`);
    const tokens = mergeGroups(grid, merge);
    const columns = grid.w / merge;
    for (let i = 0; i < tokens; i++, t++) {
      if (ids[t] !== model.image_token_id) {
        throw new UserError(
          `picture ${images} of ${grid.h} x ${grid.w} patches has ${tokens} image tokens, the text has ${i}`,
        );
      }
      positions[t] = next;
      positions[T + t] = next + Math.floor(i / columns);
      positions[2 * T + t] = next + i % columns;
    }
    next += Math.max(grid.h, grid.w) / merge;
    images++;
  }
  return { positions, ropeDelta: next - T, images };
}

/** Rotary tables by token for any positions, cut from tables by position that grow as positions do. */
export class MropeTables {
  #headDim: number;
  #theta: number;
  #sections: readonly number[];
  #rows = 0;
  #cos = new Float32Array(0);
  #sin = new Float32Array(0);

  /** @param sections Pairs that turn by time, height and width, in this order; their sum is headDim / 2. */
  constructor(headDim: number, theta: number, sections: readonly [number, number, number]) {
    this.#headDim = headDim;
    this.#theta = theta;
    this.#sections = sections;
  }

  /** Writes cos and sin [T, headDim / 2] of positions [3, T] from row `first` on; the same bits as the model's own tables. */
  fill(positions: Uint32Array, cos: Float32Array, sin: Float32Array, first: number): void {
    const T = positions.length / 3;
    const half = this.#headDim / 2;
    const rows = positions.reduce((most, p) => Math.max(most, p), 0) + 1;
    if (rows > this.#rows) this.#grow(Math.max(rows, 2 * this.#rows));
    for (let t = 0; t < T; t++) {
      let pair = 0;
      for (let axis = 0; axis < 3; axis++) {
        const from = positions[axis * T + t] * half + pair;
        const to = (first + t) * half + pair;
        const pairs = this.#sections[axis];
        cos.set(this.#cos.subarray(from, from + pairs), to);
        sin.set(this.#sin.subarray(from, from + pairs), to);
        pair += pairs;
      }
    }
  }

  #grow(rows: number): void {
    const { cos, sin } = ropeTables(rows, this.#headDim, this.#theta);
    this.#cos = cos as Float32Array<ArrayBuffer>;
    this.#sin = sin as Float32Array<ArrayBuffer>;
    this.#rows = rows;
  }
}
