/**
 * A kernel as data: its WGSL text, entry point, bindings, sizes, grid and cost. Validation, the benchmark, the profile
 * and the documentation come from this one record.
 * @module
 */
import { GpuError } from "./errors.ts";
import { throughTextures } from "./through_textures.ts";
import { unroll } from "./unroll.ts";

/**
 * How a kernel uses a binding. `texture` reads a tensor of f32 values, a multiple of four of them, through a
 * `texture_storage_2d<rgba32float, read>`, in the texts called Mirror: element 4i is texel (i & 1023, i >> 10). The program
 * keeps the texture current. A text that declares storage arrays of vec4f serves both ways of reading ({@link kernelText}).
 * `kept` is `inout` whose writes the kernel also stores into that texture, a `texture_storage_2d<rgba32float, write>` bound
 * {@link KEPT_TEXTURE} places after the tensor: then the program need not copy it again.
 */
export type Access = "read" | "write" | "inout" | "texture" | "kept";

/** The texture of a `kept` tensor is bound so many places after the tensor. */
export const KEPT_TEXTURE = 16;

/** Whether a launch changes the tensor. */
export const writes = (access: Access): boolean => access !== "read" && access !== "texture";

/** Whether a launch binds a texture for the tensor, to read or to write. */
export const textured = (access: Access): boolean => access === "texture" || access === "kept";

/** The values of a kernel's dims at one launch. */
export type DimValues<D extends string = string> = Readonly<Record<D, number>>;

/** What products are made of: f32 values, or their roundings to f16. */
export type Precision = "float32" | "float16";

/** What decides which sibling of a kernel an adapter gets. */
export interface AdapterTraits {
  /** True for lavapipe, SwiftShader and other adapters that run on the CPU. */
  readonly software: boolean;
  /** Invocations of a subgroup where kernels may use subgroups and the adapter has one size only, else 0. */
  readonly subgroup: number;
  /** True where kernels may use subgroups, of whatever sizes. */
  readonly subgroups?: boolean;
  /** True where kernels are to need nothing beyond what WebGPU has everywhere, nor a choice by measuring. */
  readonly portable?: boolean;
  /** `float32` when undefined. */
  readonly precision?: Precision;
}

/** Workgroups along x, y, z. */
export type Grid = readonly [number, number, number];

/**
 * A kernel. In the WGSL, `@group(0) @binding(0)` is the uniform struct of `dims` in this order (four bytes each) and the
 * tensors follow from binding 1 in the order of `bindings`.
 */
export interface KernelSpec<B extends string = string, D extends string = string> {
  /** Unique, e.g. `rmsnorm.forward`; shown in errors, profiles and the benchmark. */
  readonly name: string;
  /** WGSL text. */
  readonly source: string;
  /** Name of the entry point in `source`. */
  readonly entry: string;
  /** Tensors in the order of their bindings, and how each is used. */
  readonly bindings: Readonly<Record<B, Access>>;
  /** Fields of the uniform struct, in order. */
  readonly dims: Readonly<Record<D, "u32" | "f32">>;
  /**
   * The device feature that the text needs. With `shader-f16` it begins with the line that enables it; the one for
   * subgroups is refused by naga, which does without.
   */
  readonly needs?: "shader-f16" | "subgroups";
  /** Bindings that hold f16 values; the others hold values of four bytes. */
  readonly halves?: readonly string[];
  /** Sizes of register tiles and the like, put in front of the text as `const NAME = value;` declarations. */
  readonly consts?: Readonly<Record<string, number>>;
  /** Elements each binding must hold at least. */
  sizes(d: DimValues<D>): Readonly<Record<B, number>>;
  /** Bindings that are read wherever the data says: of these the whole tensor is mirrored, not `sizes`. */
  readonly scattered?: readonly string[];
  /**
   * The sibling with the same bindings and dims that suits these dims, the adapter and the elements of the tensors at hand;
   * a program asks for it.
   */
  readonly fit?: (
    dims: Readonly<Record<string, unknown>>,
    adapter: AdapterTraits,
    elements: Readonly<Record<string, number>>,
  ) => KernelSpec<B, D>;
  /** Siblings that suit these dims, the adapter and the elements, for a tuner to choose among by measuring beside `fit`'s. */
  readonly candidates?: (
    dims: Readonly<Record<string, unknown>>,
    adapter: AdapterTraits,
    elements: Readonly<Record<string, number>>,
  ) => Candidates<B, D>;
  /** Workgroups to start. */
  grid(d: DimValues<D>): Grid;
  /** Arithmetic operations, and bytes that must move at least once. */
  cost(d: DimValues<D>): { readonly flops: number; readonly bytes: number };
}

/** What is worth measuring for a launch. */
export interface Candidates<B extends string = string, D extends string = string> {
  /** With the same bindings, read in the same ways, and the same dims. */
  readonly kernels: readonly KernelSpec<B, D>[];
  /** Sizes to measure at, rounded: launches with the same ones are of one class and share the choice. */
  readonly dims: DimValues<D>;
  /** By binding, the contents of u32 tensors to measure with (places, bounds), which follow from `dims`; f32 numbers elsewhere. */
  readonly contents?: Readonly<Record<string, Uint32Array<ArrayBuffer>>>;
}

