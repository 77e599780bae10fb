import { brotliCompressSync, gzipSync, zstdCompressSync } from "node:zlib";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { parquetWriteBuffer } from "hyparquet-writer";
import { microRows, PICTURE_FAMILIES } from "../../data/micro/world.ts";
import { encodePng } from "../../data/png.ts";
import { type ReadOptions, type ReadResult, readRows, type Row, streamRows } from "../../data/rows.ts";
import { UserError } from "../../gpu/errors.ts";

type WriteOptions = Parameters<typeof parquetWriteBuffer>[0];
type Schema = NonNullable<WriteOptions["schema"]>;

const families = PICTURE_FAMILIES.map((family) => family.name);
const MICRO = [...microRows({ seed: 1, count: 8, split: "train", families })];
const PNGS = MICRO.map((row) => encodePng(row.images![0]));

const text = (name: string): Schema[number] => ({
  name,
  type: "BYTE_ARRAY",
  converted_type: "UTF8",
  repetition_type: "OPTIONAL",
});
const bytes: Schema[number] = { name: "bytes", type: "BYTE_ARRAY", repetition_type: "OPTIONAL" };
/** Hugging Face's picture: bytes, and the name of the file they came from. */
const picture = (name: string): Schema => [
  { name, num_children: 2, repetition_type: "OPTIONAL" },
  bytes,
  text("path"),
];
const list = (name: string, element: Schema): Schema => [
  { name, num_children: 1, converted_type: "LIST", repetition_type: "OPTIONAL" },
  { name: "list", num_children: 1, repetition_type: "REPEATED" },
  ...element,
];
const table = (
  ...columns: Schema[]
): Schema => [{ name: "root", num_children: columns.length }, ...columns.flat()];

async function withFile<T>(
  options: WriteOptions,
  use: (path: string) => Promise<T>,
  name = "set.parquet",
): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${folder}/${name}`, new Uint8Array(parquetWriteBuffer(options)));
    return await use(`${folder}/${name}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The micro-world's picture rows as Hugging Face would store them, three rows to a group. */
function microTable(options: Partial<WriteOptions> = {}): WriteOptions {
  return {
    columnData: [
      { name: "id", data: MICRO.map((_, i) => BigInt(i)) },
      { name: "question", data: MICRO.map((row) => row.problem.replace("<image>", "")) },
      { name: "answer", data: MICRO.map((row) => row.answer) },
      { name: "caption", data: MICRO.map(() => "not read") },
      { name: "images", data: PNGS.map((png, i) => [{ bytes: png, path: `${i}.png` }]) },
    ],
    schema: table(
      [{ name: "id", type: "INT64", repetition_type: "REQUIRED" }],
      [text("question")],
      [text("answer")],
      [text("caption")],
      list("images", picture("element")),
    ),
    rowGroupSize: 3,
    ...options,
  };
}

const EXPECTED: Row[] = MICRO.map((row, i) => ({
  id: `${i}`,
  problem: row.problem,
  answer: row.answer,
  source: "set",
  images: [{ bytes: PNGS[i], path: `${i}.png` }],
}));

Deno.test("parquet: pictures inside the file, several row groups, every compression", async () => {
  const compressors = {
    GZIP: (data: Uint8Array) => new Uint8Array(gzipSync(data)),
    BROTLI: (data: Uint8Array) => new Uint8Array(brotliCompressSync(data)),
    ZSTD: (data: Uint8Array) => new Uint8Array(zstdCompressSync(data)),
  };
  for (const codec of ["UNCOMPRESSED", "SNAPPY", "GZIP", "BROTLI", "ZSTD"] as const) {
    await withFile(microTable({ codec, compressors }), async (path) => {
      const { rows, skipped } = await readRows(path);
      assertEquals(skipped, []);
      assertEquals(plain(rows), EXPECTED, codec);
    });
  }
});

/** Rows with their bytes as plain arrays of their own, whatever buffer they were cut from. */
function plain(rows: readonly Row[]): Row[] {
  return rows.map((row) => ({
    ...row,
    ...(row.images && {
      images: row.images.map((image) =>
        typeof image === "object" && "bytes" in image
          ? { ...image, bytes: new Uint8Array(image.bytes) }
          : image
      ),
    }),
  }));
}

