/**
 * The AEPO gradient as two kernels: token advantages with their entropy bonus, then one scalar ∂L/∂log π a token and the
 * statistics of the step. Formulas and layouts in policy_loss.wgsl.
 * @module
 */
import { defineKernel, type DimValues, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

/** Sizes and settings of both kernels. */
export type PolicyDims =
  | "tokens"
  | "sequences"
  | "length_normalise"
  | "clip_low"
  | "clip_high"
  | "clip_dual"
  | "kl_kind";

const DIMS = {
  tokens: "u32",
  sequences: "u32",
  length_normalise: "u32",
  clip_low: "f32",
  clip_high: "f32",
  clip_dual: "f32",
  kl_kind: "u32",
} as const;

/** Values of the dim `kl_kind`. */
export const KL_KINDS = { none: 0, kl: 1, abs: 2, mse: 3, low_var_kl: 4, k3: 5, full: 6 } as const;

/** f32 values of a sequence's record. */
export const SEQUENCE_FIELDS = 8;

/** Columns of `stats`, in order. */
export const STAT_COLUMNS = [
  "pg_loss",
  "kl_loss",
  "kl",
  "clipped",
  "dual_clipped",
  "entropy",
  "ppo_kl",
  "not_finite",
  "kl_outside_easy",
  "kl_outside_medium",
  "kl_outside_hard",
  "tokens_outside_easy",
  "tokens_outside_medium",
  "tokens_outside_hard",
  "kl_inside_easy",
  "kl_inside_medium",
  "kl_inside_hard",
  "tokens_inside_easy",
  "tokens_inside_medium",
  "tokens_inside_hard",
] as const;

/** `out` [N]: `base` [N] with the bonus, the advantage of every token. `tokens` and the clip dims are not read. */
export const tokenAdvantage: KernelSpec<"behaviour" | "sequence" | "spans" | "base" | "out", PolicyDims> =
  defineKernel({
    name: "policy_loss.token_advantage",
    source: SHADERS.policy_loss,
    entry: "token_advantage",
    bindings: { behaviour: "read", sequence: "read", spans: "read", base: "read", out: "write" },
    dims: DIMS,
    sizes: (d) => ({
      behaviour: d.tokens * 4,
      sequence: d.sequences * SEQUENCE_FIELDS,
      spans: d.sequences * 2,
      base: d.tokens,
      out: d.tokens,
    }),
    grid: (d) => [d.sequences, 1, 1],
    cost: (d) => ({ flops: 8 * d.tokens, bytes: 40 * d.tokens }),
  });

/** `dlogp` [N], `stats` [N, 20] and, for the exact KL, `dkl` [N] from the forward pass's `result` [N, 4] and the token advantages. */
export const policyLoss: KernelSpec<
  "behaviour" | "sequence" | "result" | "sequence_of" | "advantages" | "dlogp" | "stats" | "dkl",
  PolicyDims
> = defineKernel({
  name: "policy_loss.policy_loss",
  source: SHADERS.policy_loss,
  entry: "policy_loss",
  bindings: {
    behaviour: "read",
    sequence: "read",
    result: "read",
    sequence_of: "read",
    advantages: "read",
    dlogp: "write",
    stats: "write",
    dkl: "write",
  },
  dims: DIMS,
  sizes: (d: DimValues<PolicyDims>) => ({
    behaviour: d.tokens * 4,
    sequence: d.sequences * SEQUENCE_FIELDS,
    result: d.tokens * 4,
    sequence_of: d.tokens,
    advantages: d.tokens,
    dlogp: d.tokens,
    stats: d.tokens * STAT_COLUMNS.length,
    dkl: d.tokens,
  }),
  grid: (d) => linearGrid(d.tokens, 64),
  cost: (d) => ({ flops: 40 * d.tokens, bytes: 128 * d.tokens }),
});
