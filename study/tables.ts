/**
 * The study's tables, in Markdown: the shape of the paper's Tables 4 and 5, and what each run came to.
 * @module
 */
import type { Claim } from "./claims.ts";
import { doneRuns, type Measure, overSeeds, pairedDifference } from "./compare.ts";
import { type Group, GROUPS, type RunResult, type StudyResults } from "./results.ts";
import { type Interval, tInterval } from "./statistics.ts";
import { WINDOWS } from "./decisions.ts";
import { metricsOf } from "./stretches.ts";

/** Stands where there is no number. */
export const DASH = "–";

/** A Markdown table; the first column is to the left, the others to the right. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((c) => c.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  return [line(head), line(head.map((_, i) => i === 0 ? "---" : "---:")), ...rows.map(line)].join("\n");
}

/** `52.4 ± 1.3`; without ± where there is no interval. */
export function withInterval(
  x: Interval | undefined,
  { scale = 1, digits = 1, sign = false }: {
    readonly scale?: number;
    readonly digits?: number;
    readonly sign?: boolean;
  } = {},
): string {
  if (!x) return DASH;
  const mean = fixed(scale * x.mean, digits, sign);
  const half = x.high === undefined ? "" : ` ± ${(scale * (x.high - x.mean)).toFixed(digits)}`;
  return mean + half;
}

/** So many digits with a minus sign where the rounded number is below 0; with `sign` a plus elsewhere. */
function fixed(x: number, digits: number, sign: boolean): string {
  const size = Math.abs(x).toFixed(digits);
  return (x < 0 && Number(size) !== 0 ? "−" : sign ? "+" : "") + size;
}

const SCALES: Readonly<Record<Measure, { scale: number; digits: number }>> = {
  accuracy: { scale: 100, digits: 1 },
  length: { scale: 1, digits: 1 },
  highEntropy: { scale: 1, digits: 2 },
};

/** A measure of every arm by group (Table 4's shape). */
export function groupTable(study: StudyResults, measure: Measure): string {
  const groups = groupsOf(study);
  return markdownTable(
    ["", ...groups],
    study.settings.arms.map((arm) => [
      arm.title,
      ...groups.map((g) => withInterval(overSeeds(study, arm.name, g, measure), SCALES[measure])),
    ]),
  );
}

/** Every arm against another one, seed by seed (Table 5's shape). */
export function differenceTable(study: StudyResults, other: string, measure: Measure): string {
  const groups = groupsOf(study);
  const arms = study.settings.arms.filter((a) => a.name !== other);
  return markdownTable(
    ["", ...groups],
    arms.map((arm) => [
      arm.title,
      ...groups.map((g) =>
        withInterval(pairedDifference(study, arm.name, other, g, measure), { ...SCALES[measure], sign: true })
      ),
    ]),
  );
}

/** Accuracy by family of problems. */
export function familyTable(study: StudyResults): string {
  const families = [...new Set(study.runs.flatMap((r) => Object.keys(r.bySource ?? {})))];
  return markdownTable(
    ["", ...families],
    study.settings.arms.map((arm) => [
      arm.title,
      ...families.map((family) =>
        withInterval(
          tInterval(doneRuns(study, arm.name).flatMap((r) => r.bySource?.[family]?.accuracy ?? [])),
          SCALES.accuracy,
        )
      ),
    ]),
  );
}

/** Sum of a metric over a run's iterations; one that has it nowhere has none. */
function total(run: RunResult, key: string): number {
  return metricsOf(run).reduce((sum, m) => sum + (m[key] ?? 0), 0);
}

/** A figure of an arm's runs that are done, mean over seeds with its interval. */
export function perRun(
  study: StudyResults,
  arm: string,
  figure: (r: RunResult) => number,
  digits: number,
): string {
  return withInterval(tInterval(doneRuns(study, arm).map(figure)), { digits });
}

/** Optimizer steps that changed the weights. */
export const optimizerSteps = (r: RunResult): number => total(r, "actor/updates");
/** Response tokens that the loss was over; those of dropped groups are not among them. */
export const trainedTokens = (r: RunResult): number => total(r, "batch/trained_tokens");

