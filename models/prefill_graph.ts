/**
 * Prompts into the KV cache: packed prompts run through the blocks once, their keys and values written to cache rows.
 * @module
 */
import { Program } from "../gpu/program.ts";
import { rowWindows, type Tensor } from "../gpu/tensor.ts";
import { embeddingForward } from "../shaders/embedding.ts";
import { kvCopyRows, kvWrite } from "../shaders/kv_cache.ts";
import type { CausalLM } from "./causal_lm.ts";
import type { KvCache } from "./kv_cache.ts";
import { allocActivations, LayerWeights, recordLayerForward, type SequenceContext } from "./layer.ts";
import { packSequences } from "./packed_batch.ts";

/** A prompt's tokens and the cache row of each. */
export interface PrefillSequence {
  readonly ids: readonly number[];
  /** Cache row of every token. */
  readonly rows: readonly number[];
}

/** Fills the cache for prompts of up to `capacity` tokens in all at a time. */
export class PrefillGraph {
  readonly capacity: number;
  #model: CausalLM;
  #program: Program;
  #copy: Program;
  #tokens = 0;
  #pairs = 0;
  #owned: Tensor[] = [];
  #inputs: { ids: Tensor; positions: Tensor; segments: Tensor; rows: Tensor; pairs: Tensor };

  /** @param maxCopies most cache rows that one {@link copyRows} moves */
  constructor(model: CausalLM, cache: KvCache, capacity: number, maxCopies: number) {
    const { gpu, config: c } = model;
    this.#model = model;
    this.capacity = capacity;
    const own = (tensor: Tensor) => {
      this.#owned.push(tensor);
      return tensor;
    };
    this.#inputs = {
      ids: own(gpu.alloc("prefill ids", [capacity], "data", "u32")),
      positions: own(gpu.alloc("prefill positions", [capacity], "data", "u32")),
      segments: own(gpu.alloc("prefill segments", [capacity, 2], "data", "u32")),
      rows: own(gpu.alloc("prefill cache rows", [capacity], "data", "u32")),
      pairs: own(gpu.alloc("cache row copies", [maxCopies, 2], "data", "u32")),
    };
    const ctx: SequenceContext = {
      config: c,
      tokens: () => this.#tokens,
      positions: this.#inputs.positions,
      segments: this.#inputs.segments,
      cos: model.cos,
      sin: model.sin,
    };
    const activations = allocActivations(gpu, c, capacity);
    for (const tensor of Object.values(activations) as Tensor[]) own(tensor);
    const x = [0, 1].map((i) =>
      own(gpu.alloc(`prefill stream ${i}`, [capacity, c.hidden_size], "activation"))
    );
    const program = this.#program = new Program(gpu, "prefill");
    const embedding = model.parameters.get("model.embed_tokens.weight").weight;
    for (const w of rowWindows(embedding, gpu.device.limits.maxStorageBufferBindingSize)) {
      program.add(embeddingForward, { ids: this.#inputs.ids, weight: w.tensor, y: x[0] }, {
        tokens: ctx.tokens,
        width: c.hidden_size,
        first_row: w.first,
        rows: w.rows,
      });
    }
    const kvWidth = c.num_key_value_heads * c.head_dim;
    this.#copy = new Program(gpu, "copy cache rows");
    for (let i = 0; i < c.num_hidden_layers; i++) {
      const { keys, values } = cache.layers[i];
      recordLayerForward(
        program,
        ctx,
        new LayerWeights(model.parameters, i),
        x[i % 2],
        activations,
        x[(i + 1) % 2],
      );
      program.add(
        kvWrite,
        { qkv: activations.qkv, rows: this.#inputs.rows, k_cache: keys, v_cache: values },
        {
          tokens: ctx.tokens,
          heads: c.num_attention_heads,
          kv_heads: c.num_key_value_heads,
          head_dim: c.head_dim,
        },
      );
      this.#copy.add(kvCopyRows, { pairs: this.#inputs.pairs, k_cache: keys, v_cache: values }, {
        count: () => this.#pairs,
        width: kvWidth,
      });
    }
  }

  /** Submits prompts; together at most `capacity` tokens. */
  async run(sequences: readonly PrefillSequence[]): Promise<void> {
    const { gpu } = this.#model;
    const batch = packSequences(sequences.map((s) => ({ ids: s.ids, scoreFrom: Math.max(1, s.ids.length) })));
    this.#tokens = batch.ids.length;
    if (this.#tokens === 0) return;
    gpu.write(this.#inputs.ids, batch.ids);
    gpu.write(this.#inputs.positions, batch.positions);
    gpu.write(this.#inputs.segments, batch.segments);
    gpu.write(this.#inputs.rows, Uint32Array.from(sequences.flatMap((s) => [...s.rows])));
    await this.#program.run();
  }

  /** Submits copies of cache rows (from, to) in every layer. */
  async copyRows(pairs: readonly (readonly [number, number])[]): Promise<void> {
    const most = this.#inputs.pairs.shape[0];
    for (let i = 0; i < pairs.length; i += most) {
      const part = pairs.slice(i, i + most);
      this.#pairs = part.length;
      this.#model.gpu.write(this.#inputs.pairs, Uint32Array.from(part.flat()));
      await this.#copy.run();
    }
  }

  /** Gives the memory back. */
  free(): void {
    this.#program.destroy();
    this.#copy.destroy();
    for (const tensor of this.#owned) this.#model.gpu.pool.free(tensor);
  }
}
