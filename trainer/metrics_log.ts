/**
 * Append-only JSON lines: `metrics.jsonl` (one object a step) and `generations.jsonl` (one object a sample).
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { saveError } from "./atomic_write.ts";

/** One line: where in the run it belongs, then names of EasyR1 and TRL and their values. */
export interface LogRecord {
  /** Step within the stage, from 1; 0 is before training. */
  step: number;
  /** For example `adacs` or `aepo`. */
  stage: string;
  /** `actor/pg_loss`, `response_length/mean`, `timing_s/gen`, … */
  [name: string]: unknown;
}

/** An append-only file of JSON lines. */
export class MetricsLog {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  #bytes: number;
  #lines: number;

  private constructor(path: string, file: Deno.FsFile, bytes: number, lines: number) {
    this.#path = path;
    this.#file = file;
    this.#bytes = bytes;
    this.#lines = lines;
  }

  /**
   * Opens the log at `path`, made if need be.
   * @param keepLines on resume: {@link lines} as it was when the checkpoint was saved. Later lines belong to steps
   * that will be done again and are cut off. Without it every whole line is kept and a torn last one is cut off.
   * @throws UserError if the file has fewer lines than that
   */
  static open(path: string, keepLines?: number): MetricsLog {
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(path, { read: true, write: true, create: true });
    } catch (error) {
      throw saveError(path, error);
    }
    const { bytes, lines } = measure(Deno.readFileSync(path), keepLines ?? Infinity);
    if (keepLines !== undefined && lines < keepLines) {
      file.close();
      throw new UserError(
        `${path} has ${lines} lines, but had ${keepLines} when the checkpoint was saved: ` +
          `put the missing lines back, or resume from an earlier checkpoint`,
      );
    }
    file.truncateSync(bytes);
    file.seekSync(0, Deno.SeekMode.End);
    return new MetricsLog(path, file, bytes, lines);
  }

  /** Lines in the file; a checkpoint keeps this number for {@link MetricsLog.open}. */
  get lines(): number {
    return this.#lines;
  }

  /**
   * Writes one line. NaN and ±Infinity become the texts "NaN", "Infinity" and "-Infinity": JSON has no such numbers.
   * @throws UserError if the system refuses (a full disk); the file is then as before the call
   */
  append(record: LogRecord): void {
    const line = new TextEncoder().encode(JSON.stringify(record, nonFiniteAsText) + "\n");
    try {
      for (let done = 0; done < line.length;) done += this.#file.writeSync(line.subarray(done));
    } catch (error) {
      this.#file.truncateSync(this.#bytes);
      this.#file.seekSync(0, Deno.SeekMode.End);
      throw saveError(this.#path, error);
    }
    this.#bytes += line.length;
    this.#lines++;
  }

  /** Waits until all lines are on the disk; call it before a checkpoint that keeps {@link lines}. */
  async sync(): Promise<void> {
    await this.#file.sync();
  }

  /** Closes the file. */
  close(): void {
    this.#file.close();
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * A line without what the clock decides: keys that start with `timing_s/` or `perf/`. Two runs with the same
 * configuration and seeds on one adapter agree in the rest, byte for byte.
 */
export function withoutTimes(line: string): string {
  const entries = Object.entries(JSON.parse(line) as LogRecord);
  return JSON.stringify(Object.fromEntries(entries.filter(([name]) => !/^(timing_s|perf)\//.test(name))));
}

function nonFiniteAsText(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

/** Length of the first `limit` whole lines, and how many there are of them. */
function measure(contents: Uint8Array, limit: number): { bytes: number; lines: number } {
  let bytes = 0;
  let lines = 0;
  while (lines < limit) {
    const end = contents.indexOf(10, bytes);
    if (end === -1) break;
    bytes = end + 1;
    lines++;
  }
  return { bytes, lines };
}
