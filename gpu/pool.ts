/**
 * Buffers, counted: bytes in use by class, the peak, and freed buffers kept for the next tensor of that size. Textures
 * are counted here too.
 * @module
 */
import { GpuError } from "./errors.ts";
import { BYTES, type DType, elements, type MemoryClass, type Tensor } from "./tensor.ts";

/** Bytes in use, by class and in all, and the largest total so far. */
export interface MemoryReport {
  /** Bytes in use by class. */
  readonly byClass: Readonly<Record<MemoryClass, number>>;
  /** Bytes in use in all. */
  readonly bytes: number;
  /** Most bytes that were in use at one time. */
  readonly peak: number;
  /** Bytes by class at that time; they add up to `peak`. */
  readonly peakByClass: Readonly<Record<MemoryClass, number>>;
  /** Freed buffers held for reuse; not part of `bytes`. */
  readonly idle: number;
}

/** Nothing of any class. */
const nothing = (): Record<MemoryClass, number> => ({
  parameter: 0,
  gradient: 0,
  moment: 0,
  activation: 0,
  cache: 0,
  scratch: 0,
  data: 0,
  mirror: 0,
});

const USAGE = 0x80 | 0x08 | 0x04; // STORAGE | COPY_DST | COPY_SRC

/** Hands out tensors and takes them back. WebGPU never checks physical memory, so what is held is counted here. */
export class Pool {
  #device: GPUDevice;
  #idle = new Map<number, GPUBuffer[]>();
  #live = new Map<GPUBuffer, { tensor: Tensor; bytes: number; memoryClass: MemoryClass }>();
  #byClass = nothing();
  #peakByClass = nothing();
  #bytes = 0;
  #peak = 0;
  #idleBytes = 0;
  #onError: (error: GpuError) => void;

  /** `onError` receives what an error scope reports after the fact. */
  constructor(device: GPUDevice, onError: (error: GpuError) => void) {
    this.#device = device;
    this.#onError = onError;
  }

  /**
   * A new tensor of `shape`; zero-filled when the buffer is fresh, unspecified when it is reused.
   * @throws GpuError when it exceeds the adapter's largest buffer
   */
  alloc(name: string, shape: readonly number[], memoryClass: MemoryClass, dtype: DType = "f32"): Tensor {
    const size = elements(shape);
    const bytes = size * BYTES[dtype];
    const limit = this.#device.limits.maxBufferSize;
    const what = `tensor ${name} [${shape.join(" x ")}] (${bytes} bytes)`;
    if (!Number.isSafeInteger(size) || shape.some((n) => !Number.isInteger(n) || n < 0)) {
      throw new GpuError(`${what}: not a valid shape`);
    }
    const capacity = Math.max(16, Math.ceil(bytes / 16) * 16);
    if (capacity > limit) {
      throw new GpuError(`${what} exceeds this adapter's largest buffer, maxBufferSize = ${limit}`);
    }
    let buffer = this.#idle.get(capacity)?.pop();
    if (buffer) this.#idleBytes -= capacity;
    else {
      this.#device.pushErrorScope("out-of-memory");
      this.#device.pushErrorScope("validation");
      buffer = this.#device.createBuffer({ label: name, size: capacity, usage: USAGE });
      for (let i = 0; i < 2; i++) {
        this.#device.popErrorScope().then((error) => {
          if (error) this.#onError(new GpuError(`allocating ${what}: ${error.message}`));
        }, () => {});
      }
    }
    const tensor: Tensor = { name, shape, dtype, buffer, offset: 0, size, bytes };
    this.#live.set(buffer, { tensor, bytes: capacity, memoryClass });
    this.hold(memoryClass, capacity);
    return tensor;
  }

  /** Counts memory that is not a tensor's, until {@link release}. */
  hold(memoryClass: MemoryClass, bytes: number): void {
    this.#byClass[memoryClass] += bytes;
    this.#bytes += bytes;
    if (this.#bytes <= this.#peak) return;
    this.#peak = this.#bytes;
    this.#peakByClass = { ...this.#byClass };
  }

  /** What was counted by {@link hold} is gone. */
  release(memoryClass: MemoryClass, bytes: number): void {
    this.#byClass[memoryClass] -= bytes;
    this.#bytes -= bytes;
  }

  /**
   * Takes a tensor back; its buffer serves the next tensor of that size. Views are not freed, their owner is.
   * @throws GpuError when it is not one that `alloc` made and that is still in use
   */
  free(tensor: Tensor): void {
    const entry = this.#live.get(tensor.buffer);
    // The buffer may be another tensor's by now: freeing it again would hand it out twice.
    if (entry?.tensor !== tensor) {
      throw new GpuError(`tensor ${tensor.name} was freed twice, is a view or is not from this pool`);
    }
    this.#live.delete(tensor.buffer);
    this.release(entry.memoryClass, entry.bytes);
    this.#idleBytes += entry.bytes;
    const list = this.#idle.get(entry.bytes);
    if (list) list.push(tensor.buffer);
    else this.#idle.set(entry.bytes, [tensor.buffer]);
  }

  /** Destroys the idle buffers: garbage collection alone lets gigabytes pile up. */
  trim(): void {
    for (const list of this.#idle.values()) for (const buffer of list) buffer.destroy();
    this.#idle.clear();
    this.#idleBytes = 0;
  }

  /** What is held now, and the peak. */
  report(): MemoryReport {
    return {
      byClass: { ...this.#byClass },
      bytes: this.#bytes,
      peak: this.#peak,
      peakByClass: { ...this.#peakByClass },
      idle: this.#idleBytes,
    };
  }

  /** Destroys every buffer. */
  destroy(): void {
    this.trim();
    for (const buffer of this.#live.keys()) buffer.destroy();
    this.#live.clear();
  }
}

/** Mebibytes by class in words, the largest first: `parameters 12, activations 100 MiB`; classes below half of one are left out. */
export function memoryLine(byClass: Readonly<Partial<Record<MemoryClass, number>>>): string {
  const names: Readonly<Record<string, string>> = {
    parameter: "parameters",
    gradient: "gradients",
    moment: "moments",
    activation: "activations",
    cache: "KV cache",
    mirror: "mirror textures",
  };
  return Object.entries(byClass).filter(([, bytes]) => bytes >= 2 ** 19).sort(([, a], [, b]) => b - a)
    .map(([name, bytes]) => `${names[name] ?? name} ${(bytes / 2 ** 20).toFixed(0)}`).join(", ");
}
