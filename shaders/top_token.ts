/**
 * The most likely token of every slot, beside the one that is drawn. Formula in top_token.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { SLOT_WORDS } from "./slots.ts";

/** Writes row tick / slots of `out` [ticks, slots]; goes before `sample`, which moves the tick on. */
export const topToken: KernelSpec<"logits" | "slots" | "tick" | "out", "slots" | "vocab" | "stride"> =
  defineKernel({
    name: "top_token",
    source: SHADERS.top_token,
    entry: "top_token",
    bindings: { logits: "read", slots: "read", tick: "read", out: "write" },
    dims: { slots: "u32", vocab: "u32", stride: "u32" },
    sizes: (d) => ({
      logits: d.slots * d.stride,
      slots: d.slots * SLOT_WORDS,
      tick: 1,
      out: d.slots,
    }),
    grid: (d) => [d.slots, 1, 1],
    cost: (d) => ({ flops: d.slots * d.vocab, bytes: 4 * d.slots * d.vocab }),
  });
