/** Decoding: every format is written here by the library, then read back through the product. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { crc32 } from "node:zlib";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import sharp from "sharp";
import { UserError } from "../../gpu/errors.ts";
import { decodeImage } from "../../models/image.ts";

/** 6 × 2 pixels, all different. */
const WIDTH = 6;
const HEIGHT = 2;
const RGB = Uint8Array.from(
  [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 64, 32]]
    .flatMap((colour) => [colour, colour.map((level) => 200 - level * 3 / 5)]).flat(),
);
type Sharp = ReturnType<typeof sharp>;
const drawn = (): Sharp => sharp(RGB, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } });
/** The same pixels large enough for lossy formats to keep the middle of each. */
const BLOCK = 16;
const enlarged = (): Sharp =>
  drawn().resize(WIDTH * BLOCK, HEIGHT * BLOCK, { kernel: "nearest", fit: "fill" });

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The largest difference between a picture's block middles and {@link RGB}. */
async function middlesOff(file: Uint8Array): Promise<number> {
  const { width, height, rgb } = await decodeImage(file);
  assertEquals([width, height], [WIDTH * BLOCK, HEIGHT * BLOCK]);
  let worst = 0;
  for (let i = 0; i < RGB.length; i++) {
    const [pixel, c] = [Math.floor(i / 3), i % 3];
    const y = Math.floor(pixel / WIDTH) * BLOCK + BLOCK / 2;
    const x = pixel % WIDTH * BLOCK + BLOCK / 2;
    worst = Math.max(worst, Math.abs(rgb[3 * (y * width + x) + c] - RGB[i]));
  }
  return worst;
}

Deno.test("image: PNG and lossless WebP come back exactly; a palette too", async () => {
  const files = {
    rgb: await drawn().png().toBuffer(),
    interlaced: await drawn().png({ progressive: true }).toBuffer(),
    palette: await drawn().png({ palette: true, colours: 256, dither: 0 }).toBuffer(),
    webp: await drawn().webp({ lossless: true }).toBuffer(),
  };
  assert((await sharp(files.palette).metadata()).isPalette);
  for (const [name, file] of Object.entries(files)) {
    assertEquals(
      await decodeImage(file),
      { width: WIDTH, height: HEIGHT, rgb: new Uint8Array(RGB) },
      name,
    );
  }
});

Deno.test("image: gray becomes three equal channels", async () => {
  const gray = Uint8Array.from([0, 1, 127, 128, 254, 255]);
  const source = sharp(gray, { raw: { width: 3, height: 2, channels: 1 } }).toColourspace("b-w");
  const png = await source.clone().png().toBuffer();
  assertEquals((await sharp(png).metadata()).channels, 1);
  assertEquals([...(await decodeImage(png)).rgb], [...gray].flatMap((v) => [v, v, v]));
  const black = await source.clone().threshold(128).png({ palette: true, colours: 2 })
    .toBuffer();
  assertEquals((await sharp(black).metadata()).bitsPerSample, 1);
  const two = [...gray].map((v) => v >= 128 ? 255 : 0);
  assertEquals([...(await decodeImage(black)).rgb], two.flatMap((v) => [v, v, v]));

  const flat = await sharp({ create: { width: 32, height: 16, channels: 3, background: "#646464" } })
    .toColourspace("b-w").jpeg().toBuffer();
  assertEquals((await sharp(flat).metadata()).channels, 1);
  const decoded = await decodeImage(flat);
  assertEquals([decoded.width, decoded.height, decoded.rgb.length], [32, 16, 32 * 16 * 3]);
  assert(decoded.rgb.every((level) => Math.abs(level - 100) <= 1));
});

Deno.test("image: of 16-bit samples the high byte stays", async () => {
  const samples = Uint16Array.from([0, 255, 256, 0x0180, 0x7fff, 0x8000, 0xfeff, 0xff00, 0xffff]);
  const high = [...samples].map((v) => v >> 8);
  const rgb = await sharp(samples, { raw: { width: 3, height: 1, channels: 3 } }).toColourspace("rgb16").png()
    .toBuffer();
  assertEquals((await sharp(rgb).metadata()).depth, "ushort");
  assertEquals([...(await decodeImage(rgb)).rgb], high);
  const gray = await sharp(samples, { raw: { width: 9, height: 1, channels: 1 } }).toColourspace("grey16")
    .png().toBuffer();
  assertEquals((await sharp(gray).metadata()).depth, "ushort");
  assertEquals([...(await decodeImage(gray)).rgb], high.flatMap((v) => [v, v, v]));
});

Deno.test("image: alpha is dropped; blending it would change the colours", async () => {
  const alphas = [0, 1, 60, 127, 254, 255];
  const rgba = Uint8Array.from({ length: 24 }, (_, i) => i % 4 === 3 ? alphas[i >> 2] : i * 9);
  const colours = rgba.filter((_, i) => i % 4 !== 3);
  const source = sharp(rgba, { raw: { width: 6, height: 1, channels: 4 } });
  for (
    const file of [
      await source.clone().png().toBuffer(),
      await source.clone().webp({ lossless: true, exact: true }).toBuffer(),
    ]
  ) {
    assertEquals((await decodeImage(file)).rgb, colours);
    const blended = await sharp(file).flatten({ background: "white" }).raw().toBuffer();
    assert(!blended.equals(colours), "this picture tells the two apart");
  }
  const grayAlpha = await sharp(Uint8Array.from([10, 0, 200, 128]), {
    raw: { width: 2, height: 1, channels: 2 },
  })
    .toColourspace("b-w").png().toBuffer();
  assertEquals([...(await decodeImage(grayAlpha)).rgb], [10, 10, 10, 200, 200, 200]);
});

