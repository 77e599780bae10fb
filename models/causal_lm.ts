/**
 * A causal language model: config, weights on the GPU and rotary tables. Qwen2, Llama, and Qwen2.5-VL with its vision
 * tower.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { ropeTables } from "../shaders/rope.ts";
import { type CheckpointDtype, openCheckpoint, saveCheckpoint } from "./checkpoint_folder.ts";
import type { CheckpointNaming } from "./checkpoint_names.ts";
import { loadModelConfig, type ModelConfig } from "./config.ts";
import { type ModelPart, type Parameter, Parameters } from "./parameters.ts";

/** Gives the initial values of a parameter. */
export type Initializer = (name: string, shape: readonly number[]) => Float32Array;

/** Which weights are trained. */
export interface TrainingOptions {
  /** Whether weights get gradients; default false. */
  readonly trainable?: boolean;
  /** Parts of a trainable model that stay as they are: no memory for gradients, no time for computing them. */
  readonly freeze?: readonly ModelPart[];
}

const PARTS: readonly ModelPart[] = ["vision_tower", "merger", "language_model"];

function trainedParts(options: TrainingOptions): readonly ModelPart[] {
  return options.trainable ? PARTS.filter((part) => !options.freeze?.includes(part)) : [];
}

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
  #naming: CheckpointNaming;
  /** Whether the tables are another model's. */
  #borrowed: boolean;

  private constructor(
    gpu: Gpu,
    config: ModelConfig,
    parameters: Parameters,
    [cos, sin]: readonly [Tensor, Tensor],
    naming: CheckpointNaming,
    borrowed = false,
  ) {
    this.gpu = gpu;
    this.config = config;
    this.parameters = parameters;
    this.cos = cos;
    this.sin = sin;
    this.#naming = naming;
    this.#borrowed = borrowed;
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
  static async load(gpu: Gpu, folder: string, options: TrainingOptions = {}): Promise<CausalLM> {
    const config = await loadModelConfig(folder);
    const checkpoint = await openCheckpoint(folder, config);
    const read = (name: string) => checkpoint.readF32(name);
    const parameters = await Parameters.load(gpu, config, read, trainedParts(options));
    return new CausalLM(gpu, config, parameters, CausalLM.#tables(gpu, config), checkpoint.naming);
  }

  /** A new model with weights from `init`. */
  static async create(
    gpu: Gpu,
    config: ModelConfig,
    init: Initializer,
    options: TrainingOptions = {},
  ): Promise<CausalLM> {
    const parameters = await Parameters.load(gpu, config, init, trainedParts(options));
    return new CausalLM(gpu, config, parameters, CausalLM.#tables(gpu, config), "released");
  }

  /** A copy with its own weights and no gradients: the reference policy. It reads this model's tables, which outlives it. */
  frozenCopy(): CausalLM {
    const { gpu, config, cos, sin } = this;
    return new CausalLM(gpu, config, this.parameters.frozenCopy(), [cos, sin], this.#naming, true);
  }

  /** The head's weight: `lm_head.weight`, or the embedding when tied. */
  get headWeight(): Parameter {
    return this.parameters.get(
      this.config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight",
    );
  }

  /**
   * Writes a Hugging Face folder that `transformers` loads, atomically; tensors are called as in the folder that was read.
   * @param copyFrom folder whose tokenizer and generation files are copied along
   */
  save(folder: string, options: { dtype?: CheckpointDtype; copyFrom?: string } = {}): Promise<void> {
    const { config, parameters } = this;
    return saveCheckpoint(folder, {
      config,
      tensors: parameters.weights(),
      naming: this.#naming,
      ...options,
    });
  }

  /** Gives the memory back. */
  free(): void {
    this.parameters.free();
    if (this.#borrowed) return;
    this.gpu.pool.free(this.cos);
    this.gpu.pool.free(this.sin);
  }
}
