/**
 * The policy-gradient update: reference log-probabilities, then clipped steps in mini-batches, each packed into passes
 * that fit the graph. A pass is one submit; the loss of every token becomes one scalar on the GPU; it is read once an
 * optimizer step.
 * @module
 */
import type { CausalLM } from "../models/causal_lm.ts";
import { computedRows, type PackedBatch, packSequences, patchCount } from "../models/packed_batch.ts";
import { SequenceGraph } from "../models/sequence_graph.ts";
import type { ValueHead } from "../models/value_head.ts";
import { withPictures } from "./adacs.ts";
import { miniBatchCount } from "./config.ts";
import type { Config } from "./config_types.ts";
import { type Bucket, BUCKETS, perBucket } from "./difficulty.ts";
import { klPerToken } from "./kl.ts";
import type { KlBudget, KlWeight, SequenceKl } from "./kl_budget.ts";
import type { AdamW, StepResult } from "./optimizer.ts";
import { prefixCredit } from "./prefix_credit.ts";
import { PassResults } from "./pass_results.ts";
import type { Policy } from "./policy.ts";
import { type LossSequence, type LossSums, lossSums, TokenLoss } from "./token_loss.ts";
import type { ShapedTrajectory, Trajectory } from "./trajectory.ts";
import { ValueLoss, valueMetrics, type ValueSequence, type ValueSums, valueSums } from "./value_loss.ts";

/** What the update needs besides the trajectories. */
export interface UpdateSettings {
  /** Gives the KL weights and hears of the KL of every step. */
  readonly klBudget: Pick<KlBudget, "weights" | "readsSequences" | "afterStep">;
  /** τ */
  readonly threshold: number;
  readonly lr: number;
  /** The value head's learning rate; read with one. */
  readonly criticLr?: number;
  /**
   * The policy's weights are still the reference's: then log π at sampling is log π_ref, and the reference's own pass is
   * left out.
   */
  readonly atReference?: boolean;
}

/** What an iteration's optimizer steps did. */
export interface UpdateReport {
  /** Under EasyR1's names; means over the steps. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Mean KL of tokens outside windows, by bucket; what the κ controller sees. */
  readonly klOutsideWindows: Readonly<Partial<Record<Bucket, number>>>;
  readonly steps: readonly StepResult[];
}

/** Names the time since the last call. */
export interface Laps {
  lap(name: string): void;
}

/** A trajectory as a graph takes it. */
interface Packable<T extends Trajectory = Trajectory> {
  readonly trajectory: T;
  readonly ids: Uint32Array;
  readonly scoreFrom: number;
  readonly images: Trajectory["problem"]["images"];
}

/** A trajectory as the update takes it. */
interface Item extends Packable<ShapedTrajectory> {
  /** [L] share of each token's loss; see prefix_credit.ts. */
  readonly credit: Float32Array;
  /** [L] log π_ref; filled before the steps. */
  reference: Float32Array;
}

/** What an optimizer step learns from. */
interface Batch {
  readonly items: readonly Item[];
  /** The same items. */
  readonly passes: readonly (readonly Item[])[];
}

/** Updates a policy from shaped trajectories. */
export class PolicyUpdate {
  #policy: Policy;
  #optimizer: AdamW;
  #config: Config;
  #reference: SequenceGraph | undefined;
  #loss: TokenLoss;
  /** Where there is a value head. */
  #valueLoss: ValueLoss | undefined;
  /** Whether the KL is exact: the reference then runs beside every training pass, and not before. */
  #exact: boolean;
  /** Of the reference's passes, then of the first training pass. */
  #results: PassResults;
  /** Tokens of the passes since the start of {@link run}, and the rows that they computed. */
  #computed = { tokens: 0, rows: 0 };

