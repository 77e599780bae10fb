/**
 * Who decides the weight of the KL term: no one, a fixed coefficient, the paper's κ_d β_d with ρ inside windows, or the
 * release's β per bucket.
 * @module
 */
import type { Config } from "./config_types.ts";
import { type Bucket, perBucket } from "./difficulty.ts";
import { BetaBuckets, type BetaState, KappaController } from "./kl_controller.ts";
import { rulesOf } from "./rules.ts";

/** KL weights of a bucket's tokens outside and inside high-entropy windows. */
export interface KlWeight {
  /** Where m_t = 0. */
  readonly outside: number;
  /** Where m_t = 1. */
  readonly inside: number;
}

/** A sequence of a micro-batch and its mean KL per token, nats. */
export interface SequenceKl {
  /** Difficulty of its prompt. */
  readonly bucket: Bucket;
  /** Mean over its tokens. */
  readonly kl: number;
}

/** State of the budget, by the controller in use; nothing where the weight is fixed. */
export interface KlBudgetState {
  /** κ_d of recipe `paper`. */
  readonly kappa?: Record<Bucket, number>;
  /** β_d of recipe `reference` with its running means. */
  readonly beta?: BetaState;
}

/** The KL weights of a run, steered by what its updates measure. */
export class KlBudget {
  #config: Config;
  #kappa: KappaController | undefined;
  #beta: BetaBuckets | undefined;

  /** Fresh, or from a saved state. */
  constructor(config: Config, state: KlBudgetState = {}) {
    const { algorithm, aepo, reference } = config;
    this.#config = config;
    if (algorithm.disable_kl || !aepo.kl_shaping) return;
    if (rulesOf(config).kl === "paper") this.#kappa = new KappaController(aepo.kappa, state.kappa);
    else this.#beta = new BetaBuckets(reference, state.beta);
  }

  /** Weights of a bucket now. */
  weight(bucket: Bucket): KlWeight {
    const { algorithm, aepo } = this.#config;
    const same = (weight: number) => ({ outside: weight, inside: weight });
    if (algorithm.disable_kl) return same(0);
    if (this.#beta) return same(algorithm.kl_coef * this.#beta.betaFor(bucket));
    if (!this.#kappa) return same(algorithm.kl_coef);
    const weight = this.#kappa.kappa(bucket) * aepo.beta[bucket];
    return { outside: weight, inside: weight * aepo.rho };
  }

  /** Whether {@link afterStep} wants the KL of every sequence. */
  get readsSequences(): boolean {
    return this.#beta !== undefined;
  }

  /**
   * One call per micro-batch of an optimizer step, in their order, as the release makes them. It changes β between the
   * micro-batches of a step; here the GPU is read once a step, so that a change holds from the next step on.
   */
  afterStep(microBatches: readonly (readonly SequenceKl[])[]): void {
    for (const batch of microBatches) {
      this.#beta?.update(batch.map((s) => s.bucket), batch.map((s) => s.kl));
    }
  }

  /** Takes an iteration's mean KL of tokens outside windows, by bucket: what κ sees. */
  afterIteration(klOutsideWindows: Readonly<Partial<Record<Bucket, number>>>): void {
    this.#kappa?.update(klOutsideWindows);
  }

  /** The steered factor of a bucket under its name in the metrics, or nothing. */
  metrics(bucket: Bucket): Record<string, number> {
    return {
      ...(this.#kappa && { kappa: this.#kappa.kappa(bucket) }),
      ...(this.#beta && { beta: this.#beta.betaFor(bucket) }),
    };
  }

  /** What a checkpoint keeps. */
  state(): KlBudgetState {
    return {
      ...(this.#kappa && { kappa: this.#kappa.state() }),
      ...(this.#beta && { beta: this.#beta.state() }),
    };
  }

  /** Weights of all buckets now. */
  weights(): Record<Bucket, KlWeight> {
    return perBucket((bucket) => this.weight(bucket));
  }
}