Deno.test("image: JPEG and lossy WebP keep colours and places", async () => {
  const jpeg = (chromaSubsampling: string): Promise<Uint8Array> =>
    enlarged().jpeg({ quality: 100, chromaSubsampling }).toBuffer();
  assert(await middlesOff(await jpeg("4:4:4")) <= 3);
  assert(await middlesOff(await jpeg("4:2:0")) <= 3);
  assert(await middlesOff(await enlarged().jpeg({ progressive: true, quality: 100 }).toBuffer()) <= 3);
  assert(await middlesOff(await enlarged().webp({ quality: 100 }).toBuffer()) <= 12);
});

Deno.test("image: CMYK is turned to RGB ink by ink", async () => {
  const file = await enlarged().toColourspace("cmyk").jpeg({ quality: 100, chromaSubsampling: "4:4:4" })
    .toBuffer();
  assertEquals((await sharp(file).metadata()).space, "cmyk");
  const inks = await sharp(file).pipelineColourspace("cmyk").toColourspace("cmyk").raw().toBuffer();
  const { rgb } = await decodeImage(file);
  assertEquals(rgb.length, inks.length / 4 * 3);
  for (let i = 0; i < rgb.length; i++) {
    const [ink, black] = [inks[Math.floor(i / 3) * 4 + i % 3], inks[Math.floor(i / 3) * 4 + 3]];
    assertEquals(
      Math.abs(rgb[i] - (1 - ink / 255) * (255 - black)) <= 0.5,
      true,
      `${i}: ${ink} under ${black}`,
    );
  }
  // An inverted reading would exchange dark and light.
  const at = (pixel: number): number[] => {
    const [x, y] = [pixel % WIDTH, Math.floor(pixel / WIDTH)].map((i) => i * BLOCK + BLOCK / 2);
    const start = 3 * (y * WIDTH * BLOCK + x);
    return [...rgb.subarray(start, start + 3)];
  };
  const [red, white, black] = [at(0), at(6), at(8)];
  assert(red[0] > 200 && red[1] < 60 && red[2] < 60, `red is ${red}`);
  assert(Math.min(...white) > 240, `white is ${white}`);
  assert(Math.max(...black) < 20, `black is ${black}`);
  // The library writes no orientation into CMYK, so an EXIF segment with that one tag (0x112 = 6) is put in by hand.
  const exif = "ffe1 0022 457869660000 4d4d002a 00000008 0001 0112 0003 00000001 0006 0000 00000000";
  const segment = Uint8Array.fromHex(exif.replaceAll(" ", ""));
  const sideways = Uint8Array.from([...file.subarray(0, 2), ...segment, ...file.subarray(2)]);
  const { space, orientation } = await sharp(sideways).metadata();
  assertEquals([space, orientation], ["cmyk", 6]);
  const turned = await decodeImage(sideways);
  assertEquals([turned.width, turned.height], [HEIGHT * BLOCK, WIDTH * BLOCK]);
});

Deno.test("image: a colour profile is ignored", async () => {
  const plain = await drawn().png().toBuffer();
  const tagged = await sharp(plain).withIccProfile("p3", { attach: true }).png().toBuffer();
  assert((await sharp(tagged).metadata()).hasProfile);
  const stored = await sharp(tagged, { ignoreIcc: true }).raw().toBuffer();
  assertEquals([...(await decodeImage(tagged)).rgb], [...stored]);
  assert(!(await sharp(tagged).raw().toBuffer()).equals(stored), "this profile would change the colours");
});

Deno.test("image: all eight EXIF orientations are applied", async () => {
  const [last, bottom] = [WIDTH - 1, HEIGHT - 1];
  // Where in the stored picture the upright pixel (x, y) lies, by the EXIF standard's row and column rules.
  const stored: Record<number, (x: number, y: number) => [number, number]> = {
    1: (x, y) => [x, y],
    2: (x, y) => [last - x, y],
    3: (x, y) => [last - x, bottom - y],
    4: (x, y) => [x, bottom - y],
    5: (x, y) => [y, x],
    6: (x, y) => [y, bottom - x],
    7: (x, y) => [last - y, bottom - x],
    8: (x, y) => [last - y, x],
  };
  for (const [orientation, from] of Object.entries(stored)) {
    const turned = Number(orientation) >= 5;
    const [width, height] = turned ? [HEIGHT, WIDTH] : [WIDTH, HEIGHT];
    const wanted: number[] = [];
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [sx, sy] = from(x, y);
        wanted.push(...RGB.subarray(3 * (sy * WIDTH + sx), 3 * (sy * WIDTH + sx) + 3));
      }
    }
    const tagged = drawn().withMetadata({ orientation: Number(orientation) });
    for (
      const file of [
        await tagged.clone().png().toBuffer(),
        await tagged.clone().webp({ lossless: true }).toBuffer(),
      ]
    ) {
      const upright = await decodeImage(file);
      assertEquals([upright.width, upright.height, ...upright.rgb], [width, height, ...wanted], orientation);
    }
    const jpeg = await decodeImage(
      await enlarged().withMetadata({ orientation: Number(orientation) }).jpeg().toBuffer(),
    );
    assertEquals([jpeg.width, jpeg.height], [width * BLOCK, height * BLOCK], orientation);
  }
});

