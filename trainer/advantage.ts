/**
 * Advantages. Group estimators work on one reward per sequence; token estimators on rows [T] with a response mask
 * [T] per sequence (rows may be padded on the right; the mask says which entries count).
 * @module
 */
import { UserError } from "../gpu/errors.ts";

/** One row of numbers per sequence. */
export type Rows = readonly ArrayLike<number>[];

/** How group rewards are scaled after the mean is taken off: sample standard deviation (n − 1), population (n), none. */
export type GroupScale = "sample" | "population" | "none";

/** Advantages and the returns they came from, one row [T] per sequence. */
export interface AdvantagesAndReturns {
  /** one row [T] per sequence */
  advantages: Float64Array[];
  /** one row [T] per sequence */
  returns: Float64Array[];
}

function groupsOf(groups: readonly (string | number)[], n: number, name: string): number[][] {
  if (groups.length !== n) throw new UserError(`${name}: ${n} rewards but ${groups.length} group ids`);
  const members = new Map<string | number, number[]>();
  groups.forEach((g, i) => members.set(g, [...members.get(g) ?? [], i]));
  for (const [g, list] of members) {
    if (list.length < 2) {
      throw new UserError(`${name} needs at least 2 rollouts per prompt; group ${g} has 1`);
    }
  }
  return [...members.values()];
}

/**
 * (R_i − mean) / (std + ε) inside each group (GRPO; release: compute_grpo_outcome_advantage); `none` leaves the
 * division out (Algorithm 1 of the paper). [B] -> [B]. Throws when a group has one member.
 */
export function groupAdvantages(
  rewards: ArrayLike<number>,
  groups: readonly (string | number)[],
  scale: GroupScale = "sample",
  epsilon = 1e-6,
): Float64Array {
  const out = new Float64Array(rewards.length);
  for (const list of groupsOf(groups, rewards.length, "group advantages")) {
    const mean = list.reduce((s, i) => s + rewards[i], 0) / list.length;
    const squares = list.reduce((s, i) => s + (rewards[i] - mean) ** 2, 0);
    const std = Math.sqrt(squares / (scale === "population" ? list.length : list.length - 1));
    for (const i of list) out[i] = (rewards[i] - mean) / (scale === "none" ? 1 : std + epsilon);
  }
  return out;
}

/**
 * {@link groupAdvantages} with `sample` as the release computes it: the mean summed one by one and rounded in float32,
 * the spread taken around that mean. A group of equal rewards that float32 cannot average exactly (eight times 0.7)
 * then gets advantages near ±0.06 instead of 0, for the rounding of the mean is divided by ε.
 */
export function referenceGroupAdvantages(
  rewards: ArrayLike<number>,
  groups: readonly (string | number)[],
  epsilon = 1e-6,
): Float64Array {
  const out = new Float64Array(rewards.length);
  const round = Math.fround;
  for (const list of groupsOf(groups, rewards.length, "group advantages")) {
    const mean = round(list.reduce((s, i) => round(s + round(rewards[i])), 0) / list.length);
    const squares = list.reduce((s, i) => s + (round(rewards[i]) - mean) ** 2, 0);
    const scale = round(round(Math.sqrt(squares / (list.length - 1))) + epsilon);
    for (const i of list) out[i] = round(round(round(rewards[i]) - mean) / scale);
  }
  return out;
}

/**
 * RLOO: R_i minus the mean of the other rewards of its group (arXiv 2402.14740; release:
 * compute_rloo_outcome_advantage). [B] -> [B]. Throws when a group has one member.
 */
export function rlooAdvantages(
  rewards: ArrayLike<number>,
  groups: readonly (string | number)[],
): Float64Array {
  const out = new Float64Array(rewards.length);
  for (const list of groupsOf(groups, rewards.length, "RLOO")) {
    const sum = list.reduce((s, i) => s + rewards[i], 0);
    for (const i of list) out[i] = rewards[i] - (sum - rewards[i]) / (list.length - 1);
  }
  return out;
}

/**
 * ReMax: R_i minus the reward of the greedy answer to the same prompt (arXiv 2310.10505; release:
 * compute_remax_outcome_advantage). [B], [B] -> [B].
 */
export function remaxAdvantages(rewards: ArrayLike<number>, baselines: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: rewards.length }, (_, i) => rewards[i] - baselines[i]);
}

/** The reward of each sequence: the sum of its row of token rewards, padding included. [B][T] -> [B]. */
export function sequenceRewards(tokenRewards: Rows): Float64Array {
  return Float64Array.from(
    tokenRewards,
    (row) => Array.prototype.reduce.call(row, (s, x) => s + x, 0) as number,
  );
}

