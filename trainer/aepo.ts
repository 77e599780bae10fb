/**
 * AEPO, the reinforcement stage: sample, judge, filter, shape, update, steer. GRPO and DAPO are the same stage with
 * shaping off.
 * @module
 */
import type { BranchOptions } from "./branching.ts";
import type { Config } from "./config_types.ts";
import { type Bucket, BUCKETS, perBucket } from "./difficulty.ts";
import { formatReward } from "./grade.ts";
import { gradeResponses } from "./grade_responses.ts";
import { KappaController } from "./kl_controller.ts";
import type { LogRecord } from "./metrics_log.ts";
import type { Policy } from "./policy.ts";
import type { PolicyUpdate, UpdateReport, UpdateSettings } from "./policy_update.ts";
import type { Cursor, Problem } from "./problems.ts";
import { groupsOf, keptGroups, shapeBatch, type ShapedBatch } from "./shape_batch.ts";
import { EntropyTargets } from "./shaping.ts";
import type { ShapedTrajectory, Trajectory } from "./trajectory.ts";
import { WindowAnalysis } from "./window_analysis.ts";

/** What one iteration did. */
export interface IterationReport {
  readonly metrics: LogRecord;
  /** All rollouts, also those that were filtered out. */
  readonly trajectories: readonly ShapedTrajectory[];
  /** Groups that the update learned from. */
  readonly learned: ReadonlySet<number>;
  /** What the update was run with. */
  readonly settings: UpdateSettings;
  /** Undefined when no group was left to learn from. */
  readonly update: UpdateReport | undefined;
  /** What to tell when nothing was learned. */
  readonly note?: string;
}

/** Controllers as a checkpoint keeps them. */
export interface ControllerState {
  readonly targets: ReturnType<EntropyTargets["state"]>;
  readonly kappa: ReturnType<KappaController["state"]>;
  /** τ of the last iteration, nats; undefined before the first. */
  readonly threshold?: number;
}

/** The stage between two iterations. */
export class AepoStage {
  readonly update: PolicyUpdate;
  #policy: Policy;
  #config: Config;
  #cursor: Cursor<Problem>;
  #targets: EntropyTargets;
  #kappa: KappaController;
  #threshold: number | undefined;
  #windows: WindowAnalysis;

