/**
 * The policy-gradient update: reference log-probabilities, then clipped steps in mini-batches, each packed into passes
 * that fit the graph. The loss of every token becomes one scalar on the GPU; it is read once an optimizer step.
 * @module
 */
import { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { CausalLM } from "../models/causal_lm.ts";
import { PARTIAL_TOKENS } from "../models/layer.ts";
import { packSequences } from "../models/packed_batch.ts";
import { SequenceGraph } from "../models/sequence_graph.ts";
import { columnSum, columnSumFinish } from "../shaders/column_sum.ts";
import {
  KL_KINDS,
  policyLoss,
  SEQUENCE_FIELDS,
  STAT_COLUMNS,
  tokenAdvantage,
} from "../shaders/policy_loss.ts";
import { miniBatchCount } from "./config.ts";
import type { Config } from "./config_types.ts";
import { type Bucket, BUCKETS, perBucket } from "./difficulty.ts";
import type { AdamW, StepResult } from "./optimizer.ts";
import type { Policy } from "./policy.ts";
import type { ShapedTrajectory } from "./trajectory.ts";

/** What the update needs besides the trajectories. */
export interface UpdateSettings {
  /** κ_d β_d outside windows, and κ_d β_d ρ inside. */
  readonly klWeights: Readonly<Record<Bucket, { readonly outside: number; readonly inside: number }>>;
  /** τ */
  readonly threshold: number;
  readonly lr: number;
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

/** A trajectory as the graph takes it. */
interface Item {
  readonly trajectory: ShapedTrajectory;
  readonly ids: Uint32Array;
  readonly scoreFrom: number;
  /** [L] log π_ref; filled before the steps. */
  reference: Float32Array;
}

type Sums = Record<typeof STAT_COLUMNS[number], number>;

/** Updates a policy from shaped trajectories. */
export class PolicyUpdate {
  #policy: Policy;
  #optimizer: AdamW;
  #config: Config;
  #reference: SequenceGraph | undefined;
  #program: Program;
  #tensors: Record<
    | "behaviour"
    | "sequence"
    | "spans"
    | "sequenceOf"
    | "advantages"
    | "stats"
    | "partial"
    | "totals"
    | "logps",
    Tensor
  >;
  #rows = 0;
  #sequences = 0;

  /** @param reference the frozen policy; undefined without a KL term */
  constructor(policy: Policy, reference: CausalLM | undefined, optimizer: AdamW, config: Config) {
    const { actor, rollout } = config.worker;
    const { gpu } = policy.model;
    const { graph } = policy;
    this.#policy = policy;
    this.#optimizer = optimizer;
    this.#config = config;
    this.#reference = reference && new SequenceGraph(reference, { tokens: policy.tokensPerPass });
    graph.temperature = rollout.temperature;
    if (this.#reference) this.#reference.temperature = rollout.temperature;
    const n = graph.capacity;
    const data = (name: string, shape: number[], dtype: "f32" | "u32" = "f32") =>
      gpu.alloc(name, shape, "data", dtype);
    const columns = STAT_COLUMNS.length;
    this.#tensors = {
      behaviour: data("behaviour", [n, 4]),
      sequence: data("sequence records", [n, SEQUENCE_FIELDS]),
      spans: data("response spans", [n, 2], "u32"),
      sequenceOf: data("sequence of token", [n], "u32"),
      advantages: data("token advantages", [n]),
      stats: data("token statistics", [n, columns]),
      partial: data("partial statistics", [Math.ceil(n / PARTIAL_TOKENS), columns]),
      totals: data("statistics of a step", [columns]),
      logps: data("results of a pass", [n, 4]),
    };
    const t = this.#tensors;
    const tokens = () => this.#rows;
    const dims = {
      tokens,
      sequences: () => this.#sequences,
      length_normalise: config.algorithm.length_normalise ? 1 : 0,
      clip_low: actor.clip_ratio_low,
      clip_high: actor.clip_ratio_high,
      clip_dual: actor.clip_ratio_dual ?? 0,
      kl_kind: KL_KINDS[config.algorithm.disable_kl ? "none" : config.algorithm.kl_penalty],
    };
    this.#program = new Program(gpu, "policy loss")
      .add(tokenAdvantage, {
        behaviour: t.behaviour,
        sequence: t.sequence,
        spans: t.spans,
        out: t.advantages,
      }, dims)
      .add(policyLoss, {
        behaviour: t.behaviour,
        sequence: t.sequence,
        result: graph.result,
        sequence_of: t.sequenceOf,
        advantages: t.advantages,
        dlogp: graph.dlogp,
        stats: t.stats,
      }, dims)
      .add(columnSum, { dy: t.stats, partial: t.partial }, { tokens, width: columns, chunk: PARTIAL_TOKENS })
      .add(columnSumFinish, { partial: t.partial, out: t.totals }, {
        rows: () => Math.ceil(this.#rows / PARTIAL_TOKENS),
        width: columns,
      });
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
    const items = groups.map((members) =>
      members.map((trajectory): Item => ({
        trajectory,
        ids: Uint32Array.from([...trajectory.problem.prompt, ...trajectory.tokens]),
        scoreFrom: trajectory.problem.prompt.length,
        reference: trajectory.logps,
      }))
    );
    await this.#referenceLogps(items.flat());
    laps.lap("ref");
    const count = Math.min(miniBatchCount(this.#config), groups.length);
    const steps: StepResult[] = [];
    const sums: Sums[] = [];
    let gap = 0;
    this.#optimizer.options.lr = settings.lr;
    for (let epoch = 0; epoch < actor.ppo_epochs; epoch++) {
      for (let k = 0; k < count; k++) {
        const from = Math.floor(k * items.length / count);
        const batch = items.slice(from, Math.floor((k + 1) * items.length / count)).flat();
        const first = epoch === 0 && k === 0;
        const { step, logpGap } = await this.#step(batch, settings, first);
        if (first) gap = logpGap;
        steps.push(step);
        const totals = step.read[0];
        sums.push(Object.fromEntries(STAT_COLUMNS.map((name, i) => [name, totals[i]])) as Sums);
      }
    }
    laps.lap("update_actor");
    const tokens = items.flat().reduce((n, i) => n + i.trajectory.tokens.length, 0);
    return {
      steps,
      klOutsideWindows: klOutside(sums),
      metrics: {
        ...this.#metrics(sums, steps, tokens),
        "actor/logp_gap_max": gap,
        "batch/trained_tokens": tokens,
      },
    };
  }

  /** Gives the memory back. */
  free(): void {
    this.#program.destroy();
    this.#reference?.free();
    for (const tensor of Object.values(this.#tensors)) this.#policy.model.gpu.pool.free(tensor);
  }

  /** log π_ref of every response token: one read for each pass's copy, all submitted before the first is waited for. */
  async #referenceLogps(items: readonly Item[]): Promise<void> {
    const graph = this.#reference;
    if (!graph) return;
    const { gpu } = this.#policy.model;
    const reads: Promise<void>[] = [];
    for (const pass of this.#passes(items)) {
      graph.load(packSequences(pass));
      await graph.forward();
      reads.push(
        gpu.read(graph.result).then(([result]) => {
          let row = 0;
          for (const item of pass) {
            item.reference = Float32Array.from(item.trajectory.tokens, () => result[4 * row++]);
          }
        }),
      );
    }
    await Promise.all(reads);
  }

  async #step(
    batch: readonly Item[],
    settings: UpdateSettings,
    first: boolean,
  ): Promise<{ step: StepResult; logpGap: number }> {
    const { gpu } = this.#policy.model;
    const { graph } = this.#policy;
    const { loss_avg_mode } = this.#config.worker.actor;
    const tokens = batch.reduce((n, i) => n + i.trajectory.tokens.length, 0);
    gpu.clear(this.#tensors.totals);
    const passes = this.#passes(batch);
    for (const [p, pass] of passes.entries()) {
      const packed = packSequences(pass);
      this.#rows = packed.rows.length;
      this.#sequences = pass.length;
      graph.load(packed);
      const behaviour = new Float32Array(4 * this.#rows);
      const sequenceOf = new Uint32Array(this.#rows);
      const records = new Float32Array(SEQUENCE_FIELDS * pass.length);
      let row = 0;
      pass.forEach(({ trajectory: t, reference }, i) => {
        for (let k = 0; k < t.tokens.length; k++, row++) {
          behaviour.set([t.logps[k], reference[k], t.windows[k], t.mask[k]], 4 * row);
          sequenceOf[row] = i;
        }
        const weight = loss_avg_mode === "token" ? 1 / tokens : 1 / (batch.length * t.tokens.length);
        const kl = settings.klWeights[t.bucket];
        const bonus = t.lambda * this.#config.aepo.entropy_bonus;
        const bucket = BUCKETS.indexOf(t.bucket);
        records.set(
          [t.advantage, weight, kl.outside, kl.inside, bonus, settings.threshold, bucket, 0],
          SEQUENCE_FIELDS * i,
        );
      });
      gpu.write(this.#tensors.behaviour, behaviour);
      gpu.write(this.#tensors.sequenceOf, sequenceOf);
      gpu.write(this.#tensors.sequence, records);
      gpu.write(this.#tensors.spans, packed.spans);
      await graph.forward();
      if (first && p === 0) gpu.copyTo(graph.result, 4 * this.#rows, this.#tensors.logps, 0);
      await this.#program.run();
      await graph.backward();
    }
    const step = await this.#optimizer.update(this.#tensors.totals, ...(first ? [this.#tensors.logps] : []));
    return { step, logpGap: first ? largestGap(passes[0], step.read[1]) : 0 };
  }

  /** Cuts items into passes by tokens and, where configured, by sequences. */
  #passes(items: readonly Item[]): Item[][] {
    const most = this.#config.worker.actor.micro_batch_size_per_device_for_update ?? Infinity;
    const capacity = this.#policy.tokensPerPass;
    const passes: Item[][] = [];
    let held = Infinity;
    for (const item of items) {
      if (held + item.ids.length > capacity || passes[passes.length - 1].length >= most) {
        passes.push([]);
        held = 0;
      }
      passes[passes.length - 1].push(item);
      held += item.ids.length;
    }
    return passes;
  }

  #metrics(sums: readonly Sums[], steps: readonly StepResult[], tokens: number): Record<string, number> {
    const perEpoch = tokens * this.#config.worker.actor.ppo_epochs;
    const total = (name: keyof Sums) => sums.reduce((s, x) => s + x[name], 0);
    const mean = (name: keyof Sums) => total(name) / sums.length;
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

/** Mean KL outside windows of each bucket that has such tokens. */
function klOutside(sums: readonly Sums[]): Partial<Record<Bucket, number>> {
  const out: Partial<Record<Bucket, number>> = {};
  const counts = perBucket((b) => sums.reduce((s, x) => s + x[`tokens_outside_${b}`], 0));
  for (const b of BUCKETS) {
    const kl = sums.reduce((s, x) => s + x[`kl_outside_${b}`], 0);
    if (counts[b] > 0 && Number.isFinite(kl)) out[b] = kl / counts[b];
  }
  return out;
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
