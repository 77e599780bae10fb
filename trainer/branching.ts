/**
 * Where rollouts branch: which of a prompt's n rollouts are reserved for branches, and at which steps a running rollout
 * makes one. Everything here depends on the rollout's own entropies alone, not on slots, chunks or company, so that the
 * same seed gives the same tree.
 * Source: ARES, section 3 ("branches additional trajectories from step t"); the release has no branching.
 * @module
 */

/** When rollouts branch. */
export interface BranchOptions {
  /** τ: a window branches when its mean entropy exceeds it, nats. */
  readonly threshold: number;
  /** Tokens w of a window. */
  readonly window: number;
  /** Share of a prompt's rollouts reserved for branches, from 0 to 1; one rollout at least is none. */
  readonly share: number;
  /** Most branches of one rollout. */
  readonly max_per_trajectory: number;
  /**
   * Fewest tokens between two branch points of a rollout, and between a branch's start and its own first one; never less
   * than the window, so that one window triggers once.
   */
  readonly refractory: number;
}

/** Where a rollout left the one it goes on from. */
export interface BranchOrigin {
  /** Sample number of the parent, of the same prompt. */
  readonly parent: number;
  /** Its new tokens before this are the parent's; this is the first of its own. */
  readonly step: number;
  /** H̄ of the parent's window at that step, nats. */
  readonly entropy: number;
}

/**
 * Deals the sample numbers 0 … n−1 of a prompt: by rollout that starts at the prompt, its own number and then those that
 * it may spend on branches. ⌊share · n⌋ of them are dealt out, as evenly as it goes. What a rollout does not spend runs as
 * an ordinary rollout of that number, the one that a run without branching has.
 */
export function dealSamples(n: number, share: number): number[][] {
  const reserved = mostReserved(n, share);
  const roots = n - reserved;
  return Array.from({ length: roots }, (_, i) => {
    const from = roots + Math.floor(i * reserved / roots);
    const to = roots + Math.floor((i + 1) * reserved / roots);
    return [i, ...Array.from({ length: to - from }, (_, k) => from + k)];
  });
}

/** Most branches that one rollout and its branches make together. */
export function branchesPerRoot(n: number, share: number): number {
  const reserved = mostReserved(n, share);
  return Math.ceil(reserved / (n - reserved));
}

function mostReserved(n: number, share: number): number {
  return Math.min(n - 1, Math.floor(share * n));
}

/**
 * Divides what a rollout still had reserved when it branches: the first number is the branch's own, the rest is shared
 * between both, the parent keeping the larger half but no more than `most`, the branches it may still make.
 */
export function splitReserve(
  [sample, ...rest]: readonly number[],
  most: number,
): { sample: number; parent: number[]; branch: number[] } {
  const kept = Math.min(Math.ceil(rest.length / 2), most);
  return { sample, parent: rest.slice(0, kept), branch: rest.slice(kept) };
}

/**
 * The first step t ≥ `from` whose window is known in full and exceeds τ: H̄_t = mean(H_t … H_{t+w−1}) > τ. A window that
 * the end of the response cuts never branches. The window is the paper's under every rule for masks: the branch draws the
 * window's first token anew, and a window of the w tokens after t would have it draw one before the window.
 * @param entropies [L] of the new tokens so far, nats
 */
export function branchPoint(
  entropies: ArrayLike<number>,
  from: number,
  { threshold, window }: BranchOptions,
): { step: number; entropy: number } | undefined {
  for (let step = from; step + window <= entropies.length; step++) {
    let sum = 0;
    for (let t = step; t < step + window; t++) sum += entropies[t];
    if (sum / window > threshold) return { step, entropy: sum / window };
  }
}

/** The first step that may branch in a rollout that starts or has just branched at `step`; the prompt alone is shared anyway. */
export function nextStep(step: number, { window, refractory }: BranchOptions): number {
  return step + Math.max(window, refractory);
}