  constructor(
    policy: Policy,
    update: PolicyUpdate,
    config: Config,
    cursor: Cursor<Problem>,
    state?: ControllerState,
  ) {
    const { aepo } = config;
    this.update = update;
    this.#policy = policy;
    this.#config = config;
    this.#cursor = cursor;
    this.#targets = new EntropyTargets(
      { decay: aepo.target_decay, literal: aepo.literal_lambda, cap: aepo.lambda_cap },
      state?.targets,
    );
    this.#kappa = new KappaController(aepo.kappa, state?.kappa);
    this.#threshold = state?.threshold;
    this.#windows = new WindowAnalysis(policy.model.gpu, aepo.window, aepo.quantile);
  }

  /** What a checkpoint keeps. */
  state(): ControllerState {
    return { targets: this.#targets.state(), kappa: this.#kappa.state(), threshold: this.#threshold };
  }

  /**
   * One iteration (from 1).
   * @param tell hears what is being done
   * @returns undefined when the signal ended it before the update
   */
  async iterate(
    iteration: number,
    lr: number,
    tell: (note: string) => void,
    signal?: AbortSignal,
  ): Promise<IterationReport | undefined> {
    const { algorithm, data, worker } = this.#config;
    const clock = new Clock();
    const taken = this.#cursor.taken;
    const all: Trajectory[] = [];
    const learning = new Set<number>();
    let tries = 0;
    // Sampling goes on until the batch is full of groups that teach something, or the tries are used up.
    do {
      tries++;
      const fresh = await this.#sample(iteration, tries, all.length / worker.rollout.n, tell, clock, signal);
      if (!fresh) {
        this.#cursor.taken = taken;
        return undefined;
      }
      all.push(...fresh);
      const preview = new EntropyTargets(this.#targets.options, this.#targets.state());
      const windows = await this.#windows.analyse(fresh.map((t) => t.entropies));
      const shaped = shapeBatch(fresh, windows, preview, this.#config);
      for (const group of keptGroups(shaped.trajectories, this.#config)) learning.add(group);
      clock.lap("filter");
    } while (
      learning.size < data.rollout_batch_size && algorithm.online_filtering &&
      (algorithm.max_try_make_batch === -1 || tries < algorithm.max_try_make_batch)
    );
    const windows = await this.#windows.analyse(all.map((t) => t.entropies));
    const shaped = shapeBatch(all, windows, this.#targets, this.#config);
    const { threshold } = windows;
    clock.lap("adv");
    const groups = [...groupsOf(shaped.trajectories)].filter(([group]) => learning.has(group))
      .slice(0, data.rollout_batch_size).map(([, members]) => members.map((i) => shaped.trajectories[i]));
    const klWeights = perBucket((bucket) => this.#klWeight(bucket));
    const settings: UpdateSettings = { klWeights, threshold, lr };
    let update: UpdateReport | undefined;
    if (groups.length > 0) {
      tell(`update on ${groups.length} groups`);
      update = await this.update.run(groups, settings, clock);
      if (this.#config.aepo.kl_shaping && !algorithm.disable_kl) {
        this.#kappa.update(update.klOutsideWindows);
      }
    }
    const metrics = this.#metrics(
      iteration,
      lr,
      shaped,
      threshold,
      update,
      groups.length,
      tries,
      clock,
    );
    this.#threshold = threshold;
    return {
      metrics,
      trajectories: shaped.trajectories,
      learned: new Set(groups.map(([{ group }]) => group)),
      settings,
      update,
      note: update ? undefined : emptyNote(all, tries),
    };
  }

  /** Gives the memory back. */
  free(): void {
    this.#windows.free();
    this.update.free();
  }

  #klWeight(bucket: Bucket): { outside: number; inside: number } {
    const { algorithm, aepo } = this.#config;
    if (algorithm.disable_kl) return { outside: 0, inside: 0 };
    if (!aepo.kl_shaping) return { outside: algorithm.kl_coef, inside: algorithm.kl_coef };
    const weight = this.#kappa.kappa(bucket) * aepo.beta[bucket];
    return { outside: weight, inside: weight * aepo.rho };
  }

  /** How rollouts branch: at the τ of the iteration before. The first has none, and all its rollouts are ordinary ones. */
  #branching(): BranchOptions | undefined {
    const { branching, window } = this.#config.aepo;
    if (!branching.enabled || this.#threshold === undefined) return;
    return { ...branching, window, threshold: this.#threshold };
  }

  async #sample(
    iteration: number,
    attempt: number,
    firstGroup: number,
    tell: (note: string) => void,
    clock: Clock,
    signal?: AbortSignal,
  ): Promise<Trajectory[] | undefined> {
    const { data, trainer, worker: { rollout } } = this.#config;
    const problems = this.#cursor.take(data.rollout_batch_size);
    const rollouts = await this.#policy.engine.generate(
      problems.map((p, i) => ({
        ids: p.prompt,
        images: p.images,
        key: ["aepo", iteration, attempt, i, p.row.id],
      })),
      {
        n: rollout.n,
        temperature: rollout.temperature,
        top_p: rollout.top_p,
        top_k: Math.max(0, rollout.top_k),
        min_p: 0,
        repetition_penalty: 1,
        max_tokens: data.max_response_length,
        stop: this.#policy.generation.eos_token_id,
        branching: this.#branching(),
        seed: trainer.seed,
        signal,
        onChunk: (p) => tell(`${p.finished} of ${p.total} rollouts`),
      },
    );
    if (signal?.aborted) return undefined;
    clock.lap("gen");
    const texts = rollouts.map((r) => this.#policy.writer.text(r.tokens));
    const verdicts = await gradeResponses(
      rollouts.map((r, i) => ({ row: problems[r.prompt].row, text: texts[i] })),
    );
    const trajectories = rollouts.map((r, i): Trajectory => ({
      problem: problems[r.prompt],
      group: firstGroup + r.prompt,
      sample: r.sample,
      branch: r.branch,
      tokens: r.tokens,
      logps: r.logps,
      entropies: r.entropies,
      text: texts[i],
      finish: r.finish,
      accuracy: verdicts[i].same ? 1 : 0,
      format: formatReward(texts[i]),
    }));
    clock.lap("reward");
    return trajectories;
  }

  #metrics(
    iteration: number,
    lr: number,
    { trajectories, buckets }: ShapedBatch,
    threshold: number,
    update: UpdateReport | undefined,
    groups: number,
    tries: number,
    clock: Clock,
  ): LogRecord {
    const { algorithm, aepo: { entropy_shaping, kl_shaping } } = this.#config;
    const lengths = trajectories.map((t) => t.tokens.length);
    const branches = trajectories.flatMap((t) => t.branch ?? []);
    const shared = branches.reduce((n, b) => n + b.step, 0);
    const generated = lengths.reduce((a, b) => a + b, 0) - shared;
    const stats = (name: string, values: number[]) => ({
      [`${name}/mean`]: mean(values),
      [`${name}/max`]: Math.max(...values),
      [`${name}/min`]: Math.min(...values),
    });
    const spreads = [...groupsOf(trajectories).values()].map((members) => {
      const first = trajectories[members[0]].reward.overall;
      return members.every((i) => trajectories[i].reward.overall === first) ? 1 : 0;
    });
    const record: LogRecord = {
      step: iteration,
      stage: "aepo",
      "actor/lr": lr,
      ...stats("critic/rewards", trajectories.map((t) => t.reward.overall)),
      ...stats("critic/score", trajectories.map((t) => t.accuracy)),
      ...stats("critic/advantages", trajectories.map((t) => t.advantage)),
      "reward/overall": mean(trajectories.map((t) => t.reward.overall)),
      "reward/accuracy": mean(trajectories.map((t) => t.accuracy)),
      "reward/format": mean(trajectories.map((t) => t.format)),
      "reward/entropy_shaping": mean(trajectories.map((t) => t.reward.shaping)),
      frac_reward_zero_std: mean(spreads),
      ...stats("response_length", lengths),
      "response_length/clip_ratio": mean(trajectories.map((t) => t.finish === "length" ? 1 : 0)),
      "entropy/mean": mean(trajectories.map((t) => mean([...t.entropies]))),
      "entropy/threshold": threshold,
      "entropy/n_he": mean(trajectories.map((t) => t.highEntropy)),
      "batch/groups": groups,
      "batch/tries": tries,
      "batch/sampled_trajectories": trajectories.length,
      "batch/generated_tokens": generated,
      "batch/shared_tokens": shared,
      "batch/branches": branches.length,
    };
    for (const bucket of BUCKETS) {
      const members = trajectories.filter((t) => t.bucket === bucket);
      if (members.length === 0) continue;
      const shaping = buckets[bucket]!;
      Object.assign(record, {
        [`train/${bucket}/acc_mean`]: mean(members.map((t) => t.accuracy)),
        [`train/${bucket}/len_mean`]: mean(members.map((t) => t.tokens.length)),
        [`train/${bucket}/n_he`]: shaping.mean,
        ...(entropy_shaping && {
          [`train/${bucket}/n_target`]: shaping.target,
          [`train/${bucket}/lambda`]: shaping.lambda,
        }),
        ...(kl_shaping && !algorithm.disable_kl && { [`train/${bucket}/kappa`]: this.#kappa.kappa(bucket) }),
      });
    }
    if (update) Object.assign(record, update.metrics);
    const seconds = clock.total();
    return {
      ...record,
      ...clock.metrics(),
      "timing_s/step": seconds,
      "perf/throughput": generated / seconds,
    };
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
}

/** Says why nothing was learned, plainly: a zero loss would hide it. */
function emptyNote(all: readonly Trajectory[], tries: number): string {
  const right = all.filter((t) => t.accuracy > 0).length;
  const kind = right === 0
    ? "every rollout is wrong: there is no reward to learn from. Use a stronger model, easier problems, more rollouts, or a cold start (AdaCS) with solutions"
    : right === all.length
    ? "every rollout is right: there is nothing left to learn here. Use harder problems"
    : "every group is all right or all wrong: no group has a spread to learn from. Use more rollouts or problems of middling difficulty";
  return `no update: of ${all.length} rollouts in ${tries} ${
    tries === 1 ? "try" : "tries"
  } ${right} are right, and ${kind}.`;
}

/** Seconds by phase of an iteration, under EasyR1's names. */
export class Clock {
  #last = performance.now();
  #start = this.#last;
  #laps: Record<string, number> = {};

  /** Adds the time since the last lap to `name`. */
  lap(name: string): void {
    const now = performance.now();
    this.#laps[name] = (this.#laps[name] ?? 0) + (now - this.#last) / 1000;
    this.#last = now;
  }

  /** Seconds since the start. */
  total(): number {
    return (performance.now() - this.#start) / 1000;
  }

  /** `timing_s/<name>` of every lap. */
  metrics(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.#laps).map(([name, s]) => [`timing_s/${name}`, s]));
  }
}
