/**
 * Prompts into the KV cache: packed prompts, pictures and all, run through the blocks once, their keys and values written
 * to cache rows.
 * @module
 */
import { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { kvCopyRows, kvCopyRowsHalf } from "../shaders/kv_cache.ts";
import type { CausalLM } from "./causal_lm.ts";
import type { ImagePatches } from "./image_processor.ts";
import type { KvCache } from "./kv_cache.ts";
import { packSequences } from "./packed_batch.ts";
import { SequenceGraph } from "./sequence_graph.ts";

/** A prompt's tokens and the cache row of each. */
export interface PrefillSequence {
  readonly ids: readonly number[];
  /** Cache row of every token. */
  readonly rows: readonly number[];
  /** Pictures, in the order of their image tokens. */
  readonly images?: readonly ImagePatches[];
}

/** How much a prefill takes at a time. */
export interface PrefillOptions {
  /** Prompt tokens. */
  readonly tokens: number;
  /** Patches of pictures; 0 takes text only. */
  readonly patches: number;
  /** Cache rows that one {@link PrefillGraph.copyRows} moves. */
  readonly copies: number;
}

/** Fills the cache for prompts up to a capacity at a time. */
export class PrefillGraph {
  readonly options: PrefillOptions;
  #model: CausalLM;
  #graph: SequenceGraph;
  #copy: Program;
  #pairs: Tensor;
  #count = 0;

  constructor(model: CausalLM, cache: KvCache, options: PrefillOptions) {
    const { gpu, config: c } = model;
    this.options = options;
    this.#model = model;
    this.#graph = new SequenceGraph(model, {
      tokens: options.tokens,
      rows: 1,
      patches: options.patches,
      cache,
    });
    this.#pairs = gpu.alloc("cache row copies", [options.copies, 2], "data", "u32");
    this.#copy = new Program(gpu, "copy cache rows");
    for (const { keys, values } of cache.layers) {
      this.#copy.add(cache.half ? kvCopyRowsHalf : kvCopyRows, {
        pairs: this.#pairs,
        k_cache: keys,
        v_cache: values,
      }, {
        count: () => this.#count,
        width: c.num_key_value_heads * c.head_dim,
      });
    }
  }

  /** Submits prompts that together fit the capacity. */
  async run(sequences: readonly PrefillSequence[]): Promise<void> {
    // No row is scored: the first token needs the last prompt token, which decoding takes.
    const packed = sequences.map((s) => ({
      ids: s.ids,
      scoreFrom: Math.max(1, s.ids.length),
      images: s.images,
    }));
    const batch = packSequences(packed);
    if (batch.ids.length === 0) return;
    this.#graph.load(batch);
    this.#model.gpu.write(this.#graph.cacheRows!, Uint32Array.from(sequences.flatMap((s) => [...s.rows])));
    await this.#graph.forward();
  }

  /** Submits copies of cache rows (from, to) in every layer. */
  async copyRows(pairs: readonly (readonly [number, number])[]): Promise<void> {
    for (let i = 0; i < pairs.length; i += this.options.copies) {
      const part = pairs.slice(i, i + this.options.copies);
      this.#count = part.length;
      this.#model.gpu.write(this.#pairs, Uint32Array.from(part.flat()));
      await this.#copy.run();
    }
  }

  /** Gives the memory back. */
  free(): void {
    this.#graph.free();
    this.#copy.destroy();
    this.#model.gpu.pool.free(this.#pairs);
  }
}
