import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { candidatesOf, type ReadOptions, type ReadResult, readRows, streamRows } from "../../data/rows.ts";
import { UserError } from "../../gpu/errors.ts";

/** Reads lines (objects as JSON, text as it is) from a file of that name. */
async function read(lines: unknown[], options?: ReadOptions, name = "set.jsonl"): Promise<ReadResult> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/${name}`;
    await Deno.writeTextFile(
      path,
      lines.map((l) => typeof l === "string" ? l : JSON.stringify(l)).join("\n"),
    );
    const result = await readRows(path, options);
    for (const row of result.rows) {
      if (row.images) row.images = row.images.map((image) => `${image}`.replace(folder, "FOLDER"));
    }
    return result;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("EasyR1's and TRL's column names are understood, with defaults for id and source", async () => {
  const { rows, skipped } = await read([
    { problem: " 1+1? ", answer: 2, level: 3, data_source: "sums" },
    { id: 7, question: "2+2?", answer: "4", solution: "2+2 = <<2+2=4>>4", image: "pictures/a.png" },
    {
      prompt: "3+3?",
      answer: "6",
      images: ["/b.png", "data:image/png;base64,AA=="],
      candidates: ["x \\boxed{6}"],
    },
    {
      prompt: [{ role: "system", content: "s" }, { role: "user", content: "4+4?" }],
      answer: "8",
      source: "chat",
    },
  ]);
  assertEquals(skipped, []);
  assertEquals(rows, [
    { id: "set-1", problem: "1+1?", answer: "2", source: "sums", level: "3" },
    {
      id: "7",
      problem: "<image>2+2?",
      answer: "4",
      source: "set",
      solution: "2+2 = 4",
      images: ["FOLDER/pictures/a.png"],
    },
    {
      id: "set-3",
      problem: "<image><image>3+3?",
      answer: "6",
      source: "set",
      candidates: ["x \\boxed{6}"],
      images: ["/b.png", "data:image/png;base64,AA=="],
    },
    { id: "set-4", problem: "4+4?", answer: "8", source: "chat" },
  ]);
});

Deno.test("the answer is found in GSM8K's last line and in a solution's box", async () => {
  const { rows } = await read([
    { question: "q1", answer: "She has <<3+4=7>>7.\n#### 7" },
    { problem: "q2", solution: "so \\boxed{1} no, \\boxed{\\frac{1}{2}}" },
    { problem: "q3", solution: "long way\n#### 1,200" },
  ]);
  assertEquals(rows.map(({ answer, solution }) => [answer, solution]), [
    ["7", "She has 7."],
    ["\\frac{1}{2}", "so \\boxed{1} no, \\boxed{\\frac{1}{2}}"],
    ["1200", "long way"],
  ]);
  assertEquals(rows.map(candidatesOf), [
    ["She has 7. \\boxed{7}"],
    ["so \\boxed{1} no, \\boxed{\\frac{1}{2}}"],
    ["long way \\boxed{1200}"],
  ]);
});

Deno.test("named columns, a named source and a limit", async () => {
  const lines = [1, 2, 3].map((n) => ({ q: `${n}?`, gold: n, problem: "not this" }));
  const { rows } = await read(lines, { columns: { problem: "q", answer: "gold" }, source: "mine", limit: 2 });
  assertEquals(rows, [
    { id: "set-1", problem: "1?", answer: "1", source: "mine" },
    { id: "set-2", problem: "2?", answer: "2", source: "mine" },
  ]);
});

Deno.test("every kind of bad row is left out and counted, with the first three lines named", async () => {
  const good = { id: "a", problem: "p", answer: "1" };
  const { rows, skipped } = await read([
    good,
    '{"problem": "cut off',
    "",
    [1, 2],
    { problem: "  ", answer: "1" },
    { problem: "p", answer: " " },
    { problem: "p", solution: "no box here" },
    { problem: "p", answer: null },
    { problem: "p" },
    { problem: "p", answer: { n: 1 } },
    { problem: "p", answer: "1", candidates: ["ok", ""] },
    { problem: [{ role: "assistant", content: "p" }], answer: "1" },
    good,
    { ...good, id: "b" },
  ]);
  assertEquals(rows.map((row) => row.id), ["a", "b"]);
  assertEquals(skipped.map(({ reason, count, examples }) => [reason, count, examples.map((e) => e.row)]), [
    ["not JSON", 1, [2]],
    ["empty line", 1, [3]],
    ["not a JSON object", 1, [4]],
    ["no problem", 1, [5]],
    ["no answer", 4, [6, 7, 8]],
    ["wrong type", 3, [10, 11, 12]],
    ["id used before", 1, [13]],
  ]);
  const details = new Map(skipped.map(({ reason, examples }) => [reason, examples[0].detail]));
  assertStringIncludes(details.get("not JSON")!, "cut off");
  assertStringIncludes(details.get("wrong type")!, 'column "answer" must be text or a number, not {"n":1}');
  assertStringIncludes(details.get("no problem")!, '"problem", "question", "prompt"');
});

Deno.test("a file that cannot be read, is empty, or has no good row stops with the file's name", async () => {
  const missing = await assertRejects(() => readRows("nowhere/none.jsonl"), UserError, "nowhere/none.jsonl");
  assertStringIncludes(missing.message, "cannot be read");
  await assertRejects(() => read([]), UserError, "the file is empty");
  await assertRejects(() => read(["", "  ", ""]), UserError, "the file is empty");
  const bad = await assertRejects(() => read([{ problem: "p" }, "?"], {}, "bad.jsonl"), UserError);
  assertStringIncludes(
    bad.message,
    "bad.jsonl: no usable row in 2 (no answer: 1, not JSON: 1); row 1: no answer",
  );
  const renamed = await assertRejects(
    () => read([{ problem: "p", answer: "1" }], { columns: { problem: "q" } }),
    UserError,
  );
  assertStringIncludes(renamed.message, '"q"');
});

Deno.test("a byte-order mark, CRLF line ends and a missing last line end do no harm", async () => {
  const line = '{"problem":"p","answer":"1","id":"';
  const { rows, skipped } = await read([`\uFEFF${line}a"}\r`, `${line}b"}\r`, ""]);
  assertEquals([rows.length, skipped.length], [2, 0]);
  assert(rows.every((row) => row.problem === "p"));
});

Deno.test("the shapes of real picture sets: choices, letters, marks within the sentence", async () => {
  const lines = [
    // Letters, free answers and a numbered mark, as MathVision has them.
    { id: "m-1", image: "m/1.jpg", question: "See <image1> here.", choices: [], answer: "63", level: 4 },
    { id: "m-2", image: "m/2.jpg", question: "Which?", choices: ["A", "B", "C"], answer: "B", level: 1 },
    { id: "m-3", image: "m/3.jpg", question: "How many?", choices: ["$1$", "$2$"], answer: "A", level: 1 },
    // The right choice's text, as PuzzleVQA and TabMWP have it.
    { id: "p-1", image: "p/1.png", question: "Missing?", choices: ["6", "5"], answer: "5", subject: "x" },
    { id: "t-1", image: "t/1.png", question: "Sum?", choices: null, answer: "1,234", unit: "$" },
    // Geometry3K: a letter, and the value beside it.
    {
      id: "g-1",
      image: "g/1.png",
      question: "Find $x$.",
      choices: ["12", "13"],
      answer: "B",
      answer_value: 13,
    },
    { id: "bad", image: "g/2.png", question: "Find $x$.", choices: ["12", "13"], answer: "C" },
    { id: "odd", image: "g/2.png", question: "Find $x$.", choices: "12 or 13", answer: "A" },
    { id: "lost", question: "In <image1>?", answer: "A" },
    { id: "none", image: { width: 3 }, question: "What?", answer: "A" },
  ];
  const { rows, skipped } = await read(lines, { imageDir: "/pictures/" });
  assertEquals(
    rows.map(({ id, problem, answer, acceptable, images }) => [id, problem, answer, acceptable, images]),
    [
      ["m-1", "See <image> here.", "63", undefined, ["/pictures/m/1.jpg"]],
      ["m-2", "<image>Which?\nA\nB\nC", "B", ["B"], ["/pictures/m/2.jpg"]],
      ["m-3", "<image>How many?\nA. $1$\nB. $2$", "A", ["A", "$1$"], ["/pictures/m/3.jpg"]],
      ["p-1", "<image>Missing?\nA. 6\nB. 5", "5", ["5", "B"], ["/pictures/p/1.png"]],
      ["t-1", "<image>Sum?", "1,234", undefined, ["/pictures/t/1.png"]],
      ["g-1", "<image>Find $x$.\nA. 12\nB. 13", "B", ["B", "13"], ["/pictures/g/1.png"]],
    ],
  );
  assertEquals(skipped.map(({ reason, examples }) => [reason, examples.map((e) => e.row)]), [
    ["answer not a choice", [7]],
    ["wrong type", [8, 10]],
    ["mark without picture", [9]],
  ]);
  assertStringIncludes(skipped[1].examples[1].detail, 'column "image" must be one or a list of paths');
});

Deno.test("pictures lie beside the data file, or where the options say", async () => {
  const line = { problem: "p", answer: "1", images: ["a.png", "/b.png", "data:image/png;base64,AA=="] };
  const rest = ["/b.png", "data:image/png;base64,AA=="];
  assertEquals((await read([line])).rows[0].images, ["FOLDER/a.png", ...rest]);
  for (const imageDir of ["/elsewhere", "/elsewhere/"]) {
    assertEquals((await read([line], { imageDir })).rows[0].images, ["/elsewhere/a.png", ...rest]);
  }
});

Deno.test("a stream gives rows and faults in their places, and a long file whatever the pieces it comes in", async () => {
  const path = await Deno.makeTempFile({ suffix: ".jsonl" });
  try {
    const lines = Array.from(
      { length: 3000 },
      (_, i) => i % 7 === 3 ? "{" : JSON.stringify({ id: i, problem: `${"é".repeat(i % 90)}?`, answer: i }),
    );
    await Deno.writeTextFile(path, lines.join("\n"));
    const got: (string | number)[] = [];
    for await (const outcome of streamRows(path)) {
      got.push("row" in outcome ? `${outcome.row.problem.length} ${outcome.row.answer}` : outcome.number);
    }
    assertEquals(got, lines.map((_, i) => i % 7 === 3 ? i + 1 : `${i % 90 + 1} ${i}`));
    assertEquals((await readRows(path, { limit: 4 })).rows.map((row) => row.id), ["0", "1", "2", "4"]);
    assertEquals(await readRows(path, { limit: 0 }), { rows: [], skipped: [] });
  } finally {
    await Deno.remove(path);
  }
});
