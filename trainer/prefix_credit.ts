/**
 * Credit of tokens that several trajectories share: the rollouts of a prompt are a tree once they branch, and a token is a
 * node of it that k trajectories pass through.
 * @module
 */
import type { BranchOrigin } from "./branching.ts";

/**
 * `weighted`: each of the k trajectories bears 1/k of the token's loss, so that the token follows the mean of their
 * advantages; `once`: the first of them alone, the one that sampled it; `full`: each bears all of it, k times.
 */
export type PrefixCredit = "weighted" | "once" | "full";

/** What credit needs to know of a trajectory of L tokens. */
export interface Branch {
  /** Number within its group. */
  readonly sample: number;
  /** [L] */
  readonly tokens: { readonly length: number };
  /** Where it left its parent; undefined for one that starts at the prompt. */
  readonly branch?: BranchOrigin;
}

/**
 * The share of every token's loss that each trajectory of one group bears, [L] by trajectory. With `weighted` and `once`
 * the shares of a token add up to 1 over the trajectories through it.
 */
export function prefixCredit(group: readonly Branch[], kind: PrefixCredit): Float32Array[] {
  if (kind === "full") return group.map((t) => new Float32Array(t.tokens.length).fill(1));
  const bySample = new Map(group.map((t) => [t.sample, t]));
  /** By the trajectory that sampled a token: how many pass through it, by step. */
  const passing = new Map<number, number[]>();
  const path = (t: Branch): number[] => owners(t, bySample);
  for (const t of group) {
    path(t).forEach((owner, step) => {
      const counts = passing.get(owner) ?? [];
      passing.set(owner, counts);
      counts[step] = (counts[step] ?? 0) + 1;
    });
  }
  const seen = new Set<string>();
  return group.map((t) =>
    Float32Array.from(path(t), (owner, step) => {
      if (kind === "weighted") return 1 / passing.get(owner)![step];
      const node = `${owner} ${step}`;
      if (seen.has(node)) return 0;
      seen.add(node);
      return 1;
    })
  );
}

/** Sample number of the trajectory that each token was sampled in, [L]. */
function owners(t: Branch, group: ReadonlyMap<number, Branch>): number[] {
  const all: number[] = Array(t.tokens.length);
  let sample = t.sample;
  let from = t.branch;
  for (let step = all.length - 1; step >= 0; step--) {
    // A branch may have left its parent before the parent's own first token.
    while (from && step < from.step) {
      sample = from.parent;
      from = group.get(sample)?.branch;
    }
    all[step] = sample;
  }
  return all;
}
