/**
 * The one device of a test process.
 * @module
 */
import { Gpu } from "../../gpu/device.ts";

let opened: Promise<Gpu> | undefined;

/** Opens the device at the first call; every test of the process shares it. */
export function oneGpu(): Promise<Gpu> {
  return opened ??= Gpu.open();
}
