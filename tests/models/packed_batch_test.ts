import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { groupByTokens, packSequences } from "../../models/packed_batch.ts";

Deno.test("packSequences: positions, segments, and one row for each scored token", () => {
  const batch = packSequences([
    { ids: [10, 11, 12, 13], scoreFrom: 2 },
    { ids: [20], scoreFrom: 1 },
    { ids: [30, 31], scoreFrom: 1 },
  ]);
  assertEquals(batch, {
    ids: Uint32Array.of(10, 11, 12, 13, 20, 30, 31),
    positions: Uint32Array.of(0, 1, 2, 3, 0, 0, 1),
    segments: Uint32Array.of(0, 4, 0, 4, 0, 4, 0, 4, 4, 5, 5, 7, 5, 7),
    // Tokens 1 and 2 predict 12 and 13, token 5 predicts 31.
    rows: Uint32Array.of(1, 2, 5),
    targets: Uint32Array.of(12, 13, 31),
    spans: Uint32Array.of(0, 2, 2, 0, 2, 1),
  });
});

Deno.test("packSequences: nothing to score, and nothing at all", () => {
  const unscored = packSequences([{ ids: [1, 2], scoreFrom: 2 }, { ids: [3], scoreFrom: 9 }]);
  assertEquals([unscored.rows.length, unscored.targets.length], [0, 0]);
  assertEquals(unscored.spans, Uint32Array.of(0, 0, 0, 0));
  assertEquals(packSequences([]).ids.length, 0);
});

Deno.test("packSequences: the first token of a sequence cannot be scored", () => {
  assertThrows(() => packSequences([{ ids: [1, 2], scoreFrom: 0 }]), RangeError, "scoreFrom = 0");
});

const sequence = fc.record({
  ids: fc.array(fc.nat(1000), { maxLength: 12 }),
  scoreFrom: fc.integer({ min: 1, max: 14 }),
});

Deno.test("packSequences: every row predicts the next token of its own sequence", () => {
  fc.assert(fc.property(fc.array(sequence, { maxLength: 8 }), (sequences) => {
    const batch = packSequences(sequences);
    let token = 0;
    sequences.forEach((s, i) => {
      const [row, rows] = batch.spans.subarray(2 * i, 2 * i + 2);
      assertEquals([...batch.targets.subarray(row, row + rows)], s.ids.slice(s.scoreFrom));
      for (let r = 0; r < rows; r++) {
        assertEquals(batch.rows[row + r], token + s.scoreFrom - 1 + r);
        assertEquals(batch.ids[batch.rows[row + r] + 1], batch.targets[row + r]);
        assertEquals(batch.segments[2 * batch.rows[row + r]], token);
      }
      token += s.ids.length;
    });
    assertEquals(batch.ids.length, token);
    const scored = sequences.reduce((n, s) => n + s.ids.slice(s.scoreFrom).length, 0);
    assertEquals(batch.rows.length, scored);
  }));
});

Deno.test("groupByTokens: order is kept, no group exceeds the limit, none could take the next sequence", () => {
  fc.assert(
    fc.property(fc.array(sequence, { maxLength: 20 }), fc.integer({ min: 12, max: 40 }), (all, limit) => {
      const groups = groupByTokens(all, limit);
      assertEquals(groups.flat(), all);
      const sizes = groups.map((g) => g.reduce((n, s) => n + s.ids.length, 0));
      sizes.forEach((size, i) => {
        assertEquals(size <= limit, true);
        if (i > 0) assertEquals(sizes[i - 1] + groups[i][0].ids.length > limit, true);
      });
    }),
  );
  assertEquals(groupByTokens([], 5), []);
});

Deno.test("groupByTokens: a sequence that fits no group is refused", () => {
  assertThrows(() => groupByTokens([{ ids: [1] }, { ids: [1, 2, 3] }], 2), RangeError, "3 tokens");
});
