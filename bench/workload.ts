/**
 * One kernel on one shape, with what it reads.
 * @module
 */
import type { Gpu, HostArray } from "../gpu/device.ts";
import type { KernelSpec } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";

/** What is timed. */
export interface Workload {
  /** The kernel, as the adapter gets it. */
  readonly kernel: KernelSpec;
  /** The shape in words, e.g. `tiny 2048 x 128`. */
  readonly shape: string;
  /** Values of the kernel's dims. */
  readonly dims: Readonly<Record<string, number>>;
  /** Contents of bindings that numbers in [-0.5, 0.5) would not do for: ids, tables, states. */
  readonly data: Readonly<Record<string, HostArray>>;
  /** Arithmetic operations and bytes of a launch. */
  readonly cost: { readonly flops: number; readonly bytes: number };
}

/**
 * Makes a workload.
 * @param cost where the kernel's own record cannot know it (it depends on the data)
 */
export function workload<B extends string, D extends string>(
  kernel: KernelSpec<B, D>,
  shape: string,
  dims: Readonly<Record<D, number>>,
  data: { readonly [K in B]?: HostArray } = {},
  cost: { readonly flops?: number; readonly bytes?: number } = {},
): Workload {
  return {
    kernel: kernel as unknown as KernelSpec,
    shape,
    dims,
    data: data as Record<string, HostArray>,
    cost: { ...kernel.cost(dims), ...cost },
  };
}

/** `size` numbers in [-0.5, 0.5), evenly spread, the same at every call. */
export function spread(size: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: size }, (_, i) => (i * 0.6180339887) % 1 - 0.5);
}

/** Token ids below `vocabulary`, in a fixed disorder. */
export function tokenIds(count: number, vocabulary: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from({ length: count }, (_, i) => (i * 7919 + 13) % vocabulary);
}

/** Tensors for every binding of the workload's kernel, filled. */
export function allocate(gpu: Gpu, w: Workload): Record<string, Tensor> {
  const sizes = w.kernel.sizes(w.dims);
  const tensors: Record<string, Tensor> = {};
  for (const name of Object.keys(w.kernel.bindings)) {
    const data = w.data[name] ?? spread(sizes[name]);
    const half = w.kernel.halves?.includes(name);
    tensors[name] = half
      ? gpu.alloc(name, [data.length], "data", "f16")
      : gpu.tensor(name, [data.length], data);
    if (half) gpu.write(tensors[name], data);
  }
  return tensors;
}
