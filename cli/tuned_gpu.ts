/** The device of a command that runs a model: its kernels are chosen by measuring, unless the user says otherwise. @module */
import { Gpu } from "../gpu/device.ts";
import { Tuner } from "../gpu/tuner.ts";

/** Opens the device; `say` hears when kernels are measured. */
export function openTuned(tune: boolean, say: (line: string) => void): Promise<Gpu> {
  return tune ? Tuner.open({ say }) : Gpu.open();
}

/** What measuring kernels took, where any was measured. */
export function tuningLine({ tuner }: Gpu): string | undefined {
  if (!tuner || tuner.spent.classes === 0) return undefined;
  const { classes, seconds } = tuner.spent;
  return `tuning kernels: ${classes} classes of launches in ${seconds.toFixed(1)} s`;
}
