/**
 * AEPO, the reinforcement stage: sample, judge, filter, shape, update, steer. GRPO and DAPO are the same stage with
 * shaping off.
 * @module
 */
import type { BranchOptions } from "./branching.ts";
import type { Config } from "./config_types.ts";
import { type Bucket, BUCKETS } from "./difficulty.ts";
import { estimateAdvantages } from "./estimator.ts";
import { formatReward } from "./grade.ts";
import { gradeResponses } from "./grade_responses.ts";
import { HighEntropyTokens } from "./high_entropy.ts";
import { KlBudget, type KlBudgetState, type KlWeight } from "./kl_budget.ts";
import { LapClock } from "./lap_clock.ts";
import type { LogRecord } from "./metrics_log.ts";
import type { Policy } from "./policy.ts";
import type { PolicyUpdate, UpdateReport } from "./policy_update.ts";
import type { Cursor, Problem } from "./problems.ts";
import { plainReward, Rewarder, type RewardState, type Shaping } from "./reward.ts";
import { rulesOf } from "./rules.ts";
import { groupsOf, keptGroups, rewardBatch } from "./shape_batch.ts";
import type { RewardedTrajectory, ShapedTrajectory, Trajectory } from "./trajectory.ts";
import type { WindowReport } from "./window_analysis.ts";

/** What one iteration did. */
export interface IterationReport {
  readonly metrics: LogRecord;
  /** All rollouts, also those that were filtered out. */
  readonly trajectories: readonly ShapedTrajectory[];
  /** Groups that the update learned from. */
  readonly learned: ReadonlySet<number>;
  /** τ */
  readonly threshold: number;
  /** KL weights of the update's first step; the release's β moves on between steps. */
  readonly klWeights: Readonly<Record<Bucket, KlWeight>>;
  /** Undefined when no group was left to learn from. */
  readonly update: UpdateReport | undefined;
  /** What to tell when nothing was learned. */
  readonly note?: string;
}

/** What an iteration is told. */
export interface IterationOptions {
  /** Learning rate. */
  readonly lr: number;
  /** Of a value head; read with GAE. */
  readonly criticLr?: number;
  /** Batches of prompts it may sample at most, below what `algorithm.max_try_make_batch` allows. */
  readonly mostTries?: number;
  /** Hears what is being done. */
  readonly tell: (note: string) => void;
  /** Ends it before the update. */
  readonly signal?: AbortSignal;
}

/** Controllers as a checkpoint keeps them. */
export interface ControllerState {
  /** Behind the reward: targets, and the release's α_d and λ. */
  readonly reward: RewardState;
  /** Behind the KL weight: κ_d or β_d. */
  readonly klBudget: KlBudgetState;
  /** τ as it is known before the next batch, nats; null before the first. */
  readonly threshold: number | null;
}

/** Rollouts of a batch of prompts. */
interface Sampled {
  readonly trajectories: Trajectory[];
  /** Waits for their windows; once, before the next batch is sampled. */
  readonly windows: () => Promise<WindowReport>;
}

/** The stage between two iterations. */
export class AepoStage {
  readonly update: PolicyUpdate;
  #policy: Policy;
  #config: Config;
  #cursor: Cursor<Problem>;
  #rewarder: Rewarder;
  #klBudget: KlBudget;
  #highEntropy: HighEntropyTokens;
  /** Tokens of the iteration's greedy answers. */
  #greedyTokens = 0;

