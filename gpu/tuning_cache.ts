/**
 * What was measured on this machine, in one JSON file of the user's cache folder: adapter, class of launches, fastest kernel.
 * @module
 */
import { dirname, join } from "node:path";
import type { Choices } from "./kernel_choices.ts";

/** The file's layout; a file of another version is replaced. */
const VERSION = 1;

/** Where the choices are kept by default: the system's folder for what a program can make again. */
export function tuningCachePath(
  os: typeof Deno.build.os = Deno.build.os,
  env: (name: string) => string | undefined = (name) => Deno.env.get(name),
): string | undefined {
  const home = env("HOME") ?? env("USERPROFILE");
  const under = (...parts: string[]) => home === undefined ? undefined : join(home, ...parts);
  const folder = os === "windows"
    ? env("LOCALAPPDATA") ?? under("AppData", "Local")
    : os === "darwin"
    ? under("Library", "Caches")
    : env("XDG_CACHE_HOME") || under(".cache");
  return folder && join(folder, "ares-webgpu", "kernels.json");
}

/**
 * The choices of one adapter.
 * @param say told why a file that is there is not used
 */
export async function readChoices(
  path: string,
  adapter: string,
  say: (line: string) => void,
): Promise<Choices> {
  return { ...(await readAll(path, say))[adapter] };
}

/**
 * Adds choices of one adapter to the file; a reader sees the old file or the new one. Others' entries stay.
 * @param say told why it could not be written: a run goes on without
 */
export async function addChoices(
  path: string,
  adapter: string,
  choices: Choices,
  say: (line: string) => void,
): Promise<void> {
  const temporary = `${path}.${Deno.pid}.tmp`;
  try {
    // Read again: another process may have written in between.
    const all = await readAll(path, () => {});
    all[adapter] = { ...all[adapter], ...choices };
    await Deno.mkdir(dirname(path), { recursive: true });
    await Deno.writeTextFile(temporary, JSON.stringify({ version: VERSION, adapters: all }, null, 1));
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    say(`kernel choices are not kept: ${(error as Error).message}`);
  }
}

/** Every adapter's choices; none, with a word, where the file is not what {@link addChoices} writes. */
async function readAll(path: string, say: (line: string) => void): Promise<Record<string, Choices>> {
  try {
    const { version, adapters } = JSON.parse(await Deno.readTextFile(path));
    if (version === VERSION && isTable(adapters) && Object.values(adapters).every(areChoices)) {
      return adapters as Record<string, Choices>;
    }
    say(`${path} is not used: it is not of this version`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) say(`${path} is not used: ${(error as Error).message}`);
  }
  return {};
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether a value is a table of {@link Choice}s. */
export function areChoices(value: unknown): value is Choices {
  return isTable(value) &&
    Object.values(value).every((c) =>
      isTable(c) && typeof c.kernel === "string" && typeof c.among === "string"
    );
}
