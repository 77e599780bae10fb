/**
 * Packed attention with grouped queries, forward and backward: every head size's kernels by variant, for the tests, the
 * benchmark and the choice in attention.ts. The formulas stand in attention.wgsl.
 * Shapes: qkv and dqkv [T, (Hq + 2 Hkv) · D], segments [T, 2] u32 of segments that lie one after the other, out and dout
 * [T, Hq · D], lse and delta [T, Hq].
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import {
  type AdapterTraits,
  defineKernel,
  type DimValues,
  type KernelSpec,
  linearGrid,
} from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

/** Sizes of a launch; `causal` is 1 or 0, `scale` is usually 1/√D. */
export type AttentionDims = "tokens" | "heads" | "kv_heads" | "causal" | "scale";
type BackwardBindings = "qkv" | "segments" | "dout" | "lse" | "delta" | "dqkv";

const DIMS = { tokens: "u32", heads: "u32", kv_heads: "u32", causal: "u32", scale: "f32" } as const;
const BACKWARD = {
  qkv: "read",
  segments: "read",
  dout: "read",
  lse: "read",
  delta: "read",
  dqkv: "inout",
} as const;
const GROUP = 32;

/** One object per head size, so that its pipeline is compiled once. */
export function perHeadDim<K>(make: (headDim: number) => K): (headDim: number) => K {
  const made = new Map<number, K>();
  return (headDim) => {
    let kernel = made.get(headDim);
    if (kernel === undefined) {
      if (!(headDim % 8 === 0 && headDim >= 8 && headDim <= 256)) {
        throw new UserError(`head_dim = ${headDim}: attention takes multiples of 8 up to 256`);
      }
      kernel = make(headDim);
      made.set(headDim, kernel);
    }
    return kernel;
  };
}

const consts = (headDim: number): Record<string, number> => ({ HEAD: headDim, GROUP });

/** Rows of a thread. */
const TILE = 8;
/** Threads for the query rows of all k, v heads. */
const queryThreads = (d: DimValues<AttentionDims>): number =>
  d.kv_heads * Math.ceil(d.tokens * d.heads / d.kv_heads / TILE);

function backward(
  entry: "backward_query" | "backward_key_value",
  headDim: number,
  threads: (d: DimValues<AttentionDims>) => number,
): KernelSpec<BackwardBindings, AttentionDims> {
  return defineKernel({
    name: `attention.${entry}.d${headDim}`,
    source: SHADERS.attention + SHADERS.attention_backward,
    entry,
    bindings: BACKWARD,
    dims: DIMS,
    consts: consts(headDim),
    sizes: (d) => backwardSizes(d, headDim),
    grid: (d) => linearGrid(threads(d), GROUP),
    cost: (d) => backwardCost(d, headDim),
  });
}

function backwardSizes(d: DimValues<AttentionDims>, headDim: number): Record<BackwardBindings, number> {
  const qkv = d.tokens * (d.heads + 2 * d.kv_heads) * headDim;
  const rows = d.tokens * d.heads;
  return { qkv, segments: 2 * d.tokens, dout: rows * headDim, lse: rows, delta: rows, dqkv: qkv };
}

/** Bytes of reading the backward bindings once and writing dqkv. The flops depend on the segments: 0 stands for unknown. */
function backwardCost(d: DimValues<AttentionDims>, headDim: number): { flops: number; bytes: number } {
  return { flops: 0, bytes: 4 * Object.values(backwardSizes(d, headDim)).reduce((a, b) => a + b, 0) };
}

function plainForward(headDim: number): KernelSpec<"qkv" | "segments" | "out" | "lse", AttentionDims> {
  const sizes = (d: DimValues<AttentionDims>): Record<"qkv" | "segments" | "out" | "lse", number> => ({
    qkv: d.tokens * (d.heads + 2 * d.kv_heads) * headDim,
    segments: 2 * d.tokens,
    out: d.tokens * d.heads * headDim,
    lse: d.tokens * d.heads,
  });
  return defineKernel({
    name: `attention.forward.d${headDim}`,
    source: SHADERS.attention,
    entry: "forward",
    bindings: { qkv: "read", segments: "read", out: "write", lse: "write" },
    dims: DIMS,
    consts: consts(headDim),
    sizes,
    grid: (d) => linearGrid(queryThreads(d), GROUP),
    cost: (d) => ({ flops: 0, bytes: 4 * Object.values(sizes(d)).reduce((a, b) => a + b, 0) }),
  });
}

function plainDelta(headDim: number): KernelSpec<"dout" | "out" | "delta", "tokens" | "heads"> {
  return defineKernel({
    name: `attention.delta.d${headDim}`,
    source: SHADERS.attention,
    entry: "delta_of",
    bindings: { dout: "read", out: "read", delta: "write" },
    dims: { tokens: "u32", heads: "u32" },
    consts: consts(headDim),
    sizes: ({ tokens, heads }) => ({
      dout: tokens * heads * headDim,
      out: tokens * heads * headDim,
      delta: tokens * heads,
    }),
    grid: ({ tokens, heads }) => linearGrid(tokens * heads, GROUP),
    cost: ({ tokens, heads }) => ({
      flops: 2 * tokens * heads * headDim,
      bytes: 4 * tokens * heads * (2 * headDim + 1),
    }),
  });
}

