import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { familyTable, levelTable } from "../../cli/evaluation_tables.ts";
import type { GroupFigures } from "../../trainer/evaluate.ts";
import type { EvaluationRecord } from "../../trainer/run_state.ts";

const group = (accuracy: number): GroupFigures => ({
  problems: 6,
  samples: 12,
  accuracy,
  interval: [0, 1],
  passAt1: accuracy,
  passAt1Interval: [0, 1],
  length: 100 * accuracy + 0.25,
  highEntropy: accuracy,
  clipped: 0,
});

/** Every figure of its own: `base` and the place of family and level. */
function evaluation(base: number, families: string[]): EvaluationRecord {
  const levels = ["easy", "hard"];
  const cells = families.map((f, i) =>
    [f, Object.fromEntries(levels.map((l, j) => [l, group(base + 0.1 * i + 0.01 * j)]))] as const
  );
  return {
    all: group(base + 0.5),
    byLevel: { easy: group(base + 0.51), hard: group(base + 0.52) },
    bySource: Object.fromEntries(families.map((f, i) => [f, group(base + 0.1 * i + 0.05)])),
    bySourceAndLevel: Object.fromEntries(cells),
    threshold: 0.1234,
  };
}

/** The cells of a table's line. */
const cellsOf = (table: string, word: string, occurrence = 0): string[] =>
  table.split("\n").filter((line) => line.includes(word))[occurrence].split("│").slice(1, -1).map((c) =>
    c.trim()
  );

Deno.test("evaluation tables: by difficulty, a row a model, with the yardstick of N_HE said", () => {
  const table = levelTable({
    base: evaluation(0, ["sum", "tally"]),
    aepo_20: evaluation(0.1, ["sum", "tally"]),
    aepo: evaluation(0.2, ["sum", "tally"]),
  });
  assertStringIncludes(table, "6 held-out problems, 2 samples each");
  assertStringIncludes(table, "above τ = 0.123 nats, base's own for all");
  assertEquals(cellsOf(table, "accuracy %"), ["accuracy %", "base", "51.0", "52.0", "50.0"]);
  assertEquals(cellsOf(table, "aepo ", 2), ["", "aepo", "0.71", "0.72", "0.70"]);
  assert(table.includes("aepo_20"));
});

Deno.test("evaluation tables: by family, a cell holds the models in order", () => {
  const table = familyTable({
    base: evaluation(0, ["sum", "tally"]),
    adacs: evaluation(0.2, ["sum", "tally"]),
    aepo_20: evaluation(0.25, ["sum", "tally"]),
    aepo: evaluation(0.3, ["sum"]),
  })!;
  assertStringIncludes(table, "by family: base → adacs → aepo\n");
  assertEquals(cellsOf(table, "sum"), ["accuracy %", "sum", "0 → 20 → 30", "1 → 21 → 31", "5 → 25 → 35"]);
  assertEquals(cellsOf(table, "tally", 1), ["", "tally", "10 → 30 → –", "11 → 31 → –", "15 → 35 → –"]);
  assertEquals(cellsOf(table, "sum", 2), [
    "N_HE",
    "sum",
    "0.0 → 0.2 → 0.3",
    "0.0 → 0.2 → 0.3",
    "0.1 → 0.3 → 0.3",
  ]);
});

Deno.test("evaluation tables: none by family where there is one source only", () => {
  assertEquals(familyTable({ base: evaluation(0, ["sum"]) }), undefined);
  const one = familyTable({ model: evaluation(0, ["sum", "tally"]) })!;
  assertStringIncludes(one, "by family\n");
  assertEquals(cellsOf(one, "sum"), ["accuracy %", "sum", "0", "1", "5"]);
});
