/**
 * Variants of one kernel text: one f32 or one vec4f per load, threads grouped for a GPU or for a software adapter, reads
 * from storage buffers or through textures, and rows that are reduced by threads or by subgroups.
 * @module
 */
import type { Access, KernelSpec } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

/** What kernels are written for; `texture` is a software adapter on tensors that are worth their copies. */
export const ADAPTERS = ["gpu", "software", "texture"] as const;
/** The same for kernels that reduce; `subgroups` is a GPU whose subgroups kernels may use. */
export const REDUCERS = [...ADAPTERS, "subgroups"] as const;
/** One of {@link REDUCERS}. */
export type Adapter = typeof REDUCERS[number];

/** What differs between the variants of a kernel. */
export interface Variant {
  /** f32 values per load: 1 for any width, 4 for widths that are multiples of 4 (twice as fast on lavapipe). */
  readonly lanes: 1 | 4;
  /** Threads of a workgroup that reduces. */
  readonly group: number;
  /** Threads that share one row where a row is reduced; 1 needs no barrier. Of `subgroups`: as many as there are. */
  readonly share: number;
  /** Rows of a workgroup where rows are reduced. */
  readonly rows: number;
  /** Turns in which its teams take them, at most. */
  readonly turns: number;
  /** Threads of a workgroup whose threads know nothing of each other. */
  readonly flat: number;
  /** 1 where a thread does all that it can do with what it has loaded, 0 where threads are to be many. */
  readonly whole: 0 | 1;
  /** Access of a tensor of Values that is read. */
  readonly read: Access;
  readonly adapter: Adapter;
}

const GPU = {
  group: 64,
  share: 16,
  rows: 4,
  turns: 1,
  flat: 64,
  whole: 0,
  read: "read",
  adapter: "gpu",
} as const;
// Two subgroups of 32, the most frequent size, have a row each; one of 64 takes both, of four of 16 two have nothing to do.
const SUBGROUPS = { ...GPU, rows: 2, turns: 2, adapter: "subgroups" } as const;
// lavapipe runs 16 threads as one vector and pays 2 to 7 times for a barrier (rmsnorm [2048, 128]: 1.1 ms with share 1,
// 2.1 to 8 ms with 16 to 64 threads a row). A workgroup costs it 0.15 µs: 64 threads for 16 save half of a copy's time, 256
// for 64 a sixth of SwiGLU's and a tenth of AdamW's.
const SOFTWARE = { ...GPU, group: 16, share: 1, rows: 16, flat: 256, whole: 1, adapter: "software" } as const;
// A load of a vec4f takes lavapipe 35 ns from a storage buffer and 5 ns from a texture. What is written too is read where it
// stands: a texture would be filled anew for every launch, by one core, from which the other one has to fetch it (in place
// [131072] vec4f 0.6 ms, through a texture 1.4 and the copy; while other programs hold a core, the texture is the faster one).
const TEXTURE = { ...SOFTWARE, read: "texture", adapter: "texture" } as const;

/**
 * Elements of the largest mirrored tensor from which its copy (10 GB/s) and the split of the pass that it takes (30 µs) are
 * cheaper than loads from storage buffers (lavapipe, 2 cores, copies included: rmsnorm [64, 128] 0.76 ms and 0.63, AdamW on
 * 8,192 values 0.91 and 0.70, on 4,096 no difference).
 */
export const WORTH_A_TEXTURE = 8192;
/** Elements of the largest tensor that every adapter's textures can mirror. */
const MOST = 1024 * 8192 * 4;

const families = new WeakMap<KernelSpec, Map<string, KernelSpec>>();
const key = (lanes: number, adapter: Adapter): string => `${lanes} ${adapter}`;

/** A kernel for any width on any adapter; a program takes the sibling that {@link fitted} finds. */
export function variants<B extends string, D extends string>(
  make: (variant: Variant) => KernelSpec<B, D>,
): KernelSpec<B, D> {
  return familyOf(make, [GPU, SOFTWARE, TEXTURE]);
}

