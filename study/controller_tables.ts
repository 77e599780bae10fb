/**
 * The controllers in numbers: λ_d, κ_d (or β_d), N_HE with its target, τ, and the KL inside and outside windows, at the
 * start, the middle and the end of each arm.
 * @module
 */
import type { Arm } from "./arms.ts";
import { doneRuns } from "./compare.ts";
import type { StudyResults } from "./results.ts";
import { metricOver, STRETCHES } from "./stretches.ts";
import { DASH, markdownTable } from "./tables.ts";

const BUCKETS = ["easy", "medium", "hard"] as const;

const COLUMNS: readonly (readonly [title: string, key: string])[] = [
  ["λ_d", "lambda"],
  ["κ_d", "kappa"],
  ["β_d", "beta"],
  ["N_HE", "n_he"],
  ["its target", "n_target"],
  ["KL outside windows", "kl_outside"],
  ["KL inside windows", "kl_inside"],
];

/** `start → middle → end` of a metric, three digits each; undefined where no iteration has it. */
export function courseOf(study: StudyResults, arm: string, key: string, scale = 1): string | undefined {
  const values = STRETCHES.map((s) => metricOver(study, arm, key, s));
  if (values.every((x) => x === undefined)) return undefined;
  return values.map((x) => x === undefined ? DASH : digits(scale * x)).join(" → ");
}

/** Three significant digits, without powers of ten down to 1e-6, and whole numbers whole. */
export function digits(x: number): string {
  return String(Math.abs(x) >= 1000 ? Math.round(x) : Number(x.toPrecision(3))).replace("-", "−");
}

/** An arm's table, and in a sentence τ and what the arm does not have; undefined without runs. */
export function controllerTable(study: StudyResults, arm: Arm): string | undefined {
  const [run] = doneRuns(study, arm.name);
  if (!run) return undefined;
  const columns = COLUMNS.flatMap(([title, key]) => {
    const cells = BUCKETS.map((d) => courseOf(study, arm.name, `train/${d}/${key}`));
    return cells.some(Boolean) ? [{ title, key, cells }] : [];
  });
  const threshold = courseOf(study, arm.name, "entropy/threshold");
  const has = (key: string) => columns.some((c) => c.key === key);
  const sentence = [
    `**${arm.title}**: ${threshold ? `τ ${threshold} nats` : "no τ"}`,
    ...(has("kl_outside") || has("kl_inside") ? [] : [
      run.config?.algorithm.disable_kl
        ? "no KL: this arm has no reference and no KL term (`algorithm.disable_kl`), so there is none to tell"
        : "no KL was measured",
    ]),
    ...(has("lambda") || has("n_target") ? [] : ["no entropy shaping: no λ_d and no target"]),
  ].join("; ");
  const table = markdownTable(
    ["", ...columns.map((c) => c.title)],
    BUCKETS.map((d, i) => [d, ...columns.map((c) => c.cells[i] ?? DASH)]),
  );
  return columns.length === 0 ? `${sentence}.` : `${sentence}.\n\n${table}`;
}
