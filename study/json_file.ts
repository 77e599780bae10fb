/**
 * JSON files that may not be there.
 * @module
 */

/** A JSON file's value; undefined where there is no file. */
export async function readJson(path: string): Promise<any> {
  const text = await Deno.readTextFile(path).catch(ifMissing);
  return text === undefined ? undefined : JSON.parse(text);
}

/** Handles what a missing file throws, and nothing else. */
export function ifMissing(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
