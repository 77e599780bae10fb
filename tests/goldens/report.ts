/**
 * What a golden check says: a name, the worst difference, its fair limit.
 * @module
 */

/** Takes one result; `worst` must not exceed `limit`. */
export type Report = (name: string, worst: number, limit: number, detail?: string) => void;

/** Largest |a − b|; infinite when lengths differ or something is not finite. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i] - b[i]);
    if (!(d <= worst)) worst = Number.isNaN(d) ? Infinity : d;
  }
  return worst;
}

/** Largest |x|, at least 1e-30. */
export function maxAbs(a: ArrayLike<number>): number {
  let most = 1e-30;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]));
  return most;
}
