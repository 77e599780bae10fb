/**
 * The list of a checkpoint's files with sizes and SHA-256 hashes, written last: a folder without one, or one
 * whose files differ from it, is no checkpoint.
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { syncToDisk, writeAtomically } from "./atomic_write.ts";

/** File name of the manifest inside a checkpoint folder. */
export const MANIFEST = "manifest.json";

/** What a manifest says of one file. */
export interface ManifestEntry {
  /** Size in bytes. */
  bytes: number;
  /** SHA-256 of the contents, hexadecimal. */
  sha256: string;
}

/** A checkpoint's manifest. */
export interface Manifest {
  /** Order of saving within the run, from 1. */
  sequence: number;
  /** Every file by its path inside the folder (`/` between parts). */
  files: Record<string, ManifestEntry>;
}

/** Hashes every file under `folder`, forces all of them to the disk, then writes the manifest. */
export async function writeManifest(folder: string, sequence: number): Promise<void> {
  const files: Manifest["files"] = {};
  for (const path of (await filesUnder(folder)).sort()) {
    files[path] = await hashFile(join(folder, path));
    await syncToDisk(join(folder, path));
  }
  const manifest: Manifest = { sequence, files };
  await writeAtomically(
    join(folder, MANIFEST),
    JSON.stringify({ ...manifest, sha256: digest(manifest) }, null, 2),
  );
}

/** The manifest of `folder`; a text with the reason when there is none or it is damaged itself. */
export async function readManifest(folder: string): Promise<Manifest | string> {
  try {
    const { sequence, files, sha256 } = JSON.parse(await Deno.readTextFile(join(folder, MANIFEST)));
    return sha256 === digest({ sequence, files }) ? { sequence, files } : `${MANIFEST} is damaged`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `it has no ${MANIFEST}`;
    if (error instanceof SyntaxError) return `${MANIFEST} is damaged`;
    throw error;
  }
}

/** What is wrong with the files of `folder`, first fault only; undefined when every one is as listed. */
export async function findDamage(folder: string, manifest: Manifest): Promise<string | undefined> {
  for (const [path, expected] of Object.entries(manifest.files)) {
    let found: ManifestEntry;
    try {
      found = await hashFile(join(folder, path));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return `${path} is missing`;
      return `${path} cannot be read (${(error as Error).message})`;
    }
    if (found.bytes !== expected.bytes) {
      return `${path} has ${found.bytes} bytes, saved were ${expected.bytes}`;
    }
    if (found.sha256 !== expected.sha256) return `${path} has other contents than were saved`;
  }
  return undefined;
}

function digest(manifest: Manifest): string {
  return createHash("sha256").update(JSON.stringify([manifest.sequence, manifest.files])).digest("hex");
}

async function filesUnder(folder: string, prefix = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(join(folder, prefix))) {
    const path = prefix ? `${prefix}/${entry.name}` : entry.name;
    if (entry.isDirectory) found.push(...await filesUnder(folder, path));
    else found.push(path);
  }
  return found;
}

/** Size and SHA-256 of a file. In pieces: a checkpoint's weights may be larger than what should be in memory at once. */
export async function hashFile(path: string): Promise<ManifestEntry> {
  using file = await Deno.open(path, { read: true });
  const hash = createHash("sha256");
  const piece = new Uint8Array(1 << 22);
  let bytes = 0;
  for (let n = await file.read(piece); n !== null; n = await file.read(piece)) {
    hash.update(piece.subarray(0, n));
    bytes += n;
  }
  return { bytes, sha256: hash.digest("hex") };
}
