/**
 * What a study's run folders tell: figures of the final models, curves, controllers and F1 scores. Runs that failed or are
 * not finished are told as such; none is left out.
 * @module
 */
import { dirname, join } from "node:path";
import { jsonlRecords } from "../data/jsonl.ts";
import { UserError } from "../gpu/errors.ts";
import { loadConfig } from "../trainer/config.ts";
import type { Config } from "../trainer/config_types.ts";
import type { GroupFigures } from "../trainer/evaluate.ts";
import type { EvaluationRecord } from "../trainer/run_state.ts";
import type { Arm } from "./arms.ts";
import { type BaseWeights, readBase } from "./base_weights.ts";
import { type LoggedRollouts, readGenerations, type ResponsePoint } from "./generations.ts";
import { readJson } from "./json_file.ts";
import { DECISIONS, type DecisionScores, FAILED, isDone } from "./runs.ts";
import { baseOf, configOf, differencesThatMatter, runFolder, type StudySettings } from "./settings.ts";
import { fitLine, type Line } from "./statistics.ts";

/** Groups of held-out problems. */
export const GROUPS = ["easy", "medium", "hard", "all", "text", "pictures"] as const;
/** One of {@link GROUPS}. */
export type Group = typeof GROUPS[number];

/** What is shown of a group. */
export type Figures = Pick<GroupFigures, "accuracy" | "length" | "highEntropy" | "samples">;

/** A point of a run's course through the reinforcement stage; sums are from the stage's start. */
export interface CoursePoint {
  readonly step: number;
  /** Rollouts sampled. */
  readonly trajectories: number;
  /** Tokens generated; a branch's shared prefix is generated once. */
  readonly tokens: number;
  /** Seconds of iterations, evaluations left out. */
  readonly seconds: number;
  /** Accuracy and length on the held-out problems, where they were evaluated there. */
  readonly heldOut?: { readonly accuracy: number; readonly length: number };
  /** The iteration's metrics; undefined for the start. */
  readonly metrics?: Readonly<Record<string, number>>;
}

/** One arm under one seed. */
export interface RunResult {
  readonly arm: Arm;
  readonly seed: number;
  readonly folder: string;
  readonly status: "done" | "failed" | "unfinished" | "not started";
  /** Why it failed. */
  readonly error?: string;
  /** As it ran, from its own folder; the base has none, the AdaCS run evaluates it. */
  readonly config?: Config;
  /** In what that differs from the study's settings, or why it cannot be read; empty where all is well. */
  readonly otherSettings?: readonly string[];
  /** Of the final model. */
  readonly figures?: Readonly<Partial<Record<Group, Figures>>>;
  /** By family of problems. */
  readonly bySource?: Readonly<Record<string, Figures>>;
  /** Adapter that it ran on. */
  readonly adapter?: string;
  /** τ that high-entropy tokens were counted with in the evaluation, nats. */
  readonly threshold?: number;
  /** Empty for arms without reinforcement. */
  readonly course: readonly CoursePoint[];
  /** Responses of the final evaluation. */
  readonly responses: readonly ResponsePoint[];
  /** By iteration of reinforcement, what the logged rollouts come to. */
  readonly logged: readonly LoggedRollouts[];
  /** length = intercept + slope · N_HE over correct and over wrong responses. */
  readonly lines: { readonly correct?: Line; readonly wrong?: Line };
}

/** A study as its folders tell it. */
export interface StudyResults {
  readonly settings: StudySettings;
  readonly base: BaseWeights;
  readonly runs: readonly RunResult[];
  /** F1 scores by seed. */
  readonly decisions: ReadonlyMap<number, DecisionScores>;
}

/** Reads all runs of a study. */
export async function readStudy(settings: StudySettings): Promise<StudyResults> {
  const runs: RunResult[] = [];
  const decisions = new Map<number, DecisionScores>();
  for (const seed of settings.seeds) {
    for (const arm of settings.arms) runs.push(await readRun(settings, arm, seed));
    const scores = await readJson(join(dirname(runFolder(settings.runs, seed, "adacs")), DECISIONS));
    if (scores) decisions.set(seed, scores);
  }
  return { settings, base: await readBase(settings.runs, baseOf(settings)), runs, decisions };
}

