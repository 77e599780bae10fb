/**
 * Where a run's time goes: seconds by phase, added up over its iterations.
 * @module
 */
import type { LogRecord } from "./metrics_log.ts";

/** Phases of an iteration: `timing_s/<key>` in the metrics, and what a reader calls them. */
const PHASES = {
  gen: "rollouts",
  ref: "reference log-probabilities",
  update_actor: "update",
  windows: "entropy windows",
  filter: "filtering",
  values: "values",
  reward: "reward",
  adv: "advantages",
  controllers: "controllers",
} as const;

/** Phases that are the host's alone. */
const STEERING: readonly string[] = ["reward", "adv", "controllers"];

/** Seconds by phase. */
export class PhaseTimes {
  #seconds: Record<string, number> = {};

  /** Adds the phases of an iteration's record. */
  add(record: LogRecord): void {
    for (const name of ["step", ...Object.keys(PHASES)]) {
      const seconds = record[`timing_s/${name}`];
      if (typeof seconds === "number") this.#seconds[name] = (this.#seconds[name] ?? 0) + seconds;
    }
  }

  /** Adds seconds of a phase outside the iterations: an evaluation, fine-tuning. */
  addOther(name: string, seconds: number): void {
    this.#seconds[name] = (this.#seconds[name] ?? 0) + seconds;
  }

  /** Seconds by phase; `step` is the iterations' sum. */
  get seconds(): Readonly<Record<string, number>> {
    return { ...this.#seconds };
  }
}

/**
 * The shares in a sentence, the largest first; undefined where no iteration was run.
 * @param seconds of {@link PhaseTimes}
 */
export function phaseLine(seconds: Readonly<Record<string, number>>): string | undefined {
  const { step } = seconds;
  if (!step) return undefined;
  const percent = (s: number) => `${(100 * s / step).toFixed(1)} %`;
  const parts = Object.entries(PHASES).filter(([key]) => seconds[key] !== undefined)
    .sort(([a], [b]) => seconds[b] - seconds[a]).map(([key, name]) => `${name} ${percent(seconds[key])}`);
  const steering = STEERING.reduce((sum, key) => sum + (seconds[key] ?? 0), 0);
  return `iterations, ${step.toFixed(0)} s: ${parts.join(", ")}; ` +
    `reward, advantages and controllers together ${percent(steering)}`;
}