/** What each arm of reinforcement took. */
export function costTable(study: StudyResults): string {
  const arms = study.settings.arms.filter((a) => a.kind === "rl");
  const last = (r: RunResult) => r.course[r.course.length - 1];
  const of = (arm: string, f: (r: RunResult) => number, digits: number) => perRun(study, arm, f, digits);
  return markdownTable(
    [
      "",
      "rollouts",
      "generated tokens",
      "tokens saved by shared prefixes",
      "iterations",
      "optimizer steps",
      "trained tokens",
      "minutes",
    ],
    arms.map(({ name, title }) => [
      title,
      of(name, (r) => last(r).trajectories, 0),
      of(name, (r) => last(r).tokens, 0),
      of(name, (r) => total(r, "batch/shared_tokens"), 0),
      of(name, (r) => last(r).step, 1),
      of(name, optimizerSteps, 1),
      of(name, trainedTokens, 0),
      of(name, (r) => last(r).seconds / 60, 1),
    ]),
  );
}

/** length = intercept + slope · N_HE, by arm, of correct and wrong responses (appendix J, Figure 4). */
export function lineTable(study: StudyResults): string {
  const kinds = ["correct", "wrong"] as const;
  return markdownTable(
    ["", ...kinds.flatMap((k) => [`slope, ${k}`, `intercept, ${k}`, `R², ${k}`])],
    study.settings.arms.map(({ name, title }) => [
      title,
      ...kinds.flatMap((k) =>
        (["slope", "intercept", "r2"] as const).map((key) =>
          withInterval(tInterval(doneRuns(study, name).flatMap((r) => r.lines[k]?.[key] ?? [])), {
            digits: 2,
          })
        )
      ),
    ]),
  );
}

/** F1, precision and recall by window size (Figure 2a). */
export function decisionTable(study: StudyResults): string {
  const all = [...study.decisions.values()];
  return markdownTable(
    ["w", ...(["base", "adacs"] as const).flatMap((m) => [`F1, ${m}`, `precision, ${m}`, `recall, ${m}`])],
    [
      ...WINDOWS.map((w) => [
        `${w}`,
        ...(["base", "adacs"] as const).flatMap((model) =>
          (["f1", "precision", "recall"] as const).map((key) =>
            withInterval(
              tInterval(all.flatMap((scores) => scores[model].find((s) => s.window === w)?.[key] ?? [])),
              { digits: 3 },
            )
          )
        ),
      ]),
      [
        "every token",
        withInterval(tInterval(all.map((s) => s.everyToken)), { digits: 3 }),
        "",
        "",
        "",
        "",
        "",
      ],
    ],
  );
}

const UNITS: Readonly<Record<Claim["unit"], { scale: number; digits: number }>> = {
  points: { scale: 100, digits: 1 },
  tokens: { scale: 1, digits: 1 },
  "tokens per N_HE": { scale: 1, digits: 2 },
  F1: { scale: 1, digits: 3 },
};

/** Every claim with its verdict. */
export function claimTable(claims: readonly Claim[]): string {
  return markdownTable(
    ["claim", "verdict", "found", "95 % interval", "seeds"],
    claims.map(({ claim, verdict, found, unit }) => {
      const { scale, digits } = UNITS[unit];
      const value = (x: number) => fixed(scale * x, digits, true);
      return [
        claim,
        `**${verdict}**`,
        found ? `${value(found.mean)} ${unit}` : DASH,
        found?.low === undefined ? DASH : `${value(found.low)} … ${value(found.high!)}`,
        `${found?.n ?? 0}`,
      ];
    }),
  );
}

/** Every run: what became of it. */
export function runTable(study: StudyResults): string {
  const { arms, seeds } = study.settings;
  return markdownTable(
    ["", ...seeds.map((s) => `seed ${s}`)],
    arms.map((arm) => [
      arm.title,
      ...seeds.map((seed) => {
        const run = study.runs.find((r) => r.arm === arm && r.seed === seed)!;
        if (run.status !== "done") return `**${run.status}**${run.error ? `: ${run.error}` : ""}`;
        const { accuracy, length } = run.figures!.all!;
        return `${(100 * accuracy).toFixed(1)} % / ${length.toFixed(1)}`;
      }),
    ]),
  );
}

/** The groups that any run has. */
function groupsOf({ runs }: StudyResults): Group[] {
  const pictured = runs.some((r) => r.figures?.pictures);
  return GROUPS.filter((g) =>
    runs.some((r) => r.figures?.[g]) && (pictured || g !== "text" && g !== "pictures")
  );
}
