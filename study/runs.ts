/**
 * Runs what a study lacks: arms × seeds, one after the other, each an ordinary run folder. What is finished is kept, what
 * was stopped goes on from its checkpoint, what failed is told and tried again by the next call.
 * @module
 */
import { join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import { UserError } from "../gpu/errors.ts";
import { loadModelConfig } from "../models/config.ts";
import { writeAtomically } from "../trainer/atomic_write.ts";
import { loadConfig } from "../trainer/config.ts";
import type { Config } from "../trainer/config_types.ts";
import type { Monitor } from "../trainer/monitor.ts";
import type { EvaluationRecord } from "../trainer/run_state.ts";
import { train } from "../trainer/scheduler.ts";
import { type Arm, ARMS } from "./arms.ts";
import { everyTokenF1, scoreTraces, type WindowScore, windowScores } from "./decisions.ts";
import { recordBase } from "./base_weights.ts";
import { ifMissing, readJson } from "./json_file.ts";
import { baseOf, configOf, differencesThatMatter, runFolder, type StudySettings } from "./settings.ts";
import { TimeLeft } from "./time_left.ts";

/** Surroundings of a study. */
export interface StudyHost {
  /** A device for one run; it is closed after it. */
  readonly open: () => Promise<Gpu>;
  /** Hears of the progress. */
  readonly monitor: Monitor;
  /** Stops at the next safe point. */
  readonly signal?: AbortSignal;
  /** Called after every seed. */
  readonly afterSeed?: () => Promise<void>;
}

/** Name of the file that says why a run failed. */
export const FAILED = "failed.json";
/** Name of a seed's file of F1 scores. */
export const DECISIONS = "decisions.json";

/** A seed's F1 scores. */
export interface DecisionScores {
  /** By window size under the model before the cold start. */
  readonly base: readonly WindowScore[];
  /** And after it. */
  readonly adacs: readonly WindowScore[];
  /** Of calling every token a decision. */
  readonly everyToken: number;
}

interface Planned {
  readonly arm: Arm;
  readonly seed: number;
  readonly folder: string;
  readonly config: Config;
}

const ADACS = ARMS.find((a) => a.name === "adacs")!;

/** Runs in their order: seed by seed, and first the AdaCS run that evaluates the base and gives all their checkpoint. */
function plan(settings: StudySettings): Planned[] {
  return settings.seeds.flatMap((seed) =>
    [ADACS, ...settings.arms.filter((a) => a.kind !== "base" && a !== ADACS)].map((arm) => ({
      arm,
      seed,
      folder: runFolder(settings.runs, seed, arm.name),
      config: configOf(settings, arm, seed),
    }))
  );
}

/**
 * Runs everything that is not finished.
 * @returns false when the signal ended it
 * @throws UserError before any work for mistakes in the settings, and where runs that are there have other settings or
 * started from another base
 */
export async function runStudy(settings: StudySettings, host: StudyHost): Promise<boolean> {
  const { monitor, signal } = host;
  const runs = plan(settings);
  for (const { arm, config } of runs) {
    if (arm.kind === "cold") await loadModelConfig(config.worker.actor.model.model_path);
  }
  for (const run of runs) await checkSettings(run);
  const started = await Promise.all(runs.map((r) => exists(join(r.folder, "config.yaml"))));
  await recordBase(settings.runs, baseOf(settings), started.includes(true));
  const left = await TimeLeft.of(runs);
  for (const [i, run] of runs.entries()) {
    if (signal?.aborted) return false;
    const name = `seed ${run.seed}, ${run.arm.name}`;
    if (!await isDone(run.folder)) {
      monitor.say(`study: run ${i + 1} of ${runs.length}: ${name}; ${left.line(i)}`);
      const started = performance.now();
      if (!await attempt(run, settings, { ...host, monitor: prefixed(monitor, name) })) return false;
      left.took(run.arm.kind, (performance.now() - started) / 1000);
    }
    if (run.arm === ADACS) await decisions(run, { ...host, monitor: prefixed(monitor, name) });
    if (runs[i + 1]?.seed !== run.seed) await host.afterSeed?.();
  }
  return true;
}

/** Whether a run has come to its end. */
export async function isDone(folder: string): Promise<boolean> {
  return (await readJson(join(folder, "summary.json")))?.interrupted === false;
}

/** A run of other settings in this run's place would be taken for it. */
async function checkSettings({ arm, folder, config }: Planned): Promise<void> {
  const file = join(folder, "config.yaml");
  if (!await exists(file)) return;
  const found = differencesThatMatter(arm, loadConfig({ file }).config, config);
  if (found.length === 0) return;
  throw new UserError(
    `${folder} is a run with other settings: ${found.slice(0, 3).join("; ")}${
      found.length > 3 ? "; …" : ""
    }. ` +
      "Give another folder with --runs, the same settings, or remove it",
  );
}

/** One run from where it is; false when the signal ended it. A failure is written down and does not end the study. */
async function attempt(run: Planned, settings: StudySettings, host: StudyHost): Promise<boolean> {
  const { arm, seed, folder, config } = run;
  const { monitor, signal } = host;
  const failed = join(folder, FAILED);
  const fail = async (message: string) => {
    await Deno.mkdir(folder, { recursive: true });
    await writeAtomically(failed, JSON.stringify({ message }));
    monitor.say(`failed: ${message}`);
  };
  const adacs = runFolder(settings.runs, seed, ADACS.name);
  if (arm.kind === "rl" && !await isDone(adacs)) {
    await fail("its cold start has no checkpoint: see the seed's adacs run");
    return true;
  }
  let gpu: Gpu | undefined;
  try {
    const resume = await exists(join(folder, "checkpoints", "latest.json"));
    // Killed before its first checkpoint, or failed there: nothing of it is of use.
    if (!resume) await Deno.remove(folder, { recursive: true }).catch(ifMissing);
    else await Deno.remove(failed).catch(ifMissing);
    gpu = await host.open();
    const summary = await train(gpu, {
      config,
      monitor,
      signal,
      resume: resume ? folder : undefined,
      evaluations: arm === ADACS ? undefined : await evaluationsBefore(adacs, arm),
    });
    return !summary.interrupted;
  } catch (error) {
    await fail((error as Error).message);
    return true;
  } finally {
    gpu?.close();
  }
}

/** What the AdaCS run found of the models that an arm starts from. */
async function evaluationsBefore(adacs: string, arm: Arm): Promise<Record<string, EvaluationRecord>> {
  const { base, adacs: cold } = (await readJson(join(adacs, "summary.json")))?.evaluations ?? {};
  return arm.kind === "cold"
    ? { ...(base && { base }) }
    : { ...(base && { base }), ...(cold && { adacs: cold }) };
}

/** A seed's F1 scores, once. */
async function decisions({ folder, config }: Planned, host: StudyHost): Promise<void> {
  const file = join(folder, "..", DECISIONS);
  if (await exists(file) || !await isDone(folder)) return;
  host.monitor.say("entropies of the teacher's traces");
  const gpu = await host.open();
  try {
    const base = await scoreTraces(gpu, config.worker.actor.model.model_path, config);
    const adacs = await scoreTraces(gpu, join(folder, "adacs"), config);
    const scores: DecisionScores = {
      base: windowScores(base),
      adacs: windowScores(adacs),
      everyToken: everyTokenF1(base),
    };
    await writeAtomically(file, JSON.stringify(scores));
  } catch (error) {
    host.monitor.say(`no F1 scores for this seed: ${(error as Error).message}`);
  } finally {
    gpu.close();
  }
}

function prefixed(monitor: Monitor, name: string): Monitor {
  return {
    phase: (phase, total, unit) => monitor.phase(`${name}: ${phase}`, total, unit),
    say: (line) => monitor.say(`${name}: ${line}`),
  };
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).catch(ifMissing) !== undefined;
}
