import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { Drawing } from "../../data/micro/drawing.ts";
import { DIFFICULTIES, type Difficulty } from "../../data/micro/problem.ts";
import type { Style } from "../../data/micro/trace.ts";
import {
  FAMILY_NAMES,
  type MicroRow,
  microRows,
  PICTURE_FAMILIES,
  pretrainExamples,
} from "../../data/micro/world.ts";
import { boxedAnswer } from "../../data/solution.ts";
import { solvePicture } from "./picture_reader.ts";

const families = PICTURE_FAMILIES.map((family) => family.name);
const MIXTURE = {
  difficultyWeights: [1, 1, 1, 1, 1, 1],
  styleWeights: { easy: [1, 1, 1], medium: [1, 1, 1], hard: [1, 1, 1] },
  errors: { step: 0.02, firstPass: 0.08, direct: 0.02 },
} as const;

/** What a pass through the problem says it saw, in the reader's words. */
function readings(source: string, work: string): string[] {
  if (source === "tally") return work.match(/[a-z]+ [a-z]+(?=[:;])/g) ?? [];
  if (source === "grid") return work.match(/(?<![=\d])\d(?=[+=])/g) ?? [];
  if (source === "chart") return work.replace(/ then.*/, "").match(/\d/g) ?? [];
  return work.match(/\d [a-z]+(?=;)/g) ?? [];
}

function picture(row: MicroRow): Drawing {
  const [drawing, ...more] = row.images ?? [];
  assert(drawing instanceof Drawing && more.length === 0);
  return drawing;
}

const anyRow = fc.record({
  seed: fc.nat(1_000_000),
  split: fc.constantFrom("train" as const, "heldout" as const),
  family: fc.constantFrom(...families),
  k: fc.constantFrom(...DIFFICULTIES),
}).map(({ seed, split, family, k }) =>
  [...microRows({ seed, count: 1, split, families: [family], difficulties: [k] })][0]
);

Deno.test("text, picture, answer and traces agree: the pixels alone give the answer and every reading", () => {
  fc.assert(
    fc.property(anyRow, (row) => {
      const { answer, seen } = solvePicture(row.problem, picture(row));
      assertEquals(row.answer, `${answer}`, row.problem);
      assertEquals(seen.length, row.k + (["tally", "odd"].includes(row.source) ? 2 : 1));
      for (const { style, text } of row.traces) {
        assertEquals(boxedAnswer(text), row.answer);
        if (style === "direct") continue;
        const passes = text.replace(/<\/think>.*/, "").split("wait, check:");
        // A first pass may slip; the last one never does here.
        assertEquals(readings(row.source, passes.at(-1)!), seen, text);
      }
    }),
    { numRuns: 600, seed: 3 },
  );
});

Deno.test("pictures are whole image tokens, 4 to 9 of them, and rendered the same every time", () => {
  fc.assert(
    fc.property(anyRow, (row) => {
      const { width, height } = picture(row);
      assert(width % 28 === 0 && height % 28 === 0);
      const tokens = width * height / 28 ** 2;
      assert(tokens >= 4 && tokens <= 9, `${width} × ${height}`);
      const once = picture(row).rgb();
      assertEquals(once.length, width * height * 3);
      const before = once.slice();
      once.fill(0);
      assertEquals(picture(row).rgb(), before, "a caller's change shows in the next rendering");
      assertEquals(row.problem.split("<image>").length, 2);
    }),
    { numRuns: 200, seed: 4 },
  );
  const rows = (seed: number, count = 96) => [
    ...microRows({ seed, count, split: "train", families: FAMILY_NAMES }),
  ];
  assertEquals(rows(3), rows(3, 120).slice(0, 96));
  const pixels = (list: MicroRow[]) => list.map((row) => row.images?.[0].rgb());
  assertEquals(pixels(rows(3)), pixels(rows(3)));
  assertNotEquals(pixels(rows(3)), pixels(rows(4)));
  for (const row of rows(3)) assertEquals(row.images === undefined, !families.includes(row.source));
});

Deno.test("the same things stand in different places: a picture is more than its content", () => {
  const rows = [...microRows({ seed: 8, count: 400, split: "train", families: ["grid"], difficulties: [1] })];
  const byContent = new Map<string, Set<string>>();
  for (const row of rows) {
    const pictures = byContent.get(picture(row).content) ?? new Set();
    byContent.set(picture(row).content, pictures.add(picture(row).rgb().join()));
  }
  assert([...byContent.values()].some((pictures) => pictures.size > 2));
});

