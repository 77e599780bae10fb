/**
 * The most likely token of every slot, beside the one that is drawn. Formula in top_token.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { SLOT_WORDS } from "./slots.ts";

type TopToken = KernelSpec<"logits" | "slots" | "tick" | "out", "slots" | "vocab" | "stride">;

function withLanes(name: string, LANES: number): TopToken {
  return defineKernel({
    name,
    source: SHADERS.top_token,
    entry: "top_token",
    bindings: { logits: "read", slots: "read", tick: "read", out: "write" },
    dims: { slots: "u32", vocab: "u32", stride: "u32" },
    consts: { LANES },
    sizes: (d) => ({
      logits: d.slots * d.stride,
      slots: d.slots * SLOT_WORDS,
      tick: 1,
      out: d.slots,
    }),
    grid: (d) => [d.slots, 1, 1],
    cost: (d) => ({ flops: d.slots * d.vocab, bytes: 4 * d.slots * d.vocab }),
  });
}

/**
 * By variant: as many lanes a slot as every GPU has; fewer for software adapters, where threads wait for each other one
 * after another (lavapipe, 64 slots: 256 lanes take 4 times as long for 512 tokens, twice for 4,096).
 */
export const topTokenKernels: { readonly gpu: TopToken; readonly software: TopToken } = {
  gpu: withLanes("top_token_wide", 256),
  software: withLanes("top_token", 64),
};

/** Writes row tick / slots of `out` [ticks, slots]; goes before `sample`, which moves the tick on. */
export const topToken: TopToken = {
  ...topTokenKernels.software,
  fit: (_, { software }) => topTokenKernels[software ? "software" : "gpu"],
};
