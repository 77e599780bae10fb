/**
 * Runs named checks against a folder, prints a line for each result, and closes with `N passed, N failed`.
 * @module
 */
import type { Gpu } from "../../gpu/device.ts";
import type { Report } from "./report.ts";

/** A name and what it runs. */
export type Check = readonly [name: string, run: (gpu: Gpu, report: Report) => Promise<void> | void];

/** Exit code 0 when every result is within its limit. Arguments of the command choose checks by parts of their names. */
export async function runChecks(folder: string, checks: readonly Check[], gpu: Gpu): Promise<number> {
  if (!await Deno.stat(folder).then((s) => s.isDirectory, () => false)) {
    console.error(`error: ${folder} is not a folder; name one through GOLDENS_DIR or DATA_DIR`);
    console.log("0 passed, 1 failed");
    return 2;
  }
  console.log(`${folder} on ${gpu.facts.name}`);
  let passed = 0;
  let failed = 0;
  const report: Report = (name, worst, limit, detail) => {
    const good = worst <= limit;
    if (good) passed++;
    else failed++;
    const figure = Number.isInteger(worst) ? `${worst}` : worst.toExponential(2);
    console.log(
      `${good ? "ok    " : "FAILED"} ${figure.padStart(9)}  limit ${limit}  ${name}${
        detail && (!good || detail.length < 100) ? `  (${detail})` : ""
      }`,
    );
  };
  for (const [name, run] of checks) {
    if (Deno.args.length > 0 && !Deno.args.some((a) => name.includes(a))) continue;
    try {
      await run(gpu, report);
    } catch (error) {
      failed++;
      console.log(`FAILED ${name}: ${error instanceof Error ? error.stack : error}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}
