/**
 * `train`: AdaCS, then AEPO, on the built-in micro-world or on files; prints progress and tables of what it came to.
 * @module
 */
import { join } from "node:path";
import { memoryLine } from "../gpu/pool.ts";
import { loadConfig } from "../trainer/config.ts";
import { phaseLine } from "../trainer/phase_times.ts";
import { blindLine } from "../trainer/run_report.ts";
import { train as runTraining } from "../trainer/scheduler.ts";
import type { TrainArgs } from "./arguments.ts";
import { familyTable, levelTable } from "./evaluation_tables.ts";
import { Progress } from "./progress.ts";
import { openTuned, tuningLine } from "./tuned_gpu.ts";

/** Overrides that stand for the command's own options; given ones win over file and preset. */
function optionOverrides(args: TrainArgs): string[] {
  const text = (key: string, value: string | number | undefined) =>
    value === undefined ? [] : [`${key}=${JSON.stringify(value)}`];
  return [
    ...text("worker.actor.model.model_path", args.model),
    ...text("data.train_files", args.train),
    ...text("data.val_files", args.val),
    ...text("data.image_dir", args.imageDir),
    ...text("trainer.max_steps", args.maxSteps),
    ...text("trainer.experiment_name", args.run),
    ...text("trainer.seed", args.seed),
    ...(args.tune ? [] : ["trainer.tune_kernels=false"]),
    ...text("trainer.kernels", args.kernels),
    ...text("trainer.precision", args.precision),
    ...(args.stage === "adacs"
      ? ["aepo.enabled=false"]
      : args.stage === "aepo"
      ? ["adacs.enabled=false"]
      : []),
  ];
}

/** Where to go on from: the option's folder, the configured one, or the run folder that the configuration names. */
async function resumeFrom(args: TrainArgs): Promise<string | undefined> {
  if (typeof args.resume === "string") return args.resume;
  const { config: { trainer } } = load(args, args.config);
  const own = trainer.save_checkpoint_path ?? join("runs", trainer.experiment_name);
  if (args.resume) return own;
  if (trainer.load_checkpoint_path !== null) return trainer.load_checkpoint_path;
  const has = await Deno.stat(join(own, "checkpoints", "latest.json")).then(() => true, () => false);
  return trainer.find_last_checkpoint && has ? own : undefined;
}

function load(args: TrainArgs, file: string | undefined) {
  return loadConfig({ file, preset: args.preset, overrides: [...optionOverrides(args), ...args.overrides] });
}

/** The resolved configuration of the run that `resume` lies in, if it is there. */
async function configOf(resume: string): Promise<string | undefined> {
  for (const file of [join(resume, "config.yaml"), join(resume, "..", "..", "config.yaml")]) {
    if (await Deno.stat(file).then((s) => s.isFile, () => false)) return file;
  }
  return undefined;
}

/** Runs the command. */
export async function train(args: TrainArgs): Promise<number> {
  const resume = await resumeFrom(args);
  const file = args.config ?? (resume === undefined ? undefined : await configOf(resume));
  const { config, ignored } = load(args, file);
  const progress = new Progress();
  for (const key of ignored) progress.say(`ignored: ${key}`);
  const { tune_kernels: tune, kernels, precision } = config.trainer;
  const gpu = await openTuned({ tune, kernels, precision }, progress);
  const how = [
    gpu.facts.software ? "software: runs on the CPU" : "",
    kernels === "auto" ? "" : `${kernels} kernels`,
    precision === "float32" ? "" : `products in ${precision}`,
  ].filter((part) => part !== "");
  progress.say(`adapter: ${gpu.facts.name}${how.length > 0 ? ` (${how.join("; ")})` : ""}`);
  const stop = new AbortController();
  const interrupt = () => {
    if (stop.signal.aborted) Deno.exit(130);
    progress.say("stopping at the next safe point; press Ctrl-C again to stop without saving");
    stop.abort();
  };
  Deno.addSignalListener("SIGINT", interrupt);
  try {
    const summary = await runTraining(gpu, {
      config,
      evaluate: args.eval,
      resume,
      monitor: progress,
      signal: stop.signal,
    });
    progress.close();
    const { evaluations, blind } = summary;
    if (Object.keys(evaluations).length > 0) {
      console.log(levelTable(evaluations));
      const byFamily = familyTable(evaluations);
      if (byFamily !== undefined) console.log(byFamily);
    }
    if (blind) console.log(blindLine(blind));
    const phases = phaseLine(summary.timing);
    if (phases !== undefined) console.log(phases);
    const tuning = tuningLine(gpu);
    if (tuning !== undefined) console.log(tuning);
    const memory = gpu.pool.report();
    console.log(
      `peak GPU memory ${(memory.peak / 2 ** 20).toFixed(0)} MiB (${memoryLine(memory.peakByClass)}); ${
        summary.seconds.toFixed(0)
      } s; run folder ${summary.folder}`,
    );
    if (summary.model) console.log(`trained model: ${summary.model}`);
    return summary.interrupted ? 130 : 0;
  } finally {
    progress.close();
    Deno.removeSignalListener("SIGINT", interrupt);
    gpu.close();
  }
}
