/**
 * Packed attention with grouped queries, forward and backward; the formulas stand in attention.wgsl.
 * Shapes: qkv and dqkv [T, (Hq + 2 Hkv) · D], segments [T, 2] u32, out and dout [T, Hq · D], lse and delta [T, Hq].
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import {
  type Access,
  defineKernel,
  type DimValues,
  type Grid,
  type KernelSpec,
  linearGrid,
} from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";

type AttentionDims = "tokens" | "heads" | "kv_heads" | "causal" | "scale";
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
function perHeadDim<K>(make: (headDim: number) => K): (headDim: number) => K {
  const made = new Map<number, K>();
  return (headDim) => {
    let kernel = made.get(headDim);
    if (!kernel) {
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

/** Threads for the query rows of all k, v heads, `tile` rows each. */
const queryThreads = (d: DimValues<AttentionDims>, tile: number): number =>
  d.kv_heads * Math.ceil(d.tokens * d.heads / d.kv_heads / tile);

/** Invocations of a workgroup of attention_texture.wgsl, which are one subgroup. */
const SUBGROUP = 16;

/**
 * The sibling of a kernel for software adapters whose subgroups are that wide; the kernel itself serves the others.
 * @param read bindings that become textures
 */
function withTextures<B extends string, D extends string>(
  kernel: KernelSpec<B, D>,
  entry: string,
  headDim: number,
  read: readonly NoInfer<B>[],
  grid: (d: DimValues<D>) => Grid,
): KernelSpec<B, D> {
  // Every thread of a subgroup loads another vector of the columns.
  const columns = headDim % 16 === 0 ? 4 : 8;
  const bindings = Object.fromEntries(
    Object.entries<Access>(kernel.bindings).map((
      [name, access],
    ) => [name, read.includes(name as B) ? "texture" : access]),
  ) as Record<B, Access>;
  const texture = defineKernel<B, D>({
    ...kernel,
    name: kernel.name.replace("attention.", "attention_texture."),
    source: SHADERS.texel + SHADERS.attention_texture,
    entry,
    bindings,
    consts: {
      GROUP: SUBGROUP,
      SHARE: SUBGROUP,
      VECTORS: headDim / 4,
      COLUMNS: columns,
      LOADS: columns * headDim / 4 / SUBGROUP,
      SINGLES: 1,
    },
    grid,
    subgroup: { size: SUBGROUP, otherwise: kernel },
  });
  return { ...kernel, fit: (_, software) => software ? texture : kernel };
}

/** Workgroups for the query rows of all k, v heads. */
const queryGroups = (d: DimValues<AttentionDims>): Grid =>
  linearGrid(d.kv_heads * Math.ceil(d.tokens * d.heads / d.kv_heads / SUBGROUP), 1);
const keyGroups = (d: DimValues<AttentionDims>): Grid =>
  linearGrid(d.kv_heads * Math.ceil(d.tokens / SUBGROUP), 1);

/**
 * A backward kernel: with rows in registers where a written-out head of that size is given, else in tiles of 8 x 8.
 * Registers take long to compile on a software adapter (D = 64: 5 s for the queries, 7 s for keys and values).
 */
function backward(
  entry: "backward_query" | "backward_key_value",
  headDim: number,
  heads: Readonly<Record<number, string>>,
  threads: (d: DimValues<AttentionDims>, tile: number) => number,
  groups: (d: DimValues<AttentionDims>) => Grid,
): KernelSpec<BackwardBindings, AttentionDims> {
  const head = heads[headDim];
  const tile = head ? 4 : 8;
  const text = SHADERS.attention + SHADERS.attention_backward;
  const kernel = defineKernel<BackwardBindings, AttentionDims>({
    name: `attention.${entry}.d${headDim}`,
    source: head ? text + head + SHADERS.attention_registers : text,
    entry: head ? `${entry}_registers` : entry,
    bindings: BACKWARD,
    dims: DIMS,
    consts: consts(headDim),
    sizes: (d) => backwardSizes(d, headDim),
    grid: (d) => linearGrid(threads(d, tile), GROUP),
    cost: (d) => backwardCost(d, headDim),
  });
  return withTextures(kernel, entry, headDim, ["qkv", "dout"], groups);
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

/** out = softmax(scale q kᵀ) v within each segment, and the log-sum-exp of every row of scores for backward. */
export const attentionForward: (
  headDim: number,
) => KernelSpec<"qkv" | "segments" | "out" | "lse", AttentionDims> = perHeadDim((headDim) => {
  const sizes = (d: DimValues<AttentionDims>): Record<"qkv" | "segments" | "out" | "lse", number> => ({
    qkv: d.tokens * (d.heads + 2 * d.kv_heads) * headDim,
    segments: 2 * d.tokens,
    out: d.tokens * d.heads * headDim,
    lse: d.tokens * d.heads,
  });
  const kernel = defineKernel<"qkv" | "segments" | "out" | "lse", AttentionDims>({
    name: `attention.forward.d${headDim}`,
    source: SHADERS.attention,
    entry: "forward",
    bindings: { qkv: "read", segments: "read", out: "write", lse: "write" },
    dims: DIMS,
    consts: consts(headDim),
    sizes,
    grid: (d) => linearGrid(queryThreads(d, 8), GROUP),
    cost: (d) => ({ flops: 0, bytes: 4 * Object.values(sizes(d)).reduce((a, b) => a + b, 0) }),
  });
  return withTextures(kernel, "forward", headDim, ["qkv"], queryGroups);
});

/** delta = dout · out of every row and head. */
export const attentionDelta: (
  headDim: number,
) => KernelSpec<"dout" | "out" | "delta", "tokens" | "heads"> = perHeadDim((headDim) => {
  const kernel = defineKernel<"dout" | "out" | "delta", "tokens" | "heads">({
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
  return withTextures(
    kernel,
    "delta_of",
    headDim,
    ["dout", "out"],
    ({ tokens, heads }) => linearGrid(tokens * heads, SUBGROUP),
  );
});

/** The q part of dqkv; the k and v parts stay as they are. */
export const attentionBackwardQuery: (headDim: number) => KernelSpec<BackwardBindings, AttentionDims> =
  perHeadDim(
    (headDim) =>
      backward("backward_query", headDim, { 32: SHADERS.attention_head_32 }, queryThreads, queryGroups),
  );

/** The k and v parts of dqkv; the q part stays as it is. */
export const attentionBackwardKeyValue: (headDim: number) => KernelSpec<BackwardBindings, AttentionDims> =
  perHeadDim(
    (headDim) =>
      backward(
        "backward_key_value",
        headDim,
        { 32: SHADERS.attention_head_32, 64: SHADERS.attention_head_64 },
        (d, tile) => d.kv_heads * Math.ceil(d.tokens / tile),
        keyGroups,
      ),
  );
