/**
 * Rollouts: many sequences from many prompts through a fixed number of slots. A prompt's cache is computed once and
 * shared by its rollouts; a finished sequence's slot goes to the next one waiting; the GPU is read once a chunk.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { Rng } from "../data/random.ts";
import type { CausalLM } from "../models/causal_lm.ts";
import type { ModelConfig } from "../models/config.ts";
import { DecodeGraph, type SamplingOptions } from "../models/decode_graph.ts";
import type { ImagePatches } from "../models/image_processor.ts";
import { KvCache } from "../models/kv_cache.ts";
import { mropePositions } from "../models/mrope.ts";
import { patchCount } from "../models/packed_batch.ts";
import { NO_TOKEN } from "../shaders/sample.ts";
import { PrefillGraph, type PrefillSequence } from "../models/prefill_graph.ts";

/** Sizes of the engine. */
export interface RolloutEngineOptions {
  /** Sequences decoded at once (`worker.rollout.max_num_seqs`). */
  readonly slots: number;
  /** Token positions of a cache block. */
  readonly blockSize: number;
  /** Steps between two reads, 16 to 64. */
  readonly chunk: number;
  /** Longest sequence, prompt included. */
  readonly maxLength: number;
  /** Ids that are never sampled, besides the placeholders of pictures. */
  readonly banned?: readonly number[];
  /** Most patches of pictures of one prompt; 0, the default, takes text only. */
  readonly patches?: number;
  /** Rollouts also tell the most likely token of every step; false by default. */
  readonly topTokens?: boolean;
}

/** A prompt, and what its random numbers are keyed by. */
export interface RolloutPrompt {
  /** Token ids. */
  readonly ids: readonly number[];
  /** Makes its pictures, in the order of their image tokens, when the prompt's turn comes. */
  readonly images?: () => Promise<readonly ImagePatches[]>;
  /** Anything that names this prompt within the seed, e.g. (step, row id); its place in the list by default. */
  readonly key?: readonly (number | string)[];
}

/** How to generate. */
export interface GenerateOptions extends SamplingOptions {
  /** Most new tokens. */
  readonly max_tokens: number;
  /** Ids that end a sequence; the stop token is part of the rollout. */
  readonly stop: readonly number[];
  /** Rollouts of each prompt; 1 by default. */
  readonly n?: number;
  /** The same seed and prompt key give the same tokens whatever else is in the batch. */
  readonly seed: number;
  /** Called after each read with the rollouts' new tokens so far. */
  readonly onChunk?: (progress: ChunkProgress) => void;
  /** Ends early when aborted; unfinished rollouts are dropped. */
  readonly signal?: AbortSignal;
}

/** What has happened up to a read. */
export interface ChunkProgress {
  /** New tokens in this chunk. */
  readonly tokens: number;
  /** Rollouts finished so far. */
  readonly finished: number;
  /** Rollouts in all. */
  readonly total: number;
  /** Tokens that appeared in this chunk, by rollout; for streaming. */
  readonly fresh: readonly {
    readonly prompt: number;
    readonly sample: number;
    readonly tokens: readonly number[];
  }[];
}

/** One sampled continuation. */
export interface Rollout {
  /** Index of the prompt. */
  readonly prompt: number;
  /** 0 … n−1. */
  readonly sample: number;
  /** New tokens, the stop token included. */
  readonly tokens: Uint32Array;
  /** log π(token) at the sampling temperature over the whole vocabulary, nats. */
  readonly logps: Float32Array;
  /** Exact entropy at each new token's step, nats. */
  readonly entropies: Float32Array;
  /** The most likely token at each new token's step; there with the engine's `topTokens`. */
  readonly topTokens?: Uint32Array;
  /** Ended by a stop token, or cut at `max_tokens` or the engine's `maxLength`. */
  readonly finish: "stop" | "length";
}

interface PromptState {
  /** Rollouts not yet admitted. */
  waiting: number;
  /** Blocks filled by the prompt's tokens but the last; the last of them may be partial. */
  blocks: number[];
  /** Added to positions after the prompt's pictures; 0 for text. */
  ropeDelta: number;
}

