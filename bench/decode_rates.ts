/** Tokens a second of decoding against the batch, the context, and the share of sequences that have ended. @module */
import type { Gpu } from "../gpu/device.ts";
import { CausalLM } from "../models/causal_lm.ts";
import type { ModelConfig } from "../models/config.ts";
import { DecodeGraph } from "../models/decode_graph.ts";
import { KvCache } from "../models/kv_cache.ts";
import { SLOT_WORDS } from "../shaders/slots.ts";
import { initialWeights } from "../trainer/pretrain.ts";
import { median, usedTime } from "./clock.ts";
import { liveSlots } from "./decode.ts";
import type { ModelShape } from "./shapes.ts";
import type { StepTime } from "./step.ts";

/** Steps between two waits. */
const CHUNK = 16;
/** Most milliseconds that a size may take: it gets fewer rounds, and is left out where one alone takes longer. */
const MOST = 20_000;

/** One size of a series. */
interface Size {
  readonly at: string;
  /** Sequences placed, and how many of them are still alive. */
  readonly slots: number;
  readonly live: number;
  /** Position of the last step, plus 1. */
  readonly context: number;
}

/** Sequences decoded at once, each near the same context. */
export function decodeBatch(gpu: Gpu, s: ModelShape, rounds: number): Promise<StepTime> {
  const sizes = [1, 8, 64, 256].map((slots) => ({
    at: `batch ${slots}`,
    slots,
    live: slots,
    context: s.context,
  }));
  return series(gpu, s, sizes, rounds, `decode_batch.${s.name}`, `context ${s.context}`);
}

/** Positions that a step attends to, 8 sequences at once. */
export function decodeContext(gpu: Gpu, s: ModelShape, rounds: number): Promise<StepTime> {
  const sizes = [128, 256, 512, 1024, 2048, 4096].map((context) => ({
    at: `context ${context}`,
    slots: 8,
    live: 8,
    context,
  }));
  return series(gpu, s, sizes, rounds, `decode_context.${s.name}`, "8 sequences");
}

/** Sequences that have ended, spread over the batch, once the host has read so: the others are moved together. */
export function decodeFinished(gpu: Gpu, s: ModelShape, rounds: number): Promise<StepTime> {
  const sizes = [0, 25, 50, 75, 90].map((percent) => ({
    at: `${percent} % have ended`,
    slots: s.slots,
    live: Math.round(s.slots * (1 - percent / 100)),
    context: s.context,
  }));
  const what = `${s.slots} sequences, context ${s.context}`;
  return series(gpu, s, sizes, rounds, `decode_finished.${s.name}`, what);
}

/** Times all sizes in turns, so that they see the same load. */
async function series(
  gpu: Gpu,
  s: ModelShape,
  sizes: readonly Size[],
  rounds: number,
  name: string,
  what: string,
): Promise<StepTime> {
  const longest = Math.max(...sizes.map((size) => size.context));
  const config = { ...s.config, max_position_embeddings: longest };
  const model = await CausalLM.create(gpu, config, initialWeights(0));
  const cases = [];
  for (const size of sizes) {
    const decoder = new Decoder(gpu, model, config, s.blockSize, size);
    // The first run compiles.
    await decoder.time(1);
    const { milliseconds } = await decoder.time(2);
    const most = Math.min(rounds, Math.floor(MOST / CHUNK / milliseconds));
    cases.push({ size, decoder, most, times: [] as Awaited<ReturnType<Decoder["time"]>>[] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const c of cases) if (round < c.most) c.times.push(await c.decoder.time(CHUNK));
  }
  for (const { decoder } of cases) decoder.free();
  model.free();
  const rates = cases.map(({ size: { at, live }, times }) => {
    if (times.length === 0) return { at, milliseconds: null, cpu: null, tokensPerSecond: null };
    const milliseconds = median(times.map((t) => t.milliseconds));
    const cpu = median(times.map((t) => t.cpu));
    return { at, milliseconds, cpu, tokensPerSecond: 1000 * live / milliseconds };
  });
  const best = rates.reduce((a, b) => (b.tokensPerSecond ?? 0) > (a.tokensPerSecond ?? 0) ? b : a);
  return {
    name,
    what: `${what}, top-p 0.99, ${CHUNK} steps a wait; the best is ${best.at}`,
    milliseconds: best.milliseconds ?? NaN,
    tokensPerSecond: best.tokensPerSecond ?? NaN,
    rates,
    kernelMilliseconds: null,
    gflops: null,
    rows: [],
  };
}

/** The decode step of one size, at the end of its context again and again. */
class Decoder {
  #gpu: Gpu;
  #size: Size;
  #cache: KvCache;
  #decode: DecodeGraph;

  constructor(gpu: Gpu, model: CausalLM, config: ModelConfig, blockSize: number, size: Size) {
    const { slots, context } = size;
    const maxBlocks = Math.ceil(context / blockSize);
    this.#gpu = gpu;
    this.#size = size;
    this.#cache = new KvCache(gpu, config, slots * maxBlocks, blockSize);
    const blocks = this.#cache.take(slots * maxBlocks);
    for (const { keys, values } of this.#cache.layers) gpu.clear(keys, values);
    this.#decode = new DecodeGraph(model, this.#cache, {
      slots,
      seats: 1,
      chunk: CHUNK,
      maxBlocks,
      maxStops: 1,
    });
    this.#decode.sampling = { ...this.#decode.sampling, top_p: 0.99 };
    // Blocks of different sequences lie interleaved, as they do when sequences grow together.
    const table = Uint32Array.from(
      { length: slots * maxBlocks },
      (_, i) => blocks[i % maxBlocks * slots + Math.floor(i / maxBlocks)],
    );
    gpu.write(this.#decode.table, table);
  }

  /** Milliseconds of a step, over `steps` that end at the context. */
  async time(steps: number): Promise<{ milliseconds: number; cpu: number }> {
    const { slots, live, context } = this.#size;
    const state = liveSlots(slots, context - steps);
    // Every other place first: what is alive lies apart.
    for (let i = 0; i < slots - live; i++) {
      const half = Math.ceil(slots / 2);
      const dead = i < half ? 2 * i : 2 * (i - half) + 1;
      state[dead * SLOT_WORDS + 2] = 0;
    }
    this.#gpu.write(this.#decode.slots, state);
    this.#decode.active = live;
    const { milliseconds, cpu } = await usedTime(this.#gpu, () => this.#decode.run(steps));
    return { milliseconds: milliseconds / steps, cpu: cpu / steps };
  }

  free(): void {
    this.#decode.free();
    this.#cache.free();
  }
}
