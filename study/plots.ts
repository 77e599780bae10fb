/**
 * The study's drawings by file name; one whose data are missing is left out.
 * @module
 */
import * as Plot from "@observablehq/plot";
import type { Arm } from "./arms.ts";
import { doneRuns, type Measure, overSeeds } from "./compare.ts";
import { controllerSheets } from "./controller_plots.ts";
import { WINDOWS } from "./decisions.ts";
import type { CoursePoint, Group, StudyResults } from "./results.ts";
import { type Chart, type Key, sheet } from "./sheet.ts";
import { tInterval } from "./statistics.ts";

const COLOURS: Readonly<Record<string, string>> = {
  base: "#7f7f7f",
  uniform: "#bcbd22",
  adacs: "#1f1f1f",
  grpo: "#1f77b4",
  aepo: "#d62728",
  dapo: "#2ca02c",
  "aepo-no-kl": "#ff7f0e",
  "aepo-no-entropy": "#9467bd",
  "aepo-no-branch": "#e377c2",
  "aepo-reference": "#17becf",
};
const LEVELS: readonly Group[] = ["easy", "medium", "hard", "all"];
/** Dots of one chart; of more, every so manieth is drawn. */
const MOST_DOTS = 250;

/** SVG files by name. */
export function drawings(study: StudyResults): Map<string, string> {
  const files = new Map<string, string>();
  const add = (name: string, svg: string | undefined) => void (svg !== undefined && files.set(name, svg));
  add("accuracy.svg", byArm(study, "accuracy", "Accuracy on held-out problems, %", 100));
  add("length.svg", byArm(study, "length", "Mean response length on held-out problems, tokens", 1));
  add("course-held-out.svg", heldOutCourse(study));
  add("course-rollouts.svg", rolloutCourse(study));
  add("length-n-he.svg", lengthAndWindows(study));
  add("decisions.svg", decisions(study));
  for (const [name, svg] of controllerSheets(study)) add(name, svg);
  return files;
}

const keyOf = (arm: Arm): Key => ({ name: arm.title, colour: COLOURS[arm.name] });
const withRuns = (study: StudyResults) =>
  study.settings.arms.filter((a) => doneRuns(study, a.name).length > 0);

/** Mean, interval and every seed, by arm and difficulty (Figure 6's shape). */
function byArm(study: StudyResults, measure: Measure, title: string, scale: number): string | undefined {
  const arms = withRuns(study);
  if (arms.length === 0) return undefined;
  const charts = LEVELS.map((group): Chart => {
    const seeds = arms.flatMap((arm) =>
      doneRuns(study, arm.name).flatMap((r) => {
        const f = r.figures?.[group];
        return f ? [{ arm: arm.name, value: scale * f[measure], colour: COLOURS[arm.name] }] : [];
      })
    );
    const means = arms.flatMap((arm) => {
      const x = overSeeds(study, arm.name, group, measure);
      return x
        ? [{
          arm: arm.name,
          mean: scale * x.mean,
          low: scale * (x.low ?? x.mean),
          high: scale * (x.high ?? x.mean),
          colour: COLOURS[arm.name],
        }]
        : [];
    });
    return {
      title: group,
      options: {
        marginLeft: 104,
        y: { domain: arms.map((a) => a.name) },
        x: { grid: true, nice: true, tickFormat: short },
        marks: [
          Plot.ruleY(means, { y: "arm", x1: "low", x2: "high", stroke: "colour", strokeWidth: 2 }),
          Plot.dot(seeds, { y: "arm", x: "value", stroke: "colour", r: 2.5, strokeOpacity: 0.6 }),
          Plot.dot(means, { y: "arm", x: "mean", fill: "colour", r: 4 }),
        ],
      },
    };
  });
  return sheet(`${title}: mean over seeds, 95 % t-interval, and every seed`, [], charts, {
    width: 300,
    height: 60 + 20 * arms.length,
    columns: 2,
  });
}

type Axis = { readonly title: string; readonly of: (p: CoursePoint) => number };
const AXES: readonly Axis[] = [
  { title: "generated tokens, thousands", of: (p) => p.tokens / 1000 },
  { title: "rollouts", of: (p) => p.trajectories },
  { title: "minutes of iterations", of: (p) => p.seconds / 60 },
];

/** A course as mean over seeds: point k of every seed that has it. */
function meanCourse(
  courses: readonly (readonly CoursePoint[])[],
  x: (p: CoursePoint) => number,
  y: (p: CoursePoint) => number,
): { x: number; y: number }[] {
  const shortest = Math.min(...courses.map((c) => c.length));
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  return Array.from({ length: shortest }, (_, k) => ({
    x: mean(courses.map((c) => x(c[k]))),
    y: mean(courses.map((c) => y(c[k]))),
  }));
}

/** A tick without the noise of binary fractions. */
function short(x: number): string {
  return String(Number(x.toPrecision(4)));
}

