/**
 * The token-level loss of packed sequences on the GPU: advantages with their entropy bonus, clipped policy term, KL; it
 * leaves ∂L/∂log π for the graph's backward pass and adds up the statistics of an optimizer step.
 * @module
 */
import { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { PARTIAL_TOKENS } from "../models/layer.ts";
import type { SequenceGraph } from "../models/sequence_graph.ts";
import { columnSum, columnSumFinish } from "../shaders/column_sum.ts";
import {
  KL_KINDS,
  policyLoss,
  SEQUENCE_FIELDS,
  STAT_COLUMNS,
  tokenAdvantage,
} from "../shaders/policy_loss.ts";

/** What is the same for all tokens. */
export interface TokenLossOptions {
  /** ε_l */
  readonly clip_low: number;
  /** ε_h */
  readonly clip_high: number;
  /** Bound of the dual clip; null turns it off. */
  readonly clip_dual: number | null;
  readonly kl_kind: keyof typeof KL_KINDS;
  /** Divide the advantage by the length. */
  readonly length_normalise: boolean;
}

/** One response; arrays are [L]. */
export interface LossSequence {
  /** log π_old */
  readonly logps: ArrayLike<number>;
  /** log π_ref */
  readonly reference: ArrayLike<number>;
  /** Window entropies. */
  readonly windows: ArrayLike<number>;
  /** 1 inside high-entropy windows. */
  readonly mask: ArrayLike<number>;
  /** Of every token, before the bonus. */
  readonly advantages: ArrayLike<number>;
  /** Weight of a token in the loss: 1/(B L) or 1/N. */
  readonly weight: number;
  /** Share of each token's loss, KL included, that this response bears; 1 of every token where it is left out. */
  readonly credit?: ArrayLike<number>;
  /** Weight of the KL term outside and inside windows. */
  readonly klOutside: number;
  readonly klInside: number;
  /** Factor on the entropy bonus ψ. */
  readonly bonus: number;
  /** τ */
  readonly threshold: number;
  /** 0 easy, 1 medium, 2 hard. */
  readonly bucket: number;
}

/** Sums over the tokens since the last {@link TokenLoss.clear}. */
export type LossSums = Record<typeof STAT_COLUMNS[number], number>;

/** The loss kernels beside one graph. */
export class TokenLoss {
  /** [20] sums, see {@link lossSums}. */
  readonly totals: Tensor;
  #graph: SequenceGraph;
  #program: Program;
  #tensors: Record<
    "behaviour" | "sequence" | "spans" | "sequenceOf" | "base" | "advantages" | "stats" | "partial",
    Tensor
  >;
  #rows = 0;
  #sequences = 0;

  constructor(graph: SequenceGraph, options: TokenLossOptions) {
    const { gpu } = graph.model;
    this.#graph = graph;
    const n = graph.capacity;
    const columns = STAT_COLUMNS.length;
    const data = (name: string, shape: number[], dtype: "f32" | "u32" = "f32") =>
      gpu.alloc(name, shape, "data", dtype);
    const t = this.#tensors = {
      behaviour: data("behaviour", [n, 4]),
      sequence: data("sequence records", [n, SEQUENCE_FIELDS]),
      spans: data("response spans", [n, 2], "u32"),
      sequenceOf: data("sequence of token", [n], "u32"),
      base: data("advantages before the bonus", [n]),
      advantages: data("token advantages", [n]),
      stats: data("token statistics", [n, columns]),
      partial: data("partial statistics", [Math.ceil(n / PARTIAL_TOKENS), columns]),
    };
    this.totals = data("statistics of a step", [columns]);
    const tokens = () => this.#rows;
    const dims = {
      tokens,
      sequences: () => this.#sequences,
      length_normalise: options.length_normalise ? 1 : 0,
      clip_low: options.clip_low,
      clip_high: options.clip_high,
      clip_dual: options.clip_dual ?? 0,
      kl_kind: KL_KINDS[options.kl_kind],
    };
    this.#program = new Program(gpu, "policy loss")
      .add(tokenAdvantage, {
        behaviour: t.behaviour,
        sequence: t.sequence,
        spans: t.spans,
        base: t.base,
        out: t.advantages,
      }, dims)
      .add(policyLoss, {
        behaviour: t.behaviour,
        sequence: t.sequence,
        result: graph.result,
        sequence_of: t.sequenceOf,
        advantages: t.advantages,
        dlogp: graph.dlogp,
        stats: t.stats,
        dkl: graph.dkl,
      }, dims)
      .add(columnSum, { dy: t.stats, partial: t.partial }, { tokens, width: columns, chunk: PARTIAL_TOKENS })
      .add(columnSumFinish, { partial: t.partial, out: this.totals }, {
        rows: () => Math.ceil(this.#rows / PARTIAL_TOKENS),
        width: columns,
      });
  }

  /** Zeroes the sums: a new optimizer step begins. */
  clear(): void {
    this.#graph.model.gpu.clear(this.totals);
  }

  /** Sends the sequences of the graph's loaded batch, in its order. */
  load(sequences: readonly LossSequence[]): void {
    const { gpu } = this.#graph.model;
    const rows = sequences.reduce((n, s) => n + s.logps.length, 0);
    const behaviour = new Float32Array(4 * rows);
    const sequenceOf = new Uint32Array(rows);
    const base = new Float32Array(rows);
    // Tokens that bear a part of their loss have a record like their sequence's with a smaller weight, behind the others.
    const records = sequences.map((s) => recordOf(s, 1));
    const spans = new Uint32Array(2 * sequences.length);
    let row = 0;
    sequences.forEach((s, i) => {
      spans.set([row, s.logps.length], 2 * i);
      base.set(s.advantages, row);
      const byCredit = new Map([[1, i]]);
      for (let k = 0; k < s.logps.length; k++, row++) {
        behaviour.set([s.logps[k], s.reference[k], s.windows[k], s.mask[k]], 4 * row);
        const credit = s.credit?.[k] ?? 1;
        if (!byCredit.has(credit)) byCredit.set(credit, records.push(recordOf(s, credit)) - 1);
        sequenceOf[row] = byCredit.get(credit)!;
      }
    });
    this.#rows = rows;
    this.#sequences = sequences.length;
    gpu.write(this.#tensors.behaviour, behaviour);
    gpu.write(this.#tensors.sequenceOf, sequenceOf);
    gpu.write(this.#tensors.base, base);
    gpu.write(this.#tensors.sequence, Float32Array.from(records.flat()));
    gpu.write(this.#tensors.spans, spans);
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

/** A sequence record of policy_loss.wgsl, [8]. */
function recordOf(s: LossSequence, credit: number): number[] {
  return [0, s.weight * credit, s.klOutside, s.klInside, s.bonus, s.threshold, s.bucket, 0];
}

/** Names the columns of {@link TokenLoss.totals} as read back. */
export function lossSums(totals: ArrayLike<number>): LossSums {
  return Object.fromEntries(STAT_COLUMNS.map((name, i) => [name, totals[i]])) as LossSums;
}
