/**
 * What steers an arm through training: λ_d, κ_d (or β_d), N_HE with its target, τ, and the KL inside and outside windows.
 * @module
 */
import * as Plot from "@observablehq/plot";
import { doneRuns } from "./compare.ts";
import type { StudyResults } from "./results.ts";
import { type Chart, type Key, sheet } from "./sheet.ts";

const BUCKETS = ["easy", "medium", "hard"] as const;
const BUCKET_COLOURS = { easy: "#2ca02c", medium: "#ff7f0e", hard: "#d62728" } as const;

/** A line of a chart; `<d>` stands for the three difficulties. */
interface Curve {
  readonly key: string;
  readonly dashed?: boolean;
}

const PANELS: readonly { readonly title: string; readonly curves: readonly Curve[] }[] = [
  { title: "λ_d, weight of the entropy reward", curves: [{ key: "train/<d>/lambda" }] },
  { title: "κ_d, factor on the KL term", curves: [{ key: "train/<d>/kappa" }] },
  { title: "β_d, factor on the KL term", curves: [{ key: "train/<d>/beta" }] },
  {
    title: "N_HE; dashed: its target",
    curves: [{ key: "train/<d>/n_he" }, { key: "train/<d>/n_target", dashed: true }],
  },
  { title: "τ, nats", curves: [{ key: "entropy/threshold" }] },
  {
    title: "KL a token, nats; dashed: inside windows",
    curves: [{ key: "train/<d>/kl_outside" }, { key: "train/<d>/kl_inside", dashed: true }],
  },
];

interface Series extends Curve {
  readonly colour: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** A sheet for each arm of reinforcement that has runs. */
export function controllerSheets(study: StudyResults): [string, string][] {
  return study.settings.arms.filter((a) => a.kind === "rl").flatMap((arm): [string, string][] => {
    const courses = doneRuns(study, arm.name).map((r) =>
      r.course.flatMap((p) => p.metrics ? [p.metrics] : [])
    );
    const charts = PANELS.flatMap(({ title, curves }): Chart[] => {
      const series = curves.flatMap((c) => seriesOf(c, courses));
      return series.length === 0 ? [] : [{
        title,
        options: {
          x: { tickFormat: (v: number) => Number.isInteger(v) ? `${v}` : "" },
          y: { grid: true, nice: true, tickFormat: (v: number) => String(Number(v.toPrecision(4))) },
          marks: series.map((s) =>
            Plot.line(s.points, {
              x: "x",
              y: "y",
              stroke: s.colour,
              strokeWidth: 1.5,
              strokeDasharray: s.dashed ? "3 2" : undefined,
            })
          ),
        },
      }];
    });
    if (charts.length === 0) return [];
    const keys: Key[] = BUCKETS.map((name) => ({ name, colour: BUCKET_COLOURS[name] }));
    const title = `${arm.title}: controllers and KL over iterations, mean over seeds`;
    return [[
      `controllers-${arm.name}.svg`,
      sheet(title, keys, charts, { width: 300, height: 190, columns: 3 }),
    ]];
  });
}

function seriesOf(curve: Curve, courses: readonly (readonly Readonly<Record<string, number>>[])[]): Series[] {
  const names = curve.key.includes("<d>")
    ? BUCKETS.map((d) => [curve.key.replace("<d>", d), BUCKET_COLOURS[d]] as const)
    : [[curve.key, "black"] as const];
  return names.flatMap(([name, colour]) => {
    const bySteps = new Map<number, number[]>();
    for (const m of courses.flat()) {
      // An iteration without problems of a difficulty says nothing about it.
      if (typeof m[name] === "number") bySteps.set(m.step, [...bySteps.get(m.step) ?? [], m[name]]);
    }
    const points = [...bySteps].sort(([a], [b]) => a - b)
      .map(([x, ys]) => ({ x, y: ys.reduce((a, b) => a + b, 0) / ys.length }));
    return points.length === 0 ? [] : [{ ...curve, colour, points }];
  });
}
