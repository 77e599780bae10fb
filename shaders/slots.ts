/**
 * The state of decode slots, and the start of a decode step. Layout in slots.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

/** Words of a slot's state: token, position, alive, last_position, key0, key1, generated, finish. */
export const SLOT_WORDS = 8;

/** Fills `ids`, `positions` and `rows` [slots] from `slots` [slots, 8], `table` [slots, max_blocks] and `offsets` [slots]. */
export const beginStep: KernelSpec<
  "slots" | "table" | "offsets" | "ids" | "positions" | "rows",
  "slots" | "max_blocks" | "block_size"
> = defineKernel({
  name: "slots.begin_step",
  source: SHADERS.slots,
  entry: "begin_step",
  bindings: {
    slots: "read",
    table: "read",
    offsets: "read",
    ids: "write",
    positions: "write",
    rows: "write",
  },
  dims: { slots: "u32", max_blocks: "u32", block_size: "u32" },
  sizes: (d) => ({
    slots: d.slots * SLOT_WORDS,
    table: d.slots * d.max_blocks,
    offsets: d.slots,
    ids: d.slots,
    positions: d.slots,
    rows: d.slots,
  }),
  grid: (d) => [Math.ceil(d.slots / 64), 1, 1],
  cost: (d) => ({ flops: 0, bytes: d.slots * 4 * 8 }),
});
