/**
 * A program: a list of dispatches recorded once and replayed. Pipelines, bind groups and the uniform buffer are made at
 * the first run; later runs only re-evaluate the sizes that change (tokens of this batch, learning rate) and submit.
 * @module
 */
import type { Gpu } from "./device.ts";
import { GpuError } from "./errors.ts";
import { type Candidates, KEPT_TEXTURE, type KernelSpec, textured, writes } from "./kernel.ts";
import { fillMirror, fitsTexture, type Mirror, planMirrors, takeTextures } from "./mirrors.ts";
import type { Tensor } from "./tensor.ts";

/** A size or scalar of a launch: fixed, or asked for again at every run. */
export type Dim = number | (() => number);

interface Launch {
  /** By the rule; while the program is built a tuner may exchange it for one of `rivals`. */
  kernel: KernelSpec;
  readonly rivals: Candidates | undefined;
  readonly tensors: readonly Tensor[];
  readonly dims: Readonly<Record<string, Dim>>;
  readonly offset: number;
  readonly constant: boolean;
  grid: readonly [number, number, number];
  /** Elements that each binding needs in this run. */
  sizes: Readonly<Record<string, number>>;
}

interface Built {
  readonly pipelines: readonly GPUComputePipeline[];
  readonly groups: readonly GPUBindGroup[];
  /** Filled before the first launch of a run. */
  readonly constant: readonly Mirror[];
  /** Filled before the launch of that index. */
  readonly changing: ReadonlyMap<number, readonly Mirror[]>;
  readonly textures: readonly GPUTexture[];
  readonly uniforms: GPUBuffer;
  readonly image: DataView<ArrayBuffer>;
  /** Whether the image holds the fixed sizes. */
  filled: boolean;
}

/** Time of one kernel within a program. */
export interface KernelTime {
  /** The kernel's name. */
  readonly name: string;
  /** Launches in one run of the program. */
  readonly calls: number;
  /** Time of all launches. */
  readonly milliseconds: number;
  /** Arithmetic operations of all launches, by the kernel's own count. */
  readonly flops: number;
  /** Bytes that all launches must move at least once. */
  readonly bytes: number;
}

/** How a program is replayed. */
export interface ProgramOptions {
  /**
   * It is run once at a time: where tensors are read through textures, those that stay are filled shortly before they
   * are read too, and share textures, instead of keeping one each for launches that are replayed many times a run.
   */
  readonly once?: boolean;
}

/** How much a launch does. */
export interface Extent {
  /** Workgroups along x, y, z. */
  readonly grid: readonly [number, number, number];
  /** Elements that each binding needs. */
  readonly sizes: Readonly<Record<string, number>>;
}

/** Commands of a program that are not submitted yet. */
export interface EncodedAhead {
  /** How often they run the program. */
  readonly times: number;
  /** What they were encoded for, launch by launch. */
  readonly launches: readonly Extent[];
  /** To be submitted once. */
  readonly commands: GPUCommandBuffer;
}

function covers(encoded: Extent, wanted: Extent): boolean {
  return wanted.grid.every((n, axis) => n <= encoded.grid[axis]) &&
    Object.entries(wanted.sizes).every(([binding, size]) => size <= encoded.sizes[binding]);
}

/** Records launches, then replays them. */
export class Program {
  /** Shown in errors and captures. */
  readonly label: string;
  #gpu: Gpu;
  #once: boolean;
  #launches: Launch[] = [];
  #bytes = 0;
  #building: Promise<this> | undefined;
  #built: Built | undefined;

  /** An empty program; `label` is shown in errors and captures. */
  constructor(gpu: Gpu, label: string, options: ProgramOptions = {}) {
    this.#gpu = gpu;
    this.#once = options.once === true;
    this.label = label;
  }

  /** The device that it runs on. */
  get gpu(): Gpu {
    return this.#gpu;
  }

  /** Number of dispatches. */
  get length(): number {
    return this.#launches.length;
  }

