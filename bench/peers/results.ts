/**
 * Saved ratios, and whether new ones have fallen behind them. Speeds are not kept: they say more about the machine and
 * its load than about this project; ratios taken in turns hold elsewhere on the same adapter.
 * @module
 */
import { join } from "node:path";
import { UserError } from "../../gpu/errors.ts";

/** The share of a saved ratio that may be lost. */
export const ALLOWED_FALL = 0.2;

/** A file of `bench/results/`. */
export interface SavedResults {
  readonly adapter: string;
  readonly driver: string;
  /** ISO 8601. */
  readonly date: string;
  /** By work, then by peer: this project's speed over the peer's. */
  readonly ratios: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** One ratio beside its saved one. */
export interface RatioChange {
  readonly work: string;
  readonly peer: string;
  readonly before: number;
  /** Null: not measured this time. */
  readonly now: number | null;
  readonly fell: boolean;
}

/** What a check came to. */
export interface CheckResult {
  readonly changes: readonly RatioChange[];
  /** Why the check failed; empty: it passed. */
  readonly failures: readonly string[];
}

/** `<adapter>-<date>.json`, in characters that every file system takes. */
export function resultsName({ adapter, date }: Pick<SavedResults, "adapter" | "date">): string {
  const name = adapter.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
  return `${name}-${date.slice(0, 10)}.json`;
}

/** Writes results into `folder`; what the same day's file holds of other works and peers stays. Returns the path. */
export async function saveResults(folder: string, results: SavedResults): Promise<string> {
  await Deno.mkdir(folder, { recursive: true });
  const path = join(folder, resultsName(results));
  const ratios: Record<string, Record<string, number>> = {};
  const before = (await loadResults(folder)).find((other) => resultsName(other) === resultsName(results));
  for (const { ratios: more } of [before ?? results, results]) {
    for (const [work, peers] of Object.entries(more)) ratios[work] = { ...ratios[work], ...peers };
  }
  await Deno.writeTextFile(path, `${JSON.stringify({ ...results, ratios }, null, 2)}\n`);
  return path;
}

/**
 * All results in `folder`, none if it is missing.
 * @throws UserError for a file that holds something else
 */
export async function loadResults(folder: string): Promise<SavedResults[]> {
  const results: SavedResults[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) {
      if (!name.endsWith(".json")) continue;
      const path = join(folder, name);
      results.push(parse(await Deno.readTextFile(path), path));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return results;
}

function parse(text: string, path: string): SavedResults {
  let json: SavedResults;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path}: ${(error as Error).message}`);
  }
  const numbers = Object.values(json.ratios ?? {}).flatMap((peers) => Object.values(peers));
  if (
    typeof json.adapter !== "string" || Number.isNaN(Date.parse(json.date)) || numbers.length === 0 ||
    !numbers.every((ratio) => ratio > 0)
  ) {
    throw new UserError(`${path}: expected adapter, date and ratios above 0, as --save writes them`);
  }
  return json;
}

/**
 * Compares with the newest saved ratio of the same adapter, work and peer.
 * @param ownFailures works in which this project itself failed
 */
export function checkRatios(
  now: SavedResults,
  saved: readonly SavedResults[],
  ownFailures: readonly string[] = [],
): CheckResult {
  const same = saved.filter(({ adapter }) => adapter === now.adapter)
    .sort((a, b) => Date.parse(a.date) - Date.parse(b.date));
  const newest = new Map<string, RatioChange>();
  for (const { ratios } of same) {
    for (const [work, peers] of Object.entries(ratios)) {
      for (const [peer, before] of Object.entries(peers)) {
        const ratio = now.ratios[work]?.[peer] ?? null;
        const fell = ratio !== null && !(ratio >= (1 - ALLOWED_FALL) * before);
        newest.set(`${work}\n${peer}`, { work, peer, before, now: ratio, fell });
      }
    }
  }
  const changes = [...newest.values()];
  const failures = ownFailures.map((work) => `${work}: this project itself failed`);
  for (const { work, peer, before, now, fell } of changes) {
    if (!fell) continue;
    failures.push(
      `${work}: ${now!.toPrecision(3)} times ${peer}'s speed, ${before.toPrecision(3)} before (${
        Math.round(100 * (1 - now! / before))
      } % less)`,
    );
  }
  // A check that compared nothing must not look like one that passed.
  if (!changes.some(({ now }) => now !== null)) {
    failures.push(
      same.length === 0
        ? `no saved results of ${now.adapter}: make some with --save`
        : "none of the saved ratios was measured this time",
    );
  }
  return { changes, failures };
}
