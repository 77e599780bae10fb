/**
 * The state of decode slots, and the start of a decode step: who is in which lane, and what the model's kernels read.
 * Layouts in slots.wgsl and slots_refill.wgsl.
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

type RefillBinding = "slots" | "table" | "offsets" | "seen" | "owners" | "queue" | "tick" | "out_owners";
type RefillDim = "lanes" | "used" | "ring" | "max_blocks" | "seen_words";

const refillBy = (name: string, THREADS: number): KernelSpec<RefillBinding, RefillDim> =>
  defineKernel({
    name,
    source: SHADERS.slots_refill,
    consts: { THREADS },
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

/** Most trips of one thread's loops: a software adapter may stop at 65,535. */
const MOST_TRIPS = 40_000;

/**
 * {@link refillSlots} for software adapters, where a barrier between more threads than a vector has costs as much as a
 * product.
 */
export const refillSlotsSmall: KernelSpec<RefillBinding, RefillDim> = refillBy("slots_small.refill", 16);

/**
 * Moves the live sequences of `lanes` lanes together and lets those that stand by take what is left of the first `used`:
 * lanes + ring rows of `slots` [.., 8], `table` [.., max_blocks], `offsets`, `seen` [.., seen_words] and `owners` [..]; `queue`
 * [2 + 2 lanes] = taken, placed, room. Row tick / used of `out_owners` [ticks, used] tells who is where,
 * {@link NO_OWNER} where nobody is; rows past the end are not written. `seen_words` 0 leaves `seen` out.
 */
export const refillSlots: KernelSpec<RefillBinding, RefillDim> = {
  ...refillBy("slots.refill", 256),
  fit: ({ lanes, ring }, { software }, { table, seen }) => {
    const [slots, standby] = [lanes as number, ring as number];
    const words = SLOT_WORDS + (table + seen) / (slots + standby);
    return software && slots * words / 16 < MOST_TRIPS ? refillSlotsSmall : refillBy("slots.refill", 256);
  },
};
