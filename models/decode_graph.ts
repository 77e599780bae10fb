/**
 * One decode step for a fixed number of slots, replayed as often as wanted without the host: who is in which slot, embed,
 * blocks over the paged cache, head, sampling, next input. A sequence that ends gives its slot to one that stands by at
 * the next step.
 * @module
 */
import { type EncodedAhead, Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { attentionDecode } from "../shaders/attention_decode.ts";
import { addEmbedding } from "../shaders/embedding.ts";
import { ropeCache, ropeCacheHalf } from "../shaders/rope_cache.ts";
import { rmsnormForward } from "../shaders/rmsnorm.ts";
import { sample } from "../shaders/sample.ts";
import { beginStep, QUEUE_WORDS, refillSlots, SLOT_WORDS } from "../shaders/slots.ts";
import { topToken } from "../shaders/top_token.ts";
import type { CausalLM } from "./causal_lm.ts";
import type { KvCache } from "./kv_cache.ts";
import { allocActivations, LayerWeights, recordBlock } from "./layer.ts";
import { recordLogits } from "./logits.ts";

/** How tokens are chosen; Hugging Face's names and order: penalty, temperature, top-k, top-p, min-p. */
export interface SamplingOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  /** Sample from the smallest set of tokens with at least this probability; 1 is off. */
  readonly top_p: number;
  /** 0 turns it off. */
  readonly top_k: number;
  /** 0 turns it off. */
  readonly min_p: number;
  /** 1 turns it off. */
  readonly repetition_penalty: number;
}

/** Sizes of a decode graph. */
export interface DecodeOptions {
  /** Sequences decoded at once. */
  readonly slots: number;
  /** Most sequences that decode or stand by. */
  readonly seats: number;
  /** Most steps between two reads. */
  readonly chunk: number;
  /** Cache blocks a sequence may need. */
  readonly maxBlocks: number;
  /** Most stop tokens. */
  readonly maxStops: number;
  /** Keep the most likely token of every step beside the sampled one; false by default. */
  readonly topTokens?: boolean;
}

/** A sequence as a slot takes it. */
export interface PlacedSequence {
  /** Names it in `outOwners`; any number below 2^32 − 1. */
  readonly owner: number;
  /** Its tokens so far; the last is the next step's input, and the cache holds those before it. */
  readonly sequence: readonly number[];
  /** How many of them are new tokens. */
  readonly generated: number;
  /** Position of the last token that is an input. */
  readonly last: number;
  /** Cache blocks up to that position. */
  readonly blocks: readonly number[];
  /** Key of its random numbers; the counter is the new token's position. */
  readonly key: readonly [number, number];
  /** Added to positions for the rotary embedding; read for models with a vision tower. */
  readonly ropeDelta: number;
}

/** The decode step of a model over a cache. */
export class DecodeGraph {
  /** [slots + seats, 8], see shaders/slots.wgsl: the slots, then those that stand by. */
  readonly slots: Tensor;
  /** [slots + seats, maxBlocks] cache blocks of each sequence. */
  readonly table: Tensor;
  /** [slots + seats] added to a token's index for its rotary position: M-RoPE's delta after pictures, modulo 2^32. */
  readonly rotaryOffsets: Tensor;
  /** [slots + seats, ⌈vocab / 32⌉] bit set of tokens that the repetition penalty sees. */
  readonly seen: Tensor;
  /** [slots + seats] the name of each sequence. */
  readonly owners: Tensor;
  /** [2 + 2 slots] sequences taken and placed so far, and room. */
  readonly queue: Tensor;
  /** [⌈vocab / 32⌉] bit set of tokens that are never sampled. */
  readonly banned: Tensor;
  /** [maxStops] */
  readonly stops: Tensor;
  /** [chunk, active] sampled tokens; 0xffffffff where a slot was dead. */
  readonly outTokens: Tensor;
  /** [chunk, active] whose the tokens are; `NO_OWNER` where a slot was dead. */
  readonly outOwners: Tensor;
  /** [chunk, active, 2] log-probability and entropy at the temperature, over the whole vocabulary. */
  readonly outValues: Tensor;
  /** [chunk, active] most likely tokens, there with `topTokens`; 0xffffffff where a slot was dead. */
  readonly outTop?: Tensor;
  /** [1] step within the chunk, times `active`. */
  readonly tick: Tensor;
  /** Slots in use: those at or above it cost nothing. */
  active = 0;
  /** Number of stop tokens in `stops`. */
  stopCount = 0;
  /** How tokens are drawn; may change between runs. */
  sampling: SamplingOptions = { temperature: 1, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 };
  /** The recorded step, for profiling. */
  readonly step: Program;
  #model: CausalLM;
  #seats: number;
  #placed = 0;
  #owned: Tensor[] = [];

