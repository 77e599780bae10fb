/**
 * Rollouts that wait for a seat with a prefix in the cache: branches, and the ordinary rollouts that unspent branches
 * become.
 * @module
 */
import type { BranchOrigin } from "./branching.ts";

/** A rollout before it has a seat: L tokens of prefix, none for one that starts at its prompt. */
export interface WaitingRollout {
  /** Index of the prompt. */
  readonly prompt: number;
  readonly sample: number;
  /** Sample numbers that it may spend on branches. */
  readonly reserve: readonly number[];
  readonly branch?: BranchOrigin;
  /** Held cache blocks of the prompt and the prefix; the last may be partial. */
  readonly blocks: readonly number[];
  /** [L] prefix, with its values. */
  readonly tokens: readonly number[];
  readonly logps: readonly number[];
  readonly entropies: readonly number[];
  /** The most likely tokens; empty without the engine's `topTokens`. */
  readonly top: readonly number[];
}

/**
 * A stack a seat. A seat goes on with what its own rollouts left, the longest prefix first: then everything that waits is
 * a prefix of what runs there, and the cache holds no more for it than one sequence and the partial blocks. A seat
 * without a stack may take from another's.
 */
export class WaitingRollouts {
  #stacks: WaitingRollout[][];

  constructor(seats: number) {
    this.#stacks = Array.from({ length: seats }, () => []);
  }

  /** Adds one that a seat's rollout has left; prefixes never become shorter on the way, but 0 may come at any time. */
  add(seat: number, rollout: WaitingRollout): void {
    const stack = this.#stacks[seat];
    if (rollout.tokens.length === 0) stack.unshift(rollout);
    else stack.push(rollout);
  }

  /** How many wait. */
  get size(): number {
    return this.#stacks.reduce((sum, stack) => sum + stack.length, 0);
  }

  /** The seat's own next one. */
  next(seat: number): WaitingRollout | undefined {
    return this.#stacks[seat].pop();
  }

  /** The one with the most left to do of the fullest stack, for a seat that has nothing of its own. */
  steal(): WaitingRollout | undefined {
    return this.#stacks.reduce((a, b) => b.length > a.length ? b : a).shift();
  }

  /** Takes all out. */
  drain(): WaitingRollout[] {
    return this.#stacks.flatMap((stack) => stack.splice(0));
  }
}