/** Kernels of one head size. */
export interface AttentionKernels {
  /** out = softmax(scale q kᵀ) v within each segment, and the log-sum-exp of every row of scores for backward. */
  readonly forward: KernelSpec<"qkv" | "segments" | "out" | "lse", AttentionDims>;
  /** delta = dout · out of every row and head. */
  readonly delta: KernelSpec<"dout" | "out" | "delta", "tokens" | "heads">;
  /** The q part of dqkv; the k and v parts stay as they are. */
  readonly backwardQuery: KernelSpec<BackwardBindings, AttentionDims>;
  /** The k and v parts of dqkv; the q part stays as it is. */
  readonly backwardKeyValue: KernelSpec<BackwardBindings, AttentionDims>;
}

/**
 * Kernels whose threads know nothing of each other and read storage buffers: those of a software adapter for head sizes that
 * {@link attentionTexture} has none for. A GPU may measure them.
 */
export const attentionPlain: (headDim: number) => AttentionKernels = perHeadDim((headDim) => ({
  forward: plainForward(headDim),
  delta: plainDelta(headDim),
  backwardQuery: backward("backward_query", headDim, queryThreads),
  backwardKeyValue: backward("backward_key_value", headDim, (d) => d.kv_heads * Math.ceil(d.tokens / TILE)),
}));

/** Threads of a workgroup of the texture kernels: the widest vector of the software adapters. */
const VECTOR = 16;
/** Values of the other side's rows that a thread meets at once: more take longer to compile and are hardly faster. */
const MEETS = 128;
/** Compiling takes more than 2 s beyond. */
const MOST_MET = 512;

/** Rows of the other side at once: whole loads of every thread of a vector. */
function columns(headDim: number): number {
  let rows = 2;
  while (rows * headDim < MEETS || rows * headDim / 4 % VECTOR !== 0) rows *= 2;
  return rows;
}

/** The kernels of attention_texture.wgsl where `share` threads run as one vector. */
function textureKernels(headDim: number, share: number): AttentionKernels {
  const plain = attentionPlain(headDim);
  const rows = columns(headDim);
  const text = SHADERS.texel + SHADERS.attention_texture;
  const source = share === 1 ? SHADERS.no_subgroups + text : text;
  const loads = rows * headDim / 4 / share;
  const sizes = { HEAD: headDim, VECTORS: headDim / 4, GROUP: VECTOR };
  const blocks = { COLUMNS: rows, SHARE: share, LOADS: loads, SINGLES: Math.max(1, rows / share) };
  const made = <B extends string, D extends string>(
    of: KernelSpec<B, D>,
    entry: string,
    read: readonly NoInfer<B>[],
    grid: KernelSpec<B, D>["grid"],
  ): KernelSpec<B, D> => ({
    ...of,
    name: `attention_texture.${entry}.d${headDim}`,
    source,
    entry,
    bindings: { ...of.bindings, ...Object.fromEntries(read.map((name) => [name, "texture"])) },
    consts: { ...sizes, ...blocks },
    grid,
  });
  const perBlock = (d: DimValues<AttentionDims>, ownRows: number) =>
    linearGrid(d.kv_heads * Math.ceil(ownRows / VECTOR), 1);
  const queries = (d: DimValues<AttentionDims>) => perBlock(d, d.tokens * d.heads / d.kv_heads);
  return {
    forward: made(plain.forward, "forward", ["qkv"], queries),
    delta: made(
      plain.delta,
      "delta_of",
      ["dout", "out"],
      (d) => linearGrid(d.tokens * d.heads, VECTOR),
    ),
    backwardQuery: made(plain.backwardQuery, "backward_query", ["qkv", "dout"], queries),
    backwardKeyValue: made(
      plain.backwardKeyValue,
      "backward_key_value",
      ["qkv", "dout"],
      (d) => perBlock(d, d.tokens),
    ),
  };
}

/** Vectors that are known to hold a workgroup's threads in order. */
const SHARES = [8, 16];
const textures = new Map(
  [1, ...SHARES].map((share) => [share, perHeadDim((headDim) => textureKernels(headDim, share))]),
);

/** The kernels, each with a `fit`. */
function withFit(
  kernels: AttentionKernels,
  fit: (adapter: AdapterTraits) => AttentionKernels,
): AttentionKernels {
  const one = <K extends keyof AttentionKernels>(name: K): AttentionKernels[K] => ({
    ...kernels[name],
    fit: (_: unknown, adapter: AdapterTraits) => fit(adapter)[name],
  });
  return {
    forward: one("forward"),
    delta: one("delta"),
    backwardQuery: one("backwardQuery"),
    backwardKeyValue: one("backwardKeyValue"),
  };
}

const sharing = (headDim: number, subgroup: number): AttentionKernels =>
  textures.get(SHARES.includes(subgroup) ? subgroup : 1)!(headDim);

