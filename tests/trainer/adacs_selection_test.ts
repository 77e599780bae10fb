import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { type AdacsProblem, selectAdacs, targetLength } from "../../trainer/adacs_selection.ts";

const problem = (correct: number, candidateLengths: number[], source = "s"): AdacsProblem => ({
  source,
  correct,
  samples: 8,
  candidateLengths,
});
const seeded = (seed: number) => () => (seed = (seed * 16807) % 2147483647) / 2147483647;
/** A table with `each` problems in every bracket; hard problems have long candidates. */
const table = (each: number, source = "s") =>
  Array.from({ length: 9 * each }, (_, i) => problem(i % 9, [10, 20, 30, 40], source));

Deno.test("target length runs from L(0) at p = 0 to L(1) at p = 1", () => {
  const ends = { hard: 40, easy: 10 };
  assertEquals([0, 0.5, 1].map((p) => targetLength(p, ends)), [40, 25, 10]);
});

Deno.test("ends are medians over the candidates of p = 0 and p = 1; the nearest candidate is chosen", () => {
  const problems = [
    ...Array.from({ length: 8 }, () => problem(0, [30, 40, 50])),
    ...Array.from({ length: 8 }, () => problem(8, [8, 10, 12])),
    problem(4, [5, 24, 27, 60]),
  ];
  const { chosen, ends, notes } = selectAdacs(problems, { count: 30 }, seeded(5));
  assertEquals(ends, { s: { hard: 40, easy: 10 } });
  assertEquals(notes.length, 1);
  assertStringIncludes(notes[0], "no problem at p = 1/8, 2/8, 3/8, 5/8");
  for (const c of chosen) {
    const length = problems[c.problem].candidateLengths[c.candidate];
    assertEquals([c.target, length], c.bracket === 0 ? [40, 40] : c.bracket === 8 ? [10, 10] : [25, 24]);
  }
  assert(chosen.some((c) => c.bracket === 8), "p = 1 stays in");
});

Deno.test("brackets are drawn equally often, whatever their sizes; a pool starts again when used up", () => {
  const problems = [...table(8), ...Array.from({ length: 200 }, () => problem(3, [10, 20]))];
  const { taken, available, chosen } = selectAdacs(problems, { count: 9 * 20 }, seeded(1));
  assertEquals(taken, new Array(9).fill(20));
  assertEquals(available[3], 208);
  const ofFirst = chosen.filter((c) => c.bracket === 0).map((c) => c.problem);
  const uses = Object.values(Object.groupBy(ofFirst, (p) => p)).map((list) => list!.length);
  assertEquals(uses.length, 8);
  assert(uses.every((n) => n === 2 || n === 3), `${uses}`);
});

Deno.test("sources have their own ends", () => {
  const long = table(8, "long").map((p) => ({ ...p, candidateLengths: [100, 200] }));
  const { ends } = selectAdacs([...table(8, "short"), ...long], { count: 9 }, seeded(1));
  assertEquals(ends, { short: { hard: 25, easy: 25 }, long: { hard: 150, easy: 150 } });
});

Deno.test("too few problems at an end: the nearest brackets join, and a note says so", () => {
  const problems = [
    problem(0, [100]),
    ...Array.from({ length: 3 }, () => problem(1, [80])),
    ...Array.from({ length: 5 }, () => problem(2, [60])),
    ...Array.from({ length: 8 }, () => problem(8, [10])),
  ];
  const { ends, notes } = selectAdacs(problems, { count: 4 }, seeded(1));
  assertEquals(ends.s, { hard: 60, easy: 10 });
  assertEquals(
    notes[0],
    "source s: 1 problems at p = 0; its length is the median over 9 problems with p <= 2/8",
  );
  assertEquals(selectAdacs(problems, { count: 4, minBracket: 1 }, seeded(1)).ends.s, { hard: 100, easy: 10 });
});

