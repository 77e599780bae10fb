/**
 * Rotary position embedding; the formula stands in rope.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { valuePrelude, variants } from "./values.ts";

/**
 * Rotates the first `heads` heads (query heads, then key heads) of every row of qkv [T, stride] in place, by `sign` = +1
 * forward or −1 backward. positions [T] choose rows of the tables cos, sin [P, head_dim / 2]. head_dim is even;
 * `fitted(rope, head_dim / 2, …)` is the variant by four, whose stride is a multiple of 4.
 */
export const rope: KernelSpec<
  "qkv" | "positions" | "cos" | "sin",
  "tokens" | "heads" | "stride" | "head_dim" | "sign"
> = variants((v) =>
  defineKernel({
    name: "rope",
    source: valuePrelude(v) + SHADERS.rope,
    entry: "rope",
    bindings: { qkv: "inout", positions: "read", cos: "read", sin: "read" },
    dims: { tokens: "u32", heads: "u32", stride: "u32", head_dim: "u32", sign: "f32" },
    consts: { GROUP: v.flat, WHOLE: v.whole },
    // The rows of the tables that are read depend on the positions: one row is the least.
    sizes: ({ tokens, stride, head_dim }) => ({
      qkv: tokens * stride,
      positions: tokens,
      cos: head_dim / 2,
      sin: head_dim / 2,
    }),
    grid: ({ tokens, heads, head_dim }) =>
      linearGrid(tokens * (v.whole ? 1 : heads) * head_dim / 2 / v.lanes, v.flat),
    cost: ({ tokens, heads, head_dim }) => ({
      flops: 3 * tokens * heads * head_dim,
      bytes: 4 * tokens * (2 * heads * head_dim + head_dim + 1),
    }),
  })
);

/**
 * cos and sin [maxPositions, headDim / 2] of position · theta^(−2i / headDim), computed in f64, rounded to f32 once.
 * (HF rounds the frequency and the angle to f32 too; the difference grows with the position.)
 */
export function ropeTables(
  maxPositions: number,
  headDim: number,
  theta: number,
): { cos: Float32Array<ArrayBuffer>; sin: Float32Array<ArrayBuffer> } {
  const half = headDim / 2;
  const cos = new Float32Array(maxPositions * half);
  const sin = new Float32Array(maxPositions * half);
  for (let i = 0; i < half; i++) {
    const frequency = theta ** (-2 * i / headDim);
    for (let p = 0; p < maxPositions; p++) {
      cos[p * half + i] = Math.cos(p * frequency);
      sin[p * half + i] = Math.sin(p * frequency);
    }
  }
  return { cos, sin };
}