/** Kernels that read through textures, sharing loads as the adapter allows; undefined where a head is too large. */
export const attentionTexture: (headDim: number) => AttentionKernels | undefined = perHeadDim((headDim) =>
  columns(headDim) * headDim > MOST_MET
    ? undefined
    : withFit(sharing(headDim, 0), ({ subgroup }) => sharing(headDim, subgroup))
);

/** vec4 of workgroup memory that every adapter has: 16 KiB. */
const MEMORY = 1024;

/**
 * Constants of attention_tiled.wgsl: `M` own rows and `N` of the other side a tile. Slices of 4 to 8 vec4 of the head of which
 * the least is left over; as many rows a chunk as the memory holds. With `exchange` the threads of a row exchange numbers.
 */
function tile(headDim: number, M: number, N: number, exchange: 0 | 1, PARTS: 1 | 2): Record<string, number> {
  const [X, Y, VECTORS] = [N / 4, M / 4, headDim / 4];
  const THREADS = X * Y;
  const PART = VECTORS / PARTS;
  const padded = (slice: number): number => Math.ceil(VECTORS / slice) * slice;
  const SLICE = VECTORS < 4 ? VECTORS : [8, 7, 6, 5, 4].reduce((a, b) => padded(b) < padded(a) ? b : a);
  const [SPAN, WEIGHTS] = [SLICE | 1, Y + 1];
  // What a thread reads behind the last vec4 of a chunk's rows still stands in the memory.
  const chunkMemory = (rows: number): number => rows * (WEIGHTS + PART) + X;
  const exchanged = exchange * THREADS;
  let CHUNK = 16;
  while (CHUNK > X && chunkMemory(CHUNK) + exchanged > MEMORY) CHUNK /= 2;
  const SHARED = Math.max((M + N) * SPAN, chunkMemory(CHUNK));
  return {
    HEAD: headDim,
    VECTORS,
    M,
    N,
    X,
    Y,
    THREADS,
    PARTS,
    PART,
    VECS: Math.ceil(PART / X),
    SLICE,
    SLICES: Math.ceil(VECTORS / SLICE),
    SPAN,
    OTHER: M * SPAN,
    OWN_LOADS: Math.ceil(M * SLICE / THREADS),
    OTHER_LOADS: Math.ceil(N * SLICE / THREADS),
    CHUNK,
    CHUNKS: N / CHUNK,
    COLUMNS: CHUNK / X,
    CHUNK_LOADS: Math.ceil(CHUNK * PART / THREADS),
    WEIGHTS,
    ROWS: CHUNK * WEIGHTS,
    SHARED,
    MEMORY: SHARED + exchanged,
  };
}

/**
 * Widest head whose two sums of a tile of keys one workgroup has: of a wider one they would take more than 64 registers, and
 * 16 rows of the widest more memory than there is beside their weights.
 */
const WIDE = 128;

/** Own rows and others of a tile. */
type Tile = readonly [own: number, others: number];

/** The kernels of attention_tiled.wgsl in tiles of these sizes, called after them as `named` does. */
function tiledKernels(
  headDim: number,
  queries: Tile,
  keys: Tile,
  named: (tile: Tile) => string,
): AttentionKernels {
  const plain = attentionPlain(headDim);
  const made = <B extends string, D extends string>(
    of: KernelSpec<B, D>,
    entry: string,
    own: Tile,
    rows: (d: DimValues<D>) => number,
    parts: 1 | 2 = 1,
  ): KernelSpec<B, D> => ({
    ...of,
    name: `${named(own)}.${entry}.d${headDim}`,
    source: SHADERS.attention_tiled,
    entry,
    consts: tile(headDim, ...own, entry === "forward" ? 1 : 0, parts),
    grid: (d) => linearGrid((d as DimValues).kv_heads * Math.ceil(rows(d) / own[0]) * parts, 1),
  });
  const queryRows = (d: DimValues<AttentionDims>): number => d.tokens * d.heads / d.kv_heads;
  return {
    forward: made(plain.forward, "forward", queries, queryRows),
    delta: plain.delta,
    backwardQuery: made(plain.backwardQuery, "backward_query", queries, queryRows),
    backwardKeyValue: made(
      plain.backwardKeyValue,
      "backward_key_value",
      keys,
      (d) => d.tokens,
      headDim > WIDE ? 2 : 1,
    ),
  };
}

/**
 * Kernels that pass tiles through workgroup memory: those of a GPU. Tiles of queries are large, for few other rows are then
 * loaded for each; a tile of keys is small, for there are as many of them as tokens of a k, v head, and wider heads are for
 * more threads, since it has two sums.
 */
export const attentionTiled: (headDim: number) => AttentionKernels = perHeadDim((headDim) =>
  tiledKernels(
    headDim,
    [64, 32],
    headDim > 64 ? [32, 64] : [32, 32],
    () => "attention_tiled",
  )
);

/** The same in tiles of half the own rows: twice the workgroups, for launches that would leave a part of a GPU idle. */
export const attentionTiledSmall: (headDim: number) => AttentionKernels = perHeadDim((headDim) =>
  tiledKernels(
    headDim,
    [32, 32],
    [16, 64],
    ([own, others]) => `attention_tiled_${own}x${others}`,
  )
);
