/**
 * What the reinforcement stage has sampled, added up over its iterations.
 * @module
 */
import { jsonlRecords } from "../data/jsonl.ts";

/** Counts over iterations. */
export interface SampledTotals {
  /** Rollouts, branches among them, those that were filtered out too. */
  readonly rollouts: number;
  /** Rollouts that branched from another. */
  readonly branches: number;
  /** Tokens that the policy generated, for greedy baselines too. */
  readonly generated: number;
  /** Tokens that branches share with their parents: generated once instead of again. */
  readonly shared: number;
}

/** Adds up what iterations' records say; undefined where there is no iteration among them. */
export function sampledTotals(
  metrics: Iterable<Readonly<Record<string, unknown>>>,
): SampledTotals | undefined {
  let totals: SampledTotals | undefined;
  for (const m of metrics) {
    if (typeof m["batch/sampled_trajectories"] !== "number") continue;
    const of = (name: string) => typeof m[name] === "number" ? m[name] : 0;
    totals = {
      rollouts: (totals?.rollouts ?? 0) + of("batch/sampled_trajectories"),
      branches: (totals?.branches ?? 0) + of("batch/branches"),
      generated: (totals?.generated ?? 0) + of("batch/generated_tokens"),
      shared: (totals?.shared ?? 0) + of("batch/shared_tokens"),
    };
  }
  return totals;
}

/**
 * The totals of a run's metrics.jsonl: of the whole stage, also where it was stopped and resumed.
 * @throws UserError where the file cannot be read
 */
export async function sampledTotalsOf(metricsPath: string): Promise<SampledTotals | undefined> {
  const records: Readonly<Record<string, unknown>>[] = [];
  for await (const line of jsonlRecords(metricsPath)) if ("record" in line) records.push(line.record);
  return sampledTotals(records);
}

/** The totals in a sentence; branches and what they saved only where there are any. */
export function sampledLine({ rollouts, branches, generated, shared }: SampledTotals): string {
  const counted = (n: number) => n.toLocaleString("en-US");
  const saved = branches > 0
    ? `, ${counted(shared)} more saved by sharing the prefixes of ${counted(branches)} branches`
    : "";
  return `${counted(rollouts)} rollouts sampled, ${counted(generated)} tokens generated${saved}`;
}
