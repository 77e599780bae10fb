/**
 * A causal language model: config, weights on the GPU and rotary tables. Qwen2 and Llama.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { ropeTables } from "../shaders/rope.ts";
import { type CheckpointDtype, openCheckpoint, saveCheckpoint } from "./checkpoint_folder.ts";
import { loadModelConfig, type ModelConfig } from "./config.ts";
import { type Parameter, Parameters } from "./parameters.ts";

/** Gives the initial values of a parameter. */
export type Initializer = (name: string, shape: readonly number[]) => Float32Array;

/** A model whose weights lie on the GPU in float32. */
export class CausalLM {
  /** Where the weights lie. */
  readonly gpu: Gpu;
  /** The checked `config.json`. */
  readonly config: ModelConfig;
  /** The weights, with gradients if trainable. */
  readonly parameters: Parameters;
  /** [max_position_embeddings, head_dim / 2] */
  readonly cos: Tensor;
  /** [max_position_embeddings, head_dim / 2] */
  readonly sin: Tensor;

  private constructor(gpu: Gpu, config: ModelConfig, parameters: Parameters, cos: Tensor, sin: Tensor) {
    this.gpu = gpu;
    this.config = config;
    this.parameters = parameters;
    this.cos = cos;
    this.sin = sin;
  }

  static #tables(gpu: Gpu, config: ModelConfig): [Tensor, Tensor] {
    const { cos, sin } = ropeTables(config.max_position_embeddings, config.head_dim, config.rope_theta);
    const shape = [config.max_position_embeddings, config.head_dim / 2];
    return [gpu.tensor("rope cos", shape, cos), gpu.tensor("rope sin", shape, sin)];
  }

  /**
   * Loads a Hugging Face folder (float32, float16 or bfloat16; one file or shards). Weights are widened to float32.
   * @throws UserError naming file and tensor when something is missing, extra, misshapen or truncated
   */
  static async load(gpu: Gpu, folder: string, options: { trainable?: boolean } = {}): Promise<CausalLM> {
    const config = await loadModelConfig(folder);
    const checkpoint = await openCheckpoint(folder, config);
    const read = (name: string) => checkpoint.readF32(name);
    const parameters = await Parameters.load(gpu, config, read, options.trainable ?? false);
    return new CausalLM(gpu, config, parameters, ...CausalLM.#tables(gpu, config));
  }

  /** A new model with weights from `init`. */
  static async create(
    gpu: Gpu,
    config: ModelConfig,
    init: Initializer,
    options: { trainable?: boolean } = {},
  ): Promise<CausalLM> {
    const parameters = await Parameters.load(gpu, config, init, options.trainable ?? false);
    return new CausalLM(gpu, config, parameters, ...CausalLM.#tables(gpu, config));
  }

  /** A copy with its own weights and no gradients: the reference policy. */
  frozenCopy(): CausalLM {
    return new CausalLM(this.gpu, this.config, this.parameters.frozenCopy(), this.cos, this.sin);
  }

  /** The head's weight: `lm_head.weight`, or the embedding when tied. */
  get headWeight(): Parameter {
    return this.parameters.get(
      this.config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight",
    );
  }

  /**
   * Writes a Hugging Face folder that `transformers` loads, atomically.
   * @param copyFrom folder whose tokenizer and generation files are copied along
   */
  save(folder: string, options: { dtype?: CheckpointDtype; copyFrom?: string } = {}): Promise<void> {
    return saveCheckpoint(folder, { config: this.config, tensors: this.parameters.weights(), ...options });
  }
}
