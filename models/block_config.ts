/**
 * What one transformer block computes: the numbers that the language model's and the vision tower's blocks share.
 * @module
 */

/** Sizes and constants of a block, under Hugging Face's names. */
export interface BlockConfig {
  /** Width of the residual stream. */
  readonly hidden_size: number;
  /** Width inside the SwiGLU. */
  readonly intermediate_size: number;
  /** Query heads. */
  readonly num_attention_heads: number;
  /** Key and value heads; divides `num_attention_heads`. */
  readonly num_key_value_heads: number;
  /** Width of a head, a multiple of 8; `num_attention_heads · head_dim` need not equal `hidden_size`. */
  readonly head_dim: number;
  /** Added to the mean square inside every RMSNorm. */
  readonly rms_norm_eps: number;
  /** Whether a token sees only itself and what stands before it in its segment; true when left out. */
  readonly causal?: boolean;
}
