/**
 * Studies made by hand: figures of the final models without runs.
 * @module
 */
import { armsNamed } from "../../study/arms.ts";
import type { LoggedRollouts } from "../../study/generations.ts";
import type { RunResult, StudyResults } from "../../study/results.ts";
import { configOf, type StudySettings } from "../../study/settings.ts";

/** [accuracy, length] by level of an arm under each seed; null: its run failed. */
export type MadeArm =
  readonly (Readonly<Record<"easy" | "hard" | "all", readonly [number, number]>> | null)[];

/** A study of these arms and as many seeds as they have. */
export function madeStudy(
  made: Readonly<Record<string, MadeArm>>,
  rest: Partial<Pick<StudyResults, "decisions" | "base">> & {
    slopes?: readonly number[];
    /** Metrics of each iteration of an arm of reinforcement. */
    metrics?: (arm: string, seed: number) => readonly Readonly<Record<string, number>>[];
    logged?: (arm: string, seed: number) => readonly LoggedRollouts[];
    settings?: Partial<StudySettings>;
  } = {},
): StudyResults {
  const arms = armsNamed(Object.keys(made));
  const seeds = Object.values(made)[0].map((_, i) => i);
  const settings: StudySettings = {
    arms,
    seeds,
    overrides: [],
    smoke: true,
    runs: "runs",
    ...rest.settings,
  };
  const runs = seeds.flatMap((seed) =>
    arms.map((arm): RunResult => {
      const figures = made[arm.name][seed];
      const folder = `runs/seed-${seed}/${arm.name}`;
      const rl = arm.kind === "rl";
      const point = { trajectories: 0, tokens: 0, seconds: 0 };
      const metrics = rl ? rest.metrics?.(arm.name, seed) ?? [] : [];
      const course = rl
        ? [{ ...point, step: 0 }, ...metrics.map((m, i) => ({ ...point, step: i + 1, metrics: m }))]
        : [];
      const logged = rl ? rest.logged?.(arm.name, seed) ?? [] : [];
      const common = { arm, seed, folder, course, responses: [], logged };
      if (!figures) return { ...common, status: "failed", error: "it fell over", lines: {} };
      const slope = rest.slopes?.[seed];
      const line = slope === undefined ? undefined : { slope, intercept: 0, r2: 1, n: 2 };
      return {
        ...common,
        status: "done",
        figures: Object.fromEntries(
          Object.entries(figures).map(([group, [accuracy, length]]) => [
            group,
            { accuracy, length, highEntropy: 1, samples: 10 },
          ]),
        ),
        ...(arm.kind !== "base" && { config: configOf(settings, arm, seed), otherSettings: [] }),
        bySource: {},
        adapter: "made",
        lines: { correct: line, wrong: line },
      };
    })
  );
  return {
    settings,
    base: rest.base ?? { sha256: { "model.safetensors": "0123abcd" }, recorded: true },
    runs,
    decisions: rest.decisions ?? new Map(),
  };
}

/** A seed's figures from accuracies in percent and lengths. */
export function seedOf(all: number, easy = [80, 20], hard = [20, 30]) {
  return {
    all: [all / 100, 25],
    easy: [easy[0] / 100, easy[1]],
    hard: [hard[0] / 100, hard[1]],
  } as const;
}
