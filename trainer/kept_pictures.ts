/**
 * Small copies of problems' pictures beside a run's logs, each once and named by its content: whoever looks at the run
 * later needs neither the data set nor its paths.
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { isPicture, type RowImage } from "../data/picture.ts";
import { encodePng } from "../data/png.ts";
import { decodeImage, thumbnail } from "../models/image.ts";
import { writeAtomically } from "./atomic_write.ts";

/** Longest side of a copy, pixels. */
const LONGEST = 320;

/** A folder of pictures. */
export class KeptPictures {
  #folder: string;
  /** Names by the picture they were made from, so that each is read and hashed once. */
  #names = new Map<RowImage, string>();

  /** The folder is made when the first picture comes. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Copies a picture, unless it is there, and returns the copy's file name. */
  async keep(image: RowImage): Promise<string> {
    const known = this.#names.get(image);
    if (known !== undefined) return known;
    const png = await copyOf(image);
    const name = `${createHash("sha256").update(png).digest("hex").slice(0, 16)}.png`;
    await Deno.mkdir(this.#folder, { recursive: true });
    await writeAtomically(join(this.#folder, name), png);
    this.#names.set(image, name);
    return name;
  }
}

async function copyOf(image: RowImage): Promise<Uint8Array<ArrayBuffer>> {
  if (isPicture(image) && Math.max(image.width, image.height) <= LONGEST) {
    return Uint8Array.from(encodePng(image));
  }
  const pixels = isPicture(image)
    ? { width: image.width, height: image.height, rgb: image.rgb() }
    : await decodeImage(typeof image === "string" ? image : image.bytes);
  return Uint8Array.from(await thumbnail(pixels, LONGEST));
}
