/**
 * Progress of the phases of a command: a bar on a terminal, a plain line every few seconds elsewhere.
 * @module
 */
import process from "node:process";
import { SingleBar } from "cli-progress";

/** Where progress goes: `process.stderr`, or a stand-in for it. */
export interface ProgressStream {
  /** Writes text. */
  write(text: string): unknown;
  /** A terminal gets a bar. */
  isTTY?: boolean;
}

/** Seconds between two plain lines. */
const PLAIN_INTERVAL = 5;

/** Shows one phase at a time. */
export class Progress {
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  #phase?: Phase;
  /** Whether the terminal's line is a passing one. */
  #passing = false;

  /**
   * Shows nothing until the first phase.
   * @param now the clock in seconds
   */
  constructor(stream: ProgressStream = process.stderr, now: () => number = () => performance.now() / 1000) {
    this.#stream = stream;
    this.#now = now;
  }

  /**
   * Begins a phase and ends the one before.
   * @param total how many `unit`s there are to do; null: unknown, so no time left is shown
   */
  phase(name: string, total: number | null, unit: string): Phase {
    this.close();
    this.#phase = new Phase({ name, total, unit }, this.#stream, this.#now);
    return this.#phase;
  }

  /** Prints a line without disturbing the bar. */
  say(line: string): void {
    this.#clear();
    if (this.#phase) this.#phase.say(line);
    else this.#stream.write(`${line}\n`);
  }

  /** Shows a line on a terminal until the next one, of whatever kind; elsewhere nothing. */
  pass(line: string): void {
    if (!this.#stream.isTTY) return;
    this.#stream.write(`\r\x1b[K${line}`);
    this.#passing = true;
  }

  #clear(): void {
    if (this.#passing) this.#stream.write("\r\x1b[K");
    this.#passing = false;
  }

  /** Ends the phase that is shown, if any. */
  close(): void {
    this.#clear();
    this.#phase?.finish();
    this.#phase = undefined;
  }
}

/** What a phase counts. */
export interface PhaseCount {
  /** What is being done. */
  name: string;
  /** How many units there are to do; null: unknown. */
  total: number | null;
  /** Plural name of what is counted. */
  unit: string;
}

/** One phase: counts up, shows speed and time left. */
export class Phase {
  readonly #count: PhaseCount;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #started: number;
  readonly #bar?: SingleBar;
  #done = 0;
  #note = "";
  #lastLine: number;
  #finished = false;

  /** Use {@link Progress.phase}. */
  constructor(count: PhaseCount, stream: ProgressStream, now: () => number) {
    this.#count = count;
    this.#stream = stream;
    this.#now = now;
    this.#started = this.#lastLine = now();
    if (!stream.isTTY) return;
    this.#bar = new SingleBar({
      format: count.total === null ? "{text}" : "{bar} {text}",
      stream: stream as unknown as NodeJS.WritableStream,
      barsize: 24,
      // A hidden cursor would stay hidden, and its own SIGINT handler would end the process, at Ctrl-C.
      hideCursor: false,
      gracefulExit: false,
      clearOnComplete: true,
      barCompleteChar: "█",
      barIncompleteChar: "░",
    });
    this.#bar.start(count.total ?? 1, 0, { text: this.#text() });
  }

  /**
   * `count` more units are done.
   * @param note shown at the end of the line from now on, for example a loss
   */
  advance(count = 1, note?: string): void {
    this.#done += count;
    if (note !== undefined) this.#note = note;
    const now = this.#now();
    if (this.#bar) this.#bar.update(this.#count.total === null ? 0 : this.#done, { text: this.#text() });
    else if (now - this.#lastLine >= PLAIN_INTERVAL) {
      this.#lastLine = now;
      this.#stream.write(`${this.#text()}\n`);
    }
  }

  /** Prints a line without disturbing the bar. */
  say(line: string): void {
    this.#stream.write(this.#bar && !this.#finished ? `\r\x1b[K${line}\n` : `${line}\n`);
    if (!this.#finished) this.#bar?.render(true);
  }

  /** Ends the phase with a line of what was done in which time; more calls do nothing. */
  finish(note?: string): void {
    if (this.#finished) return;
    this.#finished = true;
    if (note !== undefined) this.#note = note;
    this.#bar?.stop();
    const seconds = this.#now() - this.#started;
    const speed = seconds > 0 ? ` (${formatSpeed(this.#done / seconds, this.#count.unit)})` : "";
    const what = `${this.#count.name}: ${this.#done} ${this.#count.unit} in ${formatTime(seconds)}${speed}`;
    this.#stream.write(this.#note ? `${what} · ${this.#note}\n` : `${what}\n`);
  }

  #text(): string {
    const { name, total, unit } = this.#count;
    const seconds = this.#now() - this.#started;
    const parts = [`${name} ${this.#done}${total === null ? "" : `/${total}`} ${unit}`];
    if (this.#done > 0 && seconds > 0) {
      const speed = this.#done / seconds;
      parts.push(formatSpeed(speed, unit));
      if (total !== null) parts.push(`${formatTime(Math.max(0, total - this.#done) / speed)} left`);
    }
    if (this.#note) parts.push(this.#note);
    return parts.join(" · ");
  }
}

/** `12.3 tokens/s`, or `4.5 steps/min` below one in ten seconds. */
export function formatSpeed(perSecond: number, unit: string): string {
  if (perSecond <= 0) return `0 ${unit}/s`;
  if (perSecond < 0.1) return `${(60 * perSecond).toFixed(1)} ${unit}/min`;
  return `${perSecond.toFixed(perSecond < 10 ? 2 : perSecond < 100 ? 1 : 0)} ${unit}/s`;
}

/** `0.3 s`, `12 s`, `3 min 05 s`, `2 h 03 min`. */
export function formatTime(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
