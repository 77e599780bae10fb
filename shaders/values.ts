/**
 * Variants of one kernel text: one f32 or one vec4f per load, and threads grouped for a GPU or for a software adapter.
 * @module
 */
import type { KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

/** What differs between the variants of a kernel. */
export interface Variant {
  /** f32 values per load: 1 for any width, 4 for widths that are multiples of 4 (twice as fast on lavapipe). */
  readonly lanes: 1 | 4;
  /** Threads of a workgroup. */
  readonly group: number;
  /** Threads that share one row where a row is reduced; 1 needs no barrier. */
  readonly share: number;
}

const GPU = { group: 64, share: 16 };
// lavapipe runs 16 threads as one vector and pays 2 to 7 times for a barrier (rmsnorm [2048, 128]: 1.1 ms with share 1,
// 2.1 to 8 ms with 16 to 64 threads a row).
const SOFTWARE = { group: 16, share: 1 };

const families = new WeakMap<KernelSpec, Map<string, KernelSpec>>();
const key = (lanes: number, software: boolean): string => `${lanes} ${software}`;

/** A kernel for any width on any adapter; a program takes the sibling that {@link fitted} finds. */
export function variants<B extends string, D extends string>(
  make: (variant: Variant) => KernelSpec<B, D>,
): KernelSpec<B, D> {
  const family = new Map<string, KernelSpec>();
  for (const software of [false, true]) {
    for (const lanes of [1, 4] as const) {
      const kernel = make({ lanes, ...(software ? SOFTWARE : GPU) }) as unknown as KernelSpec;
      family.set(key(lanes, software), kernel);
      families.set(kernel, family);
    }
  }
  const general: KernelSpec = {
    ...family.get(key(1, false))!,
    fit: (dims, software) => fitted(general, rowWidth(dims), software),
  };
  families.set(general, family);
  return general as unknown as KernelSpec<B, D>;
}

/** Values of a row as far as the fixed dims tell; 1 where they do not. */
function rowWidth(dims: Readonly<Record<string, unknown>>): number {
  if (typeof dims.width === "number") return dims.width;
  if (typeof dims.n === "number") return dims.n;
  return typeof dims.head_dim === "number" ? dims.head_dim / 2 : 1;
}

/**
 * The sibling of `kernel` that suits rows of `width` values (for flat kernels: all the values) and the adapter; the same
 * bindings and dims, the same object at every call. A kernel without variants comes back as it is.
 */
export function fitted<B extends string, D extends string>(
  kernel: KernelSpec<B, D>,
  width: number,
  software: boolean,
): KernelSpec<B, D> {
  const family = families.get(kernel as unknown as KernelSpec);
  return (family?.get(key(width % 4 === 0 ? 4 : 1, software)) ?? kernel) as unknown as KernelSpec<B, D>;
}

/** The prelude that declares `Value`, `LANES` and `total` for a variant, to stand in front of a kernel's text. */
export function valuePrelude(variant: Variant): string {
  return variant.lanes === 4 ? SHADERS.values_vec4 : SHADERS.values_f32;
}
