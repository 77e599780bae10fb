/**
 * Rotary position embedding; the formula stands in rope.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { valuePrelude, type Variant, variants } from "./values.ts";

type Rope = KernelSpec<
  "qkv" | "positions" | "cos" | "sin",
  "tokens" | "heads" | "stride" | "head_dim" | "sign"
>;

/** Neighbouring vectors of one thread on a software adapter: each costs a third less than one a thread (lavapipe). */
const EACH = 4;

const kernel = (v: Variant, each: number): Rope =>
  defineKernel({
    name: "rope",
    source: valuePrelude(v) + SHADERS.rope,
    entry: "rope",
    bindings: { qkv: "inout", positions: "read", cos: "read", sin: "read" },
    dims: { tokens: "u32", heads: "u32", stride: "u32", head_dim: "u32", sign: "f32" },
    consts: { GROUP: v.group, WHOLE: v.whole, EACH: each },
    // The rows of the tables that are read depend on the positions: one row is the least.
    sizes: ({ tokens, stride, head_dim }) => ({
      qkv: tokens * stride,
      positions: tokens,
      cos: head_dim / 2,
      sin: head_dim / 2,
    }),
    grid: ({ tokens, heads, head_dim }) =>
      linearGrid(tokens * (v.whole ? 1 : heads) * head_dim / 2 / (v.lanes * each), v.group),
    cost: ({ tokens, heads, head_dim }) => ({
      flops: 3 * tokens * heads * head_dim,
      bytes: 4 * tokens * (2 * heads * head_dim + head_dim + 1),
    }),
  });

const one = variants((v) => kernel(v, 1));
const several = variants((v) => kernel(v, v.whole === 1 && v.lanes === 4 ? EACH : 1));

/**
 * Rotates the first `heads` heads (query heads, then key heads) of every row of qkv [T, stride] in place, by `sign` = +1
 * forward or −1 backward. positions [T] choose rows of the tables cos, sin [P, head_dim / 2]. head_dim is even; variants by
 * four need a half of it and a stride that are multiples of 4.
 */
export const rope: Rope = {
  ...one,
  fit: (dims, traits, elements) => {
    const whole = typeof dims.head_dim === "number" && dims.head_dim % (8 * EACH) === 0;
    return (whole ? several : one).fit!(dims, traits, elements);
  },
};

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
