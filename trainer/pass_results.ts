/**
 * Results of several forward passes in one buffer, so that they are read back in one wait.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { SequenceGraph } from "../models/sequence_graph.ts";

/** Rows of `SequenceGraph.result`, pass after pass. */
export class PassResults {
  #gpu: Gpu;
  #tensor: Tensor | undefined;
  #rows = 0;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Starts over with room for `rows` rows; the buffer grows when it has to. */
  reserve(rows: number): void {
    this.#rows = 0;
    if (this.#tensor && this.#tensor.size >= 4 * rows) return;
    this.free();
    this.#tensor = this.#gpu.alloc(
      "results of passes",
      [Math.ceil(Math.max(1, rows) / 256) * 256, 4],
      "scratch",
    );
  }

  /** Copies the rows of the graph's last forward pass behind those before. */
  add(graph: SequenceGraph): void {
    const { rows } = graph.size;
    this.#gpu.copyTo(graph.result, 4 * rows, this.tensor, 4 * this.#rows);
    this.#rows += rows;
  }

  /** [rows, 4]: log-probability, entropy, log-sum-exp, 0. */
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
