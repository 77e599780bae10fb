/**
 * Supervised fine-tuning: cross-entropy on response tokens only.
 * @module
 */
import { groupByTokens, packSequences, type Sequence } from "../models/packed_batch.ts";
import type { SequenceGraph } from "../models/sequence_graph.ts";
import type { AdamW, StepResult } from "./optimizer.ts";
import { PassResults } from "./pass_results.ts";

/** One optimizer step. */
export interface SftStep extends StepResult {
  /** Mean cross-entropy over the batch's response tokens, nats; before the update. */
  readonly loss: number;
  /** Tokens of the batch, prompts included. */
  readonly tokens: number;
}

/** Runs optimizer steps on batches of any size, cut into passes that fit the graph, each one submit. */
export class SftTrainer {
  #graph: SequenceGraph;
  #optimizer: AdamW;
  #results: PassResults;

  /** `graph` must have been made with `train`; `optimizer` over the same model's parameters. */
  constructor(graph: SequenceGraph, optimizer: AdamW) {
    this.#graph = graph;
    this.#optimizer = optimizer;
    this.#results = new PassResults(graph.model.gpu);
  }

  /** One step on `batch`: L = −(1/N) Σ log π(token), N scored tokens of the whole batch. One read-back. */
  async step(batch: readonly Sequence[]): Promise<SftStep> {
    const { gpu } = this.#graph.model;
    const groups = groupByTokens(batch, this.#graph.capacity, this.#graph.vision?.capacity).map(
      packSequences,
    );
    const scored = groups.reduce((n, g) => n + g.rows.length, 0);
    this.#results.reserve(scored);
    for (const packed of groups) {
      this.#graph.load(packed);
      gpu.write(this.#graph.dlogp, new Float32Array(packed.rows.length).fill(-1 / scored));
      await gpu.together(async () => {
        await this.#graph.forward();
        this.#results.add(this.#graph.result, this.#graph.size.rows);
        await this.#graph.backward();
      });
    }
    const step = await this.#optimizer.update(this.#results.tensor);
    let sum = 0;
    for (let i = 0; i < scored; i++) sum -= step.read[0][4 * i];
    return { ...step, loss: sum / scored, tokens: groups.reduce((n, g) => n + g.ids.length, 0) };
  }

  /** Gives the memory back. */
  free(): void {
    this.#results.free();
  }
}
