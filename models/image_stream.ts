/**
 * Pictures in a stream of tokens: the vision tower's rows in place of image tokens, their gradient back to the tower, and
 * rotary tables by token for M-RoPE.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import type { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { embeddingForward } from "../shaders/embedding.ts";
import { gatherRows, NO_ROW } from "../shaders/rows.ts";
import type { CausalLM } from "./causal_lm.ts";
import { mropePositions, MropeTables } from "./mrope.ts";
import type { PackedBatch } from "./packed_batch.ts";
import { type VisionOptions, VisionTower } from "./vision_tower.ts";

/**
 * The ids that a graph without a tower embeds.
 * @throws UserError when the batch has pictures or image tokens
 */
export function textIds(model: CausalLM, batch: PackedBatch): Uint32Array<ArrayBuffer> {
  const pictures = batch.images?.length ?? 0;
  const { vision } = model.config;
  const token = vision ? batch.ids.indexOf(vision.image_token_id) : -1;
  if (pictures > 0 || token >= 0) {
    const where = token >= 0 ? ` and token ${token} is an image token` : "";
    throw new UserError(`the batch has ${pictures} pictures${where}, this graph takes text only`);
  }
  return batch.ids;
}

/** Pictures in the stream of up to T tokens. */
export class ImageStream {
  /** The tower and its merger. */
  readonly tower: VisionTower;
  /** [T, head_dim / 2] by token. */
  readonly cos: Tensor;
  /** [T, head_dim / 2] by token. */
  readonly sin: Tensor;
  /** [T] row of the tower's embeddings, {@link NO_ROW} for text. */
  #rows: Tensor;
  /** Token of every row of the tower's embeddings. */
  #tokens: Tensor;
  #tables: MropeTables;
  #model: CausalLM;

  /** @param tokens T */
  constructor(model: CausalLM, tokens: number, options: VisionOptions) {
    const { gpu, config: c } = model;
    this.#model = model;
    this.tower = new VisionTower(model, options);
    this.#rows = gpu.alloc("image rows", [tokens], "data", "u32");
    this.#tokens = gpu.alloc("image tokens", [this.tower.embeddings.shape[0]], "data", "u32");
    this.cos = gpu.alloc("rope cos by token", [tokens, c.head_dim / 2], "data");
    this.sin = gpu.alloc("rope sin by token", [tokens, c.head_dim / 2], "data");
    this.#tables = new MropeTables(c.head_dim, c.rope_theta, c.mrope_section!);
  }

  /** Records the image tokens' rows of `x` [T, hidden], which no id has filled. */
  recordForward(program: Program, x: Tensor, tokens: () => number): void {
    program.add(embeddingForward, { ids: this.#rows, weight: this.tower.embeddings, y: x }, {
      tokens,
      width: this.#model.config.hidden_size,
      first_row: 0,
      rows: () => this.tower.size.tokens,
    });
  }

  /** Records the tower's gradient, where something in it is trained, from `dx` [T, hidden]. */
  recordBackward(program: Program, dx: Tensor): void {
    if (!this.tower.gradient) return;
    program.add(gatherRows, { x: dx, index: this.#tokens, y: this.tower.gradient }, {
      rows: () => this.tower.size.tokens,
      width: this.#model.config.hidden_size,
    });
  }

  /**
   * Sends a batch's pictures and what depends on them.
   * @returns [T] the ids that are left to embed, {@link NO_ROW} in place of image tokens
   * @throws UserError when the image tokens in the text are not those of the pictures; RangeError beyond the capacity
   */
  load(batch: PackedBatch): Uint32Array<ArrayBuffer> {
    const { gpu, config } = this.#model;
    const v = config.vision!;
    const T = batch.ids.length;
    const pictures = batch.images ?? [];
    const grids = pictures.map(({ grid }) => grid);
    const cos = new Float32Array(T * config.head_dim / 2);
    const sin = new Float32Array(cos.length);
    let used = 0;
    for (let first = 0, end = 0; first < T; first = end) {
      end = batch.segments[2 * first + 1];
      const sequence = mropePositions(batch.ids.subarray(first, end), grids.slice(used), v);
      used += sequence.images;
      this.#tables.fill(sequence.positions, cos, sin, first);
    }
    if (used !== pictures.length) {
      throw new UserError(
        `the batch has ${pictures.length} pictures, its texts have image tokens for ${used}`,
      );
    }
    this.tower.load(pictures);
    const { order } = this.tower;
    const rows = new Uint32Array(T).fill(NO_ROW);
    const tokens = new Uint32Array(order.length);
    const embedded = batch.ids.slice();
    let image = 0;
    batch.ids.forEach((id, t) => {
      if (id !== v.image_token_id) return;
      embedded[t] = NO_ROW;
      rows[t] = order[image];
      tokens[order[image++]] = t;
    });
    gpu.write(this.#rows, rows);
    gpu.write(this.#tokens, tokens);
    gpu.write(this.cos, cos);
    gpu.write(this.sin, sin);
    return embedded;
  }

  /** Gives the memory back; the model stays. */
  free(): void {
    this.tower.free();
    for (const tensor of [this.#rows, this.#tokens, this.cos, this.sin]) this.#model.gpu.pool.free(tensor);
  }
}
