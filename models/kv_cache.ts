/**
 * The paged key-value cache: blocks of a few token positions, handed out by reference count, so that a prompt's blocks
 * serve all its rollouts.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import { GpuError } from "../gpu/errors.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { ModelConfig } from "./config.ts";

/** Keys and values of every layer, and which blocks are taken. */
export class KvCache {
  /** Token positions of a block. */
  readonly blockSize: number;
  /** Number of blocks. */
  readonly blocks: number;
  /** Per layer: keys and values [blocks · blockSize, kv_heads · head_dim]. */
  readonly layers: readonly { readonly keys: Tensor; readonly values: Tensor }[];
  #gpu: Gpu;
  #free: number[];
  #references: Uint32Array;
  #highest = 0;

  /** Takes the memory of every block. */
  constructor(gpu: Gpu, config: ModelConfig, blocks: number, blockSize: number) {
    const width = config.num_key_value_heads * config.head_dim;
    this.#gpu = gpu;
    this.blocks = blocks;
    this.blockSize = blockSize;
    const { precision, software } = gpu.traits;
    const dtype = precision === "float16" && !software ? "f16" : "f32";
    this.layers = Array.from({ length: config.num_hidden_layers }, (_, i) => ({
      keys: gpu.alloc(`layer ${i} key cache`, [blocks * blockSize, width], "cache", dtype),
      values: gpu.alloc(`layer ${i} value cache`, [blocks * blockSize, width], "cache", dtype),
    }));
    this.#free = Array.from({ length: blocks }, (_, i) => blocks - 1 - i);
    this.#references = new Uint32Array(blocks);
  }

  /** Whether keys and values stand in f16: on GPUs whose products take rounded operands. */
  get half(): boolean {
    return this.layers[0].keys.dtype === "f16";
  }

  /** Blocks not taken. */
  get available(): number {
    return this.#free.length;
  }

  /** Rows of every layer's tensors that have held a sequence since the cache was made; none above them has. */
  get rowsUsed(): number {
    return this.#highest * this.blockSize;
  }

  /** Takes `count` blocks. */
  take(count: number): number[] {
    if (count > this.#free.length) {
      throw new GpuError(`the KV cache has ${this.#free.length} free blocks, ${count} are needed`);
    }
    return Array.from({ length: count }, () => {
      const block = this.#free.pop()!;
      this.#references[block] = 1;
      this.#highest = Math.max(this.#highest, block + 1);
      return block;
    });
  }

  /** One more user of each block. */
  share(blocks: readonly number[]): void {
    for (const block of blocks) this.#references[block]++;
  }

  /** One user less of each block; a block without users is free again. */
  release(blocks: readonly number[]): void {
    for (const block of blocks) if (--this.#references[block] === 0) this.#free.push(block);
  }

  /** Gives the memory back. */
  free(): void {
    for (const { keys, values } of this.layers) {
      this.#gpu.pool.free(keys);
      this.#gpu.pool.free(values);
    }
  }
}
