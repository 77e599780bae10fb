/**
 * Writes a run's report.
 * @module
 */
import { join } from "node:path";
import { writeAtomically } from "../atomic_write.ts";
import { reportPage } from "./page.ts";
import { readRun } from "./run_log.ts";

/** Tokens of rollouts on a page, about 30 bytes each: what a browser opens without a wait. */
const MOST_TOKENS = 1_000_000;

/**
 * Writes `report.html` into a run's folder, from nothing but what lies there.
 * @param mostTokens of the rollouts on the page; of more, whole groups spread evenly over the run are shown
 * @returns the file's path
 * @throws UserError where the folder is no run's
 */
export async function writeReport(folder: string, mostTokens: number = MOST_TOKENS): Promise<string> {
  const path = join(folder, "report.html");
  await writeAtomically(path, reportPage(await readRun(folder, mostTokens)));
  return path;
}
