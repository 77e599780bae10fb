/**
 * A whole step taken apart: what every kernel costs in it, and what is spent outside kernels.
 * @module
 */
import type { KernelTime, Program } from "../gpu/program.ts";
import { median } from "./clock.ts";
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
  /** Sum over the kernels; null without timestamps. The rest of the step is launching, waiting and the host. */
  readonly kernelMilliseconds: number | null;
  /** By kernel, the costliest first; empty without timestamps. */
  readonly rows: readonly StepRow[];
}

/**
 * Profiles programs that together make a step, `rounds` times; a kernel's time is the median over the rounds.
 * @param prepare called before every round
 * @param costs operations and bytes of one launch, for kernels whose own record cannot know them
 */
export async function profileStep(
  programs: readonly Program[],
  rounds: number,
  step: Pick<StepTime, "name" | "what" | "milliseconds"> & { readonly tokens: number },
  costs: Readonly<Record<string, { readonly flops: number; readonly bytes?: number }>>,
  prepare: () => void = () => {},
): Promise<StepTime> {
  const times = new Map<string, KernelTime[]>();
  for (let round = 0; round < rounds; round++) {
    prepare();
    for (const program of programs) {
      for (const time of await program.profile()) {
        const held = times.get(time.name) ?? [];
        const before = held[round];
        held[round] = before ? add(before, time) : time;
        times.set(time.name, held);
      }
    }
  }
  const rows = [...times].map(([kernel, list]): StepRow => {
    const { calls, flops, bytes } = list[0];
    const milliseconds = median(list.map((t) => t.milliseconds));
    const known = costs[kernel];
    const cost = known
      ? { flops: known.flops * calls, bytes: known.bytes ? known.bytes * calls : bytes }
      : { flops, bytes };
    return {
      kernel,
      calls,
      milliseconds,
      share: milliseconds / step.milliseconds,
      ...rates(cost, milliseconds),
    };
  }).sort((a, b) => b.milliseconds - a.milliseconds);
  const { tokens, ...rest } = step;
  return {
    ...rest,
    tokensPerSecond: 1000 * tokens / step.milliseconds,
    kernelMilliseconds: rounds === 0 ? null : rows.reduce((sum, row) => sum + row.milliseconds, 0),
    rows,
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
