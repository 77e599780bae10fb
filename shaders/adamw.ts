/**
 * AdamW in f32, and in bf16 with Kahan summation; the formulas stand in adamw.wgsl and adamw_bf16.wgsl.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { valuePrelude, type Variant, variants } from "./values.ts";

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

const common = (v: Variant) => ({
  source: valuePrelude(v) + SHADERS.adamw,
  entry: "adamw",
  dims: DIMS,
  grid: ({ n }: { n: number }) => linearGrid(n / v.lanes, v.flat),
});

/**
 * One step of p, m, v [n] from g [n]. norm [4] is the result of `gradNormFinish`: g is scaled by norm[1], and nothing is
 * written where norm[2] is 0.
 */
export const adamw: KernelSpec<"p" | "g" | "m" | "v" | "norm", AdamwDims> = variants((v) =>
  defineKernel({
    ...common(v),
    name: "adamw",
    bindings: { p: "inout", g: v.read, m: "inout", v: "inout", norm: v.read },
    consts: { GROUP: v.flat, HALF: 0 },
    sizes: ({ n }) => ({ p: n, g: n, m: n, v: n, norm: 4 }),
    cost: ({ n }) => ({ flops: 14 * n, bytes: 28 * n }),
  })
);

/** {@link adamw} that also writes `half` [n], p rounded to f16; n is a multiple of 4. */
export const adamwHalf: KernelSpec<"p" | "g" | "m" | "v" | "norm" | "half", AdamwDims> = variants((any) => {
  const v: Variant = { ...any, lanes: 4 };
  const { source, ...rest } = common(v);
  return defineKernel({
    ...rest,
    name: "adamw.half",
    source: "enable f16;\n" + source,
    bindings: { p: "inout", g: v.read, m: "inout", v: "inout", norm: v.read, half: "write" },
    needs: "shader-f16",
    halves: ["half"],
    consts: { GROUP: v.flat, HALF: 1 },
    sizes: ({ n }) => ({ p: n, g: n, m: n, v: n, norm: 4, half: n }),
    cost: ({ n }) => ({ flops: 14 * n, bytes: 30 * n }),
  });
});

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