/** A sequence's advantage at each of its tokens, 0 outside the mask (of 0 and 1). [B], [B][T] -> [B][T]. */
export function spreadOverTokens(advantages: ArrayLike<number>, mask: Rows): Float64Array[] {
  return mask.map((row, i) => Float64Array.from(row, (m) => m * advantages[i]));
}

/**
 * Ã_{i,t} = A_i / L_i + ψ_{i,t} (Algorithm 1). The loss averages over tokens again, so the division by L_i is off
 * unless `lengthNormalise`. A [L] may differ by token; ψ [L] may be left out. -> [L].
 */
export function tokenAdvantages(
  advantage: number | ArrayLike<number>,
  length: number,
  bonus?: ArrayLike<number>,
  lengthNormalise = false,
): Float64Array {
  const scale = lengthNormalise ? 1 / length : 1;
  const base = (t: number) => typeof advantage === "number" ? advantage : advantage[t];
  return Float64Array.from({ length }, (_, t) => scale * base(t) + (bonus ? bonus[t] : 0));
}

/** Σ x m / (Σ m + 1e-8), as the release's masked_mean: 0 for an empty mask. [B][T], [B][T] -> one number. */
export function maskedMean(values: Rows, mask: Rows): number {
  let sum = 0, n = 0;
  values.forEach((row, i) => {
    for (let t = 0; t < row.length; t++) {
      sum += row[t] * mask[i][t];
      n += mask[i][t];
    }
  });
  return sum / (n + 1e-8);
}

/**
 * Variance over the mask with Bessel's correction (n − 1), as the release's masked_var; without it where the mask has one
 * entry or none. [B][T], [B][T] -> one number.
 */
export function maskedVariance(values: Rows, mask: Rows): number {
  const mean = maskedMean(values, mask);
  const variance = maskedMean(values.map((row) => Float64Array.from(row, (x) => (x - mean) ** 2)), mask);
  const n = mask.reduce((s, row) => s + (Array.prototype.reduce.call(row, (a, b) => a + b, 0) as number), 0);
  return n <= 1 ? variance : variance * n / (n - 1);
}

/**
 * (x − mean) / sqrt(var + 1e-8) with {@link maskedMean} and {@link maskedVariance}, as the release's masked_whiten; entries
 * outside the mask are shifted and scaled too. [B][T], [B][T] -> [B][T].
 */
export function maskedWhiten(values: Rows, mask: Rows): Float64Array[] {
  const mean = maskedMean(values, mask);
  const scale = 1 / Math.sqrt(maskedVariance(values, mask) + 1e-8);
  return values.map((row) => Float64Array.from(row, (x) => (x - mean) * scale));
}

/** REINFORCE++ (arXiv 2501.03262): discounted returns, cut where the mask ends, whitened over the mask. */
export function reinforcePlusPlus(tokenRewards: Rows, mask: Rows, gamma = 1): AdvantagesAndReturns {
  const returns = tokenRewards.map((row, i) => {
    const out = new Float64Array(row.length);
    let running = 0;
    for (let t = row.length - 1; t >= 0; t--) {
      running = row[t] + gamma * running;
      out[t] = running;
      running *= mask[i][t];
    }
    return out;
  });
  return { advantages: maskedWhiten(returns, mask), returns };
}

/**
 * GAE (arXiv 1506.02438) with a value head: δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γ λ A_{t+1}, V = 0 past the row;
 * returns A + V, advantages whitened over the mask. Runs over the whole row, padding included, as the release does.
 */
export function gae(
  tokenRewards: Rows,
  values: Rows,
  mask: Rows,
  gamma: number,
  lambda: number,
): AdvantagesAndReturns {
  const raw = tokenRewards.map((row, i) => {
    const out = new Float64Array(row.length);
    let last = 0;
    for (let t = row.length - 1; t >= 0; t--) {
      const next = t + 1 < row.length ? values[i][t + 1] : 0;
      last = row[t] + gamma * next - values[i][t] + gamma * lambda * last;
      out[t] = last;
    }
    return out;
  });
  const returns = raw.map((row, i) => row.map((a, t) => a + values[i][t]));
  return { advantages: maskedWhiten(raw, mask), returns };
}

/** 1 up to and including the first stop token of each row, 0 after it (get_response_mask). Ids [T] -> [T]. */
export function responseMask(ids: ArrayLike<number>, stopTokens: readonly number[]): Uint8Array {
  const out = new Uint8Array(ids.length);
  for (let t = 0; t < ids.length; t++) {
    out[t] = 1;
    if (stopTokens.includes(ids[t])) break;
  }
  return out;
}
