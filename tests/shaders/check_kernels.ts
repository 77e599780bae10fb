/**
 * The two tests that every op has: its cases pass, and its planted mistakes do not.
 * @module
 */
import { assert } from "@std/assert";
import type { Gpu } from "../../gpu/device.ts";
import { type KernelCase, lacking, type Mistake, runCase, withMistake } from "./case.ts";
import { oneGpu } from "./one_gpu.ts";

/** The cases that this adapter can run; says how many it cannot. */
function able(gpu: Gpu, all: readonly KernelCase[]): KernelCase[] {
  const run = all.filter((c) => lacking(gpu, c) === undefined);
  const left = all.find((c) => lacking(gpu, c) !== undefined);
  if (left) {
    console.log(`${all.length - run.length} cases are left out: this adapter has no ${left.kernel.needs}`);
  }
  return run;
}

/** Registers the tests of one op. */
export function checkKernels(
  op: string,
  cases: () => KernelCase[],
  mistakes: readonly { kernel: string; mistake: Mistake }[],
): void {
  // The device outlives a test: one device per process.
  const options = { sanitizeOps: false, sanitizeResources: false };
  Deno.test({
    name: `${op}: every kernel equals its f64 loops`,
    ...options,
    fn: async () => {
      const gpu = await oneGpu();
      for (const c of able(gpu, cases())) {
        const r = await runCase(gpu, c);
        assert(
          r.passed,
          `${c.kernel.name} ${c.name}: off by ${r.worst} (limit ${c.tolerance}) at ${r.where}`,
        );
      }
    },
  });
  Deno.test({
    name: `${op}: planted mistakes are rejected`,
    ...options,
    fn: async () => {
      const gpu = await oneGpu();
      for (const { kernel, mistake } of mistakes) {
        const touched = cases().filter((c) => c.kernel.name === kernel);
        assert(touched.length > 0, `no case of ${kernel}`);
        const run = able(gpu, touched);
        let rejected = run.length === 0;
        for (const c of run) {
          if (!(await runCase(gpu, withMistake(c, mistake))).passed) {
            rejected = true;
            break;
          }
        }
        assert(rejected, `${kernel}: "${mistake.why}" was not noticed`);
      }
    },
  });
}
