/**
 * What goes into a rollout engine and what comes out.
 * @module
 */
import type { SamplingOptions } from "../models/decode_graph.ts";
import type { ImagePatches } from "../models/image_processor.ts";
import type { BranchOptions, BranchOrigin } from "./branching.ts";

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
  /** Most branches that one rollout and its branches make together, a cache block a slot each; 0 by default. */
  readonly branches?: number;
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
  /** Branch inside high-entropy windows; n stays the number of rollouts in all. Without it all start at the prompt. */
  readonly branching?: BranchOptions;
  /** Called after each read with the rollouts' new tokens so far. */
  readonly onChunk?: (progress: ChunkProgress) => void;
  /** Ends early when aborted; unfinished rollouts are dropped. */
  readonly signal?: AbortSignal;
}

/** What has happened up to a read. */
export interface ChunkProgress {
  /** New tokens in this chunk. */
  readonly tokens: number;
  /** Steps of this chunk times the slots that they computed, those without a sequence too. */
  readonly computed: number;
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

/** One sampled continuation; a branch with the tokens that it shares with its parent. */
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
  /** Where it left its parent, for a branch: what is before that step, values too, is the parent's. */
  readonly branch?: BranchOrigin;
}
