/**
 * Recipe `reference`: the reward and the controllers of the authors' release, with its habits (ARES.md section 6).
 * Sources: examples/reward_function/aepo.py and RayPPOTrainer.
 * @module
 */
import { type Bucket, bucketOf, BUCKETS, perBucket, type Recipe } from "./difficulty.ts";
import { quantile } from "./entropy.ts";
import { formatReward } from "./answer_text.ts";

const MARGIN: Record<string, number> = { easy: 0.15, medium: 0.25, hard: 0.35 };
const KAPPA: Record<string, number> = { easy: 2, medium: 3, hard: 4 };
const TEMPERATURE: Record<string, number> = { easy: 2, medium: 2.5, hard: 3 };
const CAP_SCALE: Record<string, number> = { easy: 1, medium: 1, hard: 1.2 };

/** Huber penalty of x ≥ 0 tokens (below 0 counts as 0): x²/(2κ) up to κ > 0, then x − κ/2 (aepo.py of the release). */
export function huberPenalty(x: number, kappa: number): number {
  const y = Math.max(x, 0);
  return y <= kappa ? 0.5 * y * y / kappa : y - 0.5 * kappa;
}

/** 1 / (1 + exp(−x / temperature)), from 0 to 1; a temperature under 1e-6 counts as that (aepo.py of the release). */
export function saturation(x: number, temperature: number): number {
  return 1 / (1 + Math.exp(-x / Math.max(temperature, 1e-6)));
}

/** Half-width in tokens of the dead band around a target: max(1, fraction · max(target, 1)) (aepo.py of the release). */
export function deadBand(target: number, fraction: number): number {
  return Math.max(1, fraction * Math.max(target, 1));
}

/** Shaping score s of one rollout; 0 for a difficulty that is none of the three. Only accuracy 1 counts as right. */
export function referenceShaping(
  difficulty: string,
  accuracy: number,
  count: number,
  target: number,
  alpha: number,
): number {
  if (!(difficulty in KAPPA)) return 0;
  const delta = count - target;
  const margin = deadBand(target, MARGIN[difficulty]);
  const kappa = KAPPA[difficulty], temperature = TEMPERATURE[difficulty];
  const cap = alpha * CAP_SCALE[difficulty];
  const penalty = (x: number, share: number) =>
    -Math.min(cap, share * huberPenalty(x, kappa) / (margin + kappa) * cap);
  if (accuracy === 1) {
    if (difficulty === "easy") return penalty(delta - margin, 1);
    if (difficulty === "medium") return penalty(Math.abs(delta) - margin, 1);
    return delta >= -margin ? saturation(delta + margin, temperature) * cap : penalty(-delta - margin, 0.5);
  }
  const share = difficulty === "easy" ? 0.6 : difficulty === "medium" ? 0.8 : 1;
  return saturation(Math.max(delta - margin, 0), temperature) * cap * share;
}

/** One rollout as the release's reward function sees it; what is absent takes the release's default. */
export interface ReferenceRewardInput {
  /** the model's text */
  response: string;
  /** the right answer */
  ground_truth: string;
  /** 0, null and absent mean "not given": the text is graded again */
  accuracy?: number | null;
  /** default easy */
  difficulty?: string;
  /** default 1 */
  high_entropy_token_num?: number;
  /** default 1 */
  target_high_entropy_token_num?: number;
  /** α_d; default the argument of the reward */
  alpha_entropy?: number;
}

/** The release's score record. */
export interface ReferenceReward {
  /** accuracy + shaping score */
  overall: number;
  /** 1, 0, or the fraction given */
  accuracy: number;
  /** 1 or 0; never part of `overall` */
  format: number;
  /** s */
  high_entropy_token_num_score: number;
}

/** A response without the white space around <, > and /, as the release looks at it (aepo.py: compute_score). */
export function tightenTags(response: string): string {
  return response.replace(/\s*(<|>|\/)\s*/g, "$1");
}

/** R = accuracy + s (compute_score). `grade` judges a response against the ground truth where accuracy is not given. */
export function referenceReward(
  input: ReferenceRewardInput,
  grade: (response: string, groundTruth: string) => boolean,
  alphaEntropy = 0.5,
): ReferenceReward {
  const response = tightenTags(input.response);
  const accuracy = input.accuracy || (grade(response, input.ground_truth) ? 1 : 0);
  const score = referenceShaping(
    input.difficulty ?? "easy",
    accuracy,
    input.high_entropy_token_num ?? 1,
    input.target_high_entropy_token_num ?? 1,
    input.alpha_entropy ?? alphaEntropy,
  );
  return {
    overall: accuracy + score,
    accuracy,
    format: formatReward(response),
    high_entropy_token_num_score: score,
  };
}

/** Python's round(): half goes to the even neighbour. */
export function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

const mean = (values: readonly number[]): number => values.reduce((s, x) => s + x, 0) / values.length;

/** Constants of {@link ReferenceTargets}; key names as in the release. */
export interface ReferenceTargetOptions {
  /** step of α */
  alpha_entropy_lr: number;
  /** lower bound of α */
  alpha_entropy_min: number;
  /** upper bound of α */
  alpha_entropy_max: number;
  /** α at the start */
  alpha_entropy_init: Record<Bucket, number>;
  /** whose bounds the difficulty buckets have; the release's by default */
  difficulty: Recipe;
}

