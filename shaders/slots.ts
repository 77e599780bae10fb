/**
 * The state of decode slots, and the start of a decode step: who is in which lane, and what the model's kernels read.
 * Layout in slots.wgsl.
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

/** Owner of a lane without a sequence. */
export const NO_OWNER = 0xffffffff;

/** Words of `queue` before the room that {@link refillSlots} works in: taken, placed. */
export const QUEUE_WORDS = 2;

/**
 * Moves the live sequences of `lanes` lanes together and lets those that stand by take what is left of the first `used`:
 * lanes + ring rows of `slots` [.., 8], `table` [.., max_blocks], `offsets`, `seen` [.., seen_words] and `owners` [..]; `queue`
 * [2 + 2 lanes] = taken, placed, room. Row tick / used of `out_owners` [ticks, used] tells who is where,
 * {@link NO_OWNER} where nobody is; rows past the end are not written. `seen_words` 0 leaves `seen` out.
 */
export const refillSlots: KernelSpec<
  "slots" | "table" | "offsets" | "seen" | "owners" | "queue" | "tick" | "out_owners",
  "lanes" | "used" | "ring" | "max_blocks" | "seen_words"
> = defineKernel({
  name: "slots.refill",
  source: SHADERS.slots,
  entry: "refill",
  bindings: {
    slots: "inout",
    table: "inout",
    offsets: "inout",
    seen: "inout",
    owners: "inout",
    queue: "inout",
    tick: "read",
    out_owners: "write",
  },
  dims: { lanes: "u32", used: "u32", ring: "u32", max_blocks: "u32", seen_words: "u32" },
  sizes: ({ lanes, used, ring, max_blocks, seen_words }) => ({
    slots: (lanes + ring) * SLOT_WORDS,
    table: (lanes + ring) * max_blocks,
    offsets: lanes + ring,
    seen: (lanes + ring) * seen_words,
    owners: lanes + ring,
    queue: QUEUE_WORDS + 2 * lanes,
    tick: 1,
    out_owners: used,
  }),
  grid: () => [1, 1, 1],
  // What it reads of every lane; rows move when a sequence has ended.
  cost: ({ lanes, used }) => ({ flops: 0, bytes: 4 * (lanes + 2 * used) }),
});