interface Running {
  readonly prompt: number;
  readonly sample: number;
  readonly blocks: number[];
  readonly tokens: number[];
  readonly logps: number[];
  readonly entropies: number[];
  readonly top: number[];
}

const FINISH = ["", "stop", "length", "not finite"] as const;

/** Generates from a model; memory is taken once, at construction. */
export class RolloutEngine {
  /** The sizes; `maxLength` is at most the model's context. */
  readonly options: RolloutEngineOptions;
  #model: CausalLM;
  #cache: KvCache;
  #prefill: PrefillGraph;
  #decode: DecodeGraph;
  #maxBlocks: number;
  #running: (Running | undefined)[];

  /** Takes all the memory: cache, prefill and decode buffers. */
  constructor(model: CausalLM, options: RolloutEngineOptions) {
    const context = model.config.max_position_embeddings;
    const maxLength = Math.min(options.maxLength, context);
    this.options = { ...options, maxLength };
    this.#model = model;
    this.#maxBlocks = Math.ceil(maxLength / options.blockSize);
    // One block more a slot: the partial last block of a prompt stands beside its rollouts' copies.
    this.#cache = new KvCache(
      model.gpu,
      model.config,
      options.slots * (this.#maxBlocks + 1),
      options.blockSize,
    );
    this.#prefill = new PrefillGraph(model, this.#cache, {
      tokens: Math.max(maxLength, Math.min(2048, options.slots * maxLength)),
      patches: options.patches ?? 0,
      copies: options.slots * options.blockSize,
    });
    this.#decode = new DecodeGraph(model, this.#cache, {
      slots: options.slots,
      chunk: options.chunk,
      maxBlocks: this.#maxBlocks,
      maxStops: 16,
      topTokens: options.topTokens,
    });
    this.#running = Array.from({ length: options.slots });
    const banned = [...options.banned ?? [], ...placeholders(model.config)];
    model.gpu.write(this.#decode.banned, bitSet(banned, model.config.vocab_size));
  }

  /** The decode step, for profiling. */
  get decode(): DecodeGraph {
    return this.#decode;
  }

  /**
   * Samples `n` continuations of every prompt, in the order (prompt, sample).
   * @throws UserError when a prompt is empty or leaves no room for a token
   */
  async generate(
    prompts: readonly (RolloutPrompt | readonly number[])[],
    options: GenerateOptions,
  ): Promise<Rollout[]> {
    const { gpu } = this.#model;
    const list = prompts.map((p): RolloutPrompt => "ids" in p ? p : { ids: p });
    list.forEach((p, i) => this.#checkPrompt(p, i));
    if (options.stop.length > this.#decode.stops.size) {
      throw new UserError(
        `${options.stop.length} stop tokens; at most ${this.#decode.stops.size} are supported`,
      );
    }
    const n = options.n ?? 1;
    const decode = this.#decode;
    decode.sampling = options;
    decode.stopCount = options.stop.length;
    gpu.write(decode.stops, Uint32Array.from(options.stop));
    const states: PromptState[] = list.map(() => ({ waiting: n, blocks: [], ropeDelta: 0 }));
    const total = list.length * n;
    const done: Rollout[] = [];
    let next = 0;
    try {
      while (done.length < total && !options.signal?.aborted) {
        next = await this.#admit(list, states, n, next, options);
        const live = this.#running.filter((r) => r !== undefined);
        decode.active = this.#running.findLastIndex((r) => r !== undefined) + 1;
        // Nobody decodes past the longest rest of those that run.
        const rest = Math.max(...live.map((r) => this.#room(list[r.prompt], options) - r.tokens.length));
        const steps = Math.min(this.options.chunk, rest);
        await decode.run(steps);
        this.#collect(
          await gpu.read(
            decode.outTokens,
            decode.outValues,
            decode.slots,
            ...(decode.outTop ? [decode.outTop] : []),
          ),
          steps,
          list,
          done,
          options,
          total,
        );
      }
    } finally {
      this.#reset(states);
    }
    return done.sort((a, b) => a.prompt - b.prompt || a.sample - b.sample);
  }

  /** Gives the memory back. */
  free(): void {
    this.#decode.free();
    this.#prefill.free();
    this.#cache.free();
  }

  #checkPrompt(p: RolloutPrompt, index: number): void {
    const { maxLength } = this.options;
    if (p.ids.length === 0) throw new UserError(`prompt ${index} is empty`);
    if (p.ids.length >= maxLength) {
      throw new UserError(
        `prompt ${index} has ${p.ids.length} tokens; with at least one new token that exceeds the longest sequence, ${maxLength} ` +
          `(max_prompt_length + max_response_length, at most the model's max_position_embeddings = ${this.#model.config.max_position_embeddings})`,
      );
    }
    const bad = p.ids.find((id) => !(id >= 0 && id < this.#model.config.vocab_size));
    if (bad !== undefined) {
      throw new UserError(
        `prompt ${index} holds token ${bad}; the model's vocabulary has ${this.#model.config.vocab_size}`,
      );
    }
  }

  /** New tokens that a prompt may get. */
  #room(p: RolloutPrompt, options: GenerateOptions): number {
    return Math.min(options.max_tokens, this.options.maxLength - p.ids.length);
  }

  /** Puts waiting rollouts into free slots; returns the next one in line. */
  async #admit(
    prompts: readonly RolloutPrompt[],
    states: PromptState[],
    n: number,
    next: number,
    options: GenerateOptions,
  ): Promise<number> {
    const { gpu, config } = this.#model;
    const { blockSize } = this.options;
    const decode = this.#decode;
    const fill: PrefillSequence[] = [];
    const copies: [number, number][] = [];
    const finished: PromptState[] = [];
    let filling = 0;
    let patches = 0;
    for (let slot = 0; slot < this.options.slots && next < prompts.length * n; slot++) {
      if (this.#running[slot]) continue;
      const prompt = Math.floor(next / n);
      const sample = next % n;
      const { ids, key, images } = prompts[prompt];
      const state = states[prompt];
      // The last prompt token is the first decode step's input; the cache holds those before it.
      const cached = ids.length - 1;
      if (sample === 0) {
        const pictures = await images?.();
        const seen = patchCount(pictures);
        if (seen > (this.options.patches ?? 0)) {
          throw new UserError(
            `prompt ${prompt} has pictures of ${seen} patches; this engine takes ${
              this.options.patches ?? 0
            } a prompt`,
          );
        }
        const { options: most } = this.#prefill;
        if (fill.length > 0 && (filling + cached > most.tokens || patches + seen > most.patches)) break;
        filling += cached;
        patches += seen;
        if (config.vision) {
          const grids = (pictures ?? []).map((p) => p.grid);
          state.ropeDelta = mropePositions(Uint32Array.from(ids), grids, config.vision).ropeDelta;
        }
        state.blocks = this.#cache.take(Math.ceil(cached / blockSize));
        fill.push({
          ids: ids.slice(0, cached),
          images: pictures,
          rows: Array.from(
            { length: cached },
            (_, i) => state.blocks[Math.floor(i / blockSize)] * blockSize + i % blockSize,
          ),
        });
      }
      const room = this.#room(prompts[prompt], options);
      const whole = Math.floor(cached / blockSize);
      const shared = state.blocks.slice(0, whole);
      const own = this.#cache.take(Math.ceil((cached + room) / blockSize) - whole);
      this.#cache.share(shared);
      for (let i = 0; i < cached % blockSize; i++) {
        copies.push([state.blocks[whole] * blockSize + i, own[0] * blockSize + i]);
      }
      const blocks = [...shared, ...own];
      this.#running[slot] = { prompt, sample, blocks, tokens: [], logps: [], entropies: [], top: [] };
      const random = new Rng(options.seed, ...(key ?? [prompt]), sample);
      gpu.write(decode.table, Uint32Array.from(blocks), slot * this.#maxBlocks);
      gpu.write(
        decode.slots,
        Uint32Array.of(ids[cached], cached, 1, cached + room - 1, random.next(), random.next(), 0, 0),
        slot * 8,
      );
      if (config.vision) gpu.write(decode.rotaryOffsets, Uint32Array.of(state.ropeDelta), slot);
      if (options.repetition_penalty !== 1) {
        gpu.write(decode.seen, bitSet(ids, config.vocab_size), slot * Math.ceil(config.vocab_size / 32));
      }
      if (--state.waiting === 0) finished.push(state);
      next++;
    }
    await this.#prefill.run(fill);
    await this.#prefill.copyRows(copies);
    // Only now: a prompt of the same prefill must not be given the partial block that is still to be copied.
    for (const state of finished) {
      this.#cache.release(state.blocks);
      state.blocks = [];
    }
    return next;
  }

  #collect(
    read: readonly (Float32Array | Uint32Array)[],
    steps: number,
    prompts: readonly RolloutPrompt[],
    done: Rollout[],
    options: GenerateOptions,
    total: number,
  ): void {
    const [tokens, values, slots, top] = read;
    const width = this.#decode.active;
    const fresh: { prompt: number; sample: number; tokens: number[] }[] = [];
    let count = 0;
    for (let s = 0; s < width; s++) {
      const r = this.#running[s];
      if (!r) continue;
      const before = r.tokens.length;
      for (let t = 0; t < steps && tokens[t * width + s] !== NO_TOKEN; t++) {
        r.tokens.push(tokens[t * width + s]);
        r.logps.push(values[(t * width + s) * 2]);
        r.entropies.push(values[(t * width + s) * 2 + 1]);
        if (top) r.top.push(top[t * width + s]);
      }
      count += r.tokens.length - before;
      fresh.push({ prompt: r.prompt, sample: r.sample, tokens: r.tokens.slice(before) });
      if (slots[s * 8 + 2] === 1) continue;
      const finish = FINISH[slots[s * 8 + 7]];
      if (finish === "not finite") {
        throw new UserError(
          `the logits of prompt ${r.prompt} (${
            prompts[r.prompt].ids.length
          } tokens), rollout ${r.sample}, new token ${r.tokens.length} ` +
            `are not finite: the weights are broken (a NaN, or a learning rate that was too high); go back to an earlier checkpoint`,
        );
      }
      done.push({
        prompt: r.prompt,
        sample: r.sample,
        tokens: Uint32Array.from(r.tokens),
        logps: Float32Array.from(r.logps),
        entropies: Float32Array.from(r.entropies),
        ...(top && { topTokens: Uint32Array.from(r.top) }),
        finish: finish === "stop" ? "stop" : "length",
      });
      this.#cache.release(r.blocks);
      this.#running[s] = undefined;
    }
    options.onChunk?.({ tokens: count, finished: done.length, total, fresh });
  }

  /** Frees what an error or an abort left running, so that the engine serves again. */
  #reset(states: PromptState[]): void {
    let dirty = false;
    this.#running.forEach((r, s) => {
      if (!r) return;
      this.#cache.release(r.blocks);
      this.#running[s] = undefined;
      dirty = true;
    });
    for (const state of states) this.#cache.release(state.blocks);
    if (dirty) this.#model.gpu.clear(this.#decode.slots);
  }
}

/** Ids that stand for pictures: sampling one would say nothing and break the count of pictures. */
function placeholders({ vision }: ModelConfig): number[] {
  if (!vision) return [];
  return vision.video_token_id === undefined
    ? [vision.image_token_id]
    : [vision.image_token_id, vision.video_token_id];
}

/** A bit set of ids, 32 to a word. */
function bitSet(ids: readonly number[], size: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(size / 32));
  for (const id of ids) words[id >>> 5] |= 1 << (id & 31);
  return words;
}
