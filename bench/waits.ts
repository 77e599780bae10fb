/**
 * What the host pays besides the kernels: a dispatch in a pass, a submit, a wait, a read. Run by itself it prints the
 * adapter and these.
 * @module
 */
import { Gpu } from "../gpu/device.ts";
import { Program } from "../gpu/program.ts";
import { median } from "./clock.ts";
import { copyWorkload } from "./copy.ts";
import { allocate } from "./workload.ts";

/** Milliseconds each. */
export interface WaitCosts {
  /** One more launch in a pass. */
  readonly dispatch: number;
  /** One more submit that nobody waits for. */
  readonly submit: number;
  /** Submitting one launch and waiting for it. */
  readonly wait: number;
  /** Submitting one launch and reading the kilobyte that it wrote. */
  readonly read: number;
}

/** Launches, or submits, of a stretch that is timed as a whole. */
const MANY = 1000;

/** Times a kernel with next to no work; medians over `rounds`. */
export async function waitCosts(gpu: Gpu, rounds: number): Promise<WaitCosts> {
  const w = copyWorkload("vec4f", 1 / 1024);
  const tensors = allocate(gpu, w);
  const program = new Program(gpu, "waits").add(w.kernel, tensors, w.dims);
  const over = async (work: () => Promise<unknown>) => {
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await gpu.idle();
      const start = performance.now();
      await work();
      times.push(performance.now() - start);
    }
    return median(times);
  };
  try {
    // Compiles.
    await program.run();
    const launches = (submits: number, each: number) =>
      over(async () => {
        for (let i = 0; i < submits; i++) await program.run(each);
        await gpu.idle();
      });
    const wait = await launches(1, 1);
    return {
      wait,
      dispatch: (await launches(1, MANY + 1) - wait) / MANY,
      submit: (await launches(MANY + 1, 1) - wait) / MANY,
      read: await over(async () => {
        await program.run();
        await gpu.readF32(tensors.y);
      }),
    };
  } finally {
    program.destroy();
    for (const tensor of Object.values(tensors)) gpu.pool.free(tensor);
  }
}

if (import.meta.main) {
  const gpu = await Gpu.open();
  const { name, driver } = gpu.facts;
  const { dispatch, submit, wait, read } = await waitCosts(gpu, 9);
  console.log(`adapter: ${name}\ndriver: ${driver}`);
  console.log(
    `a dispatch ${(1000 * dispatch).toFixed(1)} µs, a submit ${(1000 * submit).toFixed(1)} µs, a wait ${
      wait.toFixed(2)
    } ms, a read ${read.toFixed(2)} ms`,
  );
  gpu.close();
}
