/**
 * What a measurement says: time, rates, and their share of what the adapter's best kernels reach.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import { type Clock, timeLaunch } from "./clock.ts";
import type { Workload } from "./workload.ts";

/** One kernel on one shape. */
export interface Row {
  /** Name of the kernel. */
  readonly kernel: string;
  /** The shape in words. */
  readonly shape: string;
  /** Time of one launch. */
  readonly milliseconds: number;
  /** 10⁹ arithmetic operations a second; null where the kernel does none worth counting. */
  readonly gflops: number | null;
  /** 10⁹ bytes a second that must move at least. */
  readonly gbs: number | null;
}

/** A row beside the ceilings; above 1 where a small shape stays in a cache. */
export interface SharedRow extends Row {
  /** `gflops` over the best matmul's. */
  readonly matmulShare: number | null;
  /** `gbs` over the best copy's. */
  readonly copyShare: number | null;
}

/** The best rows of this run. */
export interface Ceilings {
  /** Fastest product. */
  readonly matmul: Row;
  /** Fastest copy. */
  readonly copy: Row;
}

/** Rates of `cost` done in `milliseconds`. */
export function rates(
  cost: { readonly flops: number; readonly bytes: number },
  milliseconds: number,
): Pick<Row, "gflops" | "gbs"> {
  const rate = (n: number): number | null => n > 0 && milliseconds > 0 ? n / milliseconds / 1e6 : null;
  return { gflops: rate(cost.flops), gbs: rate(cost.bytes) };
}

/** Times a workload. */
export async function measure(gpu: Gpu, w: Workload, rounds: number, clock: Clock): Promise<Row> {
  const milliseconds = await timeLaunch(gpu, w, rounds, clock);
  return { kernel: w.kernel.name, shape: w.shape, milliseconds, ...rates(w.cost, milliseconds) };
}

/** Puts the rates in relation to the ceilings. */
export function share<R extends Pick<Row, "gflops" | "gbs">>(
  row: R,
  { matmul, copy }: Ceilings,
): R & Pick<SharedRow, "matmulShare" | "copyShare"> {
  const over = (a: number | null, b: number | null) => a === null || b === null ? null : a / b;
  return { ...row, matmulShare: over(row.gflops, matmul.gflops), copyShare: over(row.gbs, copy.gbs) };
}