  constructor(
    policy: Policy,
    update: PolicyUpdate,
    config: Config,
    cursor: Cursor<Problem>,
    state?: ControllerState,
  ) {
    this.update = update;
    this.#policy = policy;
    this.#config = config;
    this.#cursor = cursor;
    this.#rewarder = new Rewarder(config, state?.reward);
    this.#klBudget = new KlBudget(config, state?.klBudget);
    this.#highEntropy = new HighEntropyTokens(
      policy.model.gpu,
      policy.writer.tokenizer,
      config.aepo,
      rulesOf(config),
      state?.threshold,
    );
  }

  /** What a checkpoint keeps. */
  state(): ControllerState {
    return {
      reward: this.#rewarder.state(),
      klBudget: this.#klBudget.state(),
      threshold: this.#highEntropy.state(),
    };
  }

  /**
   * One iteration (from 1).
   * @returns undefined when the signal ended it before the update
   */
  async iterate(
    iteration: number,
    { lr, criticLr, mostTries = Infinity, tell, signal }: IterationOptions,
  ): Promise<IterationReport | undefined> {
    const { algorithm, data, worker } = this.#config;
    const clock = new LapClock();
    const taken = this.#cursor.taken;
    const all: Trajectory[] = [];
    const learning = new Set<number>();
    const { max_try_make_batch } = algorithm;
    const most = Math.min(mostTries, max_try_make_batch === -1 ? Infinity : max_try_make_batch);
    let tries = 0;
    let windows: WindowReport;
    this.#greedyTokens = 0;
    // Sampling goes on until the batch is full of groups that teach something, or the tries are used up.
    do {
      tries++;
      const sampled = await this.#sample(
        iteration,
        tries,
        all.length / worker.rollout.n,
        tell,
        clock,
        signal,
      );
      if (!sampled) {
        this.#cursor.taken = taken;
        return undefined;
      }
      const { trajectories: fresh } = sampled;
      all.push(...fresh);
      windows = await sampled.windows();
      clock.lap("windows");
      if (!algorithm.online_filtering) {
        for (const { group } of fresh) learning.add(group);
        break;
      }
      const { trajectories } = rewardBatch(fresh, windows, this.#rewarder.preview(), this.#config);
      for (const group of keptGroups(trajectories, this.#config)) learning.add(group);
      clock.lap("filter");
    } while (
      learning.size < data.rollout_batch_size && algorithm.online_filtering && tries < most
    );
    // Of a single try they have been found.
    if (tries > 1) windows = await this.#highEntropy.find(all);
    this.#highEntropy.learn(all, windows);
    clock.lap("windows");
    const rewarded = rewardBatch(all, windows, this.#rewarder, this.#config);
    clock.lap("reward");
    const learned = new Set([...learning].slice(0, data.rollout_batch_size));
    let values: Map<RewardedTrajectory, Float32Array> | undefined;
    if (this.#config.algorithm.adv_estimator === "gae") {
      values = await this.update.values(rewarded.trajectories.filter((t) => learned.has(t.group)));
      clock.lap("values");
    }
    const trajectories = estimateAdvantages(rewarded.trajectories, learned, this.#config, values);
    clock.lap("adv");
    const groups = [...groupsOf(trajectories)].filter(([group]) => learned.has(group))
      .map(([, members]) => members.map((i) => trajectories[i]));
    const { threshold } = windows;
    // Before the update, whose steps move the release's β on.
    const klWeights = this.#klBudget.weights();
    let update: UpdateReport | undefined;
    if (groups.length > 0) {
      tell(`update on ${groups.length} groups`);
      const settings = { klBudget: this.#klBudget, threshold, lr, criticLr, atReference: iteration === 1 };
      update = await this.update.run(groups, settings, clock);
      this.#klBudget.afterIteration(update.klOutsideWindows);
      clock.lap("controllers");
    }
    const metrics = this.#metrics(
      iteration,
      { lr, criticLr },
      trajectories,
      rewarded.shaping,
      threshold,
      update,
      groups.length,
      tries,
      clock,
    );
    return {
      metrics,
      trajectories,
      learned,
      threshold,
      klWeights,
      update,
      note: update ? undefined : emptyNote(all, tries),
    };
  }

  /** Gives the memory back. */
  free(): void {
    this.#highEntropy.free();
    this.update.free();
  }

  /**
   * How rollouts branch: at the τ that is known before them, the one of the iteration before or the release's running one.
   * The first iteration has none, and all its rollouts are ordinary ones.
   */
  #branching(): BranchOptions | undefined {
    const { branching, window } = this.#config.aepo;
    const threshold = this.#highEntropy.state();
    if (!branching.enabled || threshold === null) return;
    return { ...branching, window, threshold };
  }

  async #sample(
    iteration: number,
    attempt: number,
    firstGroup: number,
    tell: (note: string) => void,
    clock: LapClock,
    signal?: AbortSignal,
  ): Promise<Sampled | undefined> {
    const { algorithm, data, trainer, worker: { rollout } } = this.#config;
    const problems = this.#cursor.take(data.rollout_batch_size);
    const generate = (n: number, temperature: number, what: string, branching?: BranchOptions) =>
      this.#policy.engine.generate(
        problems.map((p, i) => ({
          ids: p.prompt,
          images: p.images,
          key: ["aepo", iteration, attempt, i, p.row.id],
        })),
        {
          n,
          temperature,
          top_p: rollout.top_p,
          top_k: Math.max(0, rollout.top_k),
          min_p: 0,
          repetition_penalty: 1,
          max_tokens: data.max_response_length,
          stop: this.#policy.generation.eos_token_id,
          branching,
          seed: trainer.seed,
          signal,
          onChunk: (p) => tell(`${p.finished} of ${p.total} ${what}`),
        },
      );
    const rollouts = await generate(rollout.n, rollout.temperature, "rollouts", this.#branching());
    const greedy = algorithm.adv_estimator === "remax" ? await generate(1, 0, "greedy answers") : [];
    if (signal?.aborted) return undefined;
    clock.lap("gen");
    // The GPU looks for windows while the answers are judged.
    const windows = await this.#highEntropy.begin(rollouts);
    clock.lap("windows");
    const all = [...rollouts, ...greedy];
    const texts = all.map((r) => this.#policy.writer.text(r.tokens));
    const verdicts = await gradeResponses(
      all.map((r, i) => ({ row: problems[r.prompt].row, text: texts[i] })),
    );
    const judged = all.map((r, i) => ({
      tokens: r.tokens,
      accuracy: verdicts[i].same ? 1 : 0,
      format: formatReward(texts[i]),
    }));
    const baselines = judged.slice(rollouts.length).map((j) => plainReward(j, this.#config).overall);
    const trajectories = rollouts.map((r, i): Trajectory => ({
      ...judged[i],
      problem: problems[r.prompt],
      group: firstGroup + r.prompt,
      sample: r.sample,
      branch: r.branch,
      logps: r.logps,
      entropies: r.entropies,
      topTokens: r.topTokens,
      text: texts[i],
      finish: r.finish,
      baseline: baselines[r.prompt],
    }));
    clock.lap("reward");
    this.#greedyTokens += greedy.reduce((sum, r) => sum + r.tokens.length, 0);
    return { trajectories, windows };
  }

  #metrics(
    iteration: number,
    { lr, criticLr }: Pick<IterationOptions, "lr" | "criticLr">,
    trajectories: readonly ShapedTrajectory[],
    shaping: Shaping,
    threshold: number,
    update: UpdateReport | undefined,
    groups: number,
    tries: number,
    clock: LapClock,
  ): LogRecord {
    const { entropy_shaping } = this.#config.aepo;
    const lengths = trajectories.map((t) => t.tokens.length);
    const branches = trajectories.flatMap((t) => t.branch ?? []);
    const shared = branches.reduce((n, b) => n + b.step, 0);
    const generated = lengths.reduce((a, b) => a + b, this.#greedyTokens) - shared;
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
      ...(this.#config.algorithm.adv_estimator === "gae" && { "critic/lr": criticLr }),
      ...stats("critic/rewards", trajectories.map((t) => t.reward.overall)),
      ...stats("critic/score", trajectories.map((t) => t.accuracy)),
      ...stats("critic/advantages", trajectories.map((t) => t.advantage)),
      "reward/overall": mean(trajectories.map((t) => t.reward.overall)),
      "reward/accuracy": mean(trajectories.map((t) => t.accuracy)),
      "reward/format": mean(trajectories.map((t) => t.format)),
      "reward/entropy_shaping": mean(trajectories.map((t) => t.reward.shaping)),
      ...(trajectories[0].baseline !== undefined && {
        "reward/baseline": mean(trajectories.map((t) => t.baseline!)),
      }),
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
      const own = shaping[bucket];
      const named = (values: Record<string, number>) =>
        Object.fromEntries(Object.entries(values).map(([name, x]) => [`train/${bucket}/${name}`, x]));
      Object.assign(
        record,
        named({
          acc_mean: mean(members.map((t) => t.accuracy)),
          len_mean: mean(members.map((t) => t.tokens.length)),
          n_he: mean(members.map((t) => t.highEntropy)),
          ...(entropy_shaping && own && { n_target: own.target, lambda: own.lambda }),
          ...(entropy_shaping && this.#rewarder.metrics(bucket)),
          ...this.#klBudget.metrics(bucket),
        }),
      );
    }
    if (update) Object.assign(record, update.metrics);
    clock.lap("metrics");
    const seconds = clock.total;
    return {
      ...record,
      // EasyR1's names.
      ...Object.fromEntries(Object.entries(clock.laps).map(([name, s]) => [`timing_s/${name}`, s])),
      "timing_s/step": seconds,
      "perf/max_memory_allocated_gb": this.#policy.model.gpu.pool.report().peak / 2 ** 30,
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
