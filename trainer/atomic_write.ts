/**
 * Files that are either wholly there or not at all, whatever happens while they are written.
 * @module
 */
import { dirname } from "node:path";
import { UserError } from "../gpu/errors.ts";

/**
 * Writes `data` to `path` so that a reader, or a later start, sees the old contents or the new, never a part:
 * temporary file beside it, fsync, rename, fsync of the folder.
 * @throws UserError naming the file and the system's reason; what was at `path` before is then untouched.
 */
export async function writeAtomically(path: string, data: Uint8Array | string): Promise<void> {
  const temporary = `${path}.tmp`;
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  try {
    await Deno.writeFile(temporary, bytes);
    await syncToDisk(temporary);
    await Deno.rename(temporary, path);
    await syncToDisk(dirname(path));
  } catch (error) {
    await removeIfThere(temporary);
    throw saveError(path, error);
  }
}

/** Waits until a file's contents, or a folder's list of names, are on the disk. */
export async function syncToDisk(path: string): Promise<void> {
  using file = await Deno.open(path, { read: true });
  await file.sync();
}

/** Removes a file or a whole folder; nothing to remove is fine. */
export async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** The system's refusal to write as a message for the user; any other error as it is. */
export function saveError(what: string, error: unknown): unknown {
  const code = (error as { code?: string }).code;
  if (!(error instanceof Error) || code === undefined) return error;
  const reason = code === "ENOSPC" || code === "EDQUOT"
    ? "the disk is full: free some space, or lower trainer.save_limit"
    : error.message;
  return new UserError(`cannot save ${what}: ${reason}`, { cause: error });
}