  /**
   * @param reference the frozen policy; undefined without a KL term
   * @param valueHead of GAE; the optimizer has its parameters too
   */
  constructor(
    policy: Policy,
    reference: CausalLM | undefined,
    optimizer: AdamW,
    config: Config,
    valueHead?: ValueHead,
  ) {
    const { actor, critic, rollout } = config.worker;
    this.#policy = policy;
    this.#optimizer = optimizer;
    this.#config = config;
    this.#reference = reference && new SequenceGraph(reference, {
      tokens: policy.tokensPerPass,
      patches: policy.patchesPerPass,
    });
    const { disable_kl, kl_penalty } = config.algorithm;
    this.#exact = !disable_kl && kl_penalty === "full";
    policy.accompany({ reference: this.#exact ? this.#reference : undefined, valueHead });
    const { graph } = policy;
    graph.temperature = rollout.temperature;
    if (this.#reference) this.#reference.temperature = rollout.temperature;
    this.#results = new PassResults(policy.model.gpu);
    this.#loss = new TokenLoss(graph, {
      clip_low: actor.clip_ratio_low,
      clip_high: actor.clip_ratio_high,
      clip_dual: actor.clip_ratio_dual,
      kl_kind: disable_kl ? "none" : kl_penalty,
      length_normalise: config.algorithm.length_normalise,
    });
    this.#valueLoss = valueHead && new ValueLoss(graph, {
      clip: critic.cliprange_value,
      coefficient: critic.vf_coef,
    });
  }

  /** The value head's values [L] of every trajectory, as GAE wants them: all passes, then one read. */
  async values<T extends Trajectory>(trajectories: readonly T[]): Promise<Map<T, Float32Array>> {
    const { graph, model } = this.#policy;
    const found = new Map<T, Float32Array>();
    if (trajectories.length === 0) return found;
    const collected = new PassResults(model.gpu, 1);
    try {
      collected.reserve(trajectories.reduce((n, t) => n + t.tokens.length, 0));
      for (const pass of this.#passes(trajectories.map(packable))) {
        graph.load(packSequences(await withPictures(pass)));
        await model.gpu.together(async () => {
          await graph.forward();
          collected.add(graph.values!, graph.size.rows);
        });
      }
      const values = await model.gpu.readF32(collected.tensor);
      let row = 0;
      for (const t of trajectories) found.set(t, values.slice(row, row += t.tokens.length));
    } finally {
      collected.free();
    }
    return found;
  }

  /**
   * Optimizer steps over groups of trajectories: `ppo_epochs` passes, each split into mini-batches of whole groups.
   * @param groups rollouts of one prompt together
   */
  async run(
    groups: readonly (readonly ShapedTrajectory[])[],
    settings: UpdateSettings,
    laps: Laps,
  ): Promise<UpdateReport> {
    const { actor } = this.#config.worker;
    const items = groups.map((members) => {
      const credit = prefixCredit(members, this.#config.aepo.branching.credit);
      return members.map((trajectory, i): Item => ({
        ...packable(trajectory),
        credit: credit[i],
        reference: trajectory.logps,
      }));
    });
    this.#computed = { tokens: 0, rows: 0 };
    const batches = this.#batches(items);
    const queue = batches.flatMap(({ passes }) => passes);
    // A pass is packed and sent while the GPU computes the one before.
    const ahead = async () => {
      const pass = queue.shift();
      if (pass) await this.#load(pass);
    };
    if (!settings.atReference) await this.#referenceLogps(items.flat(), ahead);
    else await ahead();
    laps.lap("ref");
    const steps: StepResult[] = [];
    const sums: LossSums[] = [];
    const values: ValueSums[] = [];
    let gap = 0;
    this.#optimizer.options.lr = settings.lr;
    const { own } = this.#optimizer.options;
    if (own) own.lr = settings.criticLr ?? settings.lr;
    for (const [i, batch] of batches.entries()) {
      const { step, logpGap, sequenceKl } = await this.#step(batch, settings, i === 0, ahead);
      if (i === 0) gap = logpGap;
      settings.klBudget.afterStep(sequenceKl);
      steps.push(step);
      sums.push(lossSums(step.read[0]));
      if (this.#valueLoss) values.push(valueSums(step.read.at(-1)!));
    }
    laps.lap("update_actor");
    const tokens = items.flat().reduce((n, i) => n + i.trajectory.tokens.length, 0);
    return {
      steps,
      klOutsideWindows: klByBucket(sums, "outside"),
      metrics: {
        ...this.#metrics(sums, steps, tokens),
        ...valueMetrics(values, items.flat().map((i) => i.trajectory), actor.ppo_epochs),
        // Without a reference there is nothing to be away from.
        ...(this.#reference && klMetrics(sums)),
        "actor/logp_gap_max": gap,
        "batch/trained_tokens": tokens,
        "perf/padding": 1 - this.#computed.tokens / this.#computed.rows,
      },
    };
  }

  /** Gives the memory back. */
  free(): void {
    this.#loss.free();
    this.#valueLoss?.free();
    this.#policy.accompany({});
    this.#reference?.free();
    this.#results.free();
  }

  /** The batches of the optimizer steps, cut into passes. */
  #batches(items: readonly (readonly Item[])[]): Batch[] {
    const count = Math.min(miniBatchCount(this.#config), items.length);
    const epoch = Array.from({ length: count }, (_, k): Batch => {
      const from = Math.floor(k * items.length / count);
      const batch = items.slice(from, Math.floor((k + 1) * items.length / count)).flat();
      return { items: batch, passes: this.#passes(batch) };
    });
    return Array.from({ length: this.#config.worker.actor.ppo_epochs }, () => epoch).flat();
  }

  /** Packs a pass and sends it to the graph, and to the reference that runs beside it. */
  async #load(pass: readonly Item[]): Promise<void> {
    const packed = this.#count(packSequences(await withPictures(pass)));
    if (this.#exact) this.#reference?.load(packed);
    this.#policy.graph.load(packed);
  }

  /** log π_ref of every response token: all passes, then one read; `ahead` is done while the GPU computes. */
  async #referenceLogps(items: readonly Item[], ahead: () => Promise<void>): Promise<void> {
    const graph = this.#reference;
    if (!graph || this.#exact) return await ahead();
    this.#results.reserve(items.reduce((n, i) => n + i.trajectory.tokens.length, 0));
    for (const pass of this.#passes(items)) {
      graph.load(this.#count(packSequences(await withPictures(pass))));
      await this.#policy.model.gpu.together(async () => {
        await graph.forward();
        this.#results.add(graph.result, graph.size.rows);
      });
    }
    await ahead();
    const result = await this.#policy.model.gpu.readF32(this.#results.tensor);
    let row = 0;
    for (const item of items) {
      item.reference = Float32Array.from(item.trajectory.tokens, () => result[4 * row++]);
    }
  }

  /** An optimizer step; its first pass is loaded. `ahead` loads the next one. */
  async #step(
    { items: batch, passes }: Batch,
    settings: UpdateSettings,
    first: boolean,
    ahead: () => Promise<void>,
  ): Promise<{ step: StepResult; logpGap: number; sequenceKl: SequenceKl[][] }> {
    const { graph } = this.#policy;
    const { klBudget } = settings;
    const tokens = batch.reduce((n, i) => i.credit.reduce((sum, c) => sum + c, n), 0);
    const klWeights = klBudget.weights();
    this.#loss.clear();
    this.#valueLoss?.clear();
    const reference = this.#exact ? this.#reference : undefined;
    // Results that are looked at: those of every pass, or of the run's first one.
    const looked = klBudget.readsSequences ? passes : first ? passes.slice(0, 1) : [];
    this.#results.reserve(looked.flat().reduce((n, i) => n + i.trajectory.tokens.length, 0));
    for (const [p, pass] of passes.entries()) {
      this.#loss.load(pass.map((item) => this.#lossOf(item, settings, klWeights, batch.length, tokens)));
      this.#valueLoss?.load(pass.map((item) => this.#valuesOf(item, batch.length, tokens)));
      await graph.model.gpu.together(async () => {
        await reference?.forward();
        await graph.forward();
        if (p < looked.length) this.#results.add(graph.result, graph.size.rows);
        await this.#loss.run();
        await this.#valueLoss?.run();
        await graph.backward();
      });
      await ahead();
    }
    const also = looked.length > 0 ? [this.#results.tensor] : [];
    if (this.#valueLoss) also.push(this.#valueLoss.totals);
    const step = await this.#optimizer.update(this.#loss.totals, ...also);
    return {
      step,
      logpGap: first ? largestGap(passes[0], step.read[1]) : 0,
      // What is not finite would stay in a running mean for ever.
      sequenceKl: klBudget.readsSequences && step.applied ? this.#sequenceKl(passes, step.read[1]) : [],
    };
  }

  #count(packed: PackedBatch): PackedBatch {
    this.#computed.tokens += packed.ids.length;
    this.#computed.rows += computedRows(packed.ids.length);
    return packed;
  }

  /** Mean KL per token of every sequence of every pass, from the passes' results one after the other. */
  #sequenceKl(passes: readonly (readonly Item[])[], result: ArrayLike<number>): SequenceKl[][] {
    const kind = this.#config.algorithm.kl_penalty;
    let row = 0;
    return passes.map((pass) =>
      pass.map(({ trajectory, reference }) => {
        let sum = 0;
        for (const logRef of reference) {
          sum += kind === "full" ? result[4 * row + 3] : klPerToken(result[4 * row], logRef, kind).value;
          row++;
        }
        return { bucket: trajectory.bucket, kl: sum / reference.length };
      })
    );
  }

  /**
   * Loss of one trajectory in a batch of `sequences` with `tokens` response tokens in all, by their credit: a shared token
   * weighs what it would in one trajectory of that length.
   */
  #lossOf(
    { trajectory: t, reference, credit }: Item,
    settings: UpdateSettings,
    klWeights: Readonly<Record<Bucket, KlWeight>>,
    sequences: number,
    tokens: number,
  ): LossSequence {
    const { aepo } = this.#config;
    const kl = klWeights[t.bucket];
    return {
      logps: t.logps,
      reference,
      windows: t.windows,
      mask: t.mask,
      advantages: t.advantages ?? new Float32Array(t.tokens.length).fill(t.advantage),
      weight: this.#weight(t, sequences, tokens),
      credit,
      klOutside: kl.outside,
      klInside: kl.inside,
      bonus: t.lambda * aepo.entropy_bonus,
      threshold: settings.threshold,
      bucket: BUCKETS.indexOf(t.bucket),
    };
  }

  /** Value loss of one trajectory, averaged as the policy's is. */
  #valuesOf({ trajectory: t, credit }: Item, sequences: number, tokens: number): ValueSequence {
    const weight = this.#weight(t, sequences, tokens);
    return { ...t.values!, weights: credit.map((c) => c * weight) };
  }

  /** Weight of a token in the losses of a step. */
  #weight(t: Trajectory, sequences: number, tokens: number): number {
    const { loss_avg_mode } = this.#config.worker.actor;
    return loss_avg_mode === "token" ? 1 / tokens : 1 / (sequences * t.tokens.length);
  }

  /** Cuts items into passes by tokens, by patches of pictures and, where configured, by sequences. */
  #passes<T extends Packable>(items: readonly T[]): T[][] {
    const most = this.#config.worker.actor.micro_batch_size_per_device_for_update ?? Infinity;
    const capacity = this.#policy.tokensPerPass;
    const patches = this.#policy.patchesPerPass;
    const passes: T[][] = [];
    let held = Infinity;
    let seen = 0;
    for (const item of items) {
      const own = patchCount(item.trajectory.problem.pictures);
      const last = passes[passes.length - 1];
      if (held + item.ids.length > capacity || seen + own > patches || last.length >= most) {
        passes.push([]);
        held = seen = 0;
      }
      passes[passes.length - 1].push(item);
      held += item.ids.length;
      seen += own;
    }
    return passes;
  }

  #metrics(
    sums: readonly LossSums[],
    steps: readonly StepResult[],
    tokens: number,
  ): Record<string, number> {
    const perEpoch = tokens * this.#config.worker.actor.ppo_epochs;
    const total = (name: keyof LossSums) => sums.reduce((s, x) => s + x[name], 0);
    const mean = (name: keyof LossSums) => total(name) / sums.length;
    const norms = steps.filter((s) => s.applied).map((s) => s.gradNorm);
    return {
      "actor/pg_loss": mean("pg_loss"),
      "actor/kl_loss": mean("kl_loss"),
      "actor/kl": total("kl") / perEpoch,
      "actor/ppo_kl": total("ppo_kl") / perEpoch,
      "actor/pg_clipfrac_higher": total("clipped") / perEpoch,
      "actor/pg_clipfrac_lower": total("dual_clipped") / perEpoch,
      "actor/entropy": total("entropy") / perEpoch,
      "actor/grad_norm": norms.reduce((a, b) => a + b, 0) / Math.max(1, norms.length),
      "actor/updates": norms.length,
      "actor/updates_skipped": steps.length - norms.length,
      "actor/tokens_not_finite": total("not_finite"),
    };
  }
}

