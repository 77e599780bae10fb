/**
 * Rollouts: many sequences from many prompts through a fixed number of slots. A prompt's cache is computed once and
 * shared by its rollouts, a rollout's by its branches; more sequences than slots are placed, and at every step those that
 * stand by take the slots of those that have ended. The GPU is read once a chunk, while it computes the next one: what a
 * chunk decides (who has ended, where to branch) shows two chunks later.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { Rng } from "../data/random.ts";
import type { EncodedAhead } from "../gpu/program.ts";
import type { CausalLM } from "../models/causal_lm.ts";
import type { ModelConfig } from "../models/config.ts";
import { DecodeGraph } from "../models/decode_graph.ts";
import { KvCache } from "../models/kv_cache.ts";
import { PrefillGraph } from "../models/prefill_graph.ts";
import { NO_TOKEN } from "../shaders/sample.ts";
import { NO_OWNER } from "../shaders/slots.ts";
import {
  branchesPerRoot,
  type BranchOrigin,
  branchPoint,
  dealSamples,
  nextStep,
  splitReserve,
} from "./branching.ts";
import { PromptQueue } from "./prompt_queue.ts";
import type { GenerateOptions, Rollout, RolloutEngineOptions, RolloutPrompt } from "./rollout_types.ts";
import { finished, notFinite, type RunningRollout } from "./running_rollout.ts";
import { type WaitingRollout, WaitingRollouts } from "./waiting_rollouts.ts";

export type {
  ChunkProgress,
  GenerateOptions,
  Rollout,
  RolloutEngineOptions,
  RolloutPrompt,
} from "./rollout_types.ts";

/** One call of `generate`. */
interface Job {
  readonly prompts: readonly RolloutPrompt[];
  readonly queue: PromptQueue;
  readonly options: GenerateOptions;
  /** Rollouts in all. */
  readonly total: number;
  readonly done: Rollout[];
}

/** A chunk that is submitted and not yet read. */
interface Flight {
  readonly number: number;
  readonly steps: number;
  /** Slots that it computes. */
  readonly active: number;
  /** Whether every rollout placed by then has a slot in it. */
  readonly all: boolean;
  readonly submit: () => void;
}

/**
 * Sequences that may stand by: those that end during two chunks, at a quarter of the longest length on average. Their
 * memory is that of a slot, so where sequences are long there are few.
 */
function standby({ slots, chunk, maxLength }: RolloutEngineOptions): number {
  return Math.round(slots * Math.min(1, 8 * chunk / maxLength));
}

/** Generates from a model; memory is taken once, at construction. */
export class RolloutEngine {
  /** The sizes; `maxLength` is at most the model's context. */
  readonly options: RolloutEngineOptions;
  #model: CausalLM;
  #cache: KvCache;
  #prefill: PrefillGraph;
  #decode: DecodeGraph;
  #maxBlocks: number;
  #running: (RunningRollout | undefined)[];
  #waiting: WaitingRollouts;
  #flights = 0;
  /** Blocks held until their rows are copied. */
  #copying: number[] = [];

