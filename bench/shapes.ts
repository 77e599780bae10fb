/**
 * The models and batches that are timed: the sizes of a first run and of a model ten times as large.
 * @module
 */
import { type ModelConfig, parseModelConfig } from "../models/config.ts";

/** A model with the batches it trains and decodes in. */
export interface ModelShape {
  /** `tiny` or `small`. */
  readonly name: string;
  /** The model. */
  readonly config: ModelConfig;
  /** Sequences of a training batch. */
  readonly sequences: number;
  /** Tokens of each of them. */
  readonly length: number;
  /** Tokens of a training batch. */
  readonly tokens: number;
  /** Rows of a training batch whose next token is scored: all but each sequence's last. */
  readonly rows: number;
  /** Sequences decoded at once. */
  readonly slots: number;
  /** Tokens of a prompt. */
  readonly prompt: number;
  /** Longest sequence that is decoded, in tokens. */
  readonly context: number;
  /** Token positions of a cache block. */
  readonly blockSize: number;
}

function shape(
  name: string,
  [width, layers, heads, inner, vocabulary]: readonly number[],
  sequences: number,
): ModelShape {
  const config = parseModelConfig({
    model_type: "qwen2",
    hidden_size: width,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: 2,
    intermediate_size: inner,
    vocab_size: vocabulary,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: true,
  }, `bench: ${name}`);
  const length = 128;
  const decode = { slots: 64, prompt: 32, context: 96, blockSize: 16 };
  return {
    name,
    config,
    sequences,
    length,
    tokens: sequences * length,
    rows: sequences * (length - 1),
    ...decode,
  };
}

/** Qwen2, float32: 0.8 and 11 million weights. */
export const SHAPES: { readonly tiny: ModelShape; readonly small: ModelShape } = {
  tiny: shape("tiny", [128, 4, 4, 384, 512], 16),
  small: shape("small", [384, 6, 6, 1024, 4096], 4),
};

/** Attention of models of 3 billion weights and more, at the small model's size: heads of 128. */
export const WIDE_HEADS: ModelShape = {
  ...SHAPES.small,
  name: "wide",
  config: { ...SHAPES.small.config, num_attention_heads: 3, num_key_value_heads: 1, head_dim: 128 },
};
