/**
 * What a study takes from a run's generations.jsonl: the final evaluation's responses, and what the rollouts that were
 * logged of each iteration come to.
 * @module
 */
import { join } from "node:path";
import { jsonlRecords } from "../data/jsonl.ts";

/** A response of the final evaluation. */
export interface ResponsePoint {
  readonly highEntropy: number;
  readonly length: number;
  readonly correct: boolean;
}

/** The logged rollouts of one iteration: its first groups, whole, whether they were trained on or dropped. */
export interface LoggedRollouts {
  readonly step: number;
  readonly groups: number;
  /** Groups whose rollouts are all right. */
  readonly allRight: number;
  /** Groups whose rollouts are all wrong. */
  readonly allWrong: number;
  readonly rollouts: number;
  /** Windows in all: runs of neighbouring tokens inside windows of high entropy. */
  readonly windows: number;
  /** Rollouts with at least one. */
  readonly withWindow: number;
}

/** Reads the file once; `evaluation` names the final one. */
export async function readGenerations(
  folder: string,
  evaluation: string,
): Promise<{ responses: ResponsePoint[]; logged: LoggedRollouts[] }> {
  const responses: ResponsePoint[] = [];
  const iterations = new Map<number, Record<string, any>[]>();
  for await (const line of jsonlRecords(join(folder, "generations.jsonl"))) {
    if (!("record" in line)) continue;
    const r = line.record as Record<string, any>;
    if (r.stage === `evaluate ${evaluation}`) {
      responses.push({ highEntropy: r.n_he, length: r.length, correct: r.accuracy === 1 });
    } else if (r.stage === "aepo" && r.high_entropy) {
      const { group, accuracy, high_entropy } = r;
      iterations.set(r.step, [...iterations.get(r.step) ?? [], { group, accuracy, high_entropy }]);
    }
  }
  return { responses, logged: [...iterations].sort(([a], [b]) => a - b).map(([s, list]) => summed(s, list)) };
}

function summed(step: number, rollouts: readonly Record<string, any>[]): LoggedRollouts {
  const groups = [...Map.groupBy(rollouts, (r) => r.group).values()];
  const all = (accuracy: number) => groups.filter((g) => g.every((r) => r.accuracy === accuracy)).length;
  const windows = rollouts.map((r) => r.high_entropy.length as number);
  return {
    step,
    groups: groups.length,
    allRight: all(1),
    allWrong: all(0),
    rollouts: rollouts.length,
    windows: windows.reduce((a, b) => a + b, 0),
    withWindow: windows.filter((n) => n > 0).length,
  };
}
