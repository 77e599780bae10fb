/**
 * Where a run's time goes: seconds by phase, and within its iterations by their parts.
 * @module
 */
import { LapClock } from "./lap_clock.ts";
import type { LogRecord } from "./metrics_log.ts";

/** Parts of an iteration: `timing_s/<key>` in the metrics, and what a reader calls them. They add up to `timing_s/step`. */
const PARTS = {
  gen: "rollouts",
  ref: "reference log-probabilities",
  update_actor: "update",
  windows: "entropy windows",
  filter: "filtering",
  values: "values",
  reward: "reward",
  adv: "advantages",
  controllers: "controllers",
  metrics: "metrics",
} as const;

/** Phases of a run, and what a reader calls them; they add up to its time. */
const PHASES = {
  setup: "loading",
  evaluation: "evaluations",
  curation: "AdaCS curation",
  sft: "fine-tuning",
  step: "iterations",
  log: "rollout log",
  save: "checkpoints",
} as const;

/** A phase of a run. */
export type Phase = keyof typeof PHASES;

/** Parts of an iteration that only decide what to learn: filtering rewards every batch a first time. */
const STEERING: readonly string[] = ["reward", "filter", "adv", "controllers"];

/** What {@link steeringSeconds} adds up, in words. */
export const STEERING_NAMES = "reward, filtering, advantages and controllers";

/** Times a run from its beginning, phase by phase. */
export class PhaseTimes {
  #clock = new LapClock();
  #parts: Record<string, number> = {};

  /** What was done since the last phase ended was this one. */
  lap(phase: Phase): void {
    this.#clock.lap(phase);
  }

  /** Adds the parts of an iteration's record. */
  add(record: LogRecord): void {
    for (const name of Object.keys(PARTS)) {
      const seconds = record[`timing_s/${name}`];
      if (typeof seconds === "number") this.#parts[name] = (this.#parts[name] ?? 0) + seconds;
    }
  }

  /** Seconds by phase, and of the parts of all iterations that came to their end; of those the sum is `step`. */
  get seconds(): Readonly<Record<string, number>> {
    return { ...this.#clock.laps, ...this.#parts };
  }

  /** Seconds of all phases. */
  get total(): number {
    return this.#clock.total;
  }
}

/**
 * Seconds that reward, filtering, advantages and controllers took.
 * @param seconds by part, of an iteration or of many
 */
export function steeringSeconds(seconds: Readonly<Record<string, number>>): number {
  return STEERING.reduce((sum, key) => sum + (seconds[key] ?? 0), 0);
}

/**
 * The iterations' shares in a sentence, the largest first, and the other phases behind it; undefined where no iteration was
 * run.
 * @param seconds of {@link PhaseTimes}
 */
export function phaseLine(seconds: Readonly<Record<string, number>>): string | undefined {
  const { step } = seconds;
  if (!step) return undefined;
  const percent = (s: number) => `${(100 * s / step).toFixed(1)} %`;
  const largestFirst = (names: Readonly<Record<string, string>>) =>
    Object.entries(names).filter(([key]) => seconds[key] !== undefined)
      .sort(([a], [b]) => seconds[b] - seconds[a]);
  const parts = largestFirst(PARTS).map(([key, name]) => `${name} ${percent(seconds[key])}`);
  const others = largestFirst(PHASES).filter(([key]) => key !== "step")
    .map(([key, name]) => `${name} ${seconds[key].toFixed(1)} s`);
  const line = `iterations, ${step.toFixed(0)} s: ${parts.join(", ")}; ` +
    `${STEERING_NAMES} together ${percent(steeringSeconds(seconds))}`;
  return others.length === 0 ? line : `${line}; beside them ${others.join(", ")}`;
}
