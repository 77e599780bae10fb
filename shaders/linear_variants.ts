/**
 * Linear layer: every product's kernels by variant, one record each for the tests, the benchmark and the choice in
 * linear.ts. Formulas in linear.wgsl.
 * @module
 */
import {
  type Access,
  type AdapterTraits,
  defineKernel,
  type DimValues,
  type Grid,
  type KernelSpec,
} from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

/** Sizes of a linear launch; rows of y, residual and dy lie `stride` elements apart. */
export type LinearDims = "tokens" | "inputs" | "outputs" | "stride" | "accumulate";

const DIMS = { tokens: "u32", inputs: "u32", outputs: "u32", stride: "u32", accumulate: "u32" } as const;
type Values = DimValues<LinearDims>;

/** A variant's text, how large a piece of the output a workgroup makes, and the sizes it is written for. */
export interface Variant {
  readonly source: string;
  /** Rows and columns of the output that a workgroup makes. */
  readonly tile: readonly [rows: number, columns: number];
  readonly consts?: Readonly<Record<string, number>>;
  /** Both operands of the product and the residual are read through textures. */
  readonly textures?: true;
  /** A feature of the adapter that the text is written for. */
  readonly needs?: "shader-f16";
}

/** Consts of texts that linear_fused.ts takes too: here nothing stands before or after the product. */
const UNFUSED = { PLAIN: 1, NORMS: 0, UNGATED: 1, GATED: 0 };

/**
 * How operands are multiplied: as they are; rounded to f16, in f32; rounded, in f16 that is added up in f32 every slice.
 * Of rounded ones the weights are stored so.
 */
export type Operands = "f32" | "f16" | "f16_sums";

/** What stands in front of a text for its operands. */
const PRELUDES: Readonly<Record<Operands, string>> = {
  f32: SHADERS.operands_f32,
  f16: SHADERS.operands_f16 + SHADERS.sums_f32,
  f16_sums: SHADERS.operands_f16 + SHADERS.sums_f16,
};
const prelude = (operands: Operands, text: string): Pick<Variant, "source" | "needs"> => ({
  source: PRELUDES[operands] + text,
  ...operands !== "f32" && { needs: "shader-f16" },
});

/** Subgroups whose threads share loads. */
export const SHARED = 16;

/**
 * Register tiles of ROWS rows x VECS vec4, 16 side by side, that read through textures; SHARE threads share their loads. DEEP
 * fours of a row at a time, 4 of them fill a cache line: 0.92 of the time on lavapipe (512 x 512 x 512), for a compilation
 * twice as long.
 */
export function texture(ROWS: number, VECS: number, SHARE: number, DEEP: number): Variant {
  const QUADS = ROWS / 4;
  const STEPS = DEEP === 1 ? 4 : 8;
  return {
    source: (SHARE === 1 ? SHADERS.no_subgroups : "") + SHADERS.texel + SHADERS.linear_texture,
    tile: [ROWS, 64 * VECS],
    consts: {
      ROWS,
      VECS,
      SHARE,
      DEEP,
      GROUPS: ROWS / SHARE,
      QUADS,
      STEPS,
      LOADS: QUADS * STEPS / SHARE,
      SETS: 1,
      ADDS: 0,
      ...UNFUSED,
    },
    textures: true,
  };
}

/**
 * Tiles of M x N elements through workgroup memory, K steps at a time; ROWS x 4 VECS elements a thread. A slice of both
 * operands is written to one of `buffers`.
 */
