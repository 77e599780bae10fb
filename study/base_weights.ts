/**
 * Which base a study starts from, by the SHA-256 of its weights: a path says where they lay, not what they were.
 * @module
 */
import { join } from "node:path";
import { UserError } from "../gpu/errors.ts";
import { writeAtomically } from "../trainer/atomic_write.ts";
import { hashFile } from "../trainer/manifest.ts";
import { readJson } from "./json_file.ts";

/** Name of the file, in the folder of the runs, that keeps the hashes from before the first run. */
const BASE = "base.json";

/** SHA-256 of each weights file, hexadecimal, by name. */
export type WeightHashes = Readonly<Record<string, string>>;

/** A study's base. */
export interface BaseWeights {
  /** Empty where the folder is there no more. */
  readonly sha256: WeightHashes;
  /** Whether they were taken before the first run; otherwise they are those of the folder as it is now. */
  readonly recorded: boolean;
}

/** Hashes of a model folder's safetensors files; none where there is no such folder. */
export async function hashWeights(folder: string): Promise<WeightHashes> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) if (name.endsWith(".safetensors")) names.push(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const hashes: [string, string][] = [];
  for (const name of names.sort()) hashes.push([name, (await hashFile(join(folder, name))).sha256]);
  return Object.fromEntries(hashes);
}

/**
 * Keeps the base's hashes with the runs before the first of them, and later holds the base against them.
 * @param started whether there are runs: of which base those were that have no record cannot be told any more
 * @throws UserError where the base has changed since
 */
export async function recordBase(runs: string, base: string, started: boolean): Promise<void> {
  const now = await hashWeights(base);
  const kept = await readJson(join(runs, BASE));
  if (kept) {
    const changed = [...new Set([...Object.keys(kept), ...Object.keys(now)])].find((n) => kept[n] !== now[n]);
    if (changed === undefined) return;
    throw new UserError(
      `${
        join(base, changed)
      } is not what the runs in ${runs} started from: its SHA-256 differs from ${BASE}. ` +
        "Put the old weights back, or give another folder with --runs",
    );
  }
  if (started) return;
  await Deno.mkdir(runs, { recursive: true });
  await writeAtomically(join(runs, BASE), JSON.stringify(now));
}

/** The base's hashes, as recorded or else as they are now. */
export async function readBase(runs: string, base: string): Promise<BaseWeights> {
  const kept = await readJson(join(runs, BASE));
  return kept ? { sha256: kept, recorded: true } : { sha256: await hashWeights(base), recorded: false };
}
