/**
 * Pictures as a user brings them, to 8-bit RGB: PNG, JPEG and WebP from a path, bytes or a data URL. The pixels are
 * those that Pillow's `convert("RGB")` after `exif_transpose` gives, which is what vision-language models were trained on.
 * @module
 */
import { fileURLToPath } from "node:url";
import { resolve } from "node:path";
import { UserError } from "../gpu/errors.ts";

/** A decoded picture. */
export interface RgbImage {
  /** Pixels in a row. */
  width: number;
  /** Rows. */
  height: number;
  /** [height, width, 3], levels 0 to 255. */
  rgb: Uint8Array;
}

/** Settings of {@link decodeImage}. */
export interface DecodeOptions {
  /** Largest width × height decoded, from the size the file declares; default 89,478,485, where Pillow starts to warn. */
  maxPixels?: number;
  /** Folder that relative paths start from; default: the working directory. */
  baseDir?: string;
}

const MAX_PIXELS = 89_478_485;
/** No picture within the default pixel limit is larger than this as a file, other than by what it carries along. */
const MAX_FILE_BYTES = 2 ** 29;
const FORMATS = ["png", "jpeg", "webp"];

/**
 * Decodes one picture. EXIF rotation is applied; palettes, grays and 16-bit samples (their high byte) become 8-bit RGB;
 * an alpha channel is dropped, not blended; colour profiles are ignored; CMYK is turned to RGB ink by ink; of an
 * animation the first frame counts. The content decides the format, not the name.
 * @param source Path, `file:` URL, `data:` URL, or the file's bytes.
 * @throws UserError when the picture is missing, no PNG, JPEG or WebP, damaged, cut short, or declares more than `maxPixels`.
 */
export async function decodeImage(
  source: string | Uint8Array,
  options: DecodeOptions = {},
): Promise<RgbImage> {
  const bytes = typeof source === "string" ? await readSource(source, options.baseDir) : source;
  const refuse = (why: string): never => {
    throw new UserError(`${nameOf(source)}: ${why}`);
  };
  if (bytes.length === 0) return refuse("is empty");
  const sharp = await loadSharp();
  const failed = (error: unknown): never =>
    refuse(`is not a readable picture (${(error as Error).message.trim().split("\n", 1)[0]})`);
  // The limit is checked here, with a message of its own; ignoring profiles and failing on damage are decoding's part.
  const open = (): ReturnType<typeof sharp> =>
    sharp(bytes, { limitInputPixels: false, ignoreIcc: true, failOn: "warning" });
  const header = await open().metadata().catch(failed);
  if (!FORMATS.includes(header.format)) {
    return refuse(`is ${header.format.toUpperCase()}; PNG, JPEG and WebP are read`);
  }
  const limit = options.maxPixels ?? MAX_PIXELS;
  if (header.width * header.height > limit) {
    return refuse(`declares ${header.width} × ${header.height} pixels, more than the limit of ${limit}`);
  }
  const space = header.space === "cmyk" ? "cmyk" : "srgb";
  const { data, info } = await open().autoOrient().removeAlpha()
    .pipelineColourspace(space).toColourspace(space).raw()
    .toBuffer({ resolveWithObject: true }).catch(failed);
  return { width: info.width, height: info.height, rgb: toRgb(data, info.channels) };
}

/** A picture as a PNG file of few bytes for people to look at: at most `longest` pixels a side, 256 colours. */
export async function thumbnail({ width, height, rgb }: RgbImage, longest: number): Promise<Uint8Array> {
  const sharp = await loadSharp();
  const size = { width: longest, height: longest, fit: "inside", withoutEnlargement: true } as const;
  const file = await sharp(rgb, { raw: { width, height, channels: 3 } }).resize(size)
    .png({ palette: true }).toBuffer();
  return Uint8Array.from(file);
}

/** Loaded only when a picture comes: a native library that training on text does not need. */
async function loadSharp(): Promise<typeof import("sharp").default> {
  try {
    return (await import("sharp")).default;
  } catch (error) {
    throw new UserError(
      `pictures are decoded by the npm package sharp, which could not be loaded: ${(error as Error).message}`,
    );
  }
}

async function readSource(source: string, baseDir?: string): Promise<Uint8Array> {
  const refuse = (why: string): never => {
    throw new UserError(`${nameOf(source)}: ${why}`);
  };
  if (/^data:/i.test(source)) {
    try {
      return await (await fetch(source)).bytes();
    } catch {
      return refuse("is not a valid data URL");
    }
  }
  if (/^https?:/i.test(source)) return refuse("is not fetched: download it and give its path");
  try {
    const path = /^file:/i.test(source) ? fileURLToPath(source) : resolve(baseDir ?? ".", source);
    const { isFile, size } = await Deno.stat(path);
    if (!isFile) return refuse("is not a file");
    if (size > MAX_FILE_BYTES) {
      return refuse(`is ${size} bytes long, more than the limit of ${MAX_FILE_BYTES}`);
    }
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (error instanceof Deno.errors.NotFound) {
      return refuse(`does not exist${baseDir === undefined ? "" : ` in ${baseDir}`}`);
    }
    return refuse(`cannot be read (${(error as Error).message})`);
  }
}

/** Short enough for a log line, whatever the source is. */
function nameOf(source: string | Uint8Array): string {
  if (typeof source !== "string") return `a picture of ${source.length} bytes`;
  return source.length <= 200 ? source : `${source.slice(0, 40)}… (${source.length} characters)`;
}

function toRgb(data: Uint8Array, channels: number): Uint8Array {
  // A plain view: a Buffer's methods differ.
  if (channels === 3) return new Uint8Array(data.buffer, data.byteOffset, data.length);
  const pixels = data.length / channels;
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++) {
      if (channels === 1) rgb[3 * i + c] = data[i];
      else {
        // Light left by the black ink, less the share that this ink takes; the product rounded, as Pillow does it.
        const light = 255 - data[4 * i + 3];
        rgb[3 * i + c] = light - Math.round(data[4 * i + c] * light / 255);
      }
    }
  }
  return rgb;
}
