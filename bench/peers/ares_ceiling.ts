/**
 * What this project is held against besides its peers, on the adapter that it runs on: a training step whose operations
 * all run as fast as the best product; an AEPO iteration of nothing but its compute passes.
 * @module
 */
import type { Gpu } from "../../gpu/device.ts";
import { Tuner } from "../../gpu/tuner.ts";
import { Program } from "../../gpu/program.ts";
import { ceilingWorkloads } from "../ceilings.ts";
import { clockOf } from "../clock.ts";
import { measure } from "../row.ts";
import { allocate } from "../workload.ts";
import { aepoIterations } from "./ares_aepo.ts";
import { trainingFlops } from "./flops.ts";
import { PassTimes } from "./passes.ts";
import { serve, type Session } from "./serve.ts";
import type { TrainWork, Work } from "./work.ts";

/** The best product of all candidates, run for as many operations as it has and counted for the step's. */
async function bestProduct(gpu: Gpu, work: TrainWork): Promise<Session> {
  let best: { flops: number; rate: number; what: string; program: Program } | undefined;
  for (const candidate of ceilingWorkloads(gpu.traits)) {
    const { gflops, kernel, shape } = await measure(gpu, candidate, 3, clockOf(gpu));
    if (gflops === null || gflops <= (best?.rate ?? 0)) continue;
    const { cost: { flops }, dims } = candidate;
    const program = new Program(gpu, kernel).add(candidate.kernel, allocate(gpu, candidate), dims);
    best = { flops, rate: gflops, what: `${kernel}, ${shape}`, program };
  }
  const { flops, what, program } = best!;
  return {
    what: `best product: ${what}`,
    async run(repeats) {
      await program.run(repeats);
      await gpu.idle();
      return flops;
    },
    counted: (seconds) => ({ seconds: seconds * trainingFlops(work) / flops }),
  };
}

/** An iteration's time in passes, beside the whole of it. */
async function passes(gpu: Gpu): Promise<Session> {
  const times = new PassTimes(gpu);
  const iterate = await aepoIterations(gpu);
  let laps = "";
  let inPasses = 0;
  return {
    get what() {
      return `an iteration's laps: ${laps}`;
    },
    async run(repeats) {
      let tokens = 0;
      await times.take();
      for (let i = 0; i < repeats; i++) {
        const metrics = await iterate();
        tokens = metrics["batch/generated_tokens"] as number;
        laps = Object.entries(metrics).filter(([name]) => name.startsWith("timing_s/")).map((
          [name, seconds],
        ) => `${name.slice("timing_s/".length)} ${(seconds as number).toFixed(2)} s`).join(", ");
      }
      inPasses = await times.take();
      return tokens;
    },
    counted: (whole) => ({ seconds: inPasses, whole }),
  };
}

async function open(work: Work): Promise<Session> {
  const gpu = await Tuner.open();
  if (work.kind === "train") return await bestProduct(gpu, work);
  if (work.kind === "aepo") return await passes(gpu);
  throw new Error(`nothing to hold ${work.kind} against`);
}

await serve(open);
