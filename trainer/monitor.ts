/**
 * What a run tells while it works; the command line shows it, an importer may listen.
 * @module
 */

/** A stretch of work that counts up. */
export interface MonitorPhase {
  /** `count` more units are done; `note` is shown beside the count from now on. */
  advance(count?: number, note?: string): void;
  /** The stretch is over. */
  finish(note?: string): void;
}

/** Receives phases and lines. */
export interface Monitor {
  /** Begins a stretch of `total` units (null: unknown). */
  phase(name: string, total: number | null, unit: string): MonitorPhase;
  /** One line for the reader. */
  say(line: string): void;
}

/** Hears nothing. */
export const silent: Monitor = {
  phase: () => ({ advance: () => {}, finish: () => {} }),
  say: () => {},
};
