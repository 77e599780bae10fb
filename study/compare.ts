/**
 * Figures of arms over seeds, and their differences to another arm, seed by seed.
 * @module
 */
import type { Group, RunResult, StudyResults } from "./results.ts";
import { type Interval, tInterval } from "./statistics.ts";

/** What is compared of a group. */
export type Measure = "accuracy" | "length" | "highEntropy";

/** The runs of an arm that are done. */
export function doneRuns({ runs }: StudyResults, arm: string): RunResult[] {
  return runs.filter((r) => r.arm.name === arm && r.status === "done");
}

/** Mean over seeds of one figure of an arm's final model; accuracy from 0 to 1. */
export function overSeeds(
  study: StudyResults,
  arm: string,
  group: Group,
  measure: Measure,
): Interval | undefined {
  return tInterval(doneRuns(study, arm).flatMap((r) => r.figures?.[group]?.[measure] ?? []));
}

/** Mean over the seeds that both arms have of (arm − other). */
export function pairedDifference(
  study: StudyResults,
  arm: string,
  other: string,
  group: Group,
  measure: Measure,
): Interval | undefined {
  const others = new Map(doneRuns(study, other).map((r) => [r.seed, r.figures?.[group]?.[measure]]));
  return tInterval(
    doneRuns(study, arm).flatMap((r) => {
      const [own, its] = [r.figures?.[group]?.[measure], others.get(r.seed)];
      return own === undefined || its === undefined ? [] : [own - its];
    }),
  );
}
