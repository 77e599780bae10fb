/**
 * The policy: a model with its tokenizer, its graph over packed sequences and its rollout engine.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import { CausalLM } from "../models/causal_lm.ts";
import { type GenerationConfig, loadGenerationConfig } from "../models/generation_config.ts";
import { SequenceGraph } from "../models/sequence_graph.ts";
import { checkVocabulary, Tokenizer } from "../models/tokenizer.ts";
import { type PromptStyle, PromptWriter } from "./problems.ts";
import { RolloutEngine } from "./rollout.ts";

/** Sizes of a policy's buffers. */
export interface PolicyOptions {
  readonly trainable: boolean;
  readonly prompts: PromptStyle;
  /** Most packed tokens of one forward and backward pass. */
  readonly micro_batch_tokens: number;
  /** Recompute each block in the backward pass. */
  readonly recompute: boolean;
  readonly max_num_seqs: number;
  readonly block_size: number;
  readonly chunk: number;
}

/** A model ready to sample from and to train. */
export class Policy {
  readonly folder: string;
  readonly model: CausalLM;
  readonly writer: PromptWriter;
  readonly generation: GenerationConfig;
  readonly engine: RolloutEngine;
  readonly options: PolicyOptions;
  #graph: SequenceGraph | undefined;

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
    const model = await CausalLM.load(gpu, folder, { trainable: options.trainable });
    const tokenizer = await Tokenizer.load(folder);
    checkVocabulary(tokenizer, model.config);
    const generation = await loadGenerationConfig(folder, model.config);
    const writer = await PromptWriter.load(folder, tokenizer, options.prompts, generation.eos_token_id);
    const engine = new RolloutEngine(model, {
      slots: options.max_num_seqs,
      blockSize: options.block_size,
      chunk: options.chunk,
      maxLength: options.prompts.max_prompt_length + options.prompts.max_response_length,
    });
    return new Policy(folder, model, writer, generation, engine, options);
  }

  /** The graph for training, made at the first use. */
  get graph(): SequenceGraph {
    return this.#graph ??= new SequenceGraph(this.model, {
      tokens: this.tokensPerPass,
      train: this.options.trainable,
      recompute: this.options.recompute,
    });
  }

  /** Capacity of a pass: `micro_batch_tokens`, but at least one longest sequence. */
  get tokensPerPass(): number {
    return Math.max(this.options.micro_batch_tokens, this.engine.options.maxLength);
  }

  /** Gives the memory back. */
  free(): void {
    this.#graph?.free();
    this.engine.free();
    this.model.parameters.free();
  }
}
