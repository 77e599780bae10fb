/**
 * The time that a device spends in compute passes, by its own clock: the rest of a stretch of work is host, launching
 * and waiting. Measured from outside, so that what is measured is the program as it ships.
 * @module
 */
import type { Gpu } from "../../gpu/device.ts";
import { GpuError } from "../../gpu/errors.ts";

/** A query set holds at most 4,096 entries, two for a pass. */
const PASSES = 2048;

/** Puts timestamps around every compute pass that the device begins, until it is closed. */
export class PassTimes {
  #gpu: Gpu;
  #sets: GPUQuerySet[] = [];
  #passes = 0;

  /** @throws GpuError when the adapter has no `timestamp-query` */
  constructor(gpu: Gpu) {
    const { device } = gpu;
    if (!device.features.has("timestamp-query")) {
      throw new GpuError("the time of passes: this adapter has no timestamp-query");
    }
    this.#gpu = gpu;
    const create = device.createCommandEncoder.bind(device);
    device.createCommandEncoder = (descriptor) => {
      const encoder = create(descriptor);
      const begin = encoder.beginComputePass.bind(encoder);
      encoder.beginComputePass = (pass) => begin({ ...pass, timestampWrites: this.#next() });
      return encoder;
    };
  }

  /** Leaves the device as it was. */
  close(): void {
    // The device's own method, on its prototype, shows again.
    delete (this.#gpu.device as Partial<GPUDevice>).createCommandEncoder;
    for (const set of this.#sets) set.destroy();
    this.#sets = [];
    this.#passes = 0;
  }

  /** Seconds in passes since the last call. */
  async take(): Promise<number> {
    const passes = this.#passes;
    this.#passes = 0;
    let nanoseconds = 0;
    for (let from = 0; from < passes; from += PASSES) {
      const count = Math.min(PASSES, passes - from);
      const bytes = 16 * count;
      const { device } = this.#gpu;
      const buffer = device.createBuffer({ size: bytes, usage: 0x200 | 4 });
      const encoder = device.createCommandEncoder();
      encoder.resolveQuerySet(this.#sets[from / PASSES], 0, 2 * count, buffer, 0);
      device.queue.submit([encoder.finish()]);
      const size = bytes / 4;
      const tensor = {
        name: "pass times",
        shape: [size],
        dtype: "u32",
        buffer,
        offset: 0,
        size,
        bytes,
      } as const;
      const [read] = await this.#gpu.read(tensor);
      const times = new BigUint64Array(read.buffer, read.byteOffset, 2 * count);
      for (let i = 0; i < count; i++) nanoseconds += Number(times[2 * i + 1] - times[2 * i]);
      buffer.destroy();
    }
    return nanoseconds / 1e9;
  }

  #next(): GPUComputePassTimestampWrites {
    const place = this.#passes++;
    const querySet = this.#sets[Math.floor(place / PASSES)] ??= this.#gpu.device.createQuerySet({
      type: "timestamp",
      count: 2 * PASSES,
    });
    const first = 2 * (place % PASSES);
    return { querySet, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 };
  }
}
