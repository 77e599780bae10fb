/**
 * The held-out split: a pure function of a problem's text (in the micro-world also of what its picture shows), so
 * that no list has to be kept and every part of the product (pretraining, training, evaluation) agrees on it.
 * @module
 */

/** One problem in this many is held out. */
export const HELD_OUT_ONE_IN = 5;

/** Which side of the split a problem lies on. */
export type Split = "train" | "heldout";

/**
 * FNV-1a over the UTF-8 bytes, then MurmurHash3's 32-bit finaliser (FNV-1a alone leaves its last bytes badly
 * mixed, and problems differ mostly near their end).
 * @param salt gives independent hashes of the same text
 * @returns an unsigned 32-bit number
 */
export function hash32(text: string, salt = 0): number {
  let h = (0x811c9dc5 ^ Math.imul(salt, 0x9e3779b9)) >>> 0;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The side on which a problem lies; surrounding white space does not count. */
export function splitOf(problem: string): Split {
  return hash32(problem.trim()) % HELD_OUT_ONE_IN === 0 ? "heldout" : "train";
}
