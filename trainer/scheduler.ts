/**
 * The scheduler: evaluates, runs AdaCS, evaluates, runs AEPO, evaluates; writes everything into the run's folder and
 * goes on from any checkpoint as if it had never stopped.
 * @module
 */
import { join } from "node:path";
import type { Row } from "../data/rows.ts";
import type { Gpu } from "../gpu/device.ts";
import { UserError } from "../gpu/errors.ts";
import { loadModelConfig } from "../models/config.ts";
import { copyCompanions } from "../models/checkpoint_folder.ts";
import type { ValueHead } from "../models/value_head.ts";
import { curate, curriculumBatches, withPictures } from "./adacs.ts";
import { aepoLoop, type Learner } from "./aepo_loop.ts";
import { batchArithmetic, type Config, toYaml } from "./config.ts";
import { MetricsLog } from "./metrics_log.ts";
import type { Monitor } from "./monitor.ts";
import { AdamW } from "./optimizer.ts";
import type { Policy } from "./policy.ts";
import type { Problem } from "./problems.ts";
import { type Checkpoint, RunFolder } from "./run_folder.ts";
import { RunEvaluator } from "./run_evaluator.ts";
import { loadRunPolicy } from "./run_policy.ts";
import { RolloutLog } from "./rollout_log.ts";
import { curriculumLines } from "./run_report.ts";
import { loadRows } from "./run_rows.ts";
import {
  type BlindRecord,
  type EvaluationRecord,
  freshState,
  keepKernels,
  loadMoments,
  loadState,
  type RunState,
  saveState,
} from "./run_state.ts";
import { learningRate } from "./schedule.ts";
import { SftTrainer } from "./sft.ts";
import { PhaseTimes } from "./phase_times.ts";
import { writeAtomically } from "./atomic_write.ts";

/** What to run. */
export interface TrainOptions {
  /** The whole run; see {@link loadConfig}. */
  readonly config: Config;
  /** Evaluate before, between and after the stages; true by default. */
  readonly evaluate?: boolean;
  /** Run folder or checkpoint to go on from. */
  readonly resume?: string;
  /**
   * Evaluations, by name and in order, of the models that this run starts from (`base`, and `adacs` where that stage was
   * another run's): a fresh run takes them over and does not evaluate these again; the first gives the τ of all.
   */
  readonly evaluations?: Readonly<Record<string, EvaluationRecord>>;
  /** Hears of the progress; `silent` does not. */
  readonly monitor: Monitor;
  /** Ends the run at the next safe point, with a checkpoint. */
  readonly signal?: AbortSignal;
}

/** What a run came to. */
export interface TrainSummary {
  /** The run folder. */
  readonly folder: string;
  /** The trained model; undefined when the run was interrupted. */
  readonly model?: string;
  /** Whether the signal ended it before its end. */
  readonly interrupted: boolean;
  /** Evaluations by name: `base`, `adacs`, `aepo`. */
  readonly evaluations: Readonly<Record<string, EvaluationRecord>>;
  /** The last model's control without pictures, where held-out problems have pictures. */
  readonly blind?: BlindRecord;
  /** Wall-clock time of this call. */
  readonly seconds: number;
  /**
   * Seconds of this call by phase, which add up to `seconds`: `setup` (loading), `evaluation`, `curation` and `sft` of
   * AdaCS, `step` (all iterations), `log` (their rollouts), `save` (checkpoints and the model). And the iterations' parts,
   * which add up to `step` unless one was interrupted: `gen`, `windows`, `filter`, `reward`, `adv`, `ref`, `update_actor`,
   * `controllers` and others.
   */
  readonly timing: Readonly<Record<string, number>>;
}

/** Updates in a row that may be skipped as not finite before the run stops. */
const MAX_SKIPPED = 3;

/**
 * Trains. Bad input stops before any work; a bad update never reaches the weights.
 * @throws UserError for what the user can mend
 */
export async function train(gpu: Gpu, options: TrainOptions): Promise<TrainSummary> {
  const run = await Run.open(gpu, options);
  try {
    return await run.go();
  } finally {
    run.close();
    await run.report();
  }
}

/** Tokenizer and templates of the run's model: the folder it was loaded from may be a checkpoint that is rotated away. */
function companionsOf(folder: RunFolder): string {
  return join(folder.path, "tokenizer");
}

class Run {
  #gpu: Gpu;
  #options: TrainOptions;
  #config: Config;
  #folder: RunFolder;
  #state: RunState;
  #checkpoint: Checkpoint | undefined;
  #policy: Policy;
  #train: Problem[];
  #evaluator: RunEvaluator;
  #metrics: MetricsLog;
  #generations: MetricsLog;
  #rollouts: RolloutLog;
  #times: PhaseTimes;

