/**
 * A clock whose laps leave nothing out.
 * @module
 */

/** Seconds by name; every lap begins where the one before ended, so that they add up to the whole. */
export class LapClock {
  #last = performance.now();
  #laps: Record<string, number> = {};

  /** Adds the time since the last lap, or since the clock was made, to `name`. */
  lap(name: string): void {
    const now = performance.now();
    this.#laps[name] = (this.#laps[name] ?? 0) + (now - this.#last) / 1000;
    this.#last = now;
  }

  /** Seconds by name. */
  get laps(): Readonly<Record<string, number>> {
    return { ...this.#laps };
  }

  /** Seconds from the start to the last lap: the sum of the laps. */
  get total(): number {
    return Object.values(this.#laps).reduce((sum, seconds) => sum + seconds, 0);
  }
}
