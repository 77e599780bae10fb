/**
 * How the time of a training pass grows: with its tokens, the length of its sequences, the vocabulary and the width; each
 * with the exponent of a power law through the points.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import { elements } from "../gpu/tensor.ts";
import { CausalLM } from "../models/causal_lm.ts";
import { parseModelConfig } from "../models/config.ts";
import { packSequences } from "../models/packed_batch.ts";
import { SequenceGraph } from "../models/sequence_graph.ts";
import { type Clock, wallTime } from "./clock.ts";
import { spread, tokenIds } from "./workload.ts";

/** One pass. */
interface Pass {
  readonly width: number;
  readonly layers: number;
  readonly vocabulary: number;
  readonly sequences: number;
  /** Tokens of a sequence. */
  readonly length: number;
}

/** What is varied. */
export interface Scaling {
  /** e.g. `scaling.tokens`. */
  readonly name: string;
  /** What grows, what stays, and what is expected. */
  readonly what: string;
  /** Unit of the sizes. */
  readonly unit: string;
  readonly points: readonly { readonly size: number; readonly pass: Pass }[];
}

/** A measured point. */
export interface ScalingPoint {
  readonly size: number;
  /** Forward and backward pass on the wall's clock. */
  readonly milliseconds: number;
  /** Of the attention kernels' own time; null without timestamps. */
  readonly attention: number | null;
  /** Of all other kernels'; null without timestamps. */
  readonly rest: number | null;
}

/** What a scaling came to. Exponents are those of size in a power law fitted by least squares in the logarithms. */
export interface ScalingResult extends Pick<Scaling, "name" | "what" | "unit"> {
  readonly points: readonly ScalingPoint[];
  /** Of the whole pass. */
  readonly exponent: number;
  /** Of attention and of the rest; null without timestamps. */
  readonly attentionExponent: number | null;
  readonly restExponent: number | null;
}

const points = (sizes: readonly number[], pass: (size: number) => Pass) =>
  sizes.map((size) => ({ size, pass: pass(size) }));

/** All scalings; each stays well under a minute on two CPU cores. */
export const SCALINGS: readonly Scaling[] = [
  {
    name: "scaling.tokens",
    what: "more sequences of 64 tokens, width 128, 2 layers, vocabulary 512: linear, exponent 1",
    unit: "tokens",
    points: points(
      [256, 512, 1024, 2048],
      (n) => ({ width: 128, layers: 2, vocabulary: 512, sequences: n / 64, length: 64 }),
    ),
  },
  {
    name: "scaling.context",
    what:
      "2048 tokens in fewer, longer sequences, width 128, 2 layers, vocabulary 512: attention grows in proportion " +
      "(its square in each sequence), the rest stays",
    unit: "tokens a sequence",
    points: points(
      [128, 256, 512, 1024, 2048],
      (n) => ({ width: 128, layers: 2, vocabulary: 512, sequences: 2048 / n, length: n }),
    ),
  },
  {
    name: "scaling.vocabulary",
    what: "larger vocabularies, 512 tokens, width 128, 1 layer: linear, exponent 1",
    unit: "entries",
    points: points(
      [2048, 4096, 8192, 16384],
      (n) => ({ width: 128, layers: 1, vocabulary: n, sequences: 8, length: 64 }),
    ),
  },
  {
    name: "scaling.width",
    what:
      "wider models with as many weights as the square of their width, 512 tokens, 2 layers, vocabulary 512: " +
      "towards exponent 2",
    unit: "hidden size",
    points: points(
      [64, 128, 256, 512],
      (n) => ({ width: n, layers: 2, vocabulary: 512, sequences: 8, length: 64 }),
    ),
  },
];

/** Exponent b of the power law a · size^b that fits best in the logarithms. */
export function fittedExponent(sizes: readonly number[], values: readonly number[]): number {
  const x = sizes.map(Math.log), y = values.map(Math.log);
  const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;
  const mx = mean(x), my = mean(y);
  const top = x.reduce((sum, xi, i) => sum + (xi - mx) * (y[i] - my), 0);
  return top / x.reduce((sum, xi) => sum + (xi - mx) ** 2, 0);
}

/** Measures a scaling; the least of `rounds` at every point, which others on the machine disturb least. */
export async function measureScaling(
  gpu: Gpu,
  { points, ...scaling }: Scaling,
  rounds: number,
  clock: Clock,
): Promise<ScalingResult> {
  const measured: ScalingPoint[] = [];
  for (const { size, pass } of points) measured.push({ size, ...await timePass(gpu, pass, rounds, clock) });
  const exponent = (values: readonly (number | null)[]): number | null =>
    values.some((v) => v === null) ? null : fittedExponent(points.map((p) => p.size), values as number[]);
  return {
    ...scaling,
    points: measured,
    exponent: exponent(measured.map((m) => m.milliseconds))!,
    attentionExponent: exponent(measured.map((m) => m.attention)),
    restExponent: exponent(measured.map((m) => m.rest)),
  };
}

async function timePass(
  gpu: Gpu,
  { width, layers, vocabulary, sequences, length }: Pass,
  rounds: number,
  clock: Clock,
): Promise<Omit<ScalingPoint, "size">> {
  const config = parseModelConfig({
    model_type: "qwen2",
    hidden_size: width,
    num_hidden_layers: layers,
    num_attention_heads: width / 32,
    num_key_value_heads: 2,
    intermediate_size: 3 * width,
    vocab_size: vocabulary,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: true,
  }, "bench: scaling");
  const weights = (_: string, shape: readonly number[]) => spread(elements(shape)).map((x) => 0.1 * x);
  const model = await CausalLM.create(gpu, config, weights, { trainable: true });
  const graph = new SequenceGraph(model, { tokens: sequences * length, train: true });
  const ids = tokenIds(sequences * length, vocabulary);
  graph.load(packSequences(
    Array.from(
      { length: sequences },
      (_, i) => ({ ids: ids.subarray(i * length, (i + 1) * length), scoreFrom: 1 }),
    ),
  ));
  gpu.write(graph.dlogp, new Float32Array(graph.size.rows).fill(-1e-3));
  const { forward, backward } = graph.programs;
  const pass = () =>
    gpu.together(async () => {
      await graph.forward();
      await graph.backward();
    });
  let milliseconds = Infinity, attention = Infinity, rest = Infinity;
  try {
    // Compiles.
    await wallTime(gpu, pass);
    for (let round = 0; round < rounds; round++) {
      milliseconds = Math.min(milliseconds, await wallTime(gpu, pass));
      if (clock === "wall") continue;
      const kernels = [...await forward.profile(), ...await backward!.profile()];
      const sum = (wanted: boolean) =>
        kernels.filter(({ name }) => name.startsWith("attention") === wanted)
          .reduce((total, k) => total + k.milliseconds, 0);
      attention = Math.min(attention, sum(true));
      rest = Math.min(rest, sum(false));
    }
  } finally {
    graph.free();
    model.free();
    // The next point's buffers have other sizes.
    gpu.pool.trim();
  }
  return clock === "wall" ? { milliseconds, attention: null, rest: null } : { milliseconds, attention, rest };
}
