/**
 * The policy: a model with its tokenizer, its graph over packed sequences and its rollout engine.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import { CausalLM } from "../models/causal_lm.ts";
import type { ModelPart } from "../models/parameters.ts";
import { type GenerationConfig, loadGenerationConfig } from "../models/generation_config.ts";
import { type GraphOptions, SequenceGraph } from "../models/sequence_graph.ts";
import { checkVocabulary, Tokenizer } from "../models/tokenizer.ts";
import { PictureReader } from "./pictures.ts";
import { type PromptStyle, PromptWriter } from "./problems.ts";
import { RolloutEngine } from "./rollout.ts";

/** Sizes of a policy's buffers. */
export interface PolicyOptions {
  /** Whether gradients are allocated. */
  readonly trainable: boolean;
  /** How rows become prompts, and how long prompts and responses may be. */
  readonly prompts: PromptStyle;
  /** Most packed tokens of one forward and backward pass. */
  readonly micro_batch_tokens: number;
  /** Most patches of pictures of one pass, 4096 by default; read for models with a vision tower. */
  readonly micro_batch_patches?: number;
  /** Parts that are not trained. */
  readonly freeze?: readonly ModelPart[];
  /** Recompute each block in the backward pass. */
  readonly recompute: boolean;
  /** Sequences decoded at once. */
  readonly max_num_seqs: number;
  /** Token positions of a block of the paged cache. */
  readonly block_size: number;
  /** Tokens decoded between two reads from the GPU. */
  readonly chunk: number;
  /** Rollouts also tell the most likely token of every step; false by default. */
  readonly top_tokens?: boolean;
  /** Most branches that one rollout and its branches make together; 0 by default. */
  readonly branches?: number;
}

/** What runs beside a policy's training passes. */
export type Companions = Pick<GraphOptions, "reference" | "valueHead">;

const PATCHES = 4096;

/** A model ready to sample from and to train. */
export class Policy {
  /** The folder it was loaded from. */
  readonly folder: string;
  /** The weights. */
  readonly model: CausalLM;
  /** Prompts and texts: tokenizer, chat template, format. */
  readonly writer: PromptWriter;
  /** The folder's generation settings: stop tokens above all. */
  readonly generation: GenerationConfig;
  /** Generates. */
  readonly engine: RolloutEngine;
  /** The sizes it was made with. */
  readonly options: PolicyOptions;
  #graph: SequenceGraph | undefined;
  #companions: Companions = {};

  private constructor(
    folder: string,
    model: CausalLM,
    writer: PromptWriter,
    generation: GenerationConfig,
    engine: RolloutEngine,
    options: PolicyOptions,
  ) {
    this.folder = folder;
    this.model = model;
    this.writer = writer;
    this.generation = generation;
    this.engine = engine;
    this.options = options;
  }

  /**
   * Loads a Hugging Face folder.
   * @throws UserError when the folder, its tokenizer or its weights do not fit together
   */
  static async load(gpu: Gpu, folder: string, options: PolicyOptions): Promise<Policy> {
    const model = await CausalLM.load(gpu, folder, { trainable: options.trainable, freeze: options.freeze });
    const tokenizer = await Tokenizer.load(folder);
    checkVocabulary(tokenizer, model.config);
    const generation = await loadGenerationConfig(folder, model.config);
    const { max_position_embeddings } = model.config;
    const prompts = { ...options.prompts, max_position_embeddings };
    const { vision } = model.config;
    const pictures = vision && await PictureReader.load(folder, vision);
    const writer = await PromptWriter.load(folder, tokenizer, prompts, generation.eos_token_id, pictures);
    const engine = new RolloutEngine(model, {
      slots: options.max_num_seqs,
      blockSize: options.block_size,
      chunk: options.chunk,
      topTokens: options.top_tokens,
      branches: options.branches,
      patches: vision ? options.micro_batch_patches ?? PATCHES : 0,
      maxLength: options.prompts.max_prompt_length + options.prompts.max_response_length,
    });
    return new Policy(folder, model, writer, generation, engine, options);
  }

  /** The graph for training, made at the first use. */
  get graph(): SequenceGraph {
    return this.#graph ??= new SequenceGraph(this.model, {
      tokens: this.tokensPerPass,
      patches: this.patchesPerPass,
      train: this.options.trainable,
      recompute: this.options.recompute,
      ...this.#companions,
    });
  }

  /**
   * From now on {@link graph} takes the exact KL to the model of `reference`, a graph of the same capacity, and has a value
   * head; what is left out it has no longer. The graph that was handed out before is freed where that changes it.
   */
  accompany(companions: Companions): void {
    const { reference, valueHead } = this.#companions;
    if (companions.reference === reference && companions.valueHead === valueHead) return;
    this.#graph?.free();
    this.#graph = undefined;
    this.#companions = companions;
  }

  /** Capacity of a pass: `micro_batch_tokens`, but at least one longest sequence. */
  get tokensPerPass(): number {
    return Math.max(this.options.micro_batch_tokens, this.engine.options.maxLength);
  }

  /** Capacity of a pass in patches; 0 for a model without a vision tower. */
  get patchesPerPass(): number {
    return this.model.config.vision ? this.options.micro_batch_patches ?? PATCHES : 0;
  }

  /** Gives the memory back. */
  free(): void {
    this.#graph?.free();
    this.engine.free();
    this.model.free();
  }
}
