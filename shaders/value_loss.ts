/**
 * The clipped value loss of GAE as a kernel. Formula and layouts in value_loss.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

/** Columns of `stats`, in order. */
export const VALUE_STATS = ["vf_loss", "clipped", "value", "not_finite"] as const;

/** `dvalue` [N] and `stats` [N, 4] from `value` [N] and `target` [N, 4] = (V_old, return, loss weight, 0). */
export const valueLoss: KernelSpec<
  "value" | "target" | "dvalue" | "stats",
  "tokens" | "clip" | "coefficient"
> = defineKernel({
  name: "value_loss",
  source: SHADERS.value_loss,
  entry: "value_loss",
  bindings: { value: "read", target: "read", dvalue: "write", stats: "write" },
  dims: { tokens: "u32", clip: "f32", coefficient: "f32" },
  sizes: ({ tokens }) => ({ value: tokens, target: 4 * tokens, dvalue: tokens, stats: 4 * tokens }),
  grid: ({ tokens }) => linearGrid(tokens, 64),
  cost: ({ tokens }) => ({ flops: 12 * tokens, bytes: 40 * tokens }),
});
