/** Cases and planted mistakes of the start of a decode step. @module */
import { beginStep, refillSlots, refillSlotsSmall } from "../../shaders/slots.ts";
import type { KernelCase, Mistake } from "./case.ts";

/** Lanes, lanes used, ring, sequences taken and placed so far, and the live lanes. */
interface Refill {
  readonly lanes: number;
  readonly used: number;
  readonly ring: number;
  readonly taken: number;
  readonly placed: number;
  readonly live: (lane: number) => boolean;
  readonly seenWords: number;
  readonly tick: number;
}

const BLOCKS = 3;

/** What {@link refillSlots} has to do, a row at a time. */
function refilled(inputs: KernelCase["inputs"], r: Refill): Record<string, number[]> {
  const rows = (name: string) => {
    const width = inputs[name].length / (r.lanes + r.ring);
    return Array.from(
      { length: r.lanes + r.ring },
      (_, i) => [...inputs[name].subarray(i * width, (i + 1) * width)],
    );
  };
  const names = ["slots", "table", "offsets", "owners", ...r.seenWords > 0 ? ["seen"] : []];
  const state = Object.fromEntries(names.map((name) => [name, rows(name)]));
  const alive = (lane: number) => state.slots[lane][2] === 1;
  const move = (dest: number, source: number) => {
    for (const name of names) state[name][dest] = [...state[name][source]];
    if (source < r.lanes) state.slots[source][2] = 0;
  };
  const lanes = Array.from({ length: r.lanes }, (_, i) => i);
  const live = lanes.filter(alive).length;
  const take = Math.min(r.placed - r.taken, Math.max(0, r.used - live));
  const holes = lanes.filter((lane) => lane < live + take && !alive(lane));
  const last = lanes.filter(alive).reverse();
  holes.forEach((lane, k) => move(lane, k < take ? r.lanes + (r.taken + k) % r.ring : last[k - take]));
  const out = Array.from({ length: inputs.out_owners.length }, () => 7);
  for (let s = 0; s < r.used && r.tick + s < out.length; s++) {
    out[r.tick + s] = alive(s) ? state.owners[s][0] : 0xffffffff;
  }
  return {
    ...Object.fromEntries(names.map((name) => [name, state[name].flat()])),
    ...r.seenWords === 0 ? { seen: [...inputs.seen] } : {},
    queue: [r.taken + take, r.placed],
    out_owners: out,
  };
}

function refillCase(kernel: typeof refillSlots, r: Refill): KernelCase {
  const rows = r.lanes + r.ring;
  const fill = (width: number, from: number) =>
    Uint32Array.from({ length: rows * width }, (_, i) => from + i);
  const slots = fill(8, 1000);
  for (let row = 0; row < rows; row++) slots[row * 8 + 2] = row >= r.lanes || r.live(row) ? 1 : 0;
  const { lanes, used, ring, taken, placed, seenWords, tick } = r;
  const inputs = {
    slots,
    table: fill(BLOCKS, 20000),
    offsets: fill(1, 40000),
    seen: fill(2, 50000),
    owners: fill(1, 60000),
    queue: Uint32Array.from({ length: 2 + 2 * lanes }, (_, i) => [taken, placed][i] ?? 9),
    tick: Uint32Array.of(tick),
    out_owners: new Uint32Array(2 * used).fill(7),
  };
  const bytes = { ...inputs, seen: seenWords > 0 ? inputs.seen : Uint32Array.of(5, 6, 7) };
  return {
    name: `lanes=${lanes} used=${used} ring=${ring} queue=${taken}..${placed} seen=${seenWords} tick=${tick}`,
    kernel,
    inputs: bytes,
    dims: { lanes, used, ring, max_blocks: BLOCKS, seen_words: seenWords },
    expected: (given) => refilled(given, r),
    tolerance: 0,
  };
}

