/**
 * A rollout that decodes or stands by, and what it becomes.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import type { BranchOrigin } from "./branching.ts";
import type { Rollout, RolloutPrompt } from "./rollout_types.ts";

/** A rollout in its seat; its lists hold the prefix too. */
export interface RunningRollout {
  readonly prompt: number;
  readonly sample: number;
  readonly branch?: BranchOrigin;
  readonly blocks: number[];
  readonly tokens: number[];
  readonly logps: number[];
  readonly entropies: number[];
  readonly top: number[];
  reserve: readonly number[];
  /** Branches made. */
  branches: number;
  /** First step that may still branch. */
  watched: number;
  /** Number of the first flight that may compute it. */
  readonly since: number;
}

/** The rollout at its end; with its most likely tokens where they were asked for. */
export function finished(r: RunningRollout, finish: Rollout["finish"], topTokens: boolean): Rollout {
  return {
    prompt: r.prompt,
    sample: r.sample,
    branch: r.branch,
    tokens: Uint32Array.from(r.tokens),
    logps: Float32Array.from(r.logps),
    entropies: Float32Array.from(r.entropies),
    ...(topTokens && { topTokens: Uint32Array.from(r.top) }),
    finish,
  };
}

/** The error of a rollout whose next token has no probabilities. */
export function notFinite(r: RunningRollout, { ids }: RolloutPrompt): UserError {
  return new UserError(
    `the logits of prompt ${r.prompt} (${ids.length} tokens), rollout ${r.sample}, new token ${r.tokens.length} ` +
      `are not finite: the weights are broken (a NaN, or a learning rate that was too high); go back to an earlier checkpoint`,
  );
}