/** {@link variants} of a kernel that reduces, with one for subgroups: of another name, for it may have to be chosen. */
export function reducers<B extends string, D extends string>(
  make: (variant: Variant) => KernelSpec<B, D>,
): KernelSpec<B, D> {
  const bySubgroups = (v: Variant): KernelSpec<B, D> => {
    const kernel = make(v);
    return v.adapter === "subgroups"
      ? { ...kernel, name: kernel.name.replace(".", "_subgroup."), needs: "subgroups" }
      : kernel;
  };
  return familyOf(bySubgroups, [GPU, SOFTWARE, TEXTURE, SUBGROUPS]);
}

function familyOf<B extends string, D extends string>(
  make: (variant: Variant) => KernelSpec<B, D>,
  kinds: readonly Omit<Variant, "lanes">[],
): KernelSpec<B, D> {
  const family = new Map<string, KernelSpec>();
  for (const traits of kinds) {
    for (const lanes of [1, 4] as const) {
      // A texture holds four values to a texel.
      if (lanes === 1 && traits === TEXTURE) continue;
      const kernel = make({ lanes, ...traits }) as unknown as KernelSpec;
      family.set(key(lanes, traits.adapter), kernel);
      families.set(kernel, family);
    }
  }
  const general: KernelSpec = {
    ...family.get(key(1, "gpu"))!,
    fit: (dims, { software, subgroups }, elements) => {
      const adapter = !software
        ? subgroups ? "subgroups" : "gpu"
        : worthTextures(family, elements)
        ? "texture"
        : "software";
      return fitted(general, rowWidth(dims), adapter);
    },
  };
  families.set(general, family);
  return general as unknown as KernelSpec<B, D>;
}

function worthTextures(
  family: ReadonlyMap<string, KernelSpec>,
  elements: Readonly<Record<string, number>>,
): boolean {
  const read = Object.entries(family.get(key(4, "texture"))!.bindings)
    .filter(([, access]) => access === "texture").map(([name]) => elements[name] ?? 0);
  const most = Math.max(0, ...read);
  return most >= WORTH_A_TEXTURE && most <= MOST;
}

/** Values of a row as far as the fixed dims tell; 1 where they do not. */
function rowWidth(dims: Readonly<Record<string, unknown>>): number {
  if (typeof dims.width === "number") return dims.width;
  if (typeof dims.n === "number") return dims.n;
  if (typeof dims.stride === "number" && "columns" in dims) return dims.stride;
  return typeof dims.head_dim === "number" ? dims.head_dim / 2 : 1;
}

/** All siblings of a kernel that has variants; of another one none. */
export function siblingsOf(kernel: KernelSpec): readonly KernelSpec[] {
  return [...families.get(kernel)?.values() ?? []];
}

/**
 * The sibling of `kernel` that suits rows of `width` values (for flat kernels: all the values) and the adapter; the same
 * bindings and dims, the same object at every call. A kernel without variants comes back as it is.
 */
export function fitted<B extends string, D extends string>(
  kernel: KernelSpec<B, D>,
  width: number,
  adapter: Adapter,
): KernelSpec<B, D> {
  const family = families.get(kernel as unknown as KernelSpec);
  const lanes = width % 4 === 0 ? 4 : 1;
  const next = adapter === "subgroups" ? "gpu" : "software";
  const found = family?.get(key(lanes, adapter)) ?? family?.get(key(lanes, next)) ?? kernel;
  return found as unknown as KernelSpec<B, D>;
}

/**
 * The prelude that declares `Value`, `LANES`, `total` and `place` for a variant, and how a texture is read, to stand in
 * front of a kernel's text.
 */
export function valuePrelude(variant: Variant): string {
  return (variant.lanes === 4 ? SHADERS.values_vec4 : SHADERS.values_f32) +
    (variant.whole === 0 ? SHADERS.place : SHADERS.place_float) +
    (variant.adapter === "texture" ? SHADERS.texel : "");
}

/** The prelude of {@link reducers}, to follow the other: what a team of threads is that has a row, and how it adds up. */
export function teamPrelude(variant: Variant): string {
  return variant.adapter === "subgroups" ? SHADERS.team_subgroup : SHADERS.team_workgroup;
}

/** What {@link teamPrelude} and the texts behind it are written for. */
export const teamConsts = (v: Variant): Record<string, number> => ({
  GROUP: v.group,
  SHARE: v.share,
  ROWS: v.rows,
  TURNS: v.turns,
});
