/**
 * Cases and planted mistakes of shaders/adamw.ts.
 * @module
 */
import type { HostArray } from "../../gpu/device.ts";
import { adamw, adamwBf16Kahan, adamwHalf } from "../../shaders/adamw.ts";
import { ADAPTERS, fitted } from "../../shaders/values.ts";
import * as reference from "../reference/adamw.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** Settings as the kernels take them. */
export function adamwDims(n: number, s: reference.AdamwStep): Record<string, number> {
  return {
    n,
    lr: s.lr,
    one_minus_beta1: 1 - s.beta1,
    one_minus_beta2: 1 - s.beta2,
    eps: s.eps,
    weight_decay: s.weightDecay,
    correction1: 1 - s.beta1 ** s.step,
    correction2: 1 - s.beta2 ** s.step,
  };
}

/** bf16 values, two to a word; an odd last word keeps `padding` in its second half. */
export function packBf16(values: ArrayLike<number>, padding = 0): Uint32Array<ArrayBuffer> {
  const halves = new Uint16Array(Math.ceil(values.length / 2) * 2).fill(padding);
  for (let i = 0; i < values.length; i++) {
    halves[i] = new Uint32Array(Float32Array.of(reference.toBf16(values[i])).buffer)[0] >>> 16;
  }
  return new Uint32Array(halves.buffer);
}

/** Sizes of one value, odd, one workgroup and one more; first and later steps, decay, clipping, a step that is refused. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  const settings = { lr: 0.25, beta1: 0.875, beta2: 0.96875, eps: 0.0625, weightDecay: 0.5, clip: 0.75 };
  for (const [n, step, finite] of [[1, 1, 1], [123, 7, 1], [256, 2, 1], [260, 3, 1], [64, 2, 0]]) {
    for (const adapter of ADAPTERS) {
      const name = `n=${n} step=${step} finite=${finite} ${adapter}`;
      const s = { ...settings, step };
      const [p, g, m, c] = [1, 2, 0.5, 0.004].map((scale) => randomArray([n], scale));
      const v = randomArray([n]).map((x) => x * x);
      const norm = Float32Array.of(3, s.clip, finite, 0);
      list.push({
        name,
        kernel: fitted(adamw, n, adapter),
        inputs: { p, g, m, v, norm },
        dims: adamwDims(n, s),
        expected: () => finite ? reference.adamw(p, g, m, v, s) : { p, m, v },
        tolerance: 1e-5,
      });
      if (n % 4 === 0) {
        const half = randomArray([n]);
        list.push({
          name,
          kernel: fitted(adamwHalf, n, adapter),
          inputs: { p, g, m, v, norm, half },
          dims: adamwDims(n, s),
          expected: () => {
            if (!finite) return { p, m, v, half: half.map(Math.f16round) };
            const after = reference.adamw(p, g, m, v, s);
            return { ...after, half: after.p };
          },
          // Half an f16 step at the largest values.
          tolerance: 5e-4,
        });
      }
      const words: Record<string, HostArray> = { norm };
      for (const [key, values] of Object.entries({ p, g, m, v, c })) words[key] = packBf16(values, 0x1234);
      const bf = (x: Float32Array): Float32Array => x.map(reference.toBf16);
      list.push({
        name,
        kernel: fitted(adamwBf16Kahan, n, adapter),
        inputs: words,
        dims: adamwDims(n, s),
        expected: (): Record<string, ArrayLike<number>> => {
          if (!finite) return { p: words.p, m: words.m, v: words.v, c: words.c };
          const after = reference.adamwBf16Kahan(bf(p), bf(g), bf(m), bf(v), bf(c), s);
          return Object.fromEntries(Object.entries(after).map(([key, x]) => [key, packBf16(x, 0x1234)]));
        },
        // Words are compared: one bf16 step in an even element is 2^-32 of the largest word, in an odd one 2^-16.
        tolerance: 0,
      });
    }
  }
  return list;
}

/** Each is rejected by a case. */
export const mistakes: readonly { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "adamw",
    mistake: {
      why: "epsilon inside the square root",
      from: "sqrt(square) / sqrt(dims.correction2) + dims.eps",
      to: "sqrt(square / dims.correction2 + dims.eps)",
    },
  },
  {
    kernel: "adamw",
    mistake: {
      why: "the second moment's correction not rooted",
      from: "/ sqrt(dims.correction2)",
      to: "/ dims.correction2",
    },
  },
  {
    kernel: "adamw",
    mistake: {
      why: "decay in the gradient",
      from: "p[i] * (1.0 - dims.lr * dims.weight_decay)",
      to: "p[i] * (1.0 - dims.weight_decay)",
    },
  },
  { kernel: "adamw", mistake: { why: "the clip factor ignored", from: "g[i] * scale.y", to: "g[i]" } },
  {
    kernel: "adamw",
    mistake: { why: "the finite flag ignored", from: "if (scale.z == 0.0) { return; }", to: "" },
  },
  {
    kernel: "adamw.half",
    mistake: {
      why: "the model reads what stood there before",
      from: "p[i] = next;",
      to: "let old = p[i]; p[i] = next; half[i] = vec4<f16>(old); return;",
    },
  },
  {
    kernel: "adamw.half",
    mistake: { why: "the copy is not written", from: "half[i] = vec4<f16>(next);", to: "" },
  },
  {
    kernel: "adamw.bf16_kahan",
    mistake: {
      why: "rounding towards zero",
      from: "bits + 0x7fffu + ((bits >> vec2u(16u)) & vec2u(1u))",
      to: "bits",
    },
  },
  {
    kernel: "adamw.bf16_kahan",
    mistake: { why: "the compensation lost", from: "r(owed + r(decayed - moved))", to: "vec2f(0.0)" },
  },
  {
    kernel: "adamw.bf16_kahan",
    mistake: {
      why: "an odd end's neighbour overwritten",
      from: "select(before & 0xffff0000u, bits.y, both)",
      to: "bits.y",
    },
  },
];
