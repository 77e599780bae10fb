/**
 * Start, middle and end of a run's iterations: a tenth of them each, since one iteration's few groups say little.
 * @module
 */
import { doneRuns } from "./compare.ts";
import type { RunResult, StudyResults } from "./results.ts";

/** Parts of a course that are told. */
export const STRETCHES = ["start", "middle", "end"] as const;
/** One of {@link STRETCHES}. */
export type Stretch = typeof STRETCHES[number];

/** The first, middle or last tenth of a list, and at least one item of it. */
export function stretchOf<T>(items: readonly T[], which: Stretch): readonly T[] {
  const n = Math.max(1, Math.round(items.length / 10));
  const from = { start: 0, middle: Math.floor((items.length - n) / 2), end: items.length - n }[which];
  return items.slice(Math.max(0, from), from + n);
}

/** Mean of numbers; undefined of none. */
export function meanOf(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : values.reduce((a, b) => a + b, 0) / values.length;
}

/** A run's iterations' metrics; without the KL of a run that has no reference: what is logged there is 0, not measured. */
export function metricsOf(run: RunResult): Readonly<Record<string, number>>[] {
  const all = run.course.flatMap((p) => p.metrics ? [p.metrics] : []);
  if (!run.config?.algorithm.disable_kl) return all;
  return all.map(({ "actor/kl": _, ...rest }) => rest);
}

/** Mean over seeds of a figure of the run; seeds without it are left out. */
export function meanOverSeeds(
  study: StudyResults,
  arm: string,
  figure: (run: RunResult) => number | undefined,
): number | undefined {
  return meanOf(doneRuns(study, arm).flatMap((r) => figure(r) ?? []));
}

/** A metric's mean over a stretch, then over seeds. An iteration that does not have it says nothing about it. */
export function metricOver(
  study: StudyResults,
  arm: string,
  key: string,
  which: Stretch,
): number | undefined {
  return meanOverSeeds(
    study,
    arm,
    (run) => meanOf(stretchOf(metricsOf(run), which).flatMap((m) => m[key] ?? [])),
  );
}
