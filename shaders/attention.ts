/**
 * Packed attention with grouped queries, forward and backward; the formulas stand in attention.wgsl.
 * Shapes: qkv and dqkv [T, (Hq + 2 Hkv) · D], segments [T, 2] u32, out and dout [T, Hq · D], lse and delta [T, Hq].
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { defineKernel, type DimValues, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
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
const source = SHADERS.attention + SHADERS.attention_backward;

/** One object per head size, so that its pipeline is compiled once. */
function perHeadDim<K>(
  make: (headDim: number, text: { source: string; consts: Record<string, number> }) => K,
) {
  const made = new Map<number, K>();
  return (headDim: number): K => {
    let kernel = made.get(headDim);
    if (!kernel) {
      if (!(headDim % 8 === 0 && headDim >= 8 && headDim <= 256)) {
        throw new UserError(`head_dim = ${headDim}: attention takes multiples of 8 up to 256`);
      }
      kernel = make(headDim, { source, consts: { HEAD: headDim, GROUP } });
      made.set(headDim, kernel);
    }
    return kernel;
  };
}

const queryBlocks = (d: DimValues<AttentionDims>): number =>
  d.kv_heads * Math.ceil(d.tokens * d.heads / d.kv_heads / 8);

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
) => KernelSpec<"qkv" | "segments" | "out" | "lse", AttentionDims> = perHeadDim((headDim, text) => {
  const sizes = (d: DimValues<AttentionDims>) => ({
    qkv: d.tokens * (d.heads + 2 * d.kv_heads) * headDim,
    segments: 2 * d.tokens,
    out: d.tokens * d.heads * headDim,
    lse: d.tokens * d.heads,
  });
  return defineKernel({
    name: `attention.forward.d${headDim}`,
    ...text,
    entry: "forward",
    bindings: { qkv: "read", segments: "read", out: "write", lse: "write" },
    dims: DIMS,
    sizes,
    grid: (d) => linearGrid(queryBlocks(d), GROUP),
    cost: (d) => ({ flops: 0, bytes: 4 * Object.values(sizes(d)).reduce((a, b) => a + b, 0) }),
  });
});

/** delta = dout · out of every row and head. */
export const attentionDelta: (
  headDim: number,
) => KernelSpec<"dout" | "out" | "delta", "tokens" | "heads"> = perHeadDim((headDim, text) =>
  defineKernel({
    name: `attention.delta.d${headDim}`,
    ...text,
    entry: "delta_of",
    bindings: { dout: "read", out: "read", delta: "write" },
    dims: { tokens: "u32", heads: "u32" },
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
  })
);

/** The q part of dqkv; the k and v parts stay as they are. */
export const attentionBackwardQuery: (headDim: number) => KernelSpec<BackwardBindings, AttentionDims> =
  perHeadDim(
    (headDim, text) =>
      defineKernel({
        name: `attention.backward_query.d${headDim}`,
        ...text,
        entry: "backward_query",
        bindings: BACKWARD,
        dims: DIMS,
        sizes: (d) => backwardSizes(d, headDim),
        grid: (d) => linearGrid(queryBlocks(d), GROUP),
        cost: (d) => backwardCost(d, headDim),
      }),
  );

/** The k and v parts of dqkv; the q part stays as it is. */
export const attentionBackwardKeyValue: (headDim: number) => KernelSpec<BackwardBindings, AttentionDims> =
  perHeadDim(
    (headDim, text) =>
      defineKernel({
        name: `attention.backward_key_value.d${headDim}`,
        ...text,
        entry: "backward_key_value",
        bindings: BACKWARD,
        dims: DIMS,
        sizes: (d) => backwardSizes(d, headDim),
        grid: (d) => linearGrid(d.kv_heads * Math.ceil(d.tokens / 8), GROUP),
        cost: (d) => backwardCost(d, headDim),
      }),
  );