Deno.test("no question about the same sight lies on both sides of the split", () => {
  const sight = (problem: string, image: MicroRow["images"]): string =>
    `${problem} ${solvePicture(problem, image![0]).seen}`;
  const heldOut = new Set<string>();
  for (const row of microRows({ seed: 1, count: 1200, split: "heldout", families, difficulties: [1, 2] })) {
    heldOut.add(sight(row.problem, row.images));
  }
  const trained = new Set<string>();
  for (const row of microRows({ seed: 2, count: 1200, split: "train", families, difficulties: [1, 2] })) {
    trained.add(sight(row.problem, row.images));
  }
  const mixture = { ...MIXTURE, difficultyWeights: [1, 1, 0, 0, 0, 0], families };
  const examples = pretrainExamples(1, "pictures", mixture);
  for (let i = 0; i < 3000; i++) {
    const { prompt, images } = examples.next().value;
    trained.add(sight(prompt, images));
  }
  for (const problem of heldOut) assert(!trained.has(problem), problem);
  // Nearly all 144 charts of k = 1 are seen on one side or the other, so that a leak there could not hide.
  const charts = [...heldOut, ...trained].filter((s) => /bar\? \d,\d$/.test(s));
  assert(charts.length > 130 && charts.length <= 144, `${charts.length} charts`);
});

Deno.test("without the picture, the best guess is mostly wrong", () => {
  const cells = new Map<string, Map<string, number>>();
  const count = 9600;
  for (const { source, k, problem, answer } of microRows({ seed: 6, count, split: "train", families })) {
    const question = `${source} ${k} ${problem.replace(/red|green|blue/, "…")}`;
    const answers = cells.get(question) ?? new Map();
    cells.set(question, answers.set(answer, (answers.get(answer) ?? 0) + 1));
  }
  let guessed = 0;
  for (const [question, answers] of cells) {
    const best = Math.max(...answers.values());
    const all = [...answers.values()].reduce((a, b) => a + b);
    assert(best / all < 0.45, `${question}: ${best} of ${all}`);
    guessed += best;
  }
  assert(guessed / count < 0.25, `${guessed} of ${count}`);
});

Deno.test("traces go wrong as told, and say truly whether they did", () => {
  const wrong: Record<Style, number> = { direct: 0, steps: 0, check: 0 };
  const all: Record<Style, number> = { direct: 0, steps: 0, check: 0 };
  const mixture = { ...MIXTURE, families, errors: { step: 0.1, firstPass: 0, direct: 0.02 } };
  const examples = pretrainExamples(5, "slips", mixture);
  for (let i = 0; i < 3000; i++) {
    const { prompt, response, images, trace } = examples.next().value;
    const { answer } = solvePicture(prompt, images![0]);
    assertEquals(trace.correct, boxedAnswer(response) === `${answer}`, response);
    assert(/^<think>[^<]+<\/think>\\boxed\{\d+\}$/.test(response), response);
    all[trace.style]++;
    wrong[trace.style] += trace.correct ? 0 : 1;
  }
  for (const style of ["steps", "check"] as const) {
    assert(wrong[style] / all[style] > 0.1 && wrong[style] / all[style] < 0.45, `${style}: ${wrong[style]}`);
  }
});

Deno.test("what is read and what is reckoned are decisions, marks between them are not", () => {
  const steps = (family: string, k: Difficulty): string[] => {
    const [row] = microRows({ seed: 2, count: 1, split: "train", families: [family], difficulties: [k] });
    const { text, decisions } = row.traces.find(({ style }) => style === "steps")!;
    decisions.forEach(({ start, end }, i) => assert(start < end && (decisions[i - 1]?.end ?? 0) <= start));
    return decisions.map(({ start, end, kind }) => `${kind}:${text.slice(start, end)}`);
  };
  const kinds = (family: string): string[] => steps(family, 1).map((decision) => decision.split(":")[0]);
  assertEquals(kinds("grid"), ["style", "reading", "reading", "result", "style", "answer"]);
  assertEquals(
    kinds("odd"),
    ["style", ...Array(6).fill("reading"), "result", "style", "answer"],
  );
  for (const family of families) {
    const marked = steps(family, 6);
    assertEquals(marked[0], "style:first");
    assert(marked.filter((decision) => decision.startsWith("reading:")).length >= 7, marked.join(" "));
    assert(
      marked.every((decision) => !/[=;:+]$/.test(decision) || decision === "result:;"),
      marked.join(" "),
    );
  }
});