/** Saved state of {@link ReferenceTargets}. */
export interface ReferenceTargetState {
  /** bucket of every problem seen */
  difficulty: Record<string, Bucket>;
  /** rounded targets of the last batch that had the bucket */
  target: Partial<Record<Bucket, number>>;
  /** α_d */
  alpha: Record<Bucket, number>;
}

/** Difficulty of every problem seen, rounded targets and α_d (update_difficulty_and_skip_gid_set). */
export class ReferenceTargets {
  /** the constants in force */
  readonly options: ReferenceTargetOptions;
  #state: ReferenceTargetState;

  /** Fresh, or from a saved state. */
  constructor(options: Partial<ReferenceTargetOptions> = {}, state?: ReferenceTargetState) {
    this.options = {
      alpha_entropy_lr: 0.05,
      alpha_entropy_min: 0,
      alpha_entropy_max: 2,
      alpha_entropy_init: { easy: 0.5, medium: 0.5, hard: 0.5 },
      difficulty: "reference",
      ...options,
    };
    this.#state = structuredClone(
      state ?? { difficulty: {}, target: {}, alpha: { ...this.options.alpha_entropy_init } },
    );
  }

  /** One batch of rollouts: problem id, accuracy and N_HE of each. */
  update(ids: readonly string[], accuracy: ArrayLike<number>, counts: ArrayLike<number>): void {
    const problems = new Map<string, { accuracy: number[]; counts: number[] }>();
    ids.forEach((id, i) => {
      const p = problems.get(id) ?? { accuracy: [], counts: [] };
      p.accuracy.push(accuracy[i]);
      p.counts.push(counts[i]);
      problems.set(id, p);
    });
    const means = perBucket<number[]>(() => []);
    for (const [id, p] of problems) {
      const correct = p.accuracy.reduce((s, x) => s + x, 0);
      const bucket = bucketOf(correct, p.accuracy.length, this.options.difficulty);
      this.#state.difficulty[id] = bucket;
      means[bucket].push(mean(p.counts));
    }
    const { alpha_entropy_lr, alpha_entropy_min, alpha_entropy_max } = this.options;
    for (const d of BUCKETS) {
      if (means[d].length === 0) continue;
      const m = mean(means[d]);
      const target = this.#state.target[d] = roundHalfEven(m);
      const alpha = this.#state.alpha[d] + alpha_entropy_lr * (d === "hard" ? target - m : m - target);
      this.#state.alpha[d] = Math.min(alpha_entropy_max, Math.max(alpha_entropy_min, alpha));
    }
  }

  /** Everything the next update depends on. */
  state(): ReferenceTargetState {
    return structuredClone(this.#state);
  }
}

/** The release's threshold: median of the batch's trajectory thresholds, then 0.99 old + 0.01 new. */
export class EntropyThresholdEma {
  #value: number | null;

  /** Fresh (null), or from a saved state. */
  constructor(state: number | null = null) {
    this.#value = state;
  }

  /** The threshold in force: −1 before the first batch, so that at first every trigger counts. */
  get threshold(): number {
    return this.#value ?? -1;
  }

  /** Takes the batch's per-trajectory thresholds; returns the threshold after the step. */
  update(thresholds: ArrayLike<number>): number {
    const median = quantile(thresholds, 0.5);
    this.#value = this.#value === null ? median : 0.99 * this.#value + 0.01 * median;
    return this.#value;
  }

  /** The running value, null before the first batch. */
  state(): number | null {
    return this.#value;
  }
}

/** Saved state of {@link LambdaDualAscent}. */
export interface LambdaAscentState {
  /** λ per bucket */
  lambda: Record<Bucket, number>;
  /** fixed at the first step from the targets of that step, 1 where a bucket had none */
  budget: Record<Bucket, number> | null;
}

/**
 * The release's λ by dual ascent on the soft cost (RayPPOTrainer), by bucket: λ ← clip(λ + η (mean cost − budget), 0, max).
 * Computed and logged there, not used in its reward.
 */
export class LambdaDualAscent {
  /** η */
  readonly learningRate: number;
  /** Upper bound of λ. */
  readonly max: number;
  #state: LambdaAscentState;

  /** Fresh, or from a saved state. */
  constructor(learningRate = 0.01, max = 10, state?: LambdaAscentState) {
    this.learningRate = learningRate;
    this.max = max;
    this.#state = structuredClone(state ?? { lambda: perBucket(() => 0), budget: null });
  }

  /**
   * One batch: each rollout's problem id and soft cost (nats, Σ max(0, window − threshold)), the problems' difficulties
   * and the targets (tokens) now. As in the release a problem's last soft cost stands for all its rollouts, and a bucket
   * with under 8 rollouts is skipped.
   */
  update(
    ids: readonly string[],
    softCost: ArrayLike<number>,
    difficulty: Readonly<Record<string, Bucket>>,
    targets: Partial<Record<Bucket, number>>,
  ): void {
    const s = this.#state;
    s.budget ??= perBucket((d) => targets[d] ?? 1);
    const last = new Map(ids.map((id, i) => [id, softCost[i]]));
    for (const d of BUCKETS) {
      const costs = ids.filter((id) => difficulty[id] === d).map((id) => last.get(id)!);
      if (costs.length < 8) continue;
      const next = s.lambda[d] + this.learningRate * (mean(costs) - s.budget[d]);
      s.lambda[d] = Math.min(this.max, Math.max(0, next));
    }
  }

  /** λ per bucket and the budgets. */
  state(): LambdaAscentState {
    return structuredClone(this.#state);
  }
}