  /**
   * Adds a launch of a kernel, in the variant that fits its fixed sizes and the adapter.
   * @throws GpuError when a written tensor is bound twice, a tensor is missing or exceeds the adapter's binding size or
   * holds values of another width, or the program is built
   */
  add<B extends string, D extends string>(
    general: KernelSpec<B, D>,
    tensors: Readonly<Record<B, Tensor>>,
    dims: Readonly<Record<D, Dim>>,
  ): this {
    const elements: Record<string, number> = {};
    for (const name in tensors) elements[name] = tensors[name]?.size ?? 0;
    let kernel = general.fit?.(dims, this.#gpu.traits, elements) ?? general;
    if (this.#building) throw new GpuError(`program ${this.label} is built, ${kernel.name} comes too late`);
    const names = Object.keys(kernel.bindings) as B[];
    const list = names.map((name) => tensors[name]);
    const needs = (i: number): boolean => textured(kernel.bindings[names[i]]);
    let rivals = this.#gpu.tuner && general.candidates?.(dims, this.#gpu.traits, elements);
    if (list.some((t, i) => t && needs(i) && !fitsTexture(this.#gpu.device, t))) {
      kernel = general;
      rivals = undefined;
    }
    const limit = this.#gpu.device.limits.maxStorageBufferBindingSize;
    names.forEach((name, i) => {
      const tensor = list[i];
      if (!tensor) throw new GpuError(`${kernel.name}: no tensor for binding ${name}`);
      if (tensor.bytes > limit) {
        throw new GpuError(
          `${kernel.name}: ${tensor.name} [${
            tensor.shape.join(" x ")
          }] is ${tensor.bytes} bytes, this adapter binds ${limit}`,
        );
      }
      const half = kernel.halves?.includes(name) === true;
      if ((tensor.dtype === "f16") !== half) {
        throw new GpuError(
          `${kernel.name}: ${name} is read as ${
            half ? "f16" : "four bytes"
          }, ${tensor.name} holds ${tensor.dtype}`,
        );
      }
      // WebGPU accepts two writable bindings of one buffer, even overlapping ones: a silent race.
      list.forEach((other, j) => {
        if (
          j < i && other.buffer === tensor.buffer &&
          (writes(kernel.bindings[name]) || writes(kernel.bindings[names[j]]))
        ) {
          throw new GpuError(`${kernel.name}: ${name} and ${names[j]} share the buffer of ${tensor.name}`);
        }
      });
    });
    const align = this.#gpu.device.limits.minUniformBufferOffsetAlignment;
    const size = Math.max(16, Math.ceil(Object.keys(kernel.dims).length / 4) * 16);
    this.#launches.push({
      kernel: kernel as unknown as KernelSpec,
      rivals: rivals as Candidates | undefined,
      tensors: list,
      dims,
      offset: this.#bytes,
      constant: Object.values(dims).every((value) => typeof value === "number"),
      grid: [1, 1, 1],
      sizes: {},
    });
    this.#bytes += Math.ceil(size / align) * align;
    return this;
  }

  /** Compiles the pipelines and makes the bind groups; run() does it if it has not been done. */
  build(): Promise<this> {
    return this.#building ??= this.#build();
  }

  async #build(): Promise<this> {
    const { device, tuner } = this.#gpu;
    for (const l of this.#launches) if (tuner && l.rivals) l.kernel = await tuner.choose(l.kernel, l.rivals);
    const pipelines = await Promise.all(this.#launches.map((l) => this.#gpu.kernels.pipeline(l.kernel)));
    const uniforms = device.createBuffer({
      label: `${this.label} dims`,
      size: Math.max(16, this.#bytes),
      usage: 0x40 | 8,
    });
    const mirrors = planMirrors(
      this.#launches.map((l) => {
        const bindings = Object.entries(l.kernel.bindings).map(([binding, access], i) => ({
          binding,
          access,
          tensor: l.tensors[i],
        }));
        return {
          mirrored: bindings.filter((b) => b.access === "texture"),
          written: bindings.filter((b) => writes(b.access) && b.access !== "kept").map((b) => b.tensor),
          kept: bindings.filter((b) => b.access === "kept"),
        };
      }),
      this.#once,
    );
    device.pushErrorScope("validation");
    const textures = takeTextures(this.#gpu.textures, mirrors, this.label);
    const views = new Map<string, GPUTextureView>();
    for (const m of mirrors) {
      for (const r of m.readers) views.set(`${r.launch} ${r.binding}`, m.texture!.createView());
    }
    const changing = new Map<number, Mirror[]>();
    for (const m of mirrors) {
      if (m.before !== undefined) changing.set(m.before, [...changing.get(m.before) ?? [], m]);
    }
    const groups = this.#launches.map((l, i) =>
      device.createBindGroup({
        label: l.kernel.name,
        layout: pipelines[i].getBindGroupLayout(0),
        entries: [
          {
            binding: 0,
            resource: {
              buffer: uniforms,
              offset: l.offset,
              size: Math.max(16, Math.ceil(Object.keys(l.kernel.dims).length / 4) * 16),
            },
          },
          ...Object.entries(l.kernel.bindings).flatMap(([name, access], j) => {
            const t = l.tensors[j];
            const texture = { binding: j + 1, resource: views.get(`${i} ${name}`)! };
            if (access === "texture") return texture;
            const size = Math.max(4, Math.ceil(t.bytes / 4) * 4);
            const tensor = { binding: j + 1, resource: { buffer: t.buffer, offset: t.offset, size } };
            return access === "kept" ? [tensor, { ...texture, binding: KEPT_TEXTURE + j + 1 }] : tensor;
          }),
        ],
      })
    );
    const error = await device.popErrorScope();
    if (error) throw new GpuError(`binding program ${this.label}: ${error.message}`);
    this.#built = {
      pipelines,
      groups,
      constant: mirrors.filter((m) => m.before === undefined),
      changing,
      textures,
      uniforms,
      image: new DataView(new ArrayBuffer(Math.max(16, this.#bytes))),
      filled: false,
    };
    return this;
  }

  /** Submits the recorded launches `times` over, in order. */
  async run(times = 1): Promise<void> {
    this.#gpu.check();
    await this.build();
    this.#fill();
    this.#gpu.encode(this.label, (encoder) => this.#encodeAll(encoder, times), this);
  }

  /**
   * Encodes the recorded launches `times` over, with their sizes as they are now; what is returned submits them, once and
   * before the program is prepared or run again. For a host that must not keep the GPU waiting at that point.
   * @param ahead by {@link encodeAhead}: taken where it covers the sizes, and used up in any case
   */
  async prepare(times = 1, ahead?: EncodedAhead): Promise<() => void> {
    this.#gpu.check();
    await this.build();
    this.#fill();
    const covered = ahead?.times === times &&
      this.#launches.every(({ grid, sizes }, i) => covers(ahead.launches[i], { grid, sizes }));
    const commands = covered ? ahead.commands : this.#finished(times);
    return () => this.#gpu.submit(commands);
  }

  /**
   * Encodes the recorded launches `times` over for a {@link prepare} whose sizes are these or smaller, so that the GPU need
   * not wait for it. Only for kernels whose workgroups do nothing where they are too many.
   */
  async encodeAhead(times: number): Promise<EncodedAhead> {
    this.#gpu.check();
    await this.build();
    this.#fill();
    const launches = this.#launches.map(({ grid, sizes }) => ({ grid, sizes }));
    return { times, launches, commands: this.#finished(times) };
  }

  /**
   * Runs once with a timestamp around every launch; needs the feature `timestamp-query`. Summed by kernel. Filling
   * textures lies between the launches and is not in it.
   */
  async profile(): Promise<KernelTime[]> {
    const times = await this.times();
    const rows = new Map<string, { calls: number; milliseconds: number; flops: number; bytes: number }>();
    this.#launches.forEach((launch, i) => {
      const { kernel } = launch;
      const row = rows.get(kernel.name) ?? { calls: 0, milliseconds: 0, flops: 0, bytes: 0 };
      const cost = kernel.cost(this.#dims(launch));
      row.calls++;
      row.milliseconds += times[i];
      row.flops += cost.flops;
      row.bytes += cost.bytes;
      rows.set(kernel.name, row);
    });
    return [...rows].map(([name, row]) => ({ name, ...row })).sort((a, b) => b.milliseconds - a.milliseconds);
  }

  /** As {@link profile}, launch by launch: milliseconds in the order of recording. */
  async times(): Promise<number[]> {
    this.#gpu.check();
    const { device } = this.#gpu;
    if (!device.features.has("timestamp-query")) {
      throw new GpuError(`profiling ${this.label}: this adapter has no timestamp-query`);
    }
    await this.build();
    this.#fill();
    const n = this.#launches.length;
    const milliseconds: number[] = [];
    const perSet = 2048; // a query set holds at most 4,096 entries
    for (let from = 0; from < n; from += perSet) {
      const to = Math.min(n, from + perSet);
      const set = device.createQuerySet({ type: "timestamp", count: (to - from) * 2 });
      const bytes = (to - from) * 16;
      const resolved = device.createBuffer({ size: bytes, usage: 0x200 | 4 });
      const encoder = device.createCommandEncoder();
      if (from === 0) this.#fillMirrors(encoder, this.#built!.constant);
      for (let i = from; i < to; i++) {
        this.#fillMirrors(encoder, this.#built!.changing.get(i));
        const pass = encoder.beginComputePass({
          timestampWrites: {
            querySet: set,
            beginningOfPassWriteIndex: (i - from) * 2,
            endOfPassWriteIndex: (i - from) * 2 + 1,
          },
        });
        this.#encode(pass, i);
        pass.end();
      }
      encoder.resolveQuerySet(set, 0, (to - from) * 2, resolved, 0);
      device.queue.submit([encoder.finish()]);
      const words = bytes / 4;
      const [read] = await this.#gpu.read({
        name: `${this.label} timestamps`,
        shape: [words],
        dtype: "u32",
        buffer: resolved,
        offset: 0,
        size: words,
        bytes,
      });
      const stamps = new BigUint64Array(read.buffer, read.byteOffset, words / 2);
      for (let i = 0; i < stamps.length; i += 2) milliseconds.push(Number(stamps[i + 1] - stamps[i]) / 1e6);
      resolved.destroy();
      set.destroy();
    }
    return milliseconds;
  }

  /** Frees the uniform buffer and gives the textures back. The tensors belong to whoever made them. */
  destroy(): void {
    this.#built?.uniforms.destroy();
    this.#gpu.textures.give(this.#built?.textures ?? []);
    this.#built = undefined;
    this.#building = undefined;
  }

  #finished(times: number): GPUCommandBuffer {
    const encoder = this.#gpu.device.createCommandEncoder({ label: this.label });
    this.#encodeAll(encoder, times);
    return encoder.finish();
  }

  #encodeAll(encoder: GPUCommandEncoder, times: number): void {
    this.#fillMirrors(encoder, this.#built!.constant);
    let pass: GPUComputePassEncoder | undefined;
    for (let i = 0; i < times; i++) {
      for (let launch = 0; launch < this.#launches.length; launch++) {
        const stale = this.#built!.changing.get(launch);
        if (stale) {
          // A pass holds no copies.
          pass?.end();
          pass = undefined;
          this.#fillMirrors(encoder, stale);
        }
        pass ??= encoder.beginComputePass();
        this.#encode(pass, launch);
      }
    }
    pass?.end();
  }

