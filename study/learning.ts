/**
 * What may have held learning back, measured: the five suspects (the task, the entropy, the windows, the targets, the
 * learning rate), each by what the runs logged.
 * @module
 */
import { courseOf, digits } from "./controller_tables.ts";
import { doneRuns } from "./compare.ts";
import type { LoggedRollouts } from "./generations.ts";
import type { RunResult, StudyResults } from "./results.ts";
import { meanOverSeeds, metricsOf, type Stretch, stretchOf } from "./stretches.ts";
import { DASH, markdownTable } from "./tables.ts";

/** One line of the table: a figure at the start and the end of an arm, or over all of it. */
interface Measure {
  readonly title: string;
  readonly of: (study: StudyResults, arm: string) => string;
}

/** A suspect, how its numbers are read, and the numbers. */
interface Suspect {
  readonly name: string;
  readonly read: string;
  readonly measures: readonly Measure[];
}

/** Start and end of a metric. */
function metric(title: string, key: string, scale = 1): Measure {
  return {
    title,
    of: (study, arm) => {
      const [start, , end] = courseOf(study, arm, key, scale)?.split(" → ") ?? [];
      return start === undefined ? DASH : `${start} → ${end}`;
    },
  };
}

/** Start and end of a share or mean over the logged rollouts: sums over the stretch, then the quotient, then the seeds. */
function logged(
  title: string,
  part: (l: LoggedRollouts) => number,
  whole: (l: LoggedRollouts) => number,
  scale = 1,
): Measure {
  const at = (study: StudyResults, arm: string, which: Stretch) =>
    meanOverSeeds(study, arm, (run) => {
      const stretch = stretchOf(run.logged, which);
      const all = stretch.reduce((sum, l) => sum + whole(l), 0);
      return all === 0 ? undefined : scale * stretch.reduce((sum, l) => sum + part(l), 0) / all;
    });
  return {
    title,
    of: (study, arm) => {
      const [start, end] = [at(study, arm, "start"), at(study, arm, "end")];
      return start === undefined || end === undefined ? DASH : `${digits(start)} → ${digits(end)}`;
    },
  };
}

/** Percentage of the sampled groups that no update was made on, at one end of a run. */
function untrained(run: RunResult, which: Stretch): number | undefined {
  const n = run.config?.worker.rollout.n;
  const stretch = stretchOf(metricsOf(run), which);
  if (n === undefined || stretch.length === 0) return undefined;
  const sum = (key: string) => stretch.reduce((s, m) => s + m[key], 0);
  return 100 * (1 - sum("batch/groups") / (sum("batch/sampled_trajectories") / n));
}

const SUSPECTS: readonly Suspect[] = [
  {
    name: "task too easy (or too hard)",
    read:
      "a group that is all right or all wrong has no advantage to learn from; the nearer both shares together come to " +
      "100 %, the less signal is left, and accuracy near 100 % leaves no room",
    measures: [
      metric("accuracy of rollouts, %", "reward/accuracy", 100),
      logged("groups all right, %", (l) => l.allRight, (l) => l.groups, 100),
      logged("groups all wrong, %", (l) => l.allWrong, (l) => l.groups, 100),
      {
        title: "groups not trained on, %",
        of: (study, arm) => {
          const [start, end] = (["start", "end"] as const)
            .map((which) => meanOverSeeds(study, arm, (run) => untrained(run, which)));
          return start === undefined || end === undefined ? DASH : `${digits(start)} → ${digits(end)}`;
        },
      },
    ],
  },
  {
    name: "entropy collapsed",
    read:
      "an end far below the start, near 0, means that the rollouts of a group have become alike and explore no more",
    measures: [metric("token entropy of rollouts, nats", "entropy/mean")],
  },
  {
    name: "windows never fire",
    read:
      "where few responses have a window, the entropy reward, the KL relief inside windows and branching act on few " +
      "tokens, and arms that differ in them alone can hardly differ",
    measures: [
      logged("windows a response", (l) => l.windows, (l) => l.rollouts),
      logged("responses with a window, %", (l) => l.withWindow, (l) => l.rollouts, 100),
      metric("tokens in windows a response (N_HE)", "entropy/n_he"),
    ],
  },
  {
    name: "targets drift",
    read:
      "a target is a running mean of N_HE: where it moves as far as N_HE itself (see Controllers), the entropy reward " +
      "pulls to wherever the policy has gone",
    measures: (["easy", "medium", "hard"] as const).map((d) =>
      metric(`target of N_HE, ${d}`, `train/${d}/n_target`)
    ),
  },
  {
    name: "learning rate",
    read:
      "a KL to the reference and a clipped share near 0 mean steps too small to leave the cold start; a large clipped " +
      "share, skipped steps or a KL that grows while accuracy falls mean steps too large",
    measures: [
      metric("learning rate", "actor/lr"),
      metric("KL to the reference a token, nats", "actor/kl"),
      metric("tokens clipped, %", "actor/pg_clipfrac_higher", 100),
      metric("optimizer steps skipped an iteration", "actor/updates_skipped"),
    ],
  },
];

/** The table, by suspect and measure, of all arms of reinforcement that have runs; undefined without. */
export function learningTable(study: StudyResults): string | undefined {
  const arms = study.settings.arms.filter((a) => a.kind === "rl" && doneRuns(study, a.name).length > 0);
  if (arms.length === 0) return undefined;
  return markdownTable(
    ["", ...arms.map((a) => a.name)],
    SUSPECTS.flatMap(({ name, measures }) =>
      measures.map((m) => [`${name}: ${m.title}`, ...arms.map((a) => m.of(study, a.name))])
    ),
  );
}

/** How each suspect's lines are read. */
export function learningReadings(): string {
  return SUSPECTS.map(({ name, read }) => `- *${name}*: ${read}.`).join("\n");
}