  /** Takes the memory and records the step. */
  constructor(model: CausalLM, cache: KvCache, options: DecodeOptions) {
    const { gpu, config: c } = model;
    const S = options.slots;
    const rows = S + options.seats;
    this.#model = model;
    this.#seats = options.seats;
    const own = (tensor: Tensor) => {
      this.#owned.push(tensor);
      return tensor;
    };
    const data = (name: string, shape: number[]) => own(gpu.alloc(name, shape, "data", "u32"));
    const words = Math.ceil(c.vocab_size / 32);
    this.slots = data("slots", [rows, SLOT_WORDS]);
    this.table = data("block table", [rows, options.maxBlocks]);
    this.rotaryOffsets = data("rotary offsets", [rows]);
    this.seen = data("seen tokens", [rows, words]);
    this.owners = data("slot owners", [rows]);
    this.queue = data("slot queue", [QUEUE_WORDS + 2 * S]);
    this.banned = data("banned tokens", [words]);
    this.stops = data("stop tokens", [options.maxStops]);
    this.outTokens = data("sampled tokens", [options.chunk, S]);
    this.outOwners = data("owners of sampled tokens", [options.chunk, S]);
    this.outValues = own(gpu.alloc("sampled values", [options.chunk, S, 2], "data"));
    this.tick = data("tick", [1]);
    gpu.clear(this.slots, this.rotaryOffsets, this.seen, this.banned, this.queue);
    const ids = data("decode ids", [S]);
    const positions = data("decode positions", [S]);
    const cacheRows = data("decode cache rows", [S]);
    const a = allocActivations(gpu, c, S);
    for (const tensor of Object.values(a) as Tensor[]) own(tensor);
    const activation = (name: string, width: number) => own(gpu.alloc(name, [S, width], "activation"));
    const x = [activation("decode stream 0", c.hidden_size), activation("decode stream 1", c.hidden_size)];
    const logits = activation("decode logits", c.vocab_size);

    const tokens = () => this.active;
    const step = this.step = new Program(gpu, "decode step");
    step.add(refillSlots, {
      slots: this.slots,
      table: this.table,
      offsets: this.rotaryOffsets,
      seen: this.seen,
      owners: this.owners,
      queue: this.queue,
      tick: this.tick,
      out_owners: this.outOwners,
    }, {
      lanes: S,
      used: tokens,
      ring: options.seats,
      max_blocks: options.maxBlocks,
      seen_words: () => this.sampling.repetition_penalty === 1 ? 0 : words,
    });
    step.add(beginStep, {
      slots: this.slots,
      table: this.table,
      offsets: this.rotaryOffsets,
      ids,
      positions,
      rows: cacheRows,
    }, {
      slots: tokens,
      max_blocks: options.maxBlocks,
      block_size: cache.blockSize,
    });
    const { operand: embedding } = model.parameters.get("model.embed_tokens.weight");
    addEmbedding(step, { ids, weight: embedding, y: x[0] }, tokens);
    const heads = { heads: c.num_attention_heads, kv_heads: c.num_key_value_heads };
    const ctx = { config: c, tokens };
    for (let i = 0; i < c.num_hidden_layers; i++) {
      const { keys, values } = cache.layers[i];
      const w = new LayerWeights(model.parameters, i);
      recordBlock(step, ctx, w, x[i % 2], a, x[(i + 1) % 2], (program, qkv, out) => {
        const turned = { qkv, positions, cos: model.cos, sin: model.sin };
        program.add(cache.half ? ropeCacheHalf : ropeCache, {
          ...turned,
          rows: cacheRows,
          k_cache: keys,
          v_cache: values,
        }, {
          tokens,
          ...heads,
          head_dim: c.head_dim,
        });
        program.add(attentionDecode(c.head_dim, cache.half), {
          qkv,
          k_cache: keys,
          v_cache: values,
          table: this.table,
          slots: this.slots,
          out,
        }, {
          slots: tokens,
          ...heads,
          max_blocks: options.maxBlocks,
          block_size: cache.blockSize,
          rows: () => cache.rowsUsed,
          scale: 1 / Math.sqrt(c.head_dim),
        });
      }, true);
    }
    const norm = { tokens, width: c.hidden_size, eps: c.rms_norm_eps };
    const last = x[c.num_hidden_layers % 2];
    const finalNorm = model.parameters.get("model.norm.weight").weight;
    step.add(rmsnormForward, { x: last, weight: finalNorm, y: a.normed1, rstd: a.rstd1 }, norm);
    recordLogits(step, model, a.normed1, logits, tokens);
    if (options.topTokens) {
      this.outTop = data("most likely tokens", [options.chunk, S]);
      step.add(topToken, { logits, slots: this.slots, tick: this.tick, out: this.outTop }, {
        slots: tokens,
        vocab: c.vocab_size,
        stride: c.vocab_size,
      });
    }
    step.add(sample, {
      logits,
      slots: this.slots,
      seen: this.seen,
      banned: this.banned,
      stops: this.stops,
      out_tokens: this.outTokens,
      out_values: this.outValues,
      tick: this.tick,
    }, {
      slots: tokens,
      vocab: c.vocab_size,
      stride: c.vocab_size,
      stop_count: () => this.stopCount,
      temperature: () => this.sampling.temperature,
      top_p: () => this.sampling.top_p,
      top_k: () => this.sampling.top_k,
      min_p: () => this.sampling.min_p,
      repetition_penalty: () => this.sampling.repetition_penalty,
    });
  }