  #encode(pass: GPUComputePassEncoder, launch: number): void {
    const [x, y, z] = this.#launches[launch].grid;
    if (x === 0 || y === 0 || z === 0) return;
    pass.setPipeline(this.#built!.pipelines[launch]);
    pass.setBindGroup(0, this.#built!.groups[launch]);
    pass.dispatchWorkgroups(x, y, z);
  }

  /** Fills the parts that the launches of this run read. */
  #fillMirrors(encoder: GPUCommandEncoder, mirrors: readonly Mirror[] = []): void {
    for (const m of mirrors) {
      const sizes = m.readers.map(({ launch, binding }) => {
        const { kernel, sizes } = this.#launches[launch];
        return kernel.scattered?.includes(binding) ? m.tensor.size : sizes[binding];
      });
      fillMirror(encoder, m, Math.max(...sizes));
    }
  }

  #dims(launch: Launch): Record<string, number> {
    const values: Record<string, number> = {};
    for (const name in launch.dims) {
      const dim = launch.dims[name];
      values[name] = typeof dim === "number" ? dim : dim();
    }
    return values;
  }

  #fill(): void {
    this.#gpu.settle(this);
    const built = this.#built!;
    const { image, uniforms } = built;
    let changed = false;
    for (const launch of this.#launches) {
      if (launch.constant && built.filled) continue;
      const { kernel } = launch;
      const values = this.#dims(launch);
      let at = launch.offset;
      for (const name in kernel.dims) {
        const value = values[name];
        if (
          typeof value !== "number" ||
          (kernel.dims[name] === "u32" && !(Number.isInteger(value) && value >= 0 && value < 2 ** 32))
        ) {
          throw new GpuError(`${kernel.name}: dim ${name} = ${value} is not a valid ${kernel.dims[name]}`);
        }
        if (kernel.dims[name] === "u32") image.setUint32(at, value, true);
        else image.setFloat32(at, value, true);
        at += 4;
      }
      const sizes = launch.sizes = kernel.sizes(values);
      Object.keys(kernel.bindings).forEach((name, i) => {
        if (sizes[name] > launch.tensors[i].size) {
          throw new GpuError(
            `${kernel.name}: ${name} needs ${sizes[name]} elements, ${launch.tensors[i].name} [${
              launch.tensors[i].shape.join(" x ")
            }] has ${launch.tensors[i].size}`,
          );
        }
      });
      launch.grid = kernel.grid(values);
      const most = this.#gpu.device.limits.maxComputeWorkgroupsPerDimension;
      if (launch.grid.some((n) => n > most)) {
        throw new GpuError(
          `${kernel.name}: grid ${launch.grid.join(" x ")} exceeds ${most} workgroups a dimension`,
        );
      }
      changed = true;
    }
    built.filled = true;
    if (changed) this.#gpu.device.queue.writeBuffer(uniforms, 0, image.buffer);
  }
}
