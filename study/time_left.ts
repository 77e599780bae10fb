/**
 * An estimate of a study's time from the runs that are done: runs of one kind take about the same.
 * @module
 */
import { join } from "node:path";
import type { Arm } from "./arms.ts";

type Kind = Arm["kind"];

/** What is known of the runs' times. */
export class TimeLeft {
  #kinds: readonly Kind[];
  #seconds = new Map<Kind, number[]>();

  private constructor(kinds: readonly Kind[]) {
    this.#kinds = kinds;
  }

  /** Of runs in their order, some of which are done and tell their seconds. */
  static async of(runs: readonly { readonly arm: Arm; readonly folder: string }[]): Promise<TimeLeft> {
    const left = new TimeLeft(runs.map((r) => r.arm.kind));
    for (const { arm, folder } of runs) {
      const text = await Deno.readTextFile(join(folder, "summary.json")).catch(() => undefined);
      const summary = text === undefined ? undefined : JSON.parse(text);
      if (summary?.interrupted === false) left.took(arm.kind, summary.seconds);
    }
    return left;
  }

  /** A run of this kind took so long. */
  took(kind: Kind, seconds: number): void {
    this.#seconds.set(kind, [...this.#seconds.get(kind) ?? [], seconds]);
  }

  /** Seconds from run `i` to the end; undefined while a kind that is to come has not run. */
  from(i: number): number | undefined {
    let total = 0;
    for (const kind of this.#kinds.slice(i)) {
      const known = this.#seconds.get(kind);
      if (!known) return undefined;
      total += known.reduce((a, b) => a + b, 0) / known.length;
    }
    return total;
  }

  /** The same in words. */
  line(i: number): string {
    const seconds = this.from(i);
    if (seconds === undefined) return "the time left is told after the first run of each kind";
    const minutes = Math.ceil(seconds / 60);
    return minutes < 60
      ? `about ${minutes} min left in all`
      : `about ${Math.floor(minutes / 60)} h ${minutes % 60} min left in all`;
  }
}
