/**
 * Trigger words among a tokenizer's tokens.
 * @module
 */
import type { Tokenizer } from "../models/tokenizer.ts";
import { normaliseToken } from "./reference_entropy.ts";

/** Says of token ids whether they spell a trigger word; every id is decoded once. */
export class TriggerWords {
  #tokenizer: Pick<Tokenizer, "decode">;
  #words: ReadonlySet<string>;
  #known = new Map<number, boolean>();

  /** @param words in any spelling that {@link normaliseToken} takes off */
  constructor(tokenizer: Pick<Tokenizer, "decode">, words: readonly string[]) {
    this.#tokenizer = tokenizer;
    this.#words = new Set(words.map(normaliseToken));
  }

  /** [L] ids -> [L] 1 where the token alone spells a trigger word, else 0. */
  among(ids: ArrayLike<number>): Uint8Array {
    return Uint8Array.from(ids, (id) => this.#has(id) ? 1 : 0);
  }

  #has(id: number): boolean {
    let has = this.#known.get(id);
    if (has === undefined) {
      has = this.#words.has(normaliseToken(this.#tokenizer.decode([id])));
      this.#known.set(id, has);
    }
    return has;
  }
}
