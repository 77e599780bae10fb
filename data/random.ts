/**
 * Keyed, counter-based random numbers in plain JS numbers.
 *
 * The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011): block `c` of a stream is a pure function of the stream's 64-bit key and of `c`. Keys are hashes of a
 * path such as `(seed, "train", 17)`, so row 17 is the same whether or not rows 0..16 were ever made.
 * @module
 */
import { hash32 } from "./split.ts";

const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** The upper 32 bits of the 64-bit product of two unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff, aHigh = a >>> 16, bLow = b & 0xffff, bHigh = b >>> 16;
  const low = aLow * bLow;
  const mid1 = aHigh * bLow + Math.floor(low / 0x10000);
  const mid2 = aLow * bHigh + mid1 % 0x10000;
  return (aHigh * bHigh + Math.floor(mid1 / 0x10000) + Math.floor(mid2 / 0x10000)) >>> 0;
}

/**
 * One Philox4x32-10 block.
 * @param counter four unsigned 32-bit words
 * @param key two unsigned 32-bit words
 * @returns four unsigned 32-bit words
 */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0), low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, c2), low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** A stream of random numbers; its whole state is a key and a counter. */
export class Rng {
  readonly #key: readonly [number, number];
  #block = 0;
  #left: number[] = [];

  /**
   * Opens the stream at its start.
   * @param path the stream's name: equal paths give equal streams, different paths unrelated ones
   */
  constructor(...path: readonly (number | string)[]) {
    const name = JSON.stringify(path);
    this.#key = [hash32(name, 1), hash32(name, 2)];
  }

  /** The next unsigned 32-bit number. */
  next(): number {
    if (this.#left.length === 0) {
      this.#left = philox4x32([this.#block >>> 0, Math.floor(this.#block / 0x100000000), 0, 0], this.#key);
      this.#block++;
    }
    return this.#left.shift()!;
  }

  /** A number in [0, 1) with 32 random bits. */
  float(): number {
    return this.next() / 0x100000000;
  }

  /** A whole number in [0, n); the bias is at most n / 2³². */
  below(n: number): number {
    return Math.floor(this.float() * n);
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.float() < p;
  }

  /** One element, all equally likely. The list must not be empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  /** An index, drawn in proportion to non-negative weights of which at least one is positive. */
  weighted(weights: readonly number[]): number {
    let rest = this.float() * weights.reduce((sum, w) => sum + w, 0);
    let last = 0;
    for (let i = 0; i < weights.length; i++) {
      if (weights[i] <= 0) continue;
      last = i;
      rest -= weights[i];
      if (rest < 0) break;
    }
    return last;
  }

  /** `count` different elements in random order (Fisher–Yates); `count` is at most the list's length. */
  sample<T>(list: readonly T[], count: number): T[] {
    const pool = [...list];
    for (let i = 0; i < count; i++) {
      const j = i + this.below(pool.length - i);
      [pool[i], pool[j]] = [pool[j], pool[i]];
    }
    return pool.slice(0, count);
  }
}
