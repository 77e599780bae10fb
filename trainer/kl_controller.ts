/**
 * Controllers of the KL coefficient: the paper's κ_d, and the release's β per bucket, adaptive and token-level ones.
 * Each has a plain `state()` that a checkpoint keeps and continues from exactly.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { type Bucket, BUCKETS, perBucket } from "./difficulty.ts";

const clip = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x));

/** Constants of {@link KappaController}. */
export interface KappaOptions {
  /** κ_d at the start */
  init: number;
  /** step α_κ */
  alpha: number;
  /** budget δ_d in nats per token, one for all buckets or one each */
  delta: number | Record<Bucket, number>;
  /** κ_min */
  min: number;
  /** κ_max */
  max: number;
}

/** κ ← clip(κ (1 + α (KL/δ − 1)), κ_min, κ_max): one step of the paper's controller. */
export function kappaStep(
  kappa: number,
  kl: number,
  o: { alpha: number; delta: number; min: number; max: number },
): number {
  return clip(kappa * (1 + o.alpha * (kl / o.delta - 1)), o.min, o.max);
}

/**
 * κ_d of recipe `paper`. Feed it the mean KL over tokens **outside** the HWE windows (m_t = 0); a bucket without
 * such tokens keeps its κ.
 */
export class KappaController {
  /** the constants given */
  readonly options: KappaOptions;
  readonly #delta: Record<Bucket, number>;
  #kappa: Record<Bucket, number>;

