/**
 * AdamW in f32, and in bf16 with Kahan summation; the formulas stand in adamw.wgsl and adamw_bf16.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { valuePrelude, variants } from "./values.ts";

/**
 * `one_minus_beta` = 1 − β computed in f64 (f32 would lose 1 − 0.999 to 5e-5), `correction` = 1 − β^t at step t = 1, 2, …;
 * `lr` and `weight_decay` as in torch.
 */
export type AdamwDims =
  | "n"
  | "lr"
  | "one_minus_beta1"
  | "one_minus_beta2"
  | "eps"
  | "weight_decay"
  | "correction1"
  | "correction2";

const DIMS = {
  n: "u32",
  lr: "f32",
  one_minus_beta1: "f32",
  one_minus_beta2: "f32",
  eps: "f32",
  weight_decay: "f32",
  correction1: "f32",
  correction2: "f32",
} as const;

/**
 * One step of p, m, v [n] from g [n]. norm [4] is the result of `gradNormFinish`: g is scaled by norm[1], and nothing is
 * written where norm[2] is 0.
 */
export const adamw: KernelSpec<"p" | "g" | "m" | "v" | "norm", AdamwDims> = variants((v) =>
  defineKernel({
    name: "adamw",
    source: valuePrelude(v) + SHADERS.adamw,
    entry: "adamw",
    bindings: { p: "inout", g: v.read, m: "inout", v: "inout", norm: v.read },
    dims: DIMS,
    consts: { GROUP: v.flat },
    sizes: ({ n }) => ({ p: n, g: n, m: n, v: n, norm: 4 }),
    grid: ({ n }) => linearGrid(n / v.lanes, v.flat),
    cost: ({ n }) => ({ flops: 14 * n, bytes: 28 * n }),
  })
);

/**
 * One step of p, m, v and the compensation c from g, all n values in bf16, two to a u32: [ceil(n / 2)] words, the even
 * index in the low half. The parameter is p + c. norm as in {@link adamw}.
 */
export const adamwBf16Kahan: KernelSpec<"p" | "g" | "m" | "v" | "c" | "norm", AdamwDims> = variants((v) =>
  defineKernel({
    name: "adamw.bf16_kahan",
    source: SHADERS.adamw_bf16,
    entry: "adamw_bf16_kahan",
    bindings: { p: "inout", g: "read", m: "inout", v: "inout", c: "inout", norm: "read" },
    dims: DIMS,
    consts: { GROUP: v.group },
    sizes: ({ n }) => {
      const words = Math.ceil(n / 2);
      return { p: words, g: words, m: words, v: words, c: words, norm: 4 };
    },
    grid: ({ n }) => linearGrid(Math.ceil(n / 2), v.group),
    cost: ({ n }) => ({ flops: 20 * n, bytes: 18 * n }),
  })
);
