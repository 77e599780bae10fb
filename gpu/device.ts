/**
 * The GPU device: opened with what the adapter really offers, its errors surfaced as exceptions.
 * @module
 */
import { GpuError, UserError } from "./errors.ts";
import { type AdapterTraits, KernelCache } from "./kernel.ts";
import type { KernelChooser } from "./kernel_choices.ts";
import { type KernelOptions, traitsFor } from "./kernel_options.ts";
import { Pool } from "./pool.ts";
import { ReadBack } from "./read_back.ts";
import { BYTES, type DType, type MemoryClass, type Tensor } from "./tensor.ts";
import { Textures } from "./textures.ts";

/** What is known about the adapter. */
export interface AdapterFacts extends Pick<AdapterTraits, "software" | "subgroup"> {
  /** As the driver names it. */
  readonly name: string;
  /** Maker, as WebGPU spells it; may be empty. */
  readonly vendor: string;
  /** The driver's own description; may be empty. */
  readonly driver: string;
  /** WebGPU features that the device was opened with, sorted. */
  readonly features: readonly string[];
}

/** Host data that can go into a tensor. */
export type HostArray = Float32Array | Uint32Array;

// The casts, here and below, serve importers, whose project may know Deno's own WebGPU types only.
const OPTIONAL_FEATURES = ["timestamp-query", "shader-f16", "subgroups"] as GPUFeatureName[];

/** WebGPU copies between buffers only, even where the ranges are apart. */
function refuseOneBuffer(from: Tensor, to: Tensor): void {
  if (from.buffer === to.buffer) {
    throw new GpuError(`copying ${from.name} to ${to.name}: they share one buffer`);
  }
}

/** A copy is of bytes: f16 values are not widened on the way, nor others rounded to them. */
function refuseOtherWidth(from: Tensor, to: Tensor): void {
  if (BYTES[from.dtype] !== BYTES[to.dtype]) {
    throw new GpuError(`copying ${from.name}, which holds ${from.dtype}, to ${to.name} of ${to.dtype}`);
  }
}

/** One open device with its pool of buffers and its compiled kernels. One per process. */
export class Gpu {
  /** The WebGPU device itself. */
  readonly device: GPUDevice;
  /** What is known about its adapter. */
  readonly facts: AdapterFacts;
  /** Every tensor's buffer comes from here. */
  readonly pool: Pool;
  /** Every program's textures come from here. */
  readonly textures: Textures;
  /** The compiled kernels. */
  readonly kernels: KernelCache;
  /**
   * Chooses among kernels (`Tuner.open` gives one that measures); without one the rule does, so that the same text runs at
   * every start.
   */
  tuner: KernelChooser | undefined;
  #traits: AdapterTraits;
  #failure: Error | undefined;
  #lost: Promise<never>;
  #closed = false;
  #back: ReadBack;
  /** Commands that wait for their submit, and what has encoded some of them; undefined outside {@link together}. */
  #waiting: { encoder: GPUCommandEncoder | undefined; by: Set<unknown> } | undefined;