function tile(
  M: number,
  N: number,
  K: number,
  ROWS: number,
  VECS: number,
  operands: Operands = "f32",
  buffers: 1 | 2 = 1,
): Variant {
  const [X, Y, QUADS, MS, NS] = [N / (4 * VECS), M / ROWS, K / 4, M / 4, N / 4];
  const [SPAN, THREADS] = [QUADS + 1, X * Y];
  const loads = { LEFT_LOADS: M * QUADS / THREADS, RIGHT_LOADS: N * QUADS / THREADS };
  const [LEFT_PART, RIGHT_PART] = [M * SPAN, N * SPAN];
  const memory = { LEFT_PART, RIGHT_PART, LEFT: buffers * LEFT_PART, RIGHT: buffers * RIGHT_PART };
  return {
    ...prelude(operands, SHADERS.linear_tiled),
    tile: [M, N],
    consts: {
      ...UNFUSED,
      SINGLE: 2 - buffers,
      DOUBLE: buffers - 1,
      PAIRS: 2 * VECS,
      DIRECT: operands === "f16_sums" ? 0 : 1,
      SLICED: operands === "f16_sums" ? 1 : 0,
      M,
      N,
      K,
      ROWS,
      VECS,
      X,
      Y,
      QUADS,
      MS,
      NS,
      SPAN,
      THREADS,
      ROW_QUADS: ROWS / 4,
      ...loads,
      ...memory,
    },
  };
}

/** ROWS x 4 elements a workgroup of LANES threads that share the contraction; `subgroup` of them add up without memory. */
export const rows = (ROWS: number, subgroup = 0, operands: Operands = "f32"): Variant => ({
  ...prelude(operands, SHADERS.linear_rows),
  tile: [ROWS, 4],
  consts: subgroup > 0
    ? { ...UNFUSED, ROWS, LANES: subgroup, SUBGROUP: 1, WORKGROUP: 0 }
    : { ...UNFUSED, ROWS, LANES: 64, SUBGROUP: 0, WORKGROUP: 1, SUMS: 64 * ROWS },
});
/** Subgroups that a workgroup of their size is known to fill. */
export const SUBGROUPS = [8, 16, 32, 64];

const PLAIN: Variant = { source: SHADERS.linear, tile: [16, 128], consts: { ROWS: 16, QUADS: 4 } };
/** The variants that have all five products, by name. */
export const VARIANTS = {
  linear: PLAIN,
  linear_texture: texture(16, 2, 1, 1),
  linear_broadcast: texture(32, 1, SHARED, 4),
  linear_broadcast_16: texture(16, 1, SHARED, 4),
  linear_tiled: tile(64, 64, 16, 4, 1),
  linear_tiled_16x64: tile(16, 64, 16, 4, 1),
  linear_tiled_32x32: tile(32, 32, 16, 4, 1),
  linear_tiled_128x64: tile(128, 64, 16, 8, 2),
  linear_tiled_128x128: tile(128, 128, 8, 8, 2),
  linear_tiled_double: tile(64, 64, 8, 8, 1, "f32", 2),
  linear_half: tile(64, 64, 16, 4, 1, "f16"),
  linear_half_32x32: tile(32, 32, 16, 4, 1, "f16"),
  linear_half_128x128: tile(128, 128, 16, 8, 2, "f16"),
  linear_half_double: tile(64, 64, 16, 4, 1, "f16", 2),
  linear_half_sums: tile(64, 64, 16, 4, 1, "f16_sums"),
  linear_half_sums_128x128: tile(128, 128, 16, 8, 2, "f16_sums"),
  linear_any: { source: SHADERS.linear_any, tile: [1, 64] },
} as const satisfies Record<string, Variant>;
/** The variants that have all five products. */
export type LinearVariant = keyof typeof VARIANTS;

/** Elements from the first to the last of y. */
export const span = (d: Values): number => d.tokens === 0 ? 0 : (d.tokens - 1) * d.stride + d.outputs;
/** @param bytes of a weight */
const productCost = (d: Values, bytes: number): { flops: number; bytes: number } => ({
  flops: 2 * d.tokens * d.inputs * d.outputs,
  bytes: 4 * d.tokens * (d.inputs + d.outputs) + bytes * d.inputs * d.outputs,
});

