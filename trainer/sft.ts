/**
 * Supervised fine-tuning: cross-entropy on response tokens only.
 * @module
 */
import { groupByTokens, packSequences, type Sequence } from "../models/packed_batch.ts";
import type { SequenceGraph } from "../models/sequence_graph.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { AdamW, StepResult } from "./optimizer.ts";

/** One optimizer step. */
export interface SftStep extends StepResult {
  /** Mean cross-entropy over the batch's response tokens, nats; before the update. */
  readonly loss: number;
  /** Tokens of the batch, prompts included. */
  readonly tokens: number;
}

/** Runs optimizer steps on batches of any size, cut into passes that fit the graph. */
export class SftTrainer {
  #graph: SequenceGraph;
  #optimizer: AdamW;
  #results: Tensor | undefined;

  /** `graph` must have been made with `train`; `optimizer` over the same model's parameters. */
  constructor(graph: SequenceGraph, optimizer: AdamW) {
    this.#graph = graph;
    this.#optimizer = optimizer;
  }

  /** One step on `batch`: L = −(1/N) Σ log π(token), N scored tokens of the whole batch. One read-back. */
  async step(batch: readonly Sequence[]): Promise<SftStep> {
    const { gpu } = this.#graph.model;
    const groups = groupByTokens(batch, this.#graph.capacity).map(packSequences);
    const scored = groups.reduce((n, g) => n + g.rows.length, 0);
    const results = this.#resultsFor(scored * 4);
    let at = 0;
    for (const packed of groups) {
      this.#graph.load(packed);
      gpu.write(this.#graph.dlogp, new Float32Array(packed.rows.length).fill(-1 / scored));
      await this.#graph.forward();
      gpu.copyTo(this.#graph.result, packed.rows.length * 4, results, at);
      await this.#graph.backward();
      at += packed.rows.length * 4;
    }
    const step = await this.#optimizer.update(results);
    let sum = 0;
    for (let i = 0; i < scored; i++) sum -= step.read[0][4 * i];
    return { ...step, loss: sum / scored, tokens: groups.reduce((n, g) => n + g.ids.length, 0) };
  }

  /** Gives the memory back. */
  free(): void {
    if (this.#results) this.#graph.model.gpu.pool.free(this.#results);
    this.#results = undefined;
  }

  #resultsFor(size: number): Tensor {
    if (this.#results && this.#results.size >= size) return this.#results;
    this.free();
    return this.#results = this.#graph.model.gpu.alloc(
      "results of a batch",
      [Math.ceil(size / 1024) * 1024],
      "scratch",
    );
  }
}
