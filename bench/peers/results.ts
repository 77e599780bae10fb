/**
 * Saved ratios, and whether new ones have fallen behind them. Speeds are not kept: they say more about the machine and
 * its load than about this project; ratios taken in turns hold elsewhere on the same adapter.
 * @module
 */
import { join } from "node:path";
import { UserError } from "../../gpu/errors.ts";
import type { ComparedRow } from "./comparison.ts";

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

/** What a check has to know of each row of a comparison. */
export type CheckedRow = Pick<
  ComparedRow,
  "work" | "peer" | "against" | "ratio" | "note" | "failed" | "absent"
>;

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

/** A saved ratio. */
export interface SavedRatio {
  readonly work: string;
  readonly peer: string;
  readonly ratio: number;
}

/** The newest ratio of every work and peer on an adapter, whichever file holds it. */
export function newestRatios(saved: readonly SavedResults[], adapter: string): SavedRatio[] {
  const newest = new Map<string, SavedRatio>();
  for (const { ratios } of resultsOn(saved, adapter)) {
    for (const [work, peers] of Object.entries(ratios)) {
      for (const [peer, ratio] of Object.entries(peers)) {
        newest.set(`${work}\n${peer}`, { work, peer, ratio });
      }
    }
  }
  return [...newest.values()];
}

/** The results of an adapter, the newest last. */
export function resultsOn(saved: readonly SavedResults[], adapter: string): SavedResults[] {
  return saved.filter((results) => results.adapter === adapter)
    .sort((a, b) => Date.parse(a.date) - Date.parse(b.date));
}

function rowOf(rows: readonly CheckedRow[], { work, peer }: Pick<RatioChange, "work" | "peer">) {
  return rows.find((row) => row.work === work && row.peer === peer);
}

/**
 * Compares with the newest saved ratio of the same adapter, work and peer. It fails where a ratio fell, and where one that
 * was asked for was not measured, unless the peer is not installed: whoever is not among the rows was not asked for.
 * @param rows everyone that was asked for, by work
 */
export function checkRatios(
  now: Omit<SavedResults, "ratios">,
  saved: readonly SavedResults[],
  rows: readonly CheckedRow[],
): CheckResult {
  const changes = newestRatios(saved, now.adapter).map(({ work, peer, ratio: before }): RatioChange => {
    const ratio = rowOf(rows, { work, peer })?.ratio ?? null;
    return {
      work,
      peer,
      before,
      now: ratio,
      fell: ratio !== null && !(ratio >= (1 - ALLOWED_FALL) * before),
    };
  });
  const own = rows.filter((row) => row.against === null && row.failed);
  const failures = own.map(({ work, peer }) => `${work}: ${peer}, this project itself, failed`);
  for (const change of changes) {
    const { work, peer, before, now, fell } = change;
    if (fell) {
      failures.push(
        `${work}: ${now!.toPrecision(3)} times ${peer}'s speed, ${before.toPrecision(3)} before (${
          Math.round(100 * (1 - now! / before))
        } % less)`,
      );
    }
    const row = now === null && rowOf(rows, change);
    if (!row || row.absent) continue;
    // Where this project failed nobody has a ratio, which is said once.
    if (own.some((other) => other.work === work && other.peer === row.against)) continue;
    failures.push(`${work}: ${peer} was not measured, saved at ${before.toPrecision(3)} (${row.note})`);
  }
  // A check that compared nothing must not look like one that passed.
  if (!changes.some(({ now }) => now !== null)) {
    failures.push(
      changes.length === 0
        ? `no saved results of ${now.adapter}: make some with --save`
        : "none of the saved ratios was measured this time",
    );
  }
  return { changes, failures };
}