  /** Takes all the memory: cache, prefill and decode buffers. */
  constructor(model: CausalLM, options: RolloutEngineOptions) {
    const context = model.config.max_position_embeddings;
    const maxLength = Math.min(options.maxLength, context);
    this.options = { ...options, maxLength };
    this.#model = model;
    this.#maxBlocks = Math.ceil(maxLength / options.blockSize);
    const seats = options.slots + standby(this.options);
    // One block more a seat: the partial last block of a prompt stands beside its rollouts' copies. A branch that waits
    // may hold another.
    this.#cache = new KvCache(
      model.gpu,
      model.config,
      seats * (this.#maxBlocks + 1 + (options.branches ?? 0)),
      options.blockSize,
    );
    this.#prefill = new PrefillGraph(model, this.#cache, {
      tokens: Math.max(maxLength, Math.min(2048, options.slots * maxLength)),
      patches: options.patches ?? 0,
      copies: seats * options.blockSize,
    });
    this.#decode = new DecodeGraph(model, this.#cache, {
      slots: options.slots,
      seats,
      chunk: options.chunk,
      maxBlocks: this.#maxBlocks,
      maxStops: 16,
      topTokens: options.topTokens,
    });
    this.#running = Array.from({ length: seats });
    this.#waiting = new WaitingRollouts(seats);
    this.#decode.ban([...options.banned ?? [], ...placeholders(model.config)]);
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
    const share = options.branching?.share ?? 0;
    if (branchesPerRoot(n, share) > (this.options.branches ?? 0)) {
      throw new UserError(
        `${n} rollouts with a share of ${share} for branches may branch ${
          branchesPerRoot(n, share)
        } times from one; ` +
          `this engine has memory for ${this.options.branches ?? 0}`,
      );
    }
    const decode = this.#decode;
    decode.sampling = options;
    decode.stopCount = options.stop.length;
    gpu.write(decode.stops, Uint32Array.from(options.stop));
    const queue = new PromptQueue(this.#model, this.#cache, this.#prefill, list, dealSamples(n, share));
    const job: Job = { prompts: list, queue, options, total: list.length * n, done: [] };
    try {
      let ahead: EncodedAhead | undefined;
      await this.#admit(job, async () => ahead = await this.#encodeAhead(job));
      let flight = await this.#prepare(job, undefined, ahead);
      flight?.submit();
      while (flight && !options.signal?.aborted) {
        const overlaps = this.#overlaps(job, flight);
        const next = overlaps ? await this.#prepare(job, flight) : undefined;
        ahead = overlaps ? undefined : await this.#encodeAhead(job, flight);
        // Deno waits for the chunk within this call: the next one is submitted right behind it, and the GPU does not stand
        // still while the values are looked at.
        const reading = gpu.read(
          decode.outTokens,
          decode.outValues,
          decode.outOwners,
          ...(decode.outTop ? [decode.outTop] : []),
        );
        next?.submit();
        this.#collect(await reading, flight, job);
        await this.#admit(job);
        flight = next ?? await this.#prepare(job, undefined, ahead);
        if (!next) flight?.submit();
      }
    } finally {
      queue.free();
      this.#reset();
    }
    return job.done.sort((a, b) => a.prompt - b.prompt || a.sample - b.sample);
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

  /**
   * Sizes of the next chunk by what is known before `flight` is read, the rollouts' longest rests at most; undefined where
   * it would be for nothing.
   */
  #size(job: Job, flight?: Flight): Pick<Flight, "steps" | "active" | "all"> | undefined {
    const live = this.#running.filter((r) => r !== undefined);
    const rest = live.map((r) => {
      const sure = flight?.all && r.since <= flight.number;
      return this.#room(job.prompts[r.prompt], job.options) - r.tokens.length - (sure ? flight.steps : 0);
    });
    const steps = Math.min(this.options.chunk, Math.max(0, ...rest));
    if (steps === 0) return;
    const active = Math.min(this.options.slots, live.length);
    return { steps, active, all: live.length <= active };
  }

  /** The next chunk, as {@link #size} has it. */
  async #prepare(job: Job, flight?: Flight, ahead?: EncodedAhead): Promise<Flight | undefined> {
    const size = this.#size(job, flight);
    if (!size) return;
    this.#decode.active = size.active;
    const submit = await this.#decode.prepare(size.steps, ahead);
    return { ...size, number: this.#flights++, submit };
  }

  /**
   * Whether the chunk after `flight` is computed while that is read. A software adapter computes on the host's own cores:
   * once nobody waits, it gains less than what the slots cost that turn out to be empty.
   */
  #overlaps(job: Job, flight: Flight): boolean {
    return job.queue.left || this.#waiting.size > 0 || !flight.all || !this.#model.gpu.facts.software;
  }

  /** The next chunk, encoded while the GPU computes, `flight` or prompts: it will have no more slots than are known now. */
  async #encodeAhead(job: Job, flight?: Flight): Promise<EncodedAhead | undefined> {
    const size = this.#size(job, flight);
    if (!size) return;
    this.#decode.active = size.active;
    return await this.#decode.encodeAhead(size.steps);
  }

  /**
   * Puts rollouts into free seats: what the seat's own left first, then new ones, then what other seats left. `meanwhile` is
   * done while the GPU computes new prompts.
   */
  async #admit(job: Job, meanwhile?: () => Promise<unknown>): Promise<void> {
    const copies: [number, number][] = [];
    for (let seat = 0; seat < this.#running.length; seat++) {
      if (this.#running[seat]) continue;
      const waiting = this.#waiting.next(seat) ?? await job.queue.next() ?? this.#waiting.steal();
      if (waiting) copies.push(...this.#start(seat, waiting, job));
    }
    await job.queue.fill();
    await meanwhile?.();
    await this.#prefill.copyRows(copies);
    // Only now: nobody of the same round must be given a partial block that is still to be copied.
    this.#cache.release(this.#copying.splice(0));
  }

  /**
   * Puts a rollout into a seat: full blocks of its prefix are shared, a partial one becomes its own.
   * @returns the cache rows to copy for that, (from, to)
   */
  #start(seat: number, waiting: WaitingRollout, { prompts, options, queue }: Job): [number, number][] {
    const { blockSize } = this.options;
    const { prompt, sample, reserve, branch } = waiting;
    const { ids, key } = prompts[prompt];
    const sequence = [...ids, ...waiting.tokens];
    // The last token is the first decode step's input; the cache holds those before it.
    const cached = sequence.length - 1;
    const last = ids.length + this.#room(prompts[prompt], options) - 2;
    const whole = Math.floor(cached / blockSize);
    const own = this.#cache.take(Math.ceil((last + 1) / blockSize) - whole);
    const blocks = [...waiting.blocks.slice(0, whole), ...own];
    const partial = waiting.blocks.slice(whole);
    this.#copying.push(...partial);
    this.#running[seat] = {
      prompt,
      sample,
      branch,
      blocks,
      tokens: [...waiting.tokens],
      logps: [...waiting.logps],
      entropies: [...waiting.entropies],
      top: [...waiting.top],
      reserve,
      branches: 0,
      // The prompt is shared by all anyway: a branch at its end would be an ordinary rollout.
      watched: branch && options.branching ? nextStep(branch.step, options.branching) : 1,
      since: this.#flights,
    };
    const random = new Rng(options.seed, ...(key ?? [prompt]), sample);
    this.#decode.place({
      owner: seat,
      sequence,
      generated: waiting.tokens.length,
      last,
      blocks,
      key: [random.next(), random.next()],
      ropeDelta: queue.ropeDelta(prompt),
    });
    return Array.from(
      { length: cached % blockSize },
      (_, i) => [partial[0] * blockSize + i, own[0] * blockSize + i],
    );
  }

  #collect(read: readonly (Float32Array | Uint32Array)[], { steps, active }: Flight, job: Job): void {
    const [tokens, values, owners, top] = read;
    /** Tokens of each rollout before this chunk, by seat. */
    const before = new Map<number, number>();
    for (let i = 0; i < steps * active; i++) {
      if (owners[i] === NO_OWNER) continue;
      const r = this.#running[owners[i]]!;
      if (tokens[i] === NO_TOKEN) throw notFinite(r, job.prompts[r.prompt]);
      if (!before.has(owners[i])) before.set(owners[i], r.tokens.length);
      r.tokens.push(tokens[i]);
      r.logps.push(values[2 * i]);
      r.entropies.push(values[2 * i + 1]);
      if (top) r.top.push(top[i]);
    }
    const fresh: { prompt: number; sample: number; tokens: number[] }[] = [];
    let count = 0;
    for (const [seat, from] of before) {
      const r = this.#running[seat]!;
      const { prompt, sample } = r;
      count += r.tokens.length - from;
      fresh.push({ prompt, sample, tokens: r.tokens.slice(from) });
      this.#branch(seat, r, job);
      const stopped = job.options.stop.includes(r.tokens.at(-1)!);
      if (!stopped && r.tokens.length < this.#room(job.prompts[prompt], job.options)) continue;
      job.done.push(finished(r, stopped ? "stop" : "length", top !== undefined));
      for (const number of r.reserve) this.#fork(seat, r, job.prompts[prompt], number, []);
      this.#cache.release(r.blocks);
      this.#running[seat] = undefined;
    }
    const { done, total } = job;
    job.options.onChunk?.({ tokens: count, computed: steps * active, finished: done.length, total, fresh });
  }

  /** Lets a rollout branch at every step of its new tokens that calls for it. */
  #branch(seat: number, r: RunningRollout, { prompts, options: { branching } }: Job): void {
    if (!branching) return;
    while (r.reserve.length > 0 && r.branches < branching.max_per_trajectory) {
      const point = branchPoint(r.entropies, r.watched, branching);
      if (!point) {
        // Windows that ended before are never looked at again.
        r.watched = Math.max(r.watched, r.entropies.length - branching.window + 1);
        return;
      }
      r.watched = nextStep(point.step, branching);
      r.branches++;
      const { sample, parent, branch } = splitReserve(r.reserve, branching.max_per_trajectory - r.branches);
      r.reserve = parent;
      this.#fork(seat, r, prompts[r.prompt], sample, branch, { parent: r.sample, ...point });
    }
  }

  /** A rollout goes on from a step of another, from the prompt where `branch` names none; it holds the blocks before. */
  #fork(
    seat: number,
    r: RunningRollout,
    { ids }: RolloutPrompt,
    sample: number,
    reserve: readonly number[],
    branch?: BranchOrigin,
  ): void {
    const step = branch?.step ?? 0;
    const blocks = r.blocks.slice(0, Math.ceil((ids.length - 1 + step) / this.options.blockSize));
    this.#cache.share(blocks);
    this.#waiting.add(seat, {
      prompt: r.prompt,
      sample,
      reserve,
      branch,
      blocks,
      tokens: r.tokens.slice(0, step),
      logps: r.logps.slice(0, step),
      entropies: r.entropies.slice(0, step),
      top: r.top.slice(0, step),
    });
  }

  /** Frees what an error or an abort left, so that the engine serves again. */
  #reset(): void {
    let dirty = false;
    this.#running.forEach((r, s) => {
      if (!r) return;
      this.#cache.release(r.blocks);
      this.#running[s] = undefined;
      dirty = true;
    });
    for (const waiting of this.#waiting.drain()) this.#cache.release(waiting.blocks);
    this.#cache.release(this.#copying.splice(0));
    if (dirty) this.#decode.clear();
  }
}

/** Ids that stand for pictures: sampling one would say nothing and break the count of pictures. */
function placeholders({ vision }: ModelConfig): number[] {
  if (!vision) return [];
  return vision.video_token_id === undefined
    ? [vision.image_token_id]
    : [vision.image_token_id, vision.video_token_id];
}