Deno.test("no p = 0 at all, one problem only, no candidates at all", () => {
  const easy = Array.from({ length: 9 }, () => problem(8, [10, 12, 14]));
  const none = selectAdacs(easy, { count: 3 }, seeded(1));
  assertEquals(none.ends.s, { hard: 12, easy: 12 });
  assertStringIncludes(none.notes[0], "0 problems at p = 0");

  const single = selectAdacs([problem(4, [7, 9])], { count: 2 }, seeded(1));
  assertEquals(single.chosen.map((c) => c.candidate), [0, 0]);
  assertEquals(single.ends.s, { hard: 8, easy: 8 });
  assertStringIncludes(single.notes[0], "fewer than 8 in all");

  const bare = selectAdacs([problem(4, []), problem(0, [])], { count: 2 }, seeded(1));
  assertEquals([bare.chosen, bare.taken.length], [[], 9]);
  assertStringIncludes(bare.notes.join(), "2 of 2 problems have no candidate");
  assertStringIncludes(bare.notes.join(), "nothing to fine-tune on");
  assertEquals(selectAdacs([], { count: 2 }, seeded(1)).chosen, []);
});

Deno.test("a token budget ends the choice with the example that reaches it", () => {
  const { chosen } = selectAdacs(table(8), { maxTokens: 100 }, seeded(2));
  const tokens = chosen.map((c) => [10, 20, 30, 40][c.candidate]);
  const total = tokens.reduce((a, b) => a + b, 0);
  assert(total >= 100 && total - tokens.at(-1)! < 100, `${total}`);
});

Deno.test("perProblem widens the pool to the next nearest candidates", () => {
  const problems = Array.from({ length: 8 }, () => problem(4, [10, 20, 30]));
  const used = (perProblem: number) =>
    new Set(selectAdacs(problems, { count: 60, perProblem }, seeded(4)).chosen.map((c) => c.candidate));
  assertEquals([used(1), used(2)], [new Set([1]), new Set([1, 0])]);
});

Deno.test("the generator decides everything", () => {
  const run = (seed: number) => JSON.stringify(selectAdacs(table(9), { count: 40 }, seeded(seed)).chosen);
  assertEquals(run(3), run(3));
  assert(run(3) !== run(4));
});

Deno.test("input that cannot be chosen from is refused", () => {
  assertThrows(() => selectAdacs(table(1), {}, seeded(1)), UserError, "max_tokens");
  assertThrows(() => selectAdacs([problem(9, [1])], { count: 1 }, seeded(1)), UserError, "9 right of 8");
  assertThrows(
    () => selectAdacs([problem(1, [0])], { maxTokens: 1 }, seeded(1)),
    UserError,
    "empty candidate",
  );
  assertThrows(() => selectAdacs(table(1), { count: 1, minBracket: 0 }, seeded(1)), UserError, "min_bracket");
});

Deno.test("uniform: problems whatever their pass rate, and their candidates whatever their length, equally often", () => {
  const problems = [
    ...Array.from({ length: 30 }, () => problem(8, [10, 40])),
    ...Array.from({ length: 10 }, () => problem(0, [10, 40])),
  ];
  const { chosen, taken, ends } = selectAdacs(problems, { count: 400, selection: "uniform" }, seeded(2));
  assertEquals([taken[0], taken[8]], [100, 300]);
  const uses = problems.map((_, i) => chosen.filter((c) => c.problem === i).length);
  assert(uses.every((n) => n === 10), `${uses}`);
  const long = chosen.filter((c) => c.candidate === 1).length;
  // Of 400 fair draws, 200 ± 4 standard deviations.
  assert(Math.abs(long - 200) < 40, `${long}`);
  assertEquals(ends.s, { hard: 25, easy: 25 });
  const short = selectAdacs(problems, { maxTokens: 100, selection: "uniform" }, seeded(2)).chosen;
  const tokens = (list: typeof chosen) =>
    list.reduce((n, c) => n + problems[c.problem].candidateLengths[c.candidate], 0);
  assert(tokens(short) >= 100 && tokens(short.slice(0, -1)) < 100);
  assertEquals(selectAdacs([], { count: 3, selection: "uniform" }, seeded(1)).chosen, []);
});