  /**
   * Lets a sequence stand by for the next slot that is free, in the order of these calls. At most `seats` may be placed and
   * not known to have ended.
   */
  place({ owner, sequence, generated, last, blocks, key, ropeDelta }: PlacedSequence): void {
    const { gpu, config } = this.#model;
    const position = sequence.length - 1;
    const row = this.outTokens.shape[1] + this.#placed % this.#seats;
    gpu.write(this.table, Uint32Array.from(blocks), row * this.table.shape[1]);
    gpu.write(
      this.slots,
      Uint32Array.of(sequence[position], position, 1, last, ...key, generated, 0),
      row * SLOT_WORDS,
    );
    gpu.write(this.owners, Uint32Array.of(owner), row);
    if (config.vision) gpu.write(this.rotaryOffsets, Uint32Array.of(ropeDelta), row);
    if (this.sampling.repetition_penalty !== 1) {
      gpu.write(this.seen, bitSet(sequence, config.vocab_size), row * this.seen.shape[1]);
    }
    gpu.write(this.queue, Uint32Array.of(++this.#placed), 1);
  }

  /** Ends everything: no sequence decodes or stands by any more. */
  clear(): void {
    this.#placed = 0;
    this.#model.gpu.clear(this.slots, this.queue);
  }

  /** Ids that are never sampled, from now on. */
  ban(ids: readonly number[]): void {
    this.#model.gpu.write(this.banned, bitSet(ids, this.#model.config.vocab_size));
  }

  /**
   * Prepares `steps` decode steps of the first `active` slots, and what they choose by, as they are now; what is returned
   * submits them. The outputs are then in `outTokens`, `outOwners` and `outValues` from row 0.
   */
  async prepare(steps: number, ahead?: EncodedAhead): Promise<() => void> {
    this.#model.gpu.write(this.tick, Uint32Array.of(0));
    return await this.step.prepare(steps, ahead);
  }

  /** Encodes for the next {@link prepare} while the GPU works: so many steps of `active` slots or of fewer. */
  encodeAhead(steps: number): Promise<EncodedAhead> {
    return this.step.encodeAhead(steps);
  }

  /** {@link prepare} and submit. */
  async run(steps: number): Promise<void> {
    (await this.prepare(steps))();
  }

  /** Gives the memory back. */
  free(): void {
    this.step.destroy();
    for (const tensor of this.#owned) this.#model.gpu.pool.free(tensor);
  }
}

/** A bit set of ids, 32 to a word. */
function bitSet(ids: readonly number[], size: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(size / 32));
  for (const id of ids) words[id >>> 5] |= 1 << (id & 31);
  return words;
}