/** Rows beyond which the choice of a kernel no longer depends on how many there are. */
const MOST_MEASURED = 1024;
/** What {@link Candidates.dims} rounds rows to: the next power of two, up to where nothing changes any more. */
export const measuredRows = (rows: number): number =>
  Math.min(MOST_MEASURED, 2 ** Math.ceil(Math.log2(Math.max(1, rows))));

/** Identity function that fixes a spec's name types. */
export function defineKernel<B extends string, D extends string>(spec: KernelSpec<B, D>): KernelSpec<B, D> {
  return spec;
}

/** Workgroups for `n` items at `perGroup` each, folded into y where x would exceed 65,535. */
export function linearGrid(n: number, perGroup: number): Grid {
  const groups = Math.max(1, Math.ceil(n / perGroup));
  const x = Math.min(groups, 65535);
  return [x, Math.ceil(groups / x), 1];
}

/** The text that is compiled: the constants, then the file with its marked loops written out and its textures read. */
export function kernelText(spec: KernelSpec): string {
  const consts = Object.entries(spec.consts ?? {}).map(([name, value]) =>
    `const ${name} = ${Number.isInteger(value) ? `${value}u` : `${value}f`};\n`
  );
  const text = throughTextures(unroll(spec.source, spec.consts), Object.values(spec.bindings));
  // What a text enables stands before all declarations.
  const [enabled] = /^(?:enable \w+;\n)*/.exec(text)!;
  return enabled + consts.join("") + text.slice(enabled.length);
}

/** Compiles kernels once for a device. */
export class KernelCache {
  #device: GPUDevice;
  #modules = new Map<string, { module: GPUShaderModule; error: Promise<GPUError | null> }>();
  #pipelines = new Map<string, Promise<GPUComputePipeline>>();

  /** Empty; kernels are compiled as they are asked for. */
  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /**
   * The pipeline of a kernel.
   * @throws GpuError with the kernel's name and the compiler's line and column
   */
  pipeline(spec: KernelSpec): Promise<GPUComputePipeline> {
    const text = kernelText(spec);
    const key = `${spec.entry} ${Object.values(spec.bindings).join(" ")}\n${text}`;
    let pipeline = this.#pipelines.get(key);
    if (!pipeline) {
      pipeline = this.#compile(spec, text);
      this.#pipelines.set(key, pipeline);
    }
    return pipeline;
  }

  async #compile(spec: KernelSpec, text: string): Promise<GPUComputePipeline> {
    const device = this.#device;
    const storage = Object.values(spec.bindings).filter((access) => access !== "texture").length;
    if (storage > device.limits.maxStorageBuffersPerShaderStage) {
      throw new GpuError(
        `kernel ${spec.name} binds ${storage} buffers, this adapter allows ${device.limits.maxStorageBuffersPerShaderStage}`,
      );
    }
    const textures = Object.values(spec.bindings).filter(textured).length;
    if (textures > device.limits.maxStorageTexturesPerShaderStage) {
      throw new GpuError(
        `kernel ${spec.name} binds ${textures} textures, this adapter allows ${device.limits.maxStorageTexturesPerShaderStage}`,
      );
    }
    if (spec.needs && !device.features.has(spec.needs)) {
      throw new GpuError(`kernel ${spec.name} needs ${spec.needs}, which this adapter does not have`);
    }
    let shader = this.#modules.get(text);
    if (!shader) {
      device.pushErrorScope("validation");
      const module = device.createShaderModule({ label: spec.name, code: text });
      shader = { module, error: device.popErrorScope() };
      this.#modules.set(text, shader);
    }
    // Scopes are a stack: closed before anything is awaited, or kernels compiled side by side get each other's errors.
    device.pushErrorScope("validation");
    const entries: GPUBindGroupLayoutEntry[] = [{ binding: 0, visibility: 4, buffer: { type: "uniform" } }];
    Object.values(spec.bindings).forEach((access, i) => {
      entries.push({
        binding: i + 1,
        visibility: 4,
        ...access === "texture"
          ? { storageTexture: { access: "read-only", format: "rgba32float" } }
          : { buffer: { type: access === "read" ? "read-only-storage" : "storage" } },
      });
      if (access === "kept") {
        entries.push({
          binding: KEPT_TEXTURE + i + 1,
          visibility: 4,
          storageTexture: { access: "write-only", format: "rgba32float" },
        });
      }
    });
    const layout = device.createPipelineLayout({
      bindGroupLayouts: [device.createBindGroupLayout({ entries })],
    });
    const [pipeline, scoped, inText] = await Promise.allSettled([
      device.createComputePipelineAsync({
        label: spec.name,
        layout,
        compute: { module: shader.module, entryPoint: spec.entry },
      }),
      device.popErrorScope(),
      shader.error,
    ]);
    // The compiler's own words come first: the pipeline only says that its module is invalid.
    const failures = [inText, scoped].map((r) => r.status === "fulfilled" ? r.value?.message : `${r.reason}`);
    const failure = failures.find((message) => message !== undefined);
    if (pipeline.status === "rejected" || failure !== undefined) {
      const why = failure ?? (pipeline as PromiseRejectedResult).reason;
      throw new GpuError(`compiling kernel ${spec.name} (${spec.entry}): ${why}`);
    }
    return pipeline.value;
  }
}
