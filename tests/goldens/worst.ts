/**
 * Collects the worst difference of many comparisons and where it was.
 * @module
 */

import type { Report } from "./report.ts";

/** The largest difference seen; NaN and unequal shapes count as infinite. */
export class Worst {
  /** The largest difference */
  value = 0;
  /** How many comparisons were made */
  count = 0;
  #where = "";

  #note(difference: number, where: string): void {
    this.count++;
    const d = Number.isNaN(difference) ? Infinity : difference;
    if (d <= this.value) return;
    this.value = d;
    this.#where = where;
  }

  /** |got − wanted| */
  absolute(got: number, wanted: number, where: string): void {
    this.#note(Math.abs(got - wanted), `${where}: ${got} for ${wanted}`);
  }

  /** |got − wanted| / |wanted|, absolute where the wanted value is below 1e-12 */
  relative(got: number, wanted: number, where: string): void {
    const size = Math.abs(wanted);
    this.#note(Math.abs(got - wanted) / (size > 1e-12 ? size : 1), `${where}: ${got} for ${wanted}`);
  }

  /** |got − wanted| / max(1, |wanted|): absolute for small values, relative for large ones (float32 tables) */
  size(got: number, wanted: number, where: string): void {
    this.#note(Math.abs(got - wanted) / Math.max(1, Math.abs(wanted)), `${where}: ${got} for ${wanted}`);
  }

  /** {@link absolute} over two arrays of the same length */
  list(got: ArrayLike<number>, wanted: ArrayLike<number>, where: string): void {
    if (got.length !== wanted.length) {
      this.#note(Infinity, `${where}: ${got.length} values for ${wanted.length}`);
    }
    for (let i = 0; i < wanted.length; i++) this.absolute(got[i], wanted[i], `${where}[${i}]`);
  }

  /** {@link list} over rows */
  rows(got: readonly ArrayLike<number>[], wanted: readonly ArrayLike<number>[], where: string): void {
    if (got.length !== wanted.length) {
      this.#note(Infinity, `${where}: ${got.length} rows for ${wanted.length}`);
    }
    wanted.forEach((row, i) => this.list(got[i] ?? [], row, `${where} row ${i}`));
  }

  /** max |got − wanted| over max |wanted|: for gradients */
  gradient(got: ArrayLike<number>, wanted: ArrayLike<number>, where: string): void {
    let scale = 0, difference = got.length === wanted.length ? 0 : Infinity;
    for (let i = 0; i < wanted.length; i++) {
      scale = Math.max(scale, Math.abs(wanted[i]));
      const d = Math.abs(got[i] - wanted[i]);
      difference = d <= difference ? difference : Number.isNaN(d) ? Infinity : d;
    }
    this.#note(scale > 0 ? difference / scale : difference, `${where}: largest value ${scale}`);
  }

  /** Equal in every part, key order aside; a difference counts as infinite */
  same(got: unknown, wanted: unknown, where: string): void {
    const equal = sorted(got) === sorted(wanted);
    this.#note(equal ? 0 : Infinity, `${where}: ${JSON.stringify(got)} for ${JSON.stringify(wanted)}`);
  }

  /** Hands the result on; a table without any comparison fails. */
  report(name: string, limit: number, report: Report): void {
    const detail = this.#where && this.value > 0
      ? `${this.count} values; worst at ${this.#where}`
      : `${this.count} values`;
    report(name, this.count === 0 ? Infinity : this.value, limit, detail);
  }
}

function sorted(value: unknown): string {
  return JSON.stringify(
    value,
    (_, v) =>
      v && typeof v === "object" && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort()) : v,
  );
}
