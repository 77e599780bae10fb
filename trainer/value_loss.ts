/**
 * The value loss of packed sequences on the GPU, beside the policy's: it leaves ∂L/∂V for the graph's backward pass and adds
 * up the statistics of an optimizer step.
 * @module
 */
import { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { PARTIAL_TOKENS } from "../models/layer.ts";
import type { SequenceGraph } from "../models/sequence_graph.ts";
import { columnSum, columnSumFinish } from "../shaders/column_sum.ts";
import { VALUE_STATS, valueLoss } from "../shaders/value_loss.ts";
import type { ShapedTrajectory } from "./trajectory.ts";

/** What is the same for all tokens. */
export interface ValueLossOptions {
  /** Values are clipped to within so much of the old ones (EasyR1's `cliprange_value`). */
  readonly clip: number;
  /** Weight beside the policy's loss (TRL's `vf_coef`). */
  readonly coefficient: number;
}

/** One response; arrays are [L]. */
export interface ValueSequence {
  /** Values before the update. */
  readonly old: ArrayLike<number>;
  /** What the values should be. */
  readonly returns: ArrayLike<number>;
  /** Weight of each token in the loss. */
  readonly weights: ArrayLike<number>;
}

/** Sums over the tokens since the last {@link ValueLoss.clear}; `vf_loss` is without the coefficient. */
export type ValueSums = Record<typeof VALUE_STATS[number], number>;

/** The value loss's kernels beside a graph with a value head. */
export class ValueLoss {
  /** [4] sums, see {@link valueSums}. */
  readonly totals: Tensor;
  #graph: SequenceGraph;
  #program: Program;
  #tensors: Record<"target" | "stats" | "partial", Tensor>;
  #rows = 0;

  constructor(graph: SequenceGraph, options: ValueLossOptions) {
    const { values, dvalues, capacity: n } = graph;
    if (!values || !dvalues) throw new Error("this graph was made without a value head");
    const { gpu } = graph.model;
    const width = VALUE_STATS.length;
    const data = (name: string, shape: number[]) => gpu.alloc(name, shape, "data");
    this.#graph = graph;
    const { target, stats, partial } = this.#tensors = {
      target: data("value targets", [n, 4]),
      stats: data("value statistics", [n, width]),
      partial: data("partial value statistics", [Math.ceil(n / PARTIAL_TOKENS), width]),
    };
    this.totals = data("value statistics of a step", [width]);
    const tokens = () => this.#rows;
    this.#program = new Program(gpu, "value loss")
      .add(valueLoss, { value: values, target, dvalue: dvalues, stats }, { tokens, ...options })
      .add(columnSum, { dy: stats, partial }, { tokens, width, chunk: PARTIAL_TOKENS })
      .add(columnSumFinish, { partial, out: this.totals }, {
        rows: () => Math.ceil(this.#rows / PARTIAL_TOKENS),
        width,
      });
  }

  /** Zeroes the sums: a new optimizer step begins. */
  clear(): void {
    this.#graph.model.gpu.clear(this.totals);
  }

  /** Sends the sequences of the graph's loaded batch, in its order. */
  load(sequences: readonly ValueSequence[]): void {
    const rows = sequences.flatMap(({ old, returns, weights }) =>
      Array.from({ length: old.length }, (_, t) => [old[t], returns[t], weights[t], 0])
    );
    this.#rows = rows.length;
    this.#graph.model.gpu.write(this.#tensors.target, Float32Array.from(rows.flat()));
  }

  /** Submits the loss of the loaded sequences after the graph's forward pass, and before its backward pass. */
  run(): Promise<void> {
    return this.#program.run();
  }

  /** Gives the memory back. */
  free(): void {
    this.#program.destroy();
    for (const tensor of [...Object.values(this.#tensors), this.totals]) {
      this.#graph.model.gpu.pool.free(tensor);
    }
  }
}

/** Names the columns of {@link ValueLoss.totals} as read back. */
export function valueSums(totals: ArrayLike<number>): ValueSums {
  return Object.fromEntries(VALUE_STATS.map((name, i) => [name, totals[i]])) as ValueSums;
}

/**
 * What an iteration's steps say of the values, under EasyR1's names; nothing without a value head. The explained variance is
 * 1 − var(R − V) / var(R) of the values before the update.
 * @param learned trajectories that the steps learned from, `epochs` times over
 */
export function valueMetrics(
  sums: readonly ValueSums[],
  learned: readonly ShapedTrajectory[],
  epochs: number,
): Record<string, number> {
  if (sums.length === 0) return {};
  const tokens = learned.reduce((n, t) => n + t.tokens.length, 0) * epochs;
  const total = (name: keyof ValueSums) => sums.reduce((s, x) => s + x[name], 0);
  const returns = learned.flatMap((t) => Array.from(t.values!.returns));
  const misses = learned.flatMap((t) => Array.from(t.values!.returns, (r, k) => r - t.values!.old[k]));
  const spread = variance(returns);
  return {
    "critic/vf_loss": total("vf_loss") / sums.length,
    "critic/vf_clipfrac": total("clipped") / tokens,
    "critic/vpred_mean": total("value") / tokens,
    "critic/returns/mean": returns.reduce((a, b) => a + b, 0) / returns.length,
    ...(spread > 0 && { "critic/vf_explained_var": 1 - variance(misses) / spread }),
  };
}

function variance(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return values.reduce((s, x) => s + (x - mean) ** 2, 0) / values.length;
}
