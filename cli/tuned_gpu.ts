/** The device of a command that runs a model: which kernels it takes, and whether it measures. @module */
import { Gpu } from "../gpu/device.ts";
import type { Precision } from "../gpu/kernel.ts";
import type { KernelPreset } from "../gpu/kernel_options.ts";
import type { Progress } from "./progress.ts";
import { Tuner } from "../gpu/tuner.ts";

/** Options alike in all commands that run a model. */
export interface KernelArgs {
  /** False: kernels by rule alone. */
  tune: boolean;
  /** Which siblings of its kernels the device runs. */
  kernels: KernelPreset;
  /** What products are made of. */
  precision: Precision;
}

/** Where it is said that kernels are measured, and shown how far that is; a {@link Progress} does both. */
export type TuningLines = Pick<Progress, "say"> & Partial<Pick<Progress, "pass">>;

/**
 * Opens the device.
 * @throws UserError when the adapter cannot do what is asked for
 */
export function openTuned(args: KernelArgs, lines: TuningLines): Promise<Gpu> {
  const kernels = { preset: args.kernels, precision: args.precision };
  if (!args.tune) return Gpu.open(kernels);
  return Tuner.open({ say: (line) => lines.say(line), pass: (line) => lines.pass?.(line) }, kernels);
}

/** What measuring kernels took, where any was measured. */
export function tuningLine({ tuner }: Gpu): string | undefined {
  if (!tuner || tuner.spent.classes === 0) return undefined;
  const { classes, seconds } = tuner.spent;
  return `tuning kernels: ${classes} classes of launches in ${seconds.toFixed(1)} s`;
}