function packable<T extends Trajectory>(trajectory: T): Packable<T> {
  const { prompt, images } = trajectory.problem;
  return {
    trajectory,
    ids: Uint32Array.from([...prompt, ...trajectory.tokens]),
    scoreFrom: prompt.length,
    images,
  };
}

/** Mean KL per token, nats, outside or inside windows, of each bucket that has such tokens. */
function klByBucket(
  sums: readonly LossSums[],
  side: "outside" | "inside",
): Partial<Record<Bucket, number>> {
  const out: Partial<Record<Bucket, number>> = {};
  const counts = perBucket((b) => sums.reduce((s, x) => s + x[`tokens_${side}_${b}`], 0));
  for (const b of BUCKETS) {
    const kl = sums.reduce((s, x) => s + x[`kl_${side}_${b}`], 0);
    if (counts[b] > 0 && Number.isFinite(kl)) out[b] = kl / counts[b];
  }
  return out;
}

/** `train/<bucket>/kl_outside` and `kl_inside` windows, nats a token. */
function klMetrics(sums: readonly LossSums[]): Record<string, number> {
  const metrics: Record<string, number> = {};
  for (const side of ["outside", "inside"] as const) {
    for (const [b, kl] of Object.entries(klByBucket(sums, side))) metrics[`train/${b}/kl_${side}`] = kl;
  }
  return metrics;
}

/** Largest |log π at sampling − log π of the training pass| over the first pass, whose weights are those sampled from. */
function largestGap(pass: readonly Item[], result: ArrayLike<number>): number {
  let gap = 0;
  let row = 0;
  for (const { trajectory } of pass) {
    for (const logp of trajectory.logps) gap = Math.max(gap, Math.abs(logp - result[4 * row++]));
  }
  return gap;
}