/** Makes a variant's kernels. */
export function make<B extends string>(
  name: string,
  v: Variant,
  entry: string,
  bindings: Readonly<Record<B, Access>>,
  sizes: (d: Values) => Record<B, number>,
  /** Rows and columns of the output. */
  output: (d: Values) => readonly [number, number],
  cost = productCost,
): KernelSpec<B, LinearDims> {
  const halves = v.needs !== undefined && "weight" in bindings;
  return defineKernel({
    name: `${name}.${entry}`,
    source: v.source,
    entry,
    // The first two are the operands of the product.
    bindings: v.textures
      ? Object.fromEntries(
        Object.entries(bindings).map((
          [name, access],
          i,
        ) => [name, i < 2 || name === "residual" || name === "norm" ? "texture" : access]),
      ) as Record<B, Access>
      : bindings,
    ...v.consts && { consts: v.consts },
    ...v.needs && { needs: v.needs },
    ...halves && { halves: ["weight"] },
    dims: DIMS,
    sizes,
    grid: (d): Grid => {
      const [rows, columns] = output(d);
      return [Math.ceil(columns / v.tile[1]), Math.ceil(rows / v.tile[0]), 1];
    },
    cost: (d) => cost(d, halves ? 2 : 4),
  });
}

const forwardsOf = (name: string, v: Variant): {
  forward: KernelSpec<"x" | "weight" | "y", LinearDims>;
  forwardBias: KernelSpec<"x" | "weight" | "y" | "bias", LinearDims>;
  forwardResidual: KernelSpec<"x" | "weight" | "y" | "residual", LinearDims>;
} => ({
  forward: make(
    name,
    v,
    "forward",
    { x: "read", weight: "read", y: "write" },
    (d) => ({ x: d.tokens * d.inputs, weight: d.outputs * d.inputs, y: span(d) }),
    (d) => [d.tokens, d.outputs],
  ),
  forwardBias: make(
    name,
    v,
    "forward_bias",
    { x: "read", weight: "read", y: "write", bias: "read" },
    (d) => ({ x: d.tokens * d.inputs, weight: d.outputs * d.inputs, y: span(d), bias: d.outputs }),
    (d) => [d.tokens, d.outputs],
  ),
  forwardResidual: make(
    name,
    v,
    "forward_residual",
    { x: "read", weight: "read", y: "write", residual: "read" },
    (d) => ({ x: d.tokens * d.inputs, weight: d.outputs * d.inputs, y: span(d), residual: span(d) }),
    (d) => [d.tokens, d.outputs],
  ),
});
/** A kernel of two texts that add or set, by `accumulate`; others decide as they run. */
function setOrAdd<B extends string>(sets: KernelSpec<B, LinearDims>): KernelSpec<B, LinearDims> {
  if (sets.consts?.SETS === undefined) return sets;
  const adds = { ...sets, consts: { ...sets.consts, SETS: 0, ADDS: 1 } };
  return { ...sets, fit: ({ accumulate }) => accumulate === 1 ? adds : sets };
}

/** One variant's forward products. */
export type Forwards = ReturnType<typeof forwardsOf>;

const kernelsOf = (name: LinearVariant): Forwards & {
  backwardInput: KernelSpec<"dy" | "weight" | "dx", LinearDims>;
  backwardWeight: KernelSpec<"dy" | "x" | "dweight", LinearDims>;
} => ({
  ...forwardsOf(name, VARIANTS[name]),
  backwardInput: setOrAdd(make(
    name,
    VARIANTS[name],
    "backward_input",
    { dy: "read", weight: "read", dx: "inout" },
    (d) => ({ dy: span(d), weight: d.outputs * d.inputs, dx: d.tokens * d.inputs }),
    (d) => [d.tokens, d.inputs],
  )),
  backwardWeight: make(
    name,
    VARIANTS[name],
    "backward_weight",
    { dy: "read", x: "read", dweight: "inout" },
    (d) => ({ dy: span(d), x: d.tokens * d.inputs, dweight: d.outputs * d.inputs }),
    (d) => [d.outputs, d.inputs],
  ),
});
/** One variant's kernels. */
export type LinearKernels = ReturnType<typeof kernelsOf>;

