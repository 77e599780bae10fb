import { inflateSync } from "node:zlib";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { parseArguments } from "../../cli/arguments.ts";
import { data } from "../../cli/data.ts";
import { exportRows } from "../../data/micro/export.ts";
import { FAMILY_NAMES, microRows } from "../../data/micro/world.ts";
import type { Picture } from "../../data/picture.ts";
import { encodePng } from "../../data/png.ts";
import { readRows } from "../../data/rows.ts";
import { UserError } from "../../gpu/errors.ts";

/** CRC-32 bit by bit, as annex D of the PNG specification has it. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** Reads the one kind of PNG that we write, checking every byte outside the pixels. */
function decodePng(png: Uint8Array): Picture {
  const view = new DataView(png.buffer, png.byteOffset, png.length);
  assertEquals([...png.slice(0, 8)], [137, 80, 78, 71, 13, 10, 26, 10]);
  const types: string[] = [];
  let width = 0, height = 0, pixels = new Uint8Array();
  for (let at = 8; at < png.length;) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...png.slice(at + 4, at + 8));
    const body = png.slice(at + 8, at + 8 + length);
    assertEquals(view.getUint32(at + 8 + length), crc32(png.slice(at + 4, at + 8 + length)), type);
    if (type === "IHDR") {
      [width, height] = [view.getUint32(at + 8), view.getUint32(at + 12)];
      assertEquals([...body.slice(8)], [8, 2, 0, 0, 0]);
    }
    if (type === "IDAT") pixels = new Uint8Array(inflateSync(body));
    types.push(type);
    at += length + 12;
  }
  assertEquals(types, ["IHDR", "IDAT", "IEND"]);
  assertEquals(pixels.length, height * (3 * width + 1));
  for (let y = 0; y < height; y++) assertEquals(pixels[y * (3 * width + 1)], 0);
  return { width, height, rgb: () => pixels.filter((_, i) => i % (3 * width + 1) !== 0) };
}

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("png: any picture comes back pixel for pixel", () => {
  const picture = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })).chain((
    [width, height],
  ) =>
    fc.uint8Array({ minLength: 3 * width * height, maxLength: 3 * width * height }).map((rgb) => ({
      width,
      height,
      rgb: () => rgb,
    }))
  );
  fc.assert(
    fc.property(picture, (picture) => {
      const read = decodePng(encodePng(picture));
      assertEquals([read.width, read.height], [picture.width, picture.height]);
      assertEquals(read.rgb(), picture.rgb());
    }),
    { seed: 2, numRuns: 200 },
  );
});

Deno.test("export: readRows gives the same problems back, with the same pictures", async () => {
  await inFolder(async (folder) => {
    const rows = [...microRows({ seed: 5, count: 54, split: "heldout", families: FAMILY_NAMES })];
    const written = await exportRows(rows, `${folder}/deep/set/`);
    assertEquals(written, { path: `${folder}/deep/set/problems.jsonl`, rows: 54, pictures: 24 });
    const back = await readRows(written.path);
    assertEquals(back.skipped, []);
    assertEquals(
      back.rows.map(({ images: _, ...row }) => row),
      rows.map(({ images: _, k: __, traces: ___, ...row }) => row),
    );
    for (const [i, { images = [] }] of back.rows.entries()) {
      const drawn = rows[i].images ?? [];
      assertEquals(images.length, drawn.length);
      for (const [j, path] of images.entries()) {
        assert(typeof path === "string");
        const read = decodePng(await Deno.readFile(path));
        assertEquals(read.rgb(), drawn[j].rgb());
        assertEquals([read.width, read.height], [drawn[j].width, drawn[j].height]);
      }
    }
    const again = await assertRejects(() => exportRows(rows, `${folder}/deep/set`), UserError);
    assertStringIncludes(again.message, "problems.jsonl exists already");
  });
});

Deno.test("data export: the command's options and what it writes", async () => {
  assertEquals(parseArguments(["data", "export", "--out", "o"]), {
    command: "data",
    args: { out: "o", count: 96, split: "train", seed: 0 },
  });
  await inFolder(async (folder) => {
    const invocation = parseArguments(
      [
        "data",
        "export",
        "--out",
        folder,
        "--count",
        "6",
        "--split",
        "heldout",
        "--families",
        "odd, sum",
        "--seed",
        "3",
      ],
    );
    assert(invocation.command === "data");
    const printed: unknown[] = [];
    const log = console.log;
    console.log = (...what: unknown[]): void => void printed.push(...what);
    try {
      assertEquals(await data(invocation.args), 0);
    } finally {
      console.log = log;
    }
    assertEquals(printed, [`written: ${folder}/problems.jsonl (6 problems, 3 pictures)`]);
    const { rows } = await readRows(`${folder}/problems.jsonl`);
    assertEquals(rows.map(({ source }) => source), ["odd", "sum", "odd", "sum", "odd", "sum"]);
    assertEquals(rows[0].id, "micro-heldout-3-0");
    const unknown = { ...invocation.args, out: `${folder}/other`, families: "odd,sums" };
    await assertRejects(() => data(unknown), UserError, 'no family "sums"');
  });
});
