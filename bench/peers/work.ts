/**
 * The work that this project and its peers do side by side: the same shapes, numbers and weights everywhere.
 * @module
 */
import { type ModelConfig, parseModelConfig } from "../../models/config.ts";
import { SHAPES } from "../shapes.ts";

/** A Qwen2 model in float32, under Hugging Face's names. */
export interface PeerModel {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly intermediate_size: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
}

interface Named {
  /** For example `W1 512x512x512`. */
  readonly name: string;
  /** What is done once, in `unit`s: 10⁹ operations, tokens, iterations. */
  readonly amount: number;
  /** `GFLOP/s`, `tokens/s`, … */
  readonly unit: string;
  /** Minutes on a software adapter: there it waits to be asked for by name. */
  readonly hardware?: boolean;
}

/** C [m, n] = A [m, k] B [k, n], all f32, `A = spread(m k)`, `B = spread(k n)`. */
export interface MatmulWork extends Named {
  readonly kind: "matmul";
  readonly m: number;
  readonly k: number;
  readonly n: number;
}

/** Mean cross-entropy of every token but a sequence's first, its gradient, and AdamW with {@link ADAMW}. */
export interface TrainWork extends Named {
  readonly kind: "train";
  readonly model: PeerModel;
  readonly sequences: number;
  readonly length: number;
}

/** Sampling at temperature 1 and top-p 0.99, without a stop token. */
export interface GenerateWork extends Named {
  readonly kind: "generate";
  readonly model: PeerModel;
  readonly sequences: number;
  readonly prompt: number;
  readonly fresh: number;
}

/** Sampling, old and reference log-probabilities, and one clipped update with a KL term. */
export interface GrpoWork extends Named {
  readonly kind: "grpo";
  readonly model: PeerModel;
  readonly prompts: number;
  readonly rollouts: number;
  readonly prompt: number;
  readonly fresh: number;
}

/** A whole iteration of AEPO as the built-in demo has it; of no peer, but of what an iteration spends outside the GPU. */
export interface AepoWork extends Named {
  readonly kind: "aepo";
}

/** One kind of work. */
export type Work = MatmulWork | TrainWork | GenerateWork | GrpoWork | AepoWork;

/** The optimizer's settings, and the norm that gradients are clipped to. */
export const ADAMW = {
  lr: 1e-4,
  beta1: 0.9,
  beta2: 0.99,
  eps: 1e-8,
  weightDecay: 0.01,
  maxNorm: 1,
} as const;

/** The nucleus of all sampling. */
export const TOP_P = 0.99;

function peerModel(c: ModelConfig): PeerModel {
  const { vocab_size, hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads } = c;
  const { head_dim, intermediate_size, rms_norm_eps, rope_theta } = c;
  return {
    vocab_size,
    hidden_size,
    num_hidden_layers,
    num_attention_heads,
    num_key_value_heads,
    head_dim,
    intermediate_size,
    rms_norm_eps,
    rope_theta,
  };
}

/** The whole configuration of a work's model. */
export function configOf(model: PeerModel): ModelConfig {
  const rest = { model_type: "qwen2", max_position_embeddings: 256, tie_word_embeddings: true };
  return parseModelConfig({ ...model, ...rest }, "bench: peers");
}

const TINY = peerModel(SHAPES.tiny.config);
const SMALL = peerModel(SHAPES.small.config);

function matmul(m: number, k: number, n: number): MatmulWork {
  return {
    kind: "matmul",
    name: `W1 ${m}x${k}x${n}`,
    amount: 2e-9 * m * k * n,
    unit: "GFLOP/s",
    m,
    k,
    n,
  };
}

function train(name: string, model: PeerModel, sequences: number): TrainWork {
  const length = 128;
  return {
    kind: "train",
    name: `W2 ${name}`,
    amount: sequences * length,
    unit: "tokens/s",
    model,
    sequences,
    length,
  };
}

/** W1 to W4, and an iteration of the demo. */
export const WORKS: readonly Work[] = [
  matmul(512, 512, 512),
  matmul(1024, 1024, 1024),
  // Large enough for a card: one of its products takes milliseconds.
  { ...matmul(4096, 4096, 4096), hardware: true },
  matmul(8, 1024, 4096),
  train("tiny", TINY, 16),
  train("small", SMALL, 4),
  {
    kind: "generate",
    name: "W3 tiny",
    amount: 64 * 64,
    unit: "new tokens/s",
    model: TINY,
    sequences: 64,
    prompt: 32,
    fresh: 64,
  },
  {
    kind: "grpo",
    name: "W4 tiny",
    amount: 1,
    unit: "iterations/s",
    model: TINY,
    prompts: 8,
    rollouts: 8,
    prompt: 32,
    fresh: 64,
  },
  { kind: "aepo", name: "AEPO iteration", amount: 1, unit: "iterations/s" },
];

/**
 * Initial values of a parameter: norms 1, biases 0, the rest of standard deviation 0.02; by 32-bit integer arithmetic
 * alone (a hash of name and place), so that every language has the same.
 */
export function weights(
  name: string,
  shape: readonly number[],
): Float32Array<ArrayBuffer> {
  const size = shape.reduce((a, b) => a * b, 1);
  if (name.endsWith("norm.weight")) return new Float32Array(size).fill(1);
  if (name.endsWith(".bias")) return new Float32Array(size);
  let seed = 0;
  for (let i = 0; i < name.length; i++) {
    seed = (Math.imul(seed, 31) + name.charCodeAt(i)) >>> 0;
  }
  // A uniform distribution over ±√3 σ has the standard deviation σ.
  const scale = 2 * Math.sqrt(3) * 0.02;
  return Float32Array.from({ length: size }, (_, i) => {
    let h = (Math.imul(i, 0x9e3779b1) + seed) >>> 0;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) >>> 0;
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
    h = (h ^ (h >>> 16)) >>> 0;
    return (h / 2 ** 32 - 0.5) * scale;
  });
}