/** `y += bias`, for the rare layer that has both a bias and a residual. */
export const addBias: KernelSpec<"bias" | "y", LinearDims> = make(
  "linear",
  { ...PLAIN, tile: [1, 64] },
  "add_bias",
  { bias: "read", y: "inout" },
  (d) => ({ bias: d.outputs, y: span(d) }),
  (d) => [d.tokens, d.outputs],
  (d) => ({ flops: d.tokens * d.outputs, bytes: 8 * d.tokens * d.outputs }),
);

/** The kernels of `most` in all their subgroups' texts: a program takes the one for its adapter's. */
export function bySubgroup<T extends object>(
  most: T,
  of: (subgroup: number) => T,
): T {
  return Object.fromEntries(
    Object.entries(most as Readonly<Record<string, KernelSpec>>).map(([key, kernel]) => [key, {
      ...kernel,
      fit: (dims: Readonly<Record<string, unknown>>, adapter: AdapterTraits) => {
        const mine = of(adapter.subgroup)[key as keyof T] as unknown as KernelSpec;
        return mine.fit?.(dims, adapter, {}) ?? mine;
      },
    }]),
  ) as unknown as T;
}

const all = Object.fromEntries(
  Object.keys(VARIANTS).map((name) => [name, kernelsOf(name as LinearVariant)]),
) as Record<LinearVariant, LinearKernels>;
for (const name of ["linear_broadcast", "linear_broadcast_16"] as const) {
  const own = all[name];
  all[name] = bySubgroup(own, (subgroup) => subgroup === SHARED ? own : all.linear_texture);
}

/**
 * All kernels of the layer by variant; the tests and the benchmark go through them. `linear_texture` reads its operands
 * through textures (software adapters) where they fit one and widths are multiples of 4, `linear_broadcast` reads so too
 * and shares the loads within subgroups of 16 (a program takes `linear_texture` for it where there are none), `linear`
 * needs neither, `linear_tiled` passes operands through workgroup memory (GPUs; `_double` through two
 * buffers in turns), `linear_half` does so with
 * weights that are stored as f16 and with other operands rounded to it (adapters with shader-f16, on request), `linear_half_sums` multiplies and adds up a slice of them in f16
 * too, `linear_any` takes any size. Numbers in a name are rows, or rows and columns, of a workgroup's tile.
 */
export const linearKernels: Readonly<Record<LinearVariant, LinearKernels>> = all;

const inSubgroups = (name: string, ROWS: number, operands: Operands = "f32"): Forwards => {
  const sizes = new Map(
    [0, ...SUBGROUPS].map((size) => [size, forwardsOf(name, rows(ROWS, size, operands))]),
  );
  return bySubgroup(sizes.get(0)!, (subgroup) => sizes.get(subgroup) ?? sizes.get(0)!);
};

/**
 * The forward products for few rows: a workgroup's threads share the contraction. `_subgroup` adds up within a subgroup
 * where the adapter says how large those are, else through workgroup memory as the others. `half` takes weights of
 * f16 and rounds the other operand as `linear_half` does.
 */
export const linearRowsKernels: Readonly<
  Record<`linear_${"" | "half_"}rows_${2 | 8}${"" | "_subgroup"}`, Forwards>
> = {
  linear_rows_2: forwardsOf("linear_rows_2", rows(2)),
  linear_rows_8: forwardsOf("linear_rows_8", rows(8)),
  linear_rows_2_subgroup: inSubgroups("linear_rows_2_subgroup", 2),
  linear_rows_8_subgroup: inSubgroups("linear_rows_8_subgroup", 8),
  linear_half_rows_2: forwardsOf("linear_half_rows_2", rows(2, 0, "f16")),
  linear_half_rows_8: forwardsOf("linear_half_rows_8", rows(8, 0, "f16")),
  linear_half_rows_2_subgroup: inSubgroups("linear_half_rows_2_subgroup", 2, "f16"),
  linear_half_rows_8_subgroup: inSubgroups("linear_half_rows_8_subgroup", 8, "f16"),
};
