/**
 * Timing: by the GPU's own clock where the adapter has one, else by the wall's.
 * @module
 */
import process from "node:process";
import type { Gpu } from "../gpu/device.ts";
import { Program } from "../gpu/program.ts";
import { allocate, type Workload } from "./workload.ts";

/** What a time was read from. `wall` includes launching and, for the whole batch of launches, one wait. */
export type Clock = "timestamp-query" | "wall";

/** The better clock of this adapter. */
export function clockOf(gpu: Gpu): Clock {
  return gpu.facts.features.includes("timestamp-query") ? "timestamp-query" : "wall";
}

/** The middle value; the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Milliseconds that `work` takes on the wall's clock, the GPU's part included. */
export async function wallTime(gpu: Gpu, work: () => Promise<unknown>): Promise<number> {
  await gpu.idle();
  const start = performance.now();
  await work();
  await gpu.idle();
  return performance.now() - start;
}

/** {@link wallTime}, and the milliseconds that all threads of this process computed meanwhile. */
export async function usedTime(
  gpu: Gpu,
  work: () => Promise<unknown>,
): Promise<{ milliseconds: number; cpu: number }> {
  await gpu.idle();
  const before = process.cpuUsage();
  const milliseconds = await wallTime(gpu, work);
  const { user, system } = process.cpuUsage(before);
  return { milliseconds, cpu: (user + system) / 1000 };
}

/** Median milliseconds of one launch over `rounds` batches of launches; the pipeline is warm before. */
export async function timeLaunch(gpu: Gpu, w: Workload, rounds: number, clock: Clock): Promise<number> {
  const tensors = allocate(gpu, w);
  const one = new Program(gpu, w.kernel.name).add(w.kernel, tensors, w.dims);
  const programs = [one];
  try {
    // Software adapters compile at the first launch.
    await one.run();
    const times: number[] = [];
    if (clock === "wall") {
      let launches = 1;
      while (await wallTime(gpu, () => one.run(launches)) < 100 && launches < 4096) launches *= 2;
      for (let i = 0; i < rounds; i++) times.push(await wallTime(gpu, () => one.run(launches)) / launches);
      return median(times);
    }
    const [first] = await one.profile();
    const launches = Math.max(1, Math.min(64, Math.ceil(5 / first.milliseconds)));
    const batch = new Program(gpu, w.kernel.name);
    programs.push(batch);
    for (let i = 0; i < launches; i++) batch.add(w.kernel, tensors, w.dims);
    for (let i = 0; i < rounds; i++) times.push((await batch.profile())[0].milliseconds / launches);
    return median(times);
  } finally {
    for (const program of programs) program.destroy();
    for (const tensor of Object.values(tensors)) gpu.pool.free(tensor);
  }
}