/** Name of an arm's final evaluation. */
function evaluationOf(arm: Arm): "base" | "adacs" | "aepo" {
  return arm.kind === "base" ? "base" : arm.kind === "cold" ? "adacs" : "aepo";
}

async function readRun(settings: StudySettings, arm: Arm, seed: number): Promise<RunResult> {
  const folder = runFolder(settings.runs, seed, arm.name);
  const empty = { arm, seed, folder, course: [], responses: [], logged: [], lines: {} };
  const failure = await readJson(join(folder, FAILED));
  if (failure) return { ...empty, status: "failed", error: failure.message };
  if (!await isDone(folder)) {
    const started = await Deno.stat(folder).then(() => true, () => false);
    return { ...empty, status: started ? "unfinished" : "not started" };
  }
  const { evaluations, adapter } = await readJson(join(folder, "summary.json"));
  const name = evaluationOf(arm);
  const record = evaluations[name] as EvaluationRecord;
  const { responses, logged } = await readGenerations(folder, name);
  const points = (correct: boolean) =>
    responses.filter((r) => r.correct === correct).map((r) => [r.highEntropy, r.length] as const);
  return {
    ...empty,
    ...ownConfig(folder, arm, configOf(settings, arm, seed)),
    status: "done",
    figures: figuresOf(record),
    bySource: Object.fromEntries(Object.entries(record.bySource).map(([s, f]) => [s, short(f)])),
    adapter,
    threshold: record.threshold,
    course: arm.kind === "rl" ? await courseOf(folder, evaluations.adacs) : [],
    responses,
    logged: arm.kind === "rl" ? logged : [],
    lines: { correct: fitLine(points(true)), wrong: fitLine(points(false)) },
  };
}

/** The configuration that a run was made with, held against the one that the study has for it. */
function ownConfig(folder: string, arm: Arm, planned: Config): Pick<RunResult, "config" | "otherSettings"> {
  if (arm.kind === "base") return {};
  try {
    const { config } = loadConfig({ file: join(folder, "config.yaml") });
    return { config, otherSettings: differencesThatMatter(arm, config, planned) };
  } catch (error) {
    // Of another version of the program: its figures can still be read.
    if (!(error instanceof UserError)) throw error;
    return { otherSettings: [error.message] };
  }
}

function short({ accuracy, length, highEntropy, samples }: GroupFigures): Figures {
  return { accuracy, length, highEntropy, samples };
}

function figuresOf({ all, byLevel, withPictures }: EvaluationRecord): Partial<Record<Group, Figures>> {
  const figures: Partial<Record<Group, Figures>> = { all: short(all) };
  for (const level of ["easy", "medium", "hard"] as const) {
    if (byLevel[level]) figures[level] = short(byLevel[level]);
  }
  if (!withPictures) return { ...figures, text: short(all) };
  figures.pictures = short(withPictures);
  const samples = all.samples - withPictures.samples;
  if (samples === 0) return figures;
  const rest = (key: "accuracy" | "length" | "highEntropy") =>
    (all[key] * all.samples - withPictures[key] * withPictures.samples) / samples;
  figures.text = {
    accuracy: rest("accuracy"),
    length: rest("length"),
    highEntropy: rest("highEntropy"),
    samples,
  };
  return figures;
}

/** The reinforcement stage from its metrics; it starts with the cold start's evaluation. */
async function courseOf(folder: string, start: EvaluationRecord | undefined): Promise<CoursePoint[]> {
  const points: CoursePoint[] = [{
    step: 0,
    trajectories: 0,
    tokens: 0,
    seconds: 0,
    ...(start && { heldOut: { accuracy: start.all.accuracy, length: start.all.length } }),
  }];
  for await (const line of jsonlRecords(join(folder, "metrics.jsonl"))) {
    if (!("record" in line) || line.record.stage !== "aepo") continue;
    const m = line.record as Record<string, any>;
    const last = points[points.length - 1];
    if ("batch/sampled_trajectories" in m) {
      points.push({
        step: m.step,
        trajectories: last.trajectories + m["batch/sampled_trajectories"],
        tokens: last.tokens + m["batch/generated_tokens"],
        seconds: last.seconds + m["timing_s/step"],
        metrics: m,
      });
    } else if ("val/accuracy" in m) {
      const heldOut = { accuracy: m["val/accuracy"], length: m["val/response_length/mean"] };
      points[points.length - 1] = { ...last, heldOut };
    }
  }
  return points;
}
