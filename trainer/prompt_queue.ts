/**
 * The rollouts that start at their prompts, in order: a prompt's cache is computed when the first of them comes, and
 * shared by all.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import type { CausalLM } from "../models/causal_lm.ts";
import type { KvCache } from "../models/kv_cache.ts";
import { mropePositions } from "../models/mrope.ts";
import { patchCount } from "../models/packed_batch.ts";
import type { PrefillGraph, PrefillSequence } from "../models/prefill_graph.ts";
import type { RolloutPrompt } from "./rollout_types.ts";
import type { WaitingRollout } from "./waiting_rollouts.ts";

/** The roots of one generation. */
export class PromptQueue {
  #model: CausalLM;
  #cache: KvCache;
  #prefill: PrefillGraph;
  #prompts: readonly RolloutPrompt[];
  #deal: readonly (readonly number[])[];
  /** Place of the next root in the order (prompt, deal). */
  #next = 0;
  /** Blocks of the prompt of the next root, filled by its tokens but the last; the last block may be partial. */
  #blocks: number[] = [];
  #ropeDeltas: number[];
  /** Prompts opened since the last prefill, and whether the next one has to wait for it. */
  #filling = { sequences: [] as PrefillSequence[], tokens: 0, patches: 0, full: false };

  /** @param deal by root of a prompt: its sample number, then those that it may spend on branches */
  constructor(
    model: CausalLM,
    cache: KvCache,
    prefill: PrefillGraph,
    prompts: readonly RolloutPrompt[],
    deal: readonly (readonly number[])[],
  ) {
    this.#model = model;
    this.#cache = cache;
    this.#prefill = prefill;
    this.#prompts = prompts;
    this.#deal = deal;
    this.#ropeDeltas = prompts.map(() => 0);
  }

  /** Whether roots are left. */
  get left(): boolean {
    return this.#next < this.#prompts.length * this.#deal.length;
  }

  /** Added to a prompt's positions after its pictures; 0 for text. */
  ropeDelta(prompt: number): number {
    return this.#ropeDeltas[prompt];
  }

  /**
   * The next root, with a reference to its prompt's blocks; undefined where none is left, or none fits the prefill until
   * {@link fill}.
   * @throws UserError when a prompt has more patches of pictures than the prefill takes
   */
  async next(): Promise<WaitingRollout | undefined> {
    const roots = this.#deal.length;
    if (this.#filling.full || this.#next === this.#prompts.length * roots) return;
    const prompt = Math.floor(this.#next / roots);
    const place = this.#next % roots;
    if (place === 0 && !await this.#open(prompt)) return;
    this.#next++;
    const blocks = this.#blocks;
    if (place < roots - 1) this.#cache.share(blocks);
    else this.#blocks = [];
    const [sample, ...reserve] = this.#deal[place];
    return { prompt, sample, reserve, blocks, tokens: [], logps: [], entropies: [], top: [] };
  }

  /** Submits the prefill of the prompts opened since the last time. */
  async fill(): Promise<void> {
    const { sequences } = this.#filling;
    this.#filling = { sequences: [], tokens: 0, patches: 0, full: false };
    await this.#prefill.run(sequences);
  }

  /** Gives back what it holds: a generation has ended early. */
  free(): void {
    this.#cache.release(this.#blocks.splice(0));
  }

  /** Gives a prompt its blocks and puts it into the prefill; false where it does not fit any more. */
  async #open(prompt: number): Promise<boolean> {
    const { vision } = this.#model.config;
    const { blockSize } = this.#cache;
    const { options: most } = this.#prefill;
    const { ids, images } = this.#prompts[prompt];
    const pictures = await images?.();
    const patches = patchCount(pictures);
    if (patches > most.patches) {
      throw new UserError(
        `prompt ${prompt} has pictures of ${patches} patches; this engine takes ${most.patches} a prompt`,
      );
    }
    // The last prompt token is the first decode step's input; the cache holds those before it.
    const cached = ids.length - 1;
    const filling = this.#filling;
    filling.full = filling.sequences.length > 0 &&
      (filling.tokens + cached > most.tokens || filling.patches + patches > most.patches);
    if (filling.full) return false;
    if (vision) {
      const grids = (pictures ?? []).map((p) => p.grid);
      this.#ropeDeltas[prompt] = mropePositions(Uint32Array.from(ids), grids, vision).ropeDelta;
    }
    const blocks = this.#blocks = this.#cache.take(Math.ceil(cached / blockSize));
    filling.tokens += cached;
    filling.patches += patches;
    filling.sequences.push({
      ids: ids.slice(0, cached),
      images: pictures,
      rows: Array.from(
        { length: cached },
        (_, i) => blocks[Math.floor(i / blockSize)] * blockSize + i % blockSize,
      ),
    });
    return true;
  }
}
