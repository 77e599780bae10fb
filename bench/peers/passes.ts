/**
 * The time that a device spends on what is submitted to it, by its own clock: the rest of a stretch of work is host,
 * launching and waiting. Measured from outside, so that what is measured is the program as it ships.
 * @module
 */
import type { Gpu } from "../../gpu/device.ts";
import { GpuError } from "../../gpu/errors.ts";

/** A query set holds at most 4,096 entries, two for a pass. */
const PASSES = 2048;

/** First and last pass of an encoder. */
interface Passes {
  readonly first: number;
  last: number;
}

/** Puts timestamps around every compute pass that the device begins, until it is closed. */
export class PassTimes {
  #gpu: Gpu;
  #sets: GPUQuerySet[] = [];
  #passes = 0;
  /** First and last pass of every submitted encoder that has any. */
  #encoders: Passes[] = [];

  /** @throws GpuError when the adapter has no `timestamp-query` */
  constructor(gpu: Gpu) {
    const { device } = gpu;
    if (!device.features.has("timestamp-query")) {
      throw new GpuError("the time of passes: this adapter has no timestamp-query");
    }
    this.#gpu = gpu;
    const create = device.createCommandEncoder.bind(device);
    // What is encoded ahead may never be submitted.
    const encoded = new WeakMap<GPUCommandBuffer, Passes>();
    device.createCommandEncoder = (descriptor) => {
      const encoder = create(descriptor);
      const begin = encoder.beginComputePass.bind(encoder);
      const finish = encoder.finish.bind(encoder);
      let own: Passes | undefined;
      encoder.beginComputePass = (pass) => {
        const place = this.#passes++;
        if (own) own.last = place;
        else own = { first: place, last: place };
        return begin({ ...pass, timestampWrites: this.#writes(place) });
      };
      encoder.finish = (descriptor) => {
        const commands = finish(descriptor);
        if (own) encoded.set(commands, own);
        return commands;
      };
      return encoder;
    };
    const submit = device.queue.submit.bind(device.queue);
    device.queue.submit = (list) => {
      const commands = [...list];
      this.#encoders.push(...commands.flatMap((c) => encoded.get(c) ?? []));
      submit(commands);
    };
  }

  /** Leaves the device as it was. */
  close(): void {
    // The device's own methods, on their prototypes, show again.
    delete (this.#gpu.device as Partial<GPUDevice>).createCommandEncoder;
    delete (this.#gpu.device.queue as Partial<GPUQueue>).submit;
    for (const set of this.#sets) set.destroy();
    this.#sets = [];
    this.#passes = 0;
    this.#encoders = [];
  }

  /**
   * Seconds since the last call between the first and the last pass of each submit: copies between passes count, and
   * nothing that the host does.
   */
  async take(): Promise<number> {
    const times = await this.#read();
    const nanoseconds = this.#encoders.reduce(
      (sum, { first, last }) => sum + Number(times[2 * last + 1] - times[2 * first]),
      0,
    );
    this.#passes = 0;
    this.#encoders = [];
    return nanoseconds / 1e9;
  }

  /** Begin and end of every pass, nanoseconds. */
  async #read(): Promise<BigUint64Array> {
    const { device } = this.#gpu;
    const times = new BigUint64Array(2 * this.#passes);
    for (let from = 0; from < this.#passes; from += PASSES) {
      const count = Math.min(PASSES, this.#passes - from);
      const bytes = 16 * count;
      const size = bytes / 4;
      const buffer = device.createBuffer({ size: bytes, usage: 0x200 | 4 });
      const encoder = device.createCommandEncoder();
      encoder.resolveQuerySet(this.#sets[from / PASSES], 0, 2 * count, buffer, 0);
      device.queue.submit([encoder.finish()]);
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
      times.set(new BigUint64Array(read.buffer, read.byteOffset, 2 * count), 2 * from);
      buffer.destroy();
    }
    return times;
  }

  #writes(place: number): GPUComputePassTimestampWrites {
    const querySet = this.#sets[Math.floor(place / PASSES)] ??= this.#gpu.device.createQuerySet({
      type: "timestamp",
      count: 2 * PASSES,
    });
    const first = 2 * (place % PASSES);
    return { querySet, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 };
  }
}
