/** Cases and planted mistakes of the start of a decode step. @module */
import { beginStep } from "../../shaders/slots.ts";
import type { KernelCase, Mistake } from "./case.ts";

/** One slot, and more than a workgroup; dead slots between live ones; first and last position of a block. */
export function cases(): KernelCase[] {
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
