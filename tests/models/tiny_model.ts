/**
 * Models small enough for f64 loops: configs, reproducible weights and batches, and one pass through a graph.
 * @module
 */
import { Rng } from "../../data/random.ts";
import type { Gpu } from "../../gpu/device.ts";
import { elements } from "../../gpu/tensor.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { type ModelConfig, parameterShapes, parseModelConfig } from "../../models/config.ts";
import { packSequences, type Sequence } from "../../models/packed_batch.ts";
import { type GraphOptions, SequenceGraph } from "../../models/sequence_graph.ts";
import type { Weights } from "../reference/layer.ts";

/** A Qwen2 of one block with tied embeddings, four query heads to one key head, unless `changes` says otherwise. */
export function tinyConfig(changes: Record<string, unknown> = {}): ModelConfig {
  return parseModelConfig(
    {
      model_type: "qwen2",
      vocab_size: 105,
      hidden_size: 24,
      intermediate_size: 28,
      num_hidden_layers: 1,
      num_attention_heads: 4,
      num_key_value_heads: 1,
      head_dim: 8,
      rms_norm_eps: 1e-3, // large enough for a lost one to show
      rope_theta: 100,
      max_position_embeddings: 64,
      tie_word_embeddings: true,
      ...changes,
    },
    "tiny config",
  );
}

/** Uniform values in [-scale, scale), equal for equal names. */
export function uniform(
  size: number,
  scale: number,
  ...path: (number | string)[]
): Float32Array<ArrayBuffer> {
  const rng = new Rng(...path);
  return Float32Array.from({ length: size }, () => (2 * rng.float() - 1) * scale);
}

/** Weights of a size that makes attention and softmax far from flat; norms around 1; no bias is zero. */
export function randomWeights(config: ModelConfig, seed = 1): Map<string, Float32Array<ArrayBuffer>> {
  const weights = new Map<string, Float32Array<ArrayBuffer>>();
  for (const [name, shape] of parameterShapes(config)) {
    const norm = /norm|ln_q/.test(name);
    const inputs = elements(shape.slice(1));
    const scale = name.endsWith("bias") ? 0.5 : name.includes("embed") ? 1 : 2 / Math.sqrt(inputs);
    const values = uniform(elements(shape), norm ? 0.4 : scale, seed, name);
    weights.set(name, norm ? values.map((x) => x + 1) : values);
  }
  return weights;
}

/** The same weights for the reference. */
export function widen(weights: ReadonlyMap<string, Float32Array>): Map<string, Float64Array> & Weights {
  return new Map([...weights].map(([name, values]) => [name, Float64Array.from(values)]));
}

/** A trainable model with these weights. */
export function tinyModel(
  gpu: Gpu,
  config: ModelConfig,
  weights: ReadonlyMap<string, Float32Array>,
): Promise<CausalLM> {
  return CausalLM.create(gpu, config, (name) => weights.get(name)!, { trainable: true });
}

/** Sequences of random ids: `[length, scoreFrom]` each. */
export function randomSequences(
  config: ModelConfig,
  lengths: readonly [number, number][],
  seed = 1,
): Sequence[] {
  return lengths.map(([length, scoreFrom], i) => {
    const rng = new Rng(seed, "sequence", i);
    return { ids: Array.from({ length }, () => rng.below(config.vocab_size)), scoreFrom };
  });
}

/** ∂L/∂logp and ∂L/∂H of every scored row. */
export interface Slopes {
  readonly dlogp: Float32Array<ArrayBuffer>;
  readonly dentropy: Float32Array<ArrayBuffer>;
}

/** Random slopes for all scored rows of `sequences`. */
export function randomSlopes(sequences: readonly Sequence[], seed = 1): Slopes {
  const rows = packSequences(sequences).rows.length;
  return { dlogp: uniform(rows, 1, seed, "dlogp"), dentropy: uniform(rows, 1, seed, "dentropy") };
}

/** What a pass gave: a value per scored row, and the accumulated gradients under Hugging Face names. */
export interface Pass {
  readonly logp: Float64Array;
  readonly entropy: Float64Array;
  readonly gradients: Map<string, Float32Array>;
}

/** Gradients under their Hugging Face names, in one wait. */
export async function readGradients(model: CausalLM): Promise<Map<string, Float32Array>> {
  const trained = model.parameters.list.filter((p) => p.gradient);
  const all = await model.gpu.read(...trained.map((p) => p.gradient!));
  return new Map(trained.flatMap((p, i) =>
    p.slices.map(({ name, shape, start }) => [
      name,
      (all[i] as Float32Array).subarray(start, start + elements(shape)),
    ])
  ));
}

/** Forward and backward of a batch; gradients start from zero unless `accumulate`. */
export async function pass(
  graph: SequenceGraph,
  sequences: readonly Sequence[],
  slopes: Slopes,
  accumulate = false,
): Promise<Pass> {
  const { gpu, parameters } = graph.model;
  if (!accumulate) parameters.clearGradients();
  graph.load(packSequences(sequences));
  await graph.forward();
  gpu.write(graph.dlogp, slopes.dlogp);
  gpu.write(graph.dentropy, slopes.dentropy);
  await graph.backward();
  const result = await gpu.readF32(graph.result);
  const column = (c: number) => Float64Array.from({ length: graph.size.rows }, (_, r) => result[4 * r + c]);
  return { logp: column(0), entropy: column(1), gradients: await readGradients(graph.model) };
}

/** {@link pass} of a model and a graph made for it and freed again. */
export async function freshPass(
  gpu: Gpu,
  config: ModelConfig,
  weights: ReadonlyMap<string, Float32Array>,
  sequences: readonly Sequence[],
  slopes: Slopes,
  options: Partial<GraphOptions> & { temperature?: number } = {},
): Promise<Pass> {
  const model = await tinyModel(gpu, config, weights);
  const tokens = sequences.reduce((n, s) => n + s.ids.length, 0);
  const graph = new SequenceGraph(model, { tokens, train: true, ...options });
  graph.temperature = options.temperature ?? 1;
  const result = await pass(graph, sequences, slopes);
  graph.free();
  model.parameters.free();
  return result;
}

/** Largest |actual − expected| over the largest |expected|; infinite when anything is not finite or a length differs. */
export function difference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let scale = 1e-12;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    scale = Math.max(scale, Math.abs(expected[i]));
    const d = Math.abs(actual[i] - expected[i]);
    worst = Number.isFinite(d) ? Math.max(worst, d) : Infinity;
  }
  return worst / scale;
}

/** The worst {@link difference} of two passes, gradients one tensor at a time. */
export function passDifference(actual: Pass, expected: Pass): number {
  let worst = Math.max(
    difference(actual.logp, expected.logp),
    difference(actual.entropy, expected.entropy),
  );
  if (actual.gradients.size !== expected.gradients.size) return Infinity;
  for (const [name, g] of expected.gradients) {
    worst = Math.max(worst, difference(actual.gradients.get(name)!, g));
  }
  return worst;
}
