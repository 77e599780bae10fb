/**
 * Philox4x32-10, the counter-based generator of the sampling kernel (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). The same counter and key give the same words on the host and on the GPU.
 * @module
 */

/** High 32 bits of the product of two u32. */
function highProduct(a: number, b: number): number {
  const low = (a & 0xffff) * (b & 0xffff);
  const mid = (a >>> 16) * (b & 0xffff) + (low >>> 16);
  const cross = (a & 0xffff) * (b >>> 16) + (mid & 0xffff);
  return ((a >>> 16) * (b >>> 16) + Math.floor(mid / 65536) + Math.floor(cross / 65536)) >>> 0;
}

/** Four random u32 of a counter (four u32) and a key (two u32). */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [x, y, z, w] = counter;
  let [k, l] = key;
  for (let round = 0; round < 10; round++) {
    [x, y, z, w] = [
      (highProduct(0xcd9e8d57, z) ^ y ^ k) >>> 0,
      Math.imul(0xcd9e8d57, z) >>> 0,
      (highProduct(0xd2511f53, x) ^ w ^ l) >>> 0,
      Math.imul(0xd2511f53, x) >>> 0,
    ];
    k = (k + 0x9e3779b9) >>> 0;
    l = (l + 0xbb67ae85) >>> 0;
  }
  return [x, y, z, w];
}

/** The uniform number in [0, 1) that the sampling kernel uses for the token at index `position` of a sequence. */
export function sampleUniform(key: readonly [number, number], position: number): number {
  return (philox([position, 0, 0, 0], key)[0] >>> 8) / 2 ** 24;
}
