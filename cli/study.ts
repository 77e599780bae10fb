/**
 * `study`: runs arms × seeds on the micro-world from one cold start per seed and writes what they came to as tables,
 * drawings and verdicts.
 * @module
 */
import { Gpu } from "../gpu/device.ts";
import { armsNamed } from "../study/arms.ts";
import { writePage } from "../study/page.ts";
import { runStudy } from "../study/runs.ts";
import type { StudySettings } from "../study/settings.ts";
import type { StudyArgs } from "./arguments.ts";
import { Progress } from "./progress.ts";

/** Runs the command. */
export async function study(args: StudyArgs): Promise<number> {
  const settings: StudySettings = {
    arms: armsNamed(args.arms),
    seeds: args.seeds,
    iterations: args.iterations,
    base: args.base,
    overrides: args.overrides,
    smoke: args.smoke,
    runs: args.runs ?? (args.smoke ? "runs/study-smoke" : "runs/study"),
  };
  const out = args.out ?? (args.smoke ? "runs/study-smoke/page" : "docs/study");
  if (args.reportOnly) {
    console.log(`written: ${await writePage(settings, out)}`);
    return 0;
  }
  const progress = new Progress();
  const stop = new AbortController();
  const interrupt = () => {
    if (stop.signal.aborted) Deno.exit(130);
    progress.say("stopping at the next safe point; press Ctrl-C again to stop without saving");
    stop.abort();
  };
  Deno.addSignalListener("SIGINT", interrupt);
  try {
    const done = await runStudy(settings, {
      open: () => Gpu.open(),
      monitor: progress,
      signal: stop.signal,
      afterSeed: async () => progress.say(`written: ${await writePage(settings, out)}`),
    });
    progress.close();
    console.log(done ? `study: ${out}/README.md` : "stopped; the same command goes on");
    return done ? 0 : 130;
  } finally {
    progress.close();
    Deno.removeSignalListener("SIGINT", interrupt);
  }
}
