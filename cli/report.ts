/**
 * `report`: writes a run's page from its folder, whether the run has ended or not.
 * @module
 */
import { writeReport } from "../trainer/report/write_report.ts";
import type { ReportArgs } from "./arguments.ts";

/** Runs the command. */
export async function report({ folder, tokens }: ReportArgs): Promise<number> {
  console.log(`written: ${await writeReport(folder, tokens)}`);
  return 0;
}