  private constructor(device: GPUDevice, facts: AdapterFacts) {
    this.device = device;
    this.facts = facts;
    this.#traits = traitsFor(facts);
    this.pool = new Pool(device, (error) => this.#failure ??= error);
    this.textures = new Textures(device, this.pool);
    this.kernels = new KernelCache(device);
    this.#back = new ReadBack(device);
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#failure ??= new GpuError(
        `uncaptured GPU error: ${(event as GPUUncapturedErrorEvent).error.message}`,
      );
    });
    this.#lost = new Promise((_, reject) => {
      device.lost.then((info) => {
        if (this.#closed) return;
        this.#failure = new GpuError(`the GPU device was lost (${info.reason}): ${info.message}`);
        reject(this.#failure);
      });
    });
    this.#lost.catch(() => {});
  }

  /**
   * Opens the default adapter with its own limits and the optional features it has.
   * @throws UserError when there is no WebGPU adapter, with what to install, or when it cannot do what `kernels` ask for
   */
  static async open(kernels: KernelOptions = {}): Promise<Gpu> {
    // Read by Mesa's software driver when the first adapter is made: twice the vector width, the largest single gain.
    if (!Deno.env.get("LP_NATIVE_VECTOR_WIDTH")) Deno.env.set("LP_NATIVE_VECTOR_WIDTH", "512");
    const library = Deno.env.get("ARES_LIBVULKAN");
    if (library) Deno.dlopen(library, {});
    const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) {
      throw new UserError(
        "no WebGPU adapter: install your GPU's Vulkan driver (or Mesa's software one: " +
          "apt-get install libvulkan1 mesa-vulkan-drivers), or start with ./ares, which does it",
      );
    }
    const requiredLimits: Record<string, number> = {};
    for (const key in adapter.limits) {
      const value = (adapter.limits as unknown as Record<string, unknown>)[key];
      if (typeof value === "number") requiredLimits[key] = value;
    }
    // `subgroups` may be there without being listed: it is asked for and dropped if refused.
    const listed = OPTIONAL_FEATURES.filter((name) => adapter.features.has(name));
    const wishes = listed.includes("subgroups") ? [listed] : [[...listed, "subgroups"], listed];
    let device: GPUDevice | undefined;
    let refusal: unknown;
    let subgroups = false;
    for (const requiredFeatures of wishes) {
      try {
        device = await adapter.requestDevice({
          requiredLimits,
          requiredFeatures: requiredFeatures as GPUFeatureName[],
        });
        subgroups = (requiredFeatures as string[]).includes("subgroups");
        break;
      } catch (error) {
        refusal = error;
      }
    }
    if (!device) throw new GpuError(`the adapter refused a device: ${refusal}`);
    const info = adapter.info;
    const { subgroupMinSize, subgroupMaxSize } = info as {
      subgroupMinSize?: number;
      subgroupMaxSize?: number;
    };
    const name = info.device && !/^\d+$/.test(info.device) ? info.device : info.description || info.vendor;
    const gpu = new Gpu(device, {
      name: /llvmpipe|swiftshader/i.test(info.architecture) ? info.architecture : name || "unnamed adapter",
      vendor: info.vendor,
      driver: info.description,
      software: info.isFallbackAdapter === true ||
        /llvmpipe|lavapipe|swiftshader/i.test(`${info.device} ${info.architecture} ${info.description}`),
      features: [...device.features].sort(),
      subgroup: subgroups && subgroupMinSize === subgroupMaxSize ? subgroupMinSize ?? 0 : 0,
    });
    try {
      gpu.prefer(kernels);
    } catch (error) {
      gpu.close();
      throw error;
    }
    return gpu;
  }

  /** What the siblings of a kernel are chosen by when a launch is added. */
  get traits(): AdapterTraits {
    return this.#traits;
  }

  /**
   * Which siblings launches get that are added from now on; without options, those of the adapter in full precision.
   * @throws UserError when the adapter lacks what they need
   */
  prefer(kernels: KernelOptions = {}): void {
    this.#traits = traitsFor(this.facts, kernels);
  }

  /** Throws the first thing that went wrong, now and ever after: WebGPU itself stays silent. */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /** A new tensor; see {@link Pool.alloc}. */
  alloc(name: string, shape: readonly number[], memoryClass: MemoryClass, dtype: DType = "f32"): Tensor {
    return this.pool.alloc(name, shape, memoryClass, dtype);
  }

  /** A new tensor filled from the host. */
  tensor(name: string, shape: readonly number[], data: HostArray, memoryClass: MemoryClass = "data"): Tensor {
    const tensor = this.alloc(name, shape, memoryClass, data instanceof Float32Array ? "f32" : "u32");
    this.write(tensor, data);
    return tensor;
  }

  /**
   * Copies `data` into the tensor, from element `start` on; f32 values into one of f16 too, rounded to the nearest, an even
   * number of them to an even place.
   */
  write(tensor: Tensor, data: HostArray, start = 0): void {
    if (start + data.length > tensor.size) {
      throw new GpuError(`writing ${data.length} elements at ${start} into ${tensor.name} of ${tensor.size}`);
    }
    const wanted = tensor.dtype === "u32" ? Uint32Array : Float32Array;
    if (!(data instanceof wanted)) throw new GpuError(`tensor ${tensor.name} holds ${tensor.dtype}`);
    const width = BYTES[tensor.dtype];
    // WebGPU writes whole words.
    if (start * width % 4 !== 0 || data.length * width % 4 !== 0) {
      throw new GpuError(
        `writing ${data.length} f16 elements at ${start} into ${tensor.name}: both are to be even`,
      );
    }
    // Deno 2.9.6 panics on an empty write.
    if (data.length === 0) return;
    // A write goes before every command that is not submitted.
    this.#flush();
    this.device.queue.writeBuffer(
      tensor.buffer,
      tensor.offset + start * width,
      (tensor.dtype === "f16" ? new Float16Array(data) : data) as Float32Array<ArrayBuffer>,
    );
  }

  /** Fills the tensor with zero bytes. */
  clear(...tensors: Tensor[]): void {
    this.encode("clear", (encoder) => {
      for (const t of tensors) encoder.clearBuffer(t.buffer, t.offset, Math.ceil(t.bytes / 4) * 4);
    });
  }

  /**
   * Copies whole tensors, in order.
   * @throws GpuError when one does not fit, or shares the buffer of the other
   */
  copy(...pairs: [from: Tensor, to: Tensor][]): void {
    for (const [from, to] of pairs) {
      refuseOtherWidth(from, to);
      if (from.bytes > to.bytes) throw new GpuError(`copying ${from.name} into the smaller ${to.name}`);
      refuseOneBuffer(from, to);
    }
    this.encode("copy", (encoder) => {
      for (const [from, to] of pairs) {
        encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, from.bytes);
      }
    });
  }

  /**
   * Copies the first `count` elements of `from` to element `start` of `to`.
   * @throws GpuError when they do not fit, or the tensors share a buffer
   */
  copyTo(from: Tensor, count: number, to: Tensor, start: number): void {
    if (count > from.size || start + count > to.size) {
      throw new GpuError(`copying ${count} elements of ${from.name} to ${start} of ${to.name} [${to.size}]`);
    }
    refuseOtherWidth(from, to);
    refuseOneBuffer(from, to);
    const width = BYTES[to.dtype];
    this.encode("copy", (encoder) => {
      encoder.copyBufferToBuffer(
        from.buffer,
        from.offset,
        to.buffer,
        to.offset + start * width,
        count * width,
      );
    });
  }

  /**
   * Reads tensors back, as they are once all work submitted so far is done. One wait for all of them; a wait costs
   * milliseconds and, in Deno, blocks the thread, so nothing reads inside a loop.
   * @throws GpuError when the device was lost or an earlier operation failed
   */
  async read(...tensors: Tensor[]): Promise<HostArray[]> {
    this.check();
    this.#flush();
    // Whole words are copied: an odd number of f16 values has room behind it in its buffer.
    const words = (t: Tensor): number => Math.ceil(t.bytes / 4) * 4;
    const total = tensors.reduce((sum, t) => sum + words(t), 0);
    let bytes: ArrayBuffer;
    try {
      bytes = await this.#back.take(total, (encoder, to) => {
        let at = 0;
        for (const t of tensors) {
          encoder.copyBufferToBuffer(t.buffer, t.offset, to, at, words(t));
          at += words(t);
        }
      }, this.#lost);
    } catch (error) {
      if (error instanceof GpuError) throw error;
      // The map says only that it failed; the cause arrives with the next turn of the queue.
      await this.idle();
      throw new GpuError(`reading ${tensors.map((t) => t.name).join(", ")}: ${error}`);
    }
    this.check();
    let at = 0;
    return tensors.map((t) => {
      const from = at;
      at += words(t);
      if (t.dtype === "f16") return new Float32Array(new Float16Array(bytes, from, t.size));
      return t.dtype === "f32" ? new Float32Array(bytes, from, t.size) : new Uint32Array(bytes, from, t.size);
    });
  }

  /** {@link read} of one tensor of f32 or f16 values. */
  async readF32(tensor: Tensor): Promise<Float32Array> {
    return (await this.read(tensor))[0] as Float32Array;
  }

  /**
   * Sends what `work` has the GPU do in as few submits as its order allows: one, where everything that is written from
   * the host is written before the first command. Nothing else may use the device meanwhile.
   */
  async together<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting) return await work();
    this.#waiting = { encoder: undefined, by: new Set() };
    try {
      return await work();
    } finally {
      this.#flush();
      this.#waiting = undefined;
    }
  }

  /** Encodes commands and submits them, or leaves them to the submit of {@link together}. */
  encode(label: string, commands: (encoder: GPUCommandEncoder) => void, by?: unknown): void {
    const waiting = this.#waiting;
    const encoder = waiting?.encoder ?? this.device.createCommandEncoder({ label });
    commands(encoder);
    if (!waiting) return this.device.queue.submit([encoder.finish()]);
    waiting.encoder = encoder;
    waiting.by.add(by);
  }

  /** Submits finished commands, behind what waits. */
  submit(commands: GPUCommandBuffer): void {
    this.#flush();
    this.device.queue.submit([commands]);
  }

  /** Submits waiting commands of `by`, and those before them: it is about to write what they read. */
  settle(by: unknown): void {
    if (this.#waiting?.by.has(by)) this.#flush();
  }

  #flush(): void {
    const encoder = this.#waiting?.encoder;
    if (!encoder) return;
    this.#waiting = { encoder: undefined, by: new Set() };
    this.device.queue.submit([encoder.finish()]);
  }

  /** Waits until all submitted work is done. */
  async idle(): Promise<void> {
    this.#flush();
    await Promise.race([this.device.queue.onSubmittedWorkDone(), this.#lost]);
    this.check();
  }

  /** Destroys the device; buffers first, since destroying the device alone leaks them. */
  close(): void {
    this.#closed = true;
    this.#back.destroy();
    this.textures.destroy();
    this.pool.destroy();
    this.device.destroy();
  }
}
