/** Cases and planted mistakes of the linear layers fused with a norm and a gate. @module */
import type { KernelSpec } from "../../gpu/kernel.ts";
import { fusedProducts } from "../../shaders/linear_fused.ts";
import { type FusedKernels, fusedKernels } from "../../shaders/linear_fused_variants.ts";
import { linear } from "../reference/linear.ts";
import { rmsnormForward } from "../reference/rmsnorm.ts";
import { swigluForward } from "../reference/swiglu.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** Large enough to be missed where it is dropped, with inputs of this scale. */
const EPS = 0.02;
const SCALE = 0.5;

type Round = (values: Float32Array) => ArrayLike<number>;

/** Every fused product of a variant on one shape; `outputs` of the gated ones are columns of y. */
function casesOf(
  kernels: FusedKernels,
  [tokens, inputs, outputs]: readonly number[],
  round: Round,
): KernelCase[] {
  const stride = Math.ceil(outputs / 4) * 4 + 4;
  const s = { tokens, inputs, outputs, stride };
  const x = randomArray([tokens, inputs], SCALE);
  // Rows of different sizes: a row that takes another's norm is wrong.
  for (let t = 0; t < tokens; t++) for (let k = 0; k < inputs; k++) x[t * inputs + k] *= 1 + t % 7;
  const norm = randomArray([inputs]);
  const weight = randomArray([outputs, inputs]);
  const pair = randomArray([2 * outputs, inputs]);
  const bias = randomArray([outputs]);
  const y = randomArray([tokens, stride]);
  const normed = () => rmsnormForward(x, norm, tokens, inputs, EPS).y;
  const gated = (rows: ArrayLike<number>) => {
    const wide = { tokens, inputs, outputs: 2 * outputs, stride: 2 * outputs };
    const both = linear(rows, round(pair), new Float64Array(tokens * 2 * outputs), wide);
    const inner = swigluForward(both, tokens, outputs);
    const out = Float64Array.from(y);
    for (let t = 0; t < tokens; t++) {
      out.set(inner.subarray(t * outputs, (t + 1) * outputs), t * stride);
    }
    return { y: out };
  };
  const list: KernelCase[] = [];
  const add = (
    kernel: KernelSpec | undefined,
    inputs: KernelCase["inputs"],
    expected: KernelCase["expected"],
    normalises: boolean,
  ) => {
    if (!kernel) return;
    const dims = { ...s, accumulate: 0, ...normalises && { eps: EPS } };
    list.push({ name: `${tokens}x${s.inputs}x${outputs}`, kernel, inputs, dims, expected, tolerance: 1e-5 });
  };
  add(kernels.norm, { x, weight, y, norm }, () => ({ y: linear(normed(), weight, y, s) }), true);
  add(
    kernels.normBias,
    { x, weight, y, norm, bias },
    () => ({ y: linear(normed(), weight, y, s, bias) }),
    true,
  );
  add(kernels.gated, { x, weight: pair, y }, () => gated(round(x)), false);
  add(kernels.gatedNorm, { x, weight: pair, y, norm }, () => gated(normed()), true);
  return list;
}

