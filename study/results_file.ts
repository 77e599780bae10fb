/**
 * results.json: the numbers behind the page's tables and drawings, without the single responses (their number, means and
 * fitted lines are there), so small that it can be committed.
 * @module
 */
import { type Claim, claimsOf } from "./claims.ts";
import { sharedConfiguration } from "./configuration.ts";
import { withoutMachinePaths } from "./places.ts";
import type { CoursePoint, RunResult, StudyResults } from "./results.ts";
import { baseOf, configOf, sharedOverrides, type StudySettings } from "./settings.ts";
import { meanOf, metricsOf } from "./stretches.ts";

/** Most points of a run's series; of more iterations, as many neighbours are averaged as it takes. */
const MOST_POINTS = 100;
/** Most points of all series together, so that more arms and seeds leave the file below 1.5 MB. */
const MOST_OF_ALL = 2400;

/** Metrics of each iteration that are kept. */
const SERIES: readonly string[] = [
  "actor/lr",
  "reward/accuracy",
  "reward/entropy_shaping",
  "frac_reward_zero_std",
  "response_length/mean",
  "entropy/mean",
  "entropy/threshold",
  "entropy/n_he",
  "batch/groups",
  "batch/sampled_trajectories",
  "batch/shared_tokens",
  "batch/trained_tokens",
  "batch/branches",
  "actor/kl",
  "actor/ppo_kl",
  "actor/pg_clipfrac_higher",
  "actor/grad_norm",
  "actor/updates",
  "actor/updates_skipped",
  ...["easy", "medium", "hard"].flatMap((d) =>
    [
      "acc_mean",
      "len_mean",
      "n_he",
      "n_target",
      "lambda",
      "kappa",
      "beta",
      "alpha",
      "lambda_dual",
      "kl_outside",
      "kl_inside",
    ].map((name) => `train/${d}/${name}`)
  ),
];

/** Columns over a run's iterations; null where none of a point's iterations has the metric. */
export type Series = Readonly<Record<string, readonly (number | null)[]>>;

/** The file's text. */
export function resultsJson(study: StudyResults, claims: readonly Claim[] = claimsOf(study)): string {
  const { settings, base, runs, decisions } = study;
  const configured = runs.flatMap((run) => {
    const config = configurationOf(run, settings);
    return config ? [{ run, arm: run.arm.name, seed: run.seed, config }] : [];
  });
  const configuration = sharedConfiguration(configured);
  const curves = runs.filter((r) => r.course.length > 0).length;
  const most = Math.max(10, Math.min(MOST_POINTS, Math.floor(MOST_OF_ALL / Math.max(1, curves))));
  const own = new Map(configured.map(({ run }, i) => [run, configuration.runs[i]]));
  return compactJson(local(
    {
      arms: settings.arms,
      seeds: settings.seeds,
      smoke: settings.smoke,
      overrides: sharedOverrides(settings),
      base: { folder: baseOf(settings), ...base },
      adapters: [...new Set(runs.flatMap((r) => r.adapter ?? []))],
      configuration: {
        shared: configuration.shared,
        arms: configuration.arms,
        seeds: configuration.seeds,
      },
      claims,
      runs: runs.map((run) => {
        const { arm, config: _, responses, course, logged, ...rest } = run;
        return {
          arm: arm.name,
          ...rest,
          configuration: own.get(run),
          responses: responses.length,
          course: thinned(course, most),
          ...(arm.kind === "rl" && run.status === "done" && {
            series: seriesOf(run, most),
            logged: columnsOf(logged, Object.keys(logged[0] ?? {}), sum, most),
          }),
        };
      }),
      decisions: Object.fromEntries(decisions),
    },
    settings,
  ));
}

/** As the run had it; of one that is not done, as the study has it for it. The base's is that of the AdaCS run. */
function configurationOf({ arm, seed, status, config }: RunResult, settings: StudySettings) {
  return config ?? (arm.kind === "base" || status === "done" ? undefined : configOf(settings, arm, seed));
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** A run's metrics as columns; metrics that no iteration has are left out. */
export function seriesOf(run: RunResult, most = MOST_POINTS): Series {
  return columnsOf(metricsOf(run), ["step", ...SERIES], meanOf, most);
}

/** Rows as columns of at most `most` points; the point's step is that of its last row. */
function columnsOf(
  rows: readonly object[],
  keys: readonly string[],
  together: (values: number[]) => number | undefined,
  most: number,
): Series {
  const records = rows as readonly Readonly<Record<string, number>>[];
  const width = Math.max(1, Math.ceil(records.length / most));
  const points = Array.from(
    { length: Math.ceil(records.length / width) },
    (_, i) => records.slice(i * width, (i + 1) * width),
  );
  return Object.fromEntries(
    keys.flatMap((key): [string, (number | null)[]][] => {
      const column = points.map((point) => {
        const values = point.flatMap((m) => m[key] ?? []);
        if (values.length === 0) return null;
        return key === "step" ? values.at(-1)! : Number(together(values)!.toPrecision(4));
      });
      return column.every((x) => x === null) ? [] : [[key, column]];
    }),
  );
}

/** A course without its metrics, and of a long one every so manieth point, the evaluated ones and the last. */
function thinned(course: readonly CoursePoint[], most: number): Omit<CoursePoint, "metrics">[] {
  const every = Math.ceil(course.length / (most + 1));
  return course.filter((p, i) => i % every === 0 || p.heldOut || i === course.length - 1)
    .map(({ metrics: _, ...p }) => p);
}

/** The same without paths of the machine, and numbers with six digits. */
function local(value: unknown, settings: StudySettings): unknown {
  const folders = [settings.runs, baseOf(settings)];
  return JSON.parse(
    JSON.stringify(
      value,
      (_, x) =>
        typeof x === "string"
          ? withoutMachinePaths(x, folders)
          : typeof x === "number" && !Number.isInteger(x)
          ? Number(x.toPrecision(6))
          : x,
    ),
  );
}

/** JSON with a line for each list or object that holds no other. */
export function compactJson(value: unknown, indent = ""): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const parts = Object.values(value);
  if (parts.every((x) => typeof x !== "object" || x === null)) return JSON.stringify(value);
  const inner = `${indent} `;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const lines = Object.entries(value).map(([key, x]) =>
    inner + (Array.isArray(value) ? "" : `${JSON.stringify(key)}: `) + compactJson(x, inner)
  );
  return `${open}\n${lines.join(",\n")}\n${indent}${close}`;
}
