/**
 * Rows of several forward passes in one buffer, so that they are read back in one wait.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";

/** Rows of one tensor of a graph (`SequenceGraph.result` above all), pass after pass. */
export class PassResults {
  #gpu: Gpu;
  #columns: number;
  #tensor: Tensor | undefined;
  #rows = 0;

  /** @param columns values of a row; 4 as of a `result` by default */
  constructor(gpu: Gpu, columns = 4) {
    this.#gpu = gpu;
    this.#columns = columns;
  }

  /** Starts over with room for `rows` rows; the buffer grows when it has to. */
  reserve(rows: number): void {
    this.#rows = 0;
    if (this.#tensor && this.#tensor.size >= this.#columns * rows) return;
    this.free();
    this.#tensor = this.#gpu.alloc(
      "results of passes",
      [Math.ceil(Math.max(1, rows) / 256) * 256, this.#columns],
      "scratch",
    );
  }

  /** Copies the first `rows` rows of the tensor behind those before. */
  add(tensor: Tensor, rows: number): void {
    this.#gpu.copyTo(tensor, this.#columns * rows, this.tensor, this.#columns * this.#rows);
    this.#rows += rows;
  }

  /** [rows, columns] what was added. */
  get tensor(): Tensor {
    if (!this.#tensor) throw new Error("reserve rows first");
    return this.#tensor;
  }

  /** Gives the memory back. */
  free(): void {
    if (this.#tensor) this.#gpu.pool.free(this.#tensor);
    this.#tensor = undefined;
  }
}