/** Nobody there, nothing to do, more and fewer that stand by than dead lanes, a ring that wraps, lanes that move together. */
function refillCases(): KernelCase[] {
  const all = { seenWords: 2, tick: 0 };
  const wide = { ...refillSlots, fit: undefined };
  return [
    { lanes: 1, used: 1, ring: 1, taken: 0, placed: 1, live: () => false },
    { lanes: 5, used: 5, ring: 4, taken: 3, placed: 3, live: () => true },
    { lanes: 5, used: 5, ring: 8, taken: 6, placed: 12, live: (s: number) => s % 2 === 0, tick: 5 },
    { lanes: 9, used: 7, ring: 5, taken: 4, placed: 9, live: (s: number) => s > 4, seenWords: 0 },
    { lanes: 9, used: 6, ring: 5, taken: 4, placed: 5, live: (s: number) => s % 3 !== 0, tick: 12 },
    { lanes: 123, used: 60, ring: 50, taken: 77, placed: 80, live: (s: number) => s % 7 === 3 },
    { lanes: 600, used: 600, ring: 300, taken: 250, placed: 550, live: (s: number) => s % 5 < 2 },
    { lanes: 600, used: 250, ring: 300, taken: 1, placed: 1, live: (s: number) => s % 3 === 0 },
  ].flatMap((r) => [wide, refillSlotsSmall].map((kernel) => refillCase(kernel, { ...all, ...r })));
}

/** One slot, and more than a workgroup; dead slots between live ones; first and last position of a block. */
export function cases(): KernelCase[] {
  return [...refillCases(), ...beginCases()];
}

function beginCases(): KernelCase[] {
  return [[1, 1, 16], [5, 3, 4], [70, 9, 16]].map(([slots, max_blocks, block_size]) => {
    const state = new Uint32Array(slots * 8);
    // Every third sequence has seen pictures: its positions run behind.
    const offsets = new Uint32Array(slots).map((_, s) =>
      s % 3 === 0 ? -Math.min(s, (s * 5) % (max_blocks * block_size)) : 0
    );
    const table = new Uint32Array(slots * max_blocks).map((_, i) => (i * 7 + 3) % 101);
    const expected = {
      ids: new Uint32Array(slots),
      positions: new Uint32Array(slots),
      rows: new Uint32Array(slots).fill(0xffffffff),
    };
    for (let s = 0; s < slots; s++) {
      const position = (s * 5) % (max_blocks * block_size);
      const alive = s % 3 !== 1 ? 1 : 0;
      state.set([s + 10, position, alive, 99, 1, 2, 3, 0], s * 8);
      if (!alive) continue;
      expected.ids[s] = s + 10;
      expected.positions[s] = position + offsets[s];
      expected.rows[s] = table[s * max_blocks + Math.floor(position / block_size)] * block_size +
        position % block_size;
    }
    const blank = () => new Uint32Array(slots).fill(7);
    return {
      name: `slots=${slots} blocks=${max_blocks}x${block_size}`,
      kernel: beginStep,
      inputs: { slots: state, table, offsets, ids: blank(), positions: blank(), rows: blank() },
      dims: { slots, max_blocks, block_size },
      expected: () => expected,
      tolerance: 0,
    };
  });
}

/** Mistakes that the cases must reject. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "slots.refill",
    mistake: {
      why: "a sequence that moves also stays",
      from: "if (word == 2u && source < rd.lanes)",
      to: "if (false)",
    },
  },
  {
    kernel: "slots.refill",
    mistake: { why: "the ring does not wrap", from: "(head + k) % rd.ring", to: "head + k" },
  },
  {
    kernel: "slots.refill",
    mistake: { why: "taken twice", from: "queue[0] = head + take;", to: "queue[0] = head;" },
  },
  {
    kernel: "slots.refill",
    mistake: {
      why: "lanes that are not used are filled",
      from: "max(rd.used, sum) - sum",
      to: "rd.lanes - sum",
    },
  },
  {
    kernel: "slots.refill",
    mistake: {
      why: "seen tokens stay behind",
      from: "10u + rd.max_blocks + rd.seen_words",
      to: "10u + rd.max_blocks",
    },
  },
  {
    kernel: "slots.refill",
    mistake: { why: "the owner of before", from: "owners[dest] = owners[source];", to: "" },
  },
  {
    kernel: "slots.begin_step",
    mistake: { why: "the rotary offset is lost", from: "position + offsets[s]", to: "position" },
  },
  {
    kernel: "slots.begin_step",
    mistake: { why: "dead slots write", from: "if (slots[s * 8u + 2u] == 1u)", to: "if (true)" },
  },
  {
    kernel: "slots.begin_step",
    mistake: { why: "offset within the block lost", from: " + position % d.block_size", to: "" },
  },
];
