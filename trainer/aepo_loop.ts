/**
 * AEPO's iterations in order: learning rates, evaluations between them, the log of each, and checkpoints from which they go
 * on. What an iteration does is {@link AepoStage}'s.
 * @module
 */
import { join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import { CausalLM } from "../models/causal_lm.ts";
import type { ValueHead } from "../models/value_head.ts";
import { AepoStage } from "./aepo.ts";
import { type Config, iterationCount } from "./config.ts";
import type { MetricsLog } from "./metrics_log.ts";
import type { Monitor } from "./monitor.ts";
import type { AdamW } from "./optimizer.ts";
import type { PhaseTimes } from "./phase_times.ts";
import type { Policy } from "./policy.ts";
import { PolicyUpdate, type UpdateReport } from "./policy_update.ts";
import { Cursor, type Problem } from "./problems.ts";
import type { RolloutLog } from "./rollout_log.ts";
import type { RunFolder } from "./run_folder.ts";
import { iterationNote } from "./run_report.ts";
import { loadValueHead, type RunState } from "./run_state.ts";
import { sampledLine, sampledTotalsOf } from "./sampled_totals.ts";
import { learningRate } from "./schedule.ts";

/** What a checkpoint within a stage keeps beside the model. */
export interface Learner {
  readonly optimizer: AdamW;
  /** Of GAE. */
  readonly valueHead?: ValueHead;
}

/** The run that the iterations belong to. */
export interface AepoRun {
  readonly gpu: Gpu;
  readonly config: Config;
  /** At the stage's start, or as the checkpoint has it. */
  readonly policy: Policy;
  /** Training problems. */
  readonly problems: readonly Problem[];
  /** Moved on by every iteration. */
  readonly state: RunState;
  /** Folder of the checkpoint that the stage goes on from. */
  readonly checkpoint?: string;
  readonly folder: RunFolder;
  readonly metrics: MetricsLog;
  readonly rollouts: RolloutLog;
  readonly times: PhaseTimes;
  readonly monitor: Monitor;
  readonly signal?: AbortSignal;
  /** The stage's optimizer, of the value head too; `over`: no step is left. */
  optimizer(over: boolean, valueHead: ValueHead | undefined): Promise<AdamW>;
  /** Evaluates unless it was done before; false, with a checkpoint, when it was interrupted. */
  evaluate(name: string, learner?: Learner): Promise<boolean>;
  /** Saves, says how to go on, and answers that the stage is not done. */
  interrupted(learner: Learner): Promise<false>;
  /** Counts updates that were skipped. */
  guard(step: UpdateReport["steps"][number]): void;
  /** Saves a checkpoint. */
  save(learner: Learner): Promise<void>;
}

/**
 * Runs the iterations that are left, then evaluates.
 * @returns false, with a checkpoint, when it was interrupted
 */
export async function aepoLoop(run: AepoRun): Promise<boolean> {
  const { config, monitor, policy, signal, state, times } = run;
  const { algorithm, aepo, data, trainer, worker: { actor, critic } } = config;
  const iterations = iterationCount(config, run.problems.length);
  const valueHead = algorithm.adv_estimator === "gae"
    ? await loadValueHead(
      run.gpu,
      state.step > 0 ? run.checkpoint : undefined,
      policy.model.config.hidden_size,
    )
    : undefined;
  // Iterations done; where refills count, they are iterations of their own, and the last one is cut to what is left.
  const counted = algorithm.refill_within_budget;
  const done = () => counted ? state.taken / data.rollout_batch_size : state.step;
  const optimizer = await run.optimizer(done() >= iterations, valueHead);
  const learner = { optimizer, valueHead };
  const cursor = new Cursor(run.problems, data.shuffle ? data.seed : undefined);
  cursor.taken = state.taken;
  const reference = algorithm.disable_kl ? undefined : await referenceOf(run);
  const update = new PolicyUpdate(policy, reference, optimizer, config, valueHead);
  const stage = new AepoStage(policy, update, config, cursor, state.controllers);
  const name = aepo.entropy_shaping || aepo.kl_shaping ? "AEPO" : "policy optimization";
  const phase = monitor.phase(name, iterations - done(), "iterations");
  times.lap("setup");
  try {
    while (done() < iterations) {
      if (signal?.aborted) return await run.interrupted(learner);
      const { step } = state;
      // Before the next iteration, since a checkpoint saved at this step may still owe it.
      if (step > 0 && trainer.val_freq > 0 && step % trainer.val_freq === 0) {
        if (!await run.evaluate(`aepo_${step}`, learner)) return false;
      }
      const iteration = step + 1;
      const before = done();
      const report = await stage.iterate(iteration, {
        lr: learningRate(actor.optim, before, iterations),
        criticLr: learningRate({ ...actor.optim, lr: critic.optim.lr }, before, iterations),
        mostTries: counted ? iterations - before : Infinity,
        tell: (note) => phase.advance(0, note),
        signal,
      });
      times.lap("step");
      if (!report) return await run.interrupted(learner);
      Object.assign(state, {
        step: iteration,
        optimizerStep: optimizer.step,
        taken: cursor.taken,
        controllers: stage.state(),
      });
      run.metrics.append(report.metrics);
      times.add(report.metrics);
      await run.rollouts.appendIteration(report);
      times.lap("log");
      if (report.note) monitor.say(`iteration ${iteration}: ${report.note}`);
      for (const s of report.update?.steps ?? []) run.guard(s);
      phase.advance(done() - before, iterationNote(report));
      if (done() < iterations && trainer.save_freq > 0 && iteration % trainer.save_freq === 0) {
        await run.save(learner);
      }
    }
  } finally {
    phase.finish();
    stage.free();
    optimizer.free();
    reference?.free();
    valueHead?.parameters.free();
  }
  const totals = await sampledTotalsOf(run.folder.metricsPath);
  if (totals) monitor.say(`${name}: ${sampledLine(totals)}`);
  return await run.evaluate("aepo");
}

/** The frozen policy at the start of AEPO. */
async function referenceOf({ gpu, config, policy, state, folder }: AepoRun): Promise<CausalLM> {
  if (state.step === 0) return policy.model.frozenCopy();
  const { adacs, worker } = config;
  return await CausalLM.load(gpu, adacs.enabled ? join(folder.path, "adacs") : worker.actor.model.model_path);
}