Deno.test("image: paths, file URLs, data URLs and bytes are one; the name's ending does not matter", async () => {
  const png = await drawn().png().toBuffer();
  const base64 = png.toString("base64");
  await withFolder(async (folder) => {
    await Deno.writeFile(join(folder, "a picture.jpg"), png);
    const path = join(folder, "a picture.jpg");
    const same = [
      decodeImage(path),
      decodeImage("a picture.jpg", { baseDir: folder }),
      decodeImage(path, { baseDir: "/nowhere" }),
      decodeImage(pathToFileURL(path).href),
      decodeImage(`data:image/png;base64,${base64}`),
      decodeImage(`DATA:;base64,${base64}`),
      decodeImage(new Uint8Array(png)),
    ];
    for (const image of await Promise.all(same)) assertEquals([...image.rgb], [...RGB]);
  });
});

Deno.test("image: what is missing or no picture is refused with its reason", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "note.png"), "this is text");
    await Deno.writeTextFile(join(folder, "empty.png"), "");
    const refused = (source: string | Uint8Array, why: RegExp): Promise<void> =>
      assertRefused(source, why, { baseDir: folder });
    await refused("none.png", /none\.png: does not exist in /);
    await refused(".", /is not a file/);
    await refused("note.png", /note\.png: is not a readable picture \(.*unsupported image format/);
    await refused("empty.png", /empty\.png: is empty/);
    await refused(new Uint8Array(), /0 bytes: is empty/);
    await refused("https://example.org/a.png", /is not fetched/);
    await refused("data:image/png;base64,%%%", /is not a valid data URL/);
    await refused(
      `data:image/png;base64,${"A".repeat(4000)}`,
      /^data:image.{1,40}… \(4022 characters\): is not/,
    );
    await refused(
      new TextEncoder().encode(`<svg xmlns="http://www.w3.org/2000/svg" width="3" height="3"/>`),
      /is SVG; PNG, JPEG and WebP/,
    );
    await refused(await drawn().gif().toBuffer(), /is GIF; PNG, JPEG and WebP/);
    await refused(await drawn().tiff().toBuffer(), /is TIFF; PNG, JPEG and WebP/);
  });
});

async function assertRefused(
  source: string | Uint8Array,
  why: RegExp,
  options?: Parameters<typeof decodeImage>[1],
): Promise<void> {
  const error = await assertRejects(() => decodeImage(source, options), UserError);
  assertMatch(error.message, why);
}

Deno.test("image: a file cut short anywhere, or damaged inside, is refused", async () => {
  // Noise, so that every byte of the file matters.
  const noise = sharp({
    create: {
      width: 60,
      height: 40,
      channels: 3,
      background: "gray",
      noise: { type: "gaussian", mean: 128, sigma: 40 },
    },
  });
  const png = await noise.clone().png().toBuffer();
  const files = [png, await noise.clone().jpeg().toBuffer(), await noise.clone().webp().toBuffer()];
  for (const file of files) {
    await decodeImage(file);
    for (const share of [0.02, 0.3, 0.6, 0.95]) {
      await assertRefused(file.subarray(0, Math.floor(file.length * share)), /is not a readable picture/);
    }
  }
  const flipped = Uint8Array.from(png);
  flipped[png.length >> 1] ^= 0xff;
  await assertRefused(flipped, /is not a readable picture/);
});

/** A PNG of one pixel whose header declares another size, with a checksum that agrees. */
async function declaring(width: number, height: number): Promise<Uint8Array> {
  const file = Uint8Array.from(
    await sharp({ create: { width: 1, height: 1, channels: 3, background: "red" } }).png().toBuffer(),
  );
  const view = new DataView(file.buffer);
  view.setUint32(16, width);
  view.setUint32(20, height);
  view.setUint32(29, crc32(file.subarray(12, 29)));
  return file;
}

Deno.test("image: a decompression bomb is refused from what it declares", async () => {
  const bomb = await declaring(60_000, 60_000);
  await assertRefused(bomb, /declares 60000 × 60000 pixels, more than the limit of 89478485/);
  // Within the limit the header is believed and the missing rows are found.
  await assertRefused(await declaring(20, 20), /is not a readable picture/);
  const honest = await drawn().png().toBuffer();
  await assertRefused(honest, /declares 6 × 2 pixels, more than the limit of 11/, { maxPixels: 11 });
  assertEquals((await decodeImage(honest, { maxPixels: 12 })).width, 6);
});
