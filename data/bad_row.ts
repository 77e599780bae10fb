/**
 * Rows that are left out, and why.
 * @module
 */

/** Why one row is left out; thrown while it is read and counted by who reads the file. */
export class BadRow extends Error {
  /** Two or three words, the same for all rows with this fault. */
  readonly reason: string;
  /** This row's case. */
  readonly detail: string;

  /** A fault of one row. */
  constructor(reason: string, detail: string) {
    super(`${reason}: ${detail}`);
    this.reason = reason;
    this.detail = detail;
  }
}

/** Rows left out for one reason. */
export interface Skipped {
  /** Why, in two or three words. */
  reason: string;
  /** How many rows. */
  count: number;
  /** The first three; `row` is the line's number, or the row's in a Parquet file, from 1. */
  examples: { row: number; detail: string }[];
}

const EXAMPLES_KEPT = 3;

/** Counts faults by reason, in the order in which the reasons first occurred. */
export class SkipCount {
  readonly #byReason = new Map<string, Skipped>();

  /** Counts one row. */
  add(row: number, { reason, detail }: BadRow): void {
    const entry = this.#byReason.get(reason) ?? { reason, count: 0, examples: [] };
    entry.count++;
    if (entry.examples.length < EXAMPLES_KEPT) entry.examples.push({ row, detail });
    this.#byReason.set(reason, entry);
  }

  /** What was counted so far. */
  get skipped(): Skipped[] {
    return [...this.#byReason.values()];
  }
}

const DETAIL_LENGTH = 120;

/** The beginning of a text, for messages. */
export function shortened(text: string): string {
  return text.length <= DETAIL_LENGTH ? text : `${text.slice(0, DETAIL_LENGTH)}…`;
}