  private constructor(
    gpu: Gpu,
    options: TrainOptions,
    folder: RunFolder,
    state: RunState,
    checkpoint: Checkpoint | undefined,
    policy: Policy,
    train: Problem[],
    val: Problem[],
    times: PhaseTimes,
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.#config = options.config;
    this.#folder = folder;
    this.#state = state;
    this.#checkpoint = checkpoint;
    this.#policy = policy;
    this.#train = train;
    this.#times = times;
    this.#metrics = MetricsLog.open(folder.metricsPath, state.lines.metrics);
    this.#generations = MetricsLog.open(folder.generationsPath, state.lines.generations);
    this.#rollouts = new RolloutLog(this.#generations, folder, policy.writer.tokenizer, options.config);
    this.#evaluator = new RunEvaluator({
      policy,
      problems: options.evaluate === false ? [] : val,
      config: options.config,
      state,
      metrics: this.#metrics,
      rollouts: this.#rollouts,
      monitor: options.monitor,
      signal: options.signal,
    });
  }

  static async open(gpu: Gpu, options: TrainOptions): Promise<Run> {
    const { config, monitor } = options;
    const { worker: { actor }, trainer } = config;
    const times = new PhaseTimes();
    // Everything that can be wrong with the input is found before the folder is touched.
    gpu.prefer({ preset: trainer.kernels, precision: trainer.precision });
    let checkpoint: Checkpoint | undefined;
    let folder: RunFolder | undefined;
    let state = freshState();
    state.evaluations = { ...options.evaluations };
    if (options.resume !== undefined) {
      ({ folder, checkpoint } = await RunFolder.resume(
        options.resume,
        trainer.save_limit,
        (l) => monitor.say(l),
      ));
      state = await loadState(checkpoint.path);
      const changed = keepKernels(gpu, state);
      if (changed) monitor.say(changed);
    }
    const model = checkpoint?.path ?? actor.model.model_path;
    const rows = await loadRows(config, (await loadModelConfig(model)).vision !== undefined, monitor);
    const policy = await loadRunPolicy(gpu, model, config);
    const problems = async (list: Row[], name: string) => {
      const { problems, leftOut } = await policy.writer.problems(list, undefined, actor.micro_batch_patches);
      for (const l of leftOut) monitor.say(`${name}: ${l.count} left out: ${l.reason}`);
      return problems;
    };
    const train = await problems(rows.train, "training problems");
    const val = rows.val.length > 0 ? await problems(rows.val, "held-out problems") : [];
    const arithmetic = batchArithmetic(config, train.length);
    if (!folder) {
      const path = trainer.save_checkpoint_path ?? join("runs", trainer.experiment_name);
      const fresh = await RunFolder.fresh(path, trainer.save_limit);
      folder = fresh.folder;
      if (fresh.movedTo) monitor.say(`an earlier run was there: it is ${fresh.movedTo} now`);
      await writeAtomically(folder.configPath, toYaml(config));
      await copyCompanions(policy.folder, companionsOf(folder));
    }
    monitor.say(
      `${policy.folder}: ${policy.model.config.model_type}, ${
        (policy.model.parameters.count / 1e6).toFixed(2)
      } M weights; ` +
        `${train.length} training and ${val.length} held-out problems; run folder ${folder.path}`,
    );
    if (config.aepo.enabled) monitor.say(arithmetic);
    if (checkpoint) monitor.say(`going on from ${checkpoint.path}: ${state.stage}, step ${state.step}`);
    await folder.lock();
    times.lap("setup");
    return new Run(gpu, options, folder, state, checkpoint, policy, train, val, times);
  }

  async go(): Promise<TrainSummary> {
    const { adacs, aepo, trainer } = this.#config;
    const untouched = this.#state.stage === "adacs" && this.#state.step === 0;
    let done = !trainer.val_before_train || !untouched || await this.#evaluate("base", 0, "adacs");
    if (done && this.#state.stage === "adacs") {
      done = !adacs.enabled || await this.#adacs();
      if (done) await this.#enter("aepo");
    }
    if (done && this.#state.stage === "aepo") {
      done = !aepo.enabled || await this.#aepo();
      if (done) await this.#enter("done");
    }
    return await this.#summarise(!done);
  }

  close(): void {
    this.#metrics.close();
    this.#generations.close();
    this.#policy.free();
    this.#folder.unlock();
  }

  /** Writes the report, also of a run that was interrupted or that an error ended; a run is good without one. */
  async report(): Promise<void> {
    const { monitor } = this.#options;
    try {
      // The drawing library is not for runs that have not come to their end.
      const { writeReport } = await import("./report/write_report.ts");
      monitor.say(`report: ${await writeReport(this.#folder.path)}`);
    } catch (error) {
      monitor.say(`there is no report: ${(error as Error).message}`);
    }
  }

  get #aborted(): boolean {
    return this.#options.signal?.aborted === true;
  }

  /** Moves on to the next stage; its optimizer starts anew. */
  async #enter(stage: "aepo" | "done"): Promise<void> {
    Object.assign(this.#state, { stage, step: 0, optimizerStep: 0 });
    this.#checkpoint = undefined;
    if (stage === "aepo" && this.#config.adacs.enabled && this.#config.aepo.enabled) {
      await this.#save("aepo_step_0", undefined);
    }
  }

  /** Evaluates unless it was done before; false, with a checkpoint, when it was interrupted. */
  async #evaluate(name: string, step: number, stage: string, learner?: Learner): Promise<boolean> {
    const done = await this.#evaluator.evaluate(name, step, stage);
    this.#times.lap("evaluation");
    return done || await this.#interrupted(undefined, learner);
  }

  /**
   * A stage's optimizer with the moments of the checkpoint; one made after the stage's last step (`over`) has none, and
   * none are needed.
   */
  async #optimizer(
    stage: { lr: number; weight_decay: number },
    over: boolean,
    valueHead?: ValueHead,
  ): Promise<AdamW> {
    const { optim: { betas }, max_grad_norm } = this.#config.worker.actor;
    const { lr, weight_decay } = stage;
    const own = valueHead && { parameters: valueHead.parameters, lr };
    const settings = { lr, weight_decay, betas, eps: 1e-8, max_grad_norm, own };
    const { parameters } = this.#policy.model;
    const optimizer = new AdamW(this.#gpu, own ? parameters.with(own.parameters) : parameters, settings);
    const { optimizerStep } = this.#state;
    if (this.#checkpoint && !over) await loadMoments(this.#checkpoint.path, optimizerStep, optimizer);
    return optimizer;
  }

  async #adacs(): Promise<boolean> {
    const { monitor, signal } = this.#options;
    const { adacs, data, trainer, worker: { rollout } } = this.#config;
    const problems = this.#train.slice(0, adacs.problems ?? undefined);
    if (!this.#state.curriculum) {
      const curriculum = await curate(this.#policy, problems, adacs, {
        temperature: rollout.temperature,
        top_p: rollout.top_p,
        top_k: Math.max(0, rollout.top_k),
        max_tokens: data.max_response_length,
        seed: trainer.seed,
        signal,
      }, monitor);
      this.#times.lap("curation");
      if (!curriculum || this.#aborted) return this.#interrupted();
      this.#state.curriculum = curriculum;
      for (const line of curriculumLines(curriculum)) monitor.say(line);
    }
    const batches = curriculumBatches(this.#state.curriculum, problems, adacs.batch_size);
    const optimizer = await this.#optimizer(adacs, this.#state.step >= batches.length);
    const sft = new SftTrainer(this.#policy.graph, optimizer);
    if (this.#state.curriculum.examples.length === 0) {
      monitor.say(
        "AdaCS: nothing is fine-tuned: give rows a `solution` or `candidates` (data.solution_key names the column)",
      );
    }
    const size = (from: number) => batches.slice(from).flat().reduce((n, s) => n + s.ids.length, 0);
    const phase = monitor.phase("AdaCS: fine-tuning", size(this.#state.step), "tokens");
    this.#times.lap("setup");
    try {
      while (this.#state.step < batches.length) {
        if (this.#aborted) return await this.#interrupted("adacs", { optimizer });
        const started = performance.now();
        optimizer.options.lr = learningRate(adacs, this.#state.step, batches.length);
        const result = await sft.step(await withPictures(batches[this.#state.step]));
        const step = ++this.#state.step;
        this.#state.optimizerStep = optimizer.step;
        const seconds = (performance.now() - started) / 1000;
        this.#metrics.append({
          step,
          stage: "adacs",
          "sft/loss": result.loss,
          "actor/grad_norm": result.gradNorm,
          "actor/lr": optimizer.options.lr,
          "actor/update_skipped": result.applied ? 0 : 1,
          "batch/tokens": result.tokens,
          "timing_s/step": seconds,
          "perf/throughput": result.tokens / seconds,
        });
        this.#guard(result.applied, result.offenders, "adacs", step);
        phase.advance(result.tokens, `loss ${result.loss.toFixed(4)}`);
        this.#times.lap("sft");
        if (trainer.save_freq > 0 && step % trainer.save_freq === 0 && step < batches.length) {
          await this.#save(`adacs_step_${step}`, { optimizer });
        }
      }
    } finally {
      phase.finish();
      sft.free();
      optimizer.free();
    }
    await this.#policy.model.save(join(this.#folder.path, "adacs"), { copyFrom: companionsOf(this.#folder) });
    this.#times.lap("save");
    return await this.#evaluate("adacs", this.#state.step, "adacs");
  }

  #aepo(): Promise<boolean> {
    const { monitor, signal } = this.#options;
    return aepoLoop({
      gpu: this.#gpu,
      config: this.#config,
      policy: this.#policy,
      problems: this.#train,
      state: this.#state,
      checkpoint: this.#checkpoint?.path,
      folder: this.#folder,
      metrics: this.#metrics,
      rollouts: this.#rollouts,
      times: this.#times,
      monitor,
      signal,
      optimizer: (over, valueHead) => this.#optimizer(this.#config.worker.actor.optim, over, valueHead),
      evaluate: (name, learner) => this.#evaluate(name, this.#state.step, "aepo", learner),
      interrupted: (learner) => this.#interrupted("aepo", learner),
      guard: (step) => this.#guard(step.applied, step.offenders, "aepo", this.#state.step),
      save: async (learner) => void await this.#save(`aepo_step_${this.#state.step}`, learner),
    });
  }

  /** Counts skipped updates; the weights are unchanged then, and after some in a row the run stops. */
  #guard(applied: boolean, offenders: readonly string[], stage: string, step: number): void {
    if (applied) {
      this.#state.skipped = 0;
      return;
    }
    this.#state.skipped++;
    const where = offenders.length > 0 ? `the gradient of ${offenders.join(", ")}` : "the gradient norm";
    this.#options.monitor.say(
      `${stage} step ${step}: update skipped, ${where} is not finite; weights and moments are unchanged`,
    );
    if (this.#state.skipped >= MAX_SKIPPED) {
      throw new UserError(
        `${MAX_SKIPPED} updates in a row were not finite (${stage} step ${step}, ${where}): ` +
          `lower the learning rate, or resume from an earlier checkpoint in ${this.#folder.checkpointsPath}`,
      );
    }
  }

  async #save(name: string, learner: Learner | undefined): Promise<string> {
    await this.#metrics.sync();
    await this.#generations.sync();
    this.#state.kernels = this.#gpu.tuner?.choices();
    this.#state.lines = { metrics: this.#metrics.lines, generations: this.#generations.lines };
    const path = await this.#folder.checkpoint(name, async (folder) => {
      await this.#policy.model.save(folder, { copyFrom: companionsOf(this.#folder) });
      await saveState(folder, this.#state, learner?.optimizer, learner?.valueHead);
    });
    this.#times.lap("save");
    return path;
  }

  /** Saves, says how to go on, and answers that the run is not done. */
  async #interrupted(stage: string = this.#state.stage, learner?: Learner): Promise<false> {
    const path = await this.#save(`${stage}_step_${this.#state.step}`, learner);
    this.#options.monitor.say(
      `stopped and saved ${path}; go on with: ./ares train --resume ${this.#folder.path}`,
    );
    return false;
  }

  async #summarise(interrupted: boolean): Promise<TrainSummary> {
    const model = interrupted ? undefined : join(this.#folder.path, "model");
    if (model) await this.#policy.model.save(model, { copyFrom: companionsOf(this.#folder) });
    this.#times.lap("save");
    const summary: TrainSummary = {
      folder: this.#folder.path,
      model,
      interrupted,
      evaluations: this.#state.evaluations,
      blind: this.#state.blind,
      seconds: this.#times.total,
      timing: this.#times.seconds,
    };
    const memory = this.#gpu.pool.report();
    await writeAtomically(
      this.#folder.summaryPath,
      JSON.stringify(
        {
          project: this.#config.trainer.project_name,
          experiment: this.#config.trainer.experiment_name,
          adapter: this.#gpu.facts.name,
          ...summary,
          kernels: this.#gpu.tuner?.choices(),
          memory: { peak_bytes: memory.peak, by_class: memory.peakByClass },
          adacs: this.#state.curriculum && {
            examples: this.#state.curriculum.examples.length,
            brackets: this.#state.curriculum.taken,
            lengths: this.#state.curriculum.ends,
            notes: this.#state.curriculum.notes,
          },
        },
        null,
        2,
      ),
    );
    return summary;
  }
}
