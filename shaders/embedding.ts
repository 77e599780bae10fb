/**
 * Token embedding, in windows of the table, and its gradient without atomics; the formulas stand in embedding.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import type { Dim, Program } from "../gpu/program.ts";
import { rowWindows, type Tensor } from "../gpu/tensor.ts";
import { SHADERS } from "./bundle.ts";
import { valuePrelude, variants } from "./values.ts";

/**
 * y [T, W] = weight[ids − first_row] for the tokens whose id lies in [first_row, first_row + rows); the others' rows of y
 * stay as they are. weight [rows, W] is a window of a table that may be too large for one binding.
 */
export const embeddingForward: KernelSpec<"ids" | "weight" | "y", "tokens" | "width" | "first_row" | "rows"> =
  variants(
    (v) =>
      defineKernel({
        name: "embedding.forward",
        source: valuePrelude(v) + SHADERS.embedding,
        entry: "forward",
        bindings: { ids: "read", weight: v.read, y: "write" },
        dims: { tokens: "u32", width: "u32", first_row: "u32", rows: "u32" },
        consts: { GROUP: v.flat },
        sizes: ({ tokens, width, rows }) => ({ ids: tokens, weight: rows * width, y: tokens * width }),
        grid: ({ tokens, width }) => linearGrid(tokens * width / v.lanes, v.flat),
        cost: ({ tokens, width }) => ({ flops: 0, bytes: 4 * (2 * tokens * width + tokens) }),
      }),
  );

/** {@link embeddingForward} of a table of f16 values; W is a multiple of 4. */
export const embeddingForwardHalf: typeof embeddingForward = defineKernel({
  name: "embedding_half.forward",
  source: "enable f16;\n" + SHADERS.place + SHADERS.embedding_half,
  entry: "forward",
  bindings: { ids: "read", weight: "read", y: "write" },
  needs: "shader-f16",
  halves: ["weight"],
  dims: { tokens: "u32", width: "u32", first_row: "u32", rows: "u32" },
  consts: { GROUP: 64 },
  sizes: ({ tokens, width, rows }) => ({ ids: tokens, weight: rows * width, y: tokens * width }),
  grid: ({ tokens, width }) => linearGrid(tokens * width / 4, 64),
  cost: ({ tokens, width }) => ({ flops: 0, bytes: 6 * tokens * width + 4 * tokens }),
});

/** Adds `y [T, W] = weight[ids]` of a table [V, W] of f32 or f16 values that may be larger than a binding. */
export function addEmbedding(
  program: Program,
  t: { readonly ids: Tensor; readonly weight: Tensor; readonly y: Tensor },
  tokens: Dim,
): void {
  const kernel = t.weight.dtype === "f16" ? embeddingForwardHalf : embeddingForward;
  for (const w of rowWindows(t.weight, program.gpu.device.limits.maxStorageBufferBindingSize)) {
    program.add(kernel, { ...t, weight: w.tensor }, {
      tokens,
      width: t.weight.shape[1],
      first_row: w.first,
      rows: w.rows,
    });
  }
}

/**
 * dweight [rows, W] += the rows of dy [T, W] by their token's id, for ids in [first_row, first_row + rows). order [T],
 * starts [U + 1] and unique [U] come from {@link embeddingPlan}; one id may occur 65,534 times.
 */
export const embeddingBackward: KernelSpec<
  "order" | "starts" | "unique" | "dy" | "dweight",
  "unique" | "width" | "first_row" | "rows"
> = variants((v) =>
  defineKernel({
    name: "embedding.backward",
    source: valuePrelude(v) + SHADERS.embedding,
    entry: "backward",
    bindings: { order: "read", starts: "read", unique: "read", dy: v.read, dweight: "inout" },
    dims: { unique: "u32", width: "u32", first_row: "u32", rows: "u32" },
    consts: { GROUP: v.flat },
    scattered: ["dy"],
    // Every id occurs once at least; how many tokens there are stands in `starts`.
    sizes: ({ unique, width, rows }) => ({
      order: unique,
      starts: unique + 1,
      unique,
      dy: unique * width,
      dweight: rows * width,
    }),
    grid: ({ unique, width }) => linearGrid(unique * width / v.lanes, v.flat),
    cost: ({ unique, width }) => ({
      flops: unique * width,
      bytes: 4 * (3 * unique * width + 3 * unique + 1),
    }),
  })
);

/** The tokens grouped by id. */
export interface EmbeddingPlan {
  /** [T]: token indices, sorted by id, then by index. */
  readonly order: Uint32Array<ArrayBuffer>;
  /** [U + 1]: where each id's tokens start in `order`; the last is T. */
  readonly starts: Uint32Array<ArrayBuffer>;
  /** [U]: the ids that occur, ascending. */
  readonly unique: Uint32Array<ArrayBuffer>;
}

/** Groups the tokens of ids [T] for {@link embeddingBackward}. */
export function embeddingPlan(ids: Uint32Array): EmbeddingPlan {
  const order = Uint32Array.from(ids.keys()).sort((a, b) => ids[a] - ids[b] || a - b);
  const firsts = [...order.keys()].filter((k) => k === 0 || ids[order[k]] !== ids[order[k - 1]]);
  return {
    order,
    starts: Uint32Array.from([...firsts, ids.length]),
    unique: Uint32Array.from(firsts, (k) => ids[order[k]]),
  };
}