/** Accuracy on the held-out problems through training. */
function heldOutCourse(study: StudyResults): string | undefined {
  const arms = withRuns(study).filter((a) => a.kind === "rl");
  const charts = AXES.map(({ title, of }): Chart => ({
    title,
    options: {
      x: { nice: true, tickFormat: short },
      y: { grid: true, nice: true, tickFormat: short },
      marks: arms.flatMap((arm) => {
        const stroke = COLOURS[arm.name];
        const courses = doneRuns(study, arm.name).map((r) => r.course.filter((p) => p.heldOut));
        const y = (p: CoursePoint) => 100 * p.heldOut!.accuracy;
        const mean = meanCourse(courses, of, y);
        return [
          ...(courses.length > 1
            ? courses.map((c) => Plot.line(c, { x: of, y, stroke, strokeWidth: 0.75, strokeOpacity: 0.35 }))
            : []),
          Plot.line(mean, { x: "x", y: "y", stroke, strokeWidth: 2 }),
          Plot.dot(mean, { x: "x", y: "y", fill: stroke, r: 2.5 }),
        ];
      }),
    },
  }));
  if (arms.length === 0) return undefined;
  return sheet("Accuracy on held-out problems through training, %", arms.map(keyOf), charts, {
    width: 300,
    height: 240,
    columns: 3,
  });
}

/** Accuracy of the rollouts that are trained on, as a running mean. */
function rolloutCourse(study: StudyResults): string | undefined {
  const arms = withRuns(study).filter((a) => a.kind === "rl");
  if (arms.length === 0) return undefined;
  const of = (p: CoursePoint) => p.metrics!["reward/accuracy"];
  const charts = AXES.map(({ title, of: x }): Chart => ({
    title,
    options: {
      x: { nice: true, tickFormat: short },
      y: { grid: true, nice: true, tickFormat: short },
      marks: arms.map((arm) => {
        const courses = doneRuns(study, arm.name).map((r) => r.course.filter((p) => p.metrics));
        const mean = meanCourse(courses, x, (p) => 100 * of(p));
        const k = Math.max(1, Math.ceil(mean.length / 10));
        return Plot.line(
          mean,
          Plot.windowY({ k, anchor: "middle" }, {
            x: "x",
            y: "y",
            stroke: COLOURS[arm.name],
            strokeWidth: 1.75,
          }),
        );
      }),
    },
  }));
  return sheet(
    "Accuracy of the training rollouts, %: mean over seeds, running mean",
    arms.map(keyOf),
    charts,
    {
      width: 300,
      height: 240,
      columns: 3,
    },
  );
}

/** Length against N_HE with fitted lines, correct and wrong apart (appendix J, Figure 4). */
function lengthAndWindows(study: StudyResults): string | undefined {
  const charts = withRuns(study).flatMap((arm) =>
    [true, false].map((correct): Chart => {
      const points = doneRuns(study, arm.name).flatMap((r) => r.responses).filter((r) =>
        r.correct === correct
      );
      const every = Math.ceil(points.length / MOST_DOTS);
      // Both are whole numbers: dots are moved a little to lie apart.
      const dots = points.filter((_, i) => i % every === 0)
        .map((p, i) => ({ x: p.highEntropy + (i * 0.6180339887 % 1 - 0.5) * 0.6, y: p.length }));
      return {
        title: `${arm.name}, ${correct ? "correct" : "wrong"}`,
        options: {
          x: { nice: true },
          y: { grid: true, nice: true },
          marks: [
            Plot.dot(dots, {
              x: "x",
              y: "y",
              fill: correct ? "#1f77b4" : "#d62728",
              fillOpacity: 0.35,
              r: 2,
            }),
            ...(points.length > 2
              ? [Plot.linearRegressionY(points, { x: "highEntropy", y: "length", stroke: "black" })]
              : []),
          ],
        },
      };
    })
  );
  if (charts.length === 0) return undefined;
  return sheet("Length of held-out responses, tokens, against their N_HE, with the fitted line", [], charts, {
    width: 260,
    height: 170,
    columns: 4,
  });
}

/** F1 by window size (Figure 2a). */
function decisions(study: StudyResults): string | undefined {
  const all = [...study.decisions.values()];
  if (all.length === 0) return undefined;
  const models = [["base", "base", COLOURS.base], ["adacs", "AdaCS", COLOURS.aepo]] as const;
  const every = tInterval(all.map((s) => s.everyToken));
  const points = models.flatMap(([model, , colour]) =>
    WINDOWS.flatMap((w) => {
      const x = tInterval(all.flatMap((s) => s[model].find((d) => d.window === w)?.f1 ?? []));
      return x ? [{ w: `${w}`, colour, mean: x.mean, low: x.low ?? x.mean, high: x.high ?? x.mean }] : [];
    })
  );
  const options: Plot.PlotOptions = {
    x: { type: "point", domain: WINDOWS.map(String) },
    y: { grid: true, domain: [0, 1] },
    marks: [
      Plot.ruleY(every ? [every.mean] : [], { stroke: "black", strokeDasharray: "4 3" }),
      Plot.ruleX(points, { x: "w", y1: "low", y2: "high", stroke: "colour", strokeWidth: 2 }),
      Plot.line(points, { x: "w", y: "mean", z: "colour", stroke: "colour" }),
      Plot.dot(points, { x: "w", y: "mean", fill: "colour", r: 3.5 }),
    ],
  };
  const keys: Key[] = [
    ...models.map(([, name, colour]) => ({ name, colour })),
    { name: "every token", colour: "black", dashed: true },
  ];
  return sheet("F1 at finding decision tokens", keys, [{ title: "F1 over window w in tokens", options }], {
    width: 420,
    height: 260,
    columns: 1,
  });
}
