/**
 * A whole step taken apart: what every kernel costs in it, and what is spent outside kernels.
 * @module
 */
import type { MemoryClass } from "../gpu/tensor.ts";
import type { KernelTime, Program } from "../gpu/program.ts";
import { type Clock, median } from "./clock.ts";
import { rates, type Row } from "./row.ts";

/** One kernel's part of a step. */
export interface StepRow extends Pick<Row, "kernel" | "gflops" | "gbs"> {
  /** Launches in the step. */
  readonly calls: number;
  /** Time of all its launches. */
  readonly milliseconds: number;
  /** Of the step's time. */
  readonly share: number;
}

/** The rate of a step at one of several sizes; null where it was left out, since it would take too long. */
export interface Rate {
  /** The size. */
  readonly at: string;
  /** Time of a step. */
  readonly milliseconds: number | null;
  /** What all threads of this process computed in it, on a software adapter the GPU's work too; other programs do not count. */
  readonly cpu: number | null;
  /** Tokens of a step over its time. */
  readonly tokensPerSecond: number | null;
}

/** A step. */
export interface StepTime {
  /** e.g. `training_step.tiny`. */
  readonly name: string;
  /** What one step is. */
  readonly what: string;
  /** Time of a step on the wall's clock. */
  readonly milliseconds: number;
  /** Tokens of a step over that time. */
  readonly tokensPerSecond: number;
  /** Time of a token over that of the same work without the feature that is measured, less 1. */
  readonly overhead?: number;
  /** What {@link overhead} may be. */
  readonly mostOverhead?: number;
  /** By size, for a step that is timed at several; the times above are then the fastest one's. */
  readonly rates?: readonly Rate[];
  /** Sum over the kernels; null without timestamps. The rest of the step is launching, waiting and the host. */
  readonly kernelMilliseconds: number | null;
  /** 10⁹ arithmetic operations of all kernels a second of the step's time; null without timestamps. */
  readonly gflops: number | null;
  /** Bytes by class that the step holds, where it is counted. */
  readonly memory?: Readonly<Record<MemoryClass, number>>;
  /** That of the same work without the feature that is measured. */
  readonly memoryWithout?: Readonly<Record<MemoryClass, number>>;
  /** By kernel, the costliest first; empty without timestamps. */
  readonly rows: readonly StepRow[];
}

/** What {@link timeStep} times. */
export interface Step extends Pick<StepTime, "name" | "what"> {
  /** Tokens of a step. */
  readonly tokens: number;
  /** Milliseconds of one step on the wall's clock. */
  time(): Promise<number>;
  /** Called before the programs are profiled. */
  prepare(): void;
  /** What a step submits. */
  readonly programs: readonly Program[];
  /** Operations and bytes of one launch, for kernels whose own record cannot know them. */
  readonly costs: Readonly<Record<string, { readonly flops: number; readonly bytes?: number }>>;
}

/** Times and profiles a step in turns, so that both see the same load; medians over `rounds`. */
export async function timeStep(step: Step, rounds: number, clock: Clock): Promise<StepTime> {
  const walls: number[] = [];
  const profiles: Map<string, KernelTime>[] = [];
  await step.time();
  for (let round = 0; round < rounds; round++) {
    walls.push(await step.time());
    if (clock === "wall") continue;
    step.prepare();
    const sums = new Map<string, KernelTime>();
    for (const program of step.programs) {
      for (const time of await program.profile()) {
        const before = sums.get(time.name);
        sums.set(time.name, before ? add(before, time) : time);
      }
    }
    profiles.push(sums);
  }
  const wall = median(walls);
  const rows = [...profiles[0]?.values() ?? []].map(({ name: kernel, calls, flops, bytes }): StepRow => {
    const milliseconds = median(profiles.map((sums) => sums.get(kernel)!.milliseconds));
    const known = step.costs[kernel];
    const cost = known
      ? { flops: known.flops * calls, bytes: known.bytes ? known.bytes * calls : bytes }
      : { flops, bytes };
    return { kernel, calls, milliseconds, share: milliseconds / wall, ...rates(cost, milliseconds) };
  });
  const operations = rows.reduce((sum, row) => sum + (row.gflops ?? 0) * row.milliseconds, 0);
  return {
    name: step.name,
    what: step.what,
    milliseconds: wall,
    tokensPerSecond: 1000 * step.tokens / wall,
    kernelMilliseconds: clock === "wall" ? null : rows.reduce((sum, row) => sum + row.milliseconds, 0),
    gflops: clock === "wall" ? null : operations / wall,
    rows: rows.sort((a, b) => b.milliseconds - a.milliseconds),
  };
}

function add(a: KernelTime, b: KernelTime): KernelTime {
  return {
    name: a.name,
    calls: a.calls + b.calls,
    milliseconds: a.milliseconds + b.milliseconds,
    flops: a.flops + b.flops,
    bytes: a.bytes + b.bytes,
  };
}