Deno.test("parquet: named columns, choices, one picture, numbers, blanks; faults are counted by row", async () => {
  const n = 7;
  const columnData = [
    { name: "q", data: ["one?", "two?", null, "four?", "five?", "<image2>?", "seven?"] },
    { name: "gold", data: ["B", "10", "1", null, "7", "A", "x"] },
    { name: "options", data: [["9", "8"], ["10", "11"], null, null, [], ["1", "2"], ["1", "2"]] },
    {
      name: "photo",
      data: [
        { bytes: PNGS[0], path: null },
        { bytes: null, path: "pictures/b.png" },
        ...Array(n - 2).fill(null),
      ],
    },
    { name: "grade", data: [1, 2, 3, 4, 5, 6, 7] },
  ];
  const schema = table(
    [text("q")],
    [text("gold")],
    list("options", [text("element")]),
    picture("photo"),
    [{ name: "grade", type: "INT32", repetition_type: "REQUIRED" }],
  );
  const columns = { problem: "q", answer: "gold", choices: "options", images: "photo", level: "grade" };
  const read = (options: ReadOptions): Promise<ReadResult> =>
    withFile({ columnData, schema, rowGroupSize: 2 }, (path) => readRows(path, options), "Quiz.PARQUET");
  const { rows, skipped } = await read({ columns, imageDir: "/data" });
  assertEquals(plain(rows), [
    {
      id: "Quiz-1",
      problem: "<image>one?\nA. 9\nB. 8",
      answer: "B",
      acceptable: ["B", "8"],
      source: "Quiz",
      images: [{ bytes: PNGS[0] }],
      level: "1",
    },
    {
      id: "Quiz-2",
      problem: "<image>two?\nA. 10\nB. 11",
      answer: "10",
      acceptable: ["10", "A"],
      source: "Quiz",
      images: ["/data/pictures/b.png"],
      level: "2",
    },
    { id: "Quiz-5", problem: "five?", answer: "7", source: "Quiz", level: "5" },
  ]);
  assertEquals(skipped.map(({ reason, examples }) => [reason, examples.map(({ row }) => row)]), [
    ["no problem", [3]],
    ["no answer", [4]],
    ["mark without picture", [6]],
    ["answer not a choice", [7]],
  ]);
  const error = await assertRejects(() => read({}), UserError, "no usable row in 7");
  assertStringIncludes(
    error.message,
    'row 1: no problem: none of the columns "problem", "question", "prompt"',
  );
});

Deno.test("parquet: bytes that are text, in a column that does not say so, are text", async () => {
  const encode = (texts: string[]): Uint8Array[] => texts.map((t) => new TextEncoder().encode(t));
  const options = {
    columnData: [
      { name: "problem", data: encode(["π?", "two?"]), type: "BYTE_ARRAY" as const },
      { name: "answer", data: encode(["3.14", "2"]), type: "BYTE_ARRAY" as const },
      { name: "image", data: [PNGS[0], PNGS[1]], type: "BYTE_ARRAY" as const },
    ],
  };
  await withFile(options, async (path) => {
    const { rows } = await readRows(path);
    assertEquals(rows.map(({ problem, answer }) => [problem, answer]), [["<image>π?", "3.14"], [
      "<image>two?",
      "2",
    ]]);
    assertEquals(plain(rows).map(({ images }) => images), [[{ bytes: PNGS[0] }], [{ bytes: PNGS[1] }]]);
  });
  const broken = {
    columnData: [
      {
        name: "problem",
        data: [new Uint8Array([0xff, 0xfe]), ...encode(["two?"])],
        type: "BYTE_ARRAY" as const,
      },
      { name: "answer", data: ["1", "2"] },
    ],
  };
  await withFile(broken, async (path) => {
    const { rows, skipped } = await readRows(path);
    assertEquals(rows.map(({ id }) => id), ["set-2"]);
    assertEquals(skipped[0].reason, "wrong type");
    assertStringIncludes(skipped[0].examples[0].detail, '"2 bytes"');
  });
});

Deno.test("parquet: one row group at a time is read; a broken later one does not take the earlier rows", async () => {
  await withFile(microTable({ codec: "UNCOMPRESSED" }), async (path) => {
    // Wipe the second row group: what the file says of it stays, at its end.
    const file = await Deno.readFile(path);
    const marker = (png: Uint8Array): number => {
      const tail = png.slice(40, 72);
      for (let at = 0; at < file.length - tail.length; at++) {
        if (tail.every((byte, i) => file[at + i] === byte)) return at;
      }
      throw new Error("picture not found");
    };
    const from = marker(PNGS[3]) - 200, to = marker(PNGS[5]);
    assert(from > marker(PNGS[2]) && to < marker(PNGS[6]));
    await Deno.writeFile(path, file.fill(0xff, from, to));
    const ids: string[] = [];
    const error = await assertRejects(async () => {
      for await (const outcome of streamRows(path)) if ("row" in outcome) ids.push(outcome.row.id);
    }, UserError);
    assertEquals(ids, ["0", "1", "2"]);
    assertStringIncludes(error.message, "row group 2 of 3 (rows 4 to 6)");
    const { rows } = await readRows(path, { limit: 3 });
    assertEquals(plain(rows), EXPECTED.slice(0, 3));
  });
});

Deno.test("parquet: what is no such file is refused by name", async () => {
  await assertRejects(
    () => readRows("nowhere/none.parquet"),
    UserError,
    "nowhere/none.parquet: cannot be read",
  );
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/text.parquet`, '{"problem":"p","answer":"1"}\n');
    await assertRejects(() => readRows(`${folder}/text.parquet`), UserError, "text.parquet: cannot be read");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const none = { columnData: [{ name: "problem", data: [], type: "STRING" as const }] };
  await withFile(
    none,
    (path) => assertRejects(() => readRows(path), UserError, "the file is empty").then(() => {}),
  );
});