  /** Fresh, or from a saved state. */
  constructor(options: KappaOptions, state?: Record<Bucket, number>) {
    const { min, max } = options;
    if (!(min > 0 && min <= max)) throw new UserError(`kappa needs 0 < min <= max, got ${min} and ${max}`);
    const { delta } = options;
    this.#delta = typeof delta === "number" ? perBucket(() => delta) : { ...delta };
    for (const d of BUCKETS) {
      if (!(this.#delta[d] > 0)) {
        throw new UserError(`kappa delta for ${d} must be above 0, got ${this.#delta[d]}`);
      }
    }
    this.options = options;
    this.#kappa = state ? { ...state } : perBucket(() => options.init);
  }

  /** κ_d now. */
  kappa(bucket: Bucket): number {
    return this.#kappa[bucket];
  }

  /** One step per bucket that has a KL. */
  update(kl: Partial<Record<Bucket, number>>): void {
    for (const d of BUCKETS) {
      const value = kl[d];
      if (value === undefined) continue;
      this.#kappa[d] = kappaStep(this.#kappa[d], value, { ...this.options, delta: this.#delta[d] });
    }
  }

  /** κ per bucket. */
  state(): Record<Bucket, number> {
    return { ...this.#kappa };
  }
}

/**
 * The release's AdaptiveKLController (Ziegler et al., arXiv 1909.08593): coefficient ← coefficient ·
 * (1 + clip(KL/target − 1, ±0.2) · n / horizon). A formula alone: no setting of a run takes it.
 */
export class AdaptiveKl {
  /** The weight of the KL, in force now. */
  coefficient: number;
  /** The KL aimed at, nats. */
  readonly target: number;
  /** Samples over which a step has its whole size. */
  readonly horizon: number;

  /**
   * Starts at `coefficient`, aims at `target` nats, with `horizon` in samples.
   * @throws UserError unless target and horizon are above 0
   */
  constructor(coefficient: number, target: number, horizon: number) {
    this.coefficient = coefficient;
    this.target = target;
    this.horizon = horizon;
    if (!(target > 0) || !(horizon > 0)) {
      throw new UserError(`adaptive KL needs target and horizon above 0, got ${target} and ${horizon}`);
    }
  }

  /** `steps` samples were seen at mean KL `kl`, nats. */
  update(kl: number, steps: number): void {
    this.coefficient *= 1 + clip(kl / this.target - 1, -0.2, 0.2) * steps / this.horizon;
  }

  /** The coefficient; `new AdaptiveKl(state, target, horizon)` continues. */
  state(): number {
    return this.coefficient;
  }
}

/** Saved state of {@link TokenLevelAdaptiveKl}. */
export interface TokenLevelKlState {
  /** KL coefficient per bucket */
  coefficients: Record<Bucket, number>;
  /** Lagrange multiplier per bucket */
  lambdas: Record<Bucket, number>;
}

/**
 * The release's TokenLevelAdaptiveKLController, by bucket: λ ← [λ + 0.01 (KL − target)]_+, coefficient ← λ · coefficient,
 * with λ = 1 at the start. A formula alone: the release cannot build it from its own config, and no setting here takes it.
 */
export class TokenLevelAdaptiveKl {
  /** The KL aimed at by bucket, nats. */
  readonly targets: Readonly<Record<Bucket, number>>;
  #state: TokenLevelKlState;

  /** Fresh from coefficients, or from a saved state; `targets` in nats. */
  constructor(
    start: Record<Bucket, number> | TokenLevelKlState,
    targets: Readonly<Record<Bucket, number>>,
  ) {
    this.targets = { ...targets };
    this.#state = "lambdas" in start
      ? structuredClone(start)
      : { coefficients: { ...start }, lambdas: perBucket(() => 1) };
  }

  /** One dual-ascent step for every bucket that has a KL, nats. */
  update(kl: Partial<Record<Bucket, number>>): void {
    const { coefficients, lambdas } = this.#state;
    for (const d of BUCKETS) {
      const value = kl[d];
      if (value === undefined) continue;
      lambdas[d] = Math.max(0, lambdas[d] + 0.01 * (value - this.targets[d]));
      coefficients[d] *= lambdas[d];
    }
  }

  /** Coefficients and multipliers. */
  state(): TokenLevelKlState {
    return structuredClone(this.#state);
  }
}

/** Constants of {@link BetaBuckets}; names as in the release's actor config. */
export interface BetaOptions {
  /** β at the start */
  kl_beta_init: number;
  /** target KL per bucket, nats per token */
  kl_target: Record<Bucket, number>;
  /** lower bound of β */
  kl_beta_min: number;
  /** upper bound of β */
  kl_beta_max: number;
  /** decay of the running means of KL and error */
  kl_ema_decay: number;
  /** step in log β */
  kl_beta_lr: number;
  /** bound of the error's running mean */
  kl_beta_clip: number;
  /** calls from one change of β to the next */
  kl_update_interval: number;
  /** relative errors below this are ignored */
  kl_deadzone: number;
}

/** The release's defaults. */
export const DEFAULT_BETA: BetaOptions = {
  kl_beta_init: 1,
  kl_target: { easy: 0.01, medium: 0.01, hard: 0.01 },
  kl_beta_min: 1e-4,
  kl_beta_max: 1e2,
  kl_ema_decay: 0.97,
  kl_beta_lr: 0.05,
  kl_beta_clip: 0.2,
  kl_update_interval: 100,
  kl_deadzone: 0.02,
};

/** Saved state of {@link BetaBuckets}. */
export interface BetaState {
  /** calls so far */
  updates: number;
  /** β per bucket */
  beta: Record<Bucket, number>;
  /** running mean of the KL, null before a bucket's first */
  lastKl: Record<Bucket, number | null>;
  /** running mean of the relative error */
  errorEma: Record<Bucket, number>;
}

/**
 * β per bucket of recipe `reference` (_update_beta_per_bucket): running mean of the sequence KL, relative error with a
 * dead zone, and on every `kl_update_interval`-th call a clipped step of its running mean in log β.
 */
export class BetaBuckets {
  /** the constants in force */
  readonly options: BetaOptions;
  #state: BetaState;

  /** Fresh, or from a saved state. */
  constructor(options: Partial<BetaOptions> = {}, state?: BetaState) {
    this.options = { ...DEFAULT_BETA, ...options };
    this.#state = state ? structuredClone(state) : {
      updates: 0,
      beta: perBucket(() => this.options.kl_beta_init),
      lastKl: perBucket(() => null),
      errorEma: perBucket(() => 0),
    };
  }

  /** β for a sequence's difficulty; an unknown difficulty gets the medium one, as in the release. */
  betaFor(difficulty: string): number {
    return this.#state.beta[difficulty as Bucket] ?? this.#state.beta.medium;
  }

  /** One call: the sequences' difficulties and their mean KL per token; unknown difficulties are left out. */
  update(difficulties: readonly string[], sequenceKl: ArrayLike<number>): void {
    const s = this.#state, o = this.options;
    s.updates++;
    for (const d of BUCKETS) {
      let sum = 0, n = 0;
      for (let i = 0; i < difficulties.length; i++) {
        if (difficulties[i] !== d) continue;
        sum += sequenceKl[i];
        n++;
      }
      if (n === 0) continue;
      const mean = (1 - o.kl_ema_decay) * (sum / n) + o.kl_ema_decay * (s.lastKl[d] ?? sum / n);
      s.lastKl[d] = mean;
      const error = mean / Math.max(1e-8, o.kl_target[d]) - 1;
      if (Math.abs(error) < o.kl_deadzone || s.updates % o.kl_update_interval !== 0) continue;
      s.errorEma[d] = (1 - o.kl_ema_decay) * error + o.kl_ema_decay * s.errorEma[d];
      const step = o.kl_beta_lr * clip(s.errorEma[d], -o.kl_beta_clip, o.kl_beta_clip);
      const logBeta = Math.log(clip(s.beta[d], o.kl_beta_min, o.kl_beta_max)) + step;
      s.beta[d] = Math.exp(clip(logBeta, Math.log(o.kl_beta_min), Math.log(o.kl_beta_max)));
    }
  }

  /** Everything the next update depends on. */
  state(): BetaState {
    return structuredClone(this.#state);
  }
}
