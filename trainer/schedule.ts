/**
 * Learning-rate schedules: a linear warm-up, then flat or falling.
 * @module
 */
import type { LrScheduler } from "./config_types.ts";

/** A schedule's settings, under EasyR1's names. */
export interface ScheduleOptions {
  /** Peak learning rate. */
  readonly lr: number;
  /** Steps over which it rises from 0. */
  readonly lr_warmup_steps: number;
  /** Its course after the warm-up. */
  readonly lr_scheduler_type: LrScheduler;
  /** Where a falling schedule ends, as a share of `lr`. */
  readonly min_lr_ratio: number;
}

/**
 * Learning rate of step `step` (from 0) of `total`: rises linearly over the warm-up so that no step has rate 0 (over at
 * most a third of the steps, so that a short run is not all warm-up), then stays (`constant`) or falls to `min_lr_ratio · lr` at the last step (`linear`, `cosine`).
 */
export function learningRate(o: ScheduleOptions, step: number, total: number): number {
  const warmup = Math.min(o.lr_warmup_steps, Math.floor(total / 3));
  if (step < warmup) return o.lr * (step + 1) / (warmup + 1);
  if (o.lr_scheduler_type === "constant") return o.lr;
  const span = Math.max(1, total - warmup);
  const progress = Math.min(1, (step - warmup) / span);
  const left = o.lr_scheduler_type === "linear" ? 1 - progress : (1 + Math.cos(Math.PI * progress)) / 2;
  return o.lr * (o.min_lr_ratio + (1 - o.min_lr_ratio) * left);
}
