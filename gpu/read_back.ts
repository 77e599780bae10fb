/**
 * Results on their way back to the host: buffers that are mapped, and the wait for them.
 * @module
 */
import { setImmediate } from "node:timers";
import { GpuError } from "./errors.ts";

/** Turns of the event loop that an error nobody caught takes to arrive: two were seen. */
const TURNS = 3;

/** Largest read whose buffer is rounded up to a power of two, bytes. */
const SMALL = 2 ** 24;

interface Staging {
  readonly buffer: GPUBuffer;
  /** A map has been waited for to its end: Deno ends the process when a buffer's range is asked for before that. */
  tried: boolean;
}

/** Reads bytes of a device back; buffers are kept for the next time. */
export class ReadBack {
  #device: GPUDevice;
  #idle: Staging[] = [];

  /** Nothing is taken before the first read. */
  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /**
   * Submits copies into a buffer of `bytes` bytes, then waits for them and for all that was submitted before.
   *
   * Deno 2.9 waits for the device within the call of `mapAsync`, and lets its promise through ten milliseconds later. What
   * is mapped by the end of the call is taken then; where nothing is, as the standard has it, the promise is waited for.
   * @param lost rejects when the device is lost
   * @throws GpuError when that is more than the adapter's largest buffer; what `mapAsync` rejects with
   */
  async take(
    bytes: number,
    copy: (encoder: GPUCommandEncoder, to: GPUBuffer) => void,
    lost: Promise<never>,
  ): Promise<ArrayBuffer> {
    const staging = this.#take(bytes);
    const { buffer } = staging;
    const encoder = this.#device.createCommandEncoder();
    copy(encoder, buffer);
    this.#device.queue.submit([encoder.finish()]);
    const mapping = buffer.mapAsync(1, 0, bytes);
    let data = staging.tried ? mappedNow(buffer, bytes) : undefined;
    if (data) {
      buffer.unmap();
      mapping.catch(() => {});
      // Signals and timers have their turn, and errors of the device arrive, as they do where one waits.
      for (let i = 0; i < TURNS; i++) await new Promise<void>((resolve) => setImmediate(resolve));
    } else {
      await Promise.race([mapping, lost]);
      data = buffer.getMappedRange(0, bytes).slice(0);
      buffer.unmap();
      staging.tried = true;
    }
    this.#idle.push(staging);
    return data;
  }

  /** Destroys the idle buffers. */
  destroy(): void {
    for (const { buffer } of this.#idle.splice(0)) buffer.destroy();
  }

  #take(bytes: number): Staging {
    const limit = this.#device.limits.maxBufferSize;
    if (bytes > limit) throw new GpuError(`reading ${bytes} bytes at once exceeds maxBufferSize = ${limit}`);
    const i = this.#idle.findIndex(({ buffer }) => buffer.size >= bytes);
    if (i >= 0) return this.#idle.splice(i, 1)[0];
    // Batches differ in size: with some room to spare their reads share buffers.
    const room = bytes <= SMALL ? 2 ** Math.ceil(Math.log2(Math.max(bytes, 4096))) : bytes;
    // At most two idle buffers are kept: large one-off reads (saving a checkpoint) would pile up otherwise.
    while (this.#idle.length > 1) this.#idle.shift()!.buffer.destroy();
    const size = Math.min(limit, Math.ceil(room / 4096) * 4096);
    return { buffer: this.#device.createBuffer({ label: "read-back", size, usage: 1 | 8 }), tried: false };
  }
}

/** The bytes of a map whose promise may not be through; undefined where they are not there. */
function mappedNow(buffer: GPUBuffer, bytes: number): ArrayBuffer | undefined {
  try {
    return buffer.getMappedRange(0, bytes).slice(0);
  } catch {
    return undefined;
  }
}