/** Normal and odd shapes: one row, tile − 1, tile + 1, widths that are no multiple of a tile or of a trip. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  const shapes = [[1, 8, 1], [5, 12, 7], [16, 64, 64], [17, 36, 129], [33, 132, 20], [130, 20, 68]];
  const families: Record<string, FusedKernels> = { ...fusedKernels, adapter: fusedProducts };
  for (const shape of shapes) {
    for (const [variant, kernels] of Object.entries(families)) {
      // Through textures rows of y are written in fours; the adapter's own may be such.
      if (/^linear_(texture|broadcast)|^adapter/.test(variant) && shape[2] % 4 !== 0) continue;
      const half = kernels.gated.needs !== undefined;
      list.push(...casesOf(kernels, shape, half ? (v) => Float64Array.from(v, Math.f16round) : (v) => v));
    }
  }
  // Gates of ±1,000, where an exponential overflows.
  for (const kernels of Object.values(fusedKernels)) {
    const x = Float32Array.of(1000, 0, 0, 0);
    const weight = new Float32Array(8 * 4);
    [1, -1, 0.5, -0.5, 1, 1, 1, 1].forEach((v, n) => weight[n * 4] = v);
    const s = { tokens: 1, inputs: 4, outputs: 4, stride: 4 };
    list.push({
      name: "gates of 1000",
      kernel: kernels.gated,
      inputs: { x, weight, y: new Float32Array(4) },
      dims: { ...s, accumulate: 0 },
      expected: () => ({ y: [1e6, 0, 5e5, 0] }),
      tolerance: 1e-5,
    });
  }
  return list;
}

/** Mistakes that the cases must reject. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "linear_texture.norm_forward",
    mistake: { why: "eps forgotten", from: "f32(d.inputs) + d.eps", to: "f32(d.inputs)" },
  },
  {
    kernel: "linear_texture.forward_gated",
    mistake: {
      why: "gate and up exchanged",
      from: "silu(acc[$r][0]) * acc[$r][1]",
      to: "silu(acc[$r][1]) * acc[$r][0]",
    },
  },
  {
    kernel: "linear_broadcast.norm_forward_bias",
    mistake: {
      why: "squares of the weighted row",
      from: "squares$g += rows[$s][$g] * rows[$s][$g];\n    rows[$s][$g] *= factor$s;",
      to: "rows[$s][$g] *= factor$s;\n    squares$g += rows[$s][$g] * rows[$s][$g];",
    },
  },
  {
    kernel: "linear_broadcast.norm_forward",
    mistake: {
      why: "every row takes the norm of the first",
      from: "subgroupBroadcast(rstd$g, u32($r))",
      to: "subgroupBroadcast(rstd0, 0u)",
    },
  },
  {
    kernel: "linear_broadcast_16.norm_forward",
    mistake: {
      why: "one norm weight for a whole trip",
      from: "subgroupBroadcast(ahead, u32($s))",
      to: "subgroupBroadcast(ahead, 0u) * (1.0 + 0.1 * f32(k % 2u))",
    },
  },
  {
    kernel: "linear_broadcast_16.norm_forward_gated",
    mistake: {
      why: "up rows begin one vec4 early",
      from: "($c * d.outputs + min",
      to: "($c * (d.outputs - 4u) + min",
    },
  },
  {
    kernel: "linear_tiled.norm_forward",
    mistake: {
      why: "the squares of one slice in QUADS are lost",
      from: "for (var k = 0u; k < QUADS; k++) { total$r",
      to: "for (var k = 1u; k < QUADS; k++) { total$r",
    },
  },
  {
    kernel: "linear_tiled_16x64.norm_forward_bias",
    mistake: {
      why: "the norm's weight of the first slice",
      from: "factor = norm_at(step + QUADS + q, width);",
      to: "factor = norm_at(q, width);",
    },
  },
  {
    kernel: "linear_tiled_32x32.forward_gated",
    mistake: {
      why: "a tile's second half goes on with the gate",
      from: "column + c / (N / 2u) * d.outputs",
      to: "column + c / (N / 2u) * (N / 2u)",
    },
  },
  {
    kernel: "linear_tiled_128x64.norm_forward_gated",
    mistake: { why: "the norm's weight forgotten", from: "a$l *= factor;", to: "" },
  },
  {
    kernel: "linear_tiled_128x128.forward_gated",
    mistake: { why: "up columns of the first half", from: "acc[$r][VECS - 1u]", to: "acc[$r][0]" },
  },
  {
    kernel: "linear_half.forward_gated",
    mistake: { why: "the gate is not gated", from: "silu(acc[$r][0])", to: "acc[$r][0]" },
  },
  {
    kernel: "linear_rows_2.norm_forward",
    mistake: {
      why: "only the first lane's squares",
      from: "squares[$r * LANES + lane] += squares[$r * LANES + lane + half];",
      to: "",
    },
  },
  {
    kernel: "linear_rows_8.norm_forward_gated",
    mistake: { why: "the second column is the first", from: "n + $c % 2u", to: "n + $c / 4u" },
  },
  {
    kernel: "linear_rows_8_subgroup.norm_forward_bias",
    mistake: {
      why: "a lane's own squares",
      from: "let squares$r = subgroupAdd(square$r);",
      to: "let squares$r = square$r;",
    },
  },
  {
    kernel: "linear_half_rows_8_subgroup.forward_gated",
    mistake: {
      why: "the sigmoid of -g",
      from: "min(-g,",
      to: "min(g,",
    },
  },
];
