/**
 * Cases and planted mistakes of the products whose operands are rounded to f16, weights stored so. The f64 loops take the rounded operands, so
 * that the check is as sharp as that of the others; one case holds each against the operands as they were.
 * @module
 */
import { linearKernels, linearRowsKernels } from "../../shaders/linear_variants.ts";
import type { KernelCase, Mistake } from "./case.ts";
import { casesOf, type LinearCheck, type LinearFamily } from "./linear_cases.ts";

/** What gradients are multiplied by before they are rounded. */
const SCALE = 1024;
const operand = (values: Float32Array): Float64Array => Float64Array.from(values, Math.f16round);
const gradient = (values: Float32Array): Float64Array =>
  Float64Array.from(values, (v) => Math.f16round(v * SCALE) / SCALE);
const positive = (values: Float32Array): void => values.forEach((v, i) => values[i] = Math.abs(v));

/** Gradients as small as those of a long batch: without the scale f16 holds two digits of them. */
const ROUNDED: LinearCheck = { gradients: 1e-5, operand, gradient, tolerance: 1e-5 };
/** Rounding to f16 is off by 2^-11 at most. Measured: 3.4e-4. */
const AS_THEY_WERE: LinearCheck = {
  note: "unrounded",
  gradients: 1e-5,
  operand: (v) => v,
  gradient: (v) => v,
  tolerance: 2e-3,
};
/** An operand beyond f16's range must not come out as a number. Of dy it is SCALE times smaller. */
const OVERFLOW: LinearCheck = {
  ...ROUNDED,
  note: "overflow",
  gradients: 1,
  prepare: (values) => values[0] = 1e5,
};
/** Long sums of one sign, which an f16 accumulator would drop the ends of. */
const LONG: LinearCheck = { ...ROUNDED, note: "long", prepare: positive };
/** Products and sums of 16 of them are rounded to f16 too. Measured: 1.3e-3 on short sums, 2e-4 on long ones. */
const SUMS = 2e-3;

/** All families of such kernels. */
const families = (): [string, LinearFamily][] =>
  Object.entries<LinearFamily>({ ...linearKernels, ...linearRowsKernels })
    .filter(([, kernels]) => kernels.forward.needs === "shader-f16");

/** Normal and odd shapes, as linear_cases.ts has them. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (const [variant, kernels] of families()) {
    const own = (check: LinearCheck) =>
      variant.startsWith("linear_half_sums")
        ? { ...check, tolerance: Math.max(check.tolerance, SUMS) }
        : check;
    const add = (shape: readonly number[], check: LinearCheck) =>
      list.push(...casesOf(kernels, shape, Math.ceil(shape[2] / 4) * 4, own(check)));
    for (const shape of [[1, 8, 1], [5, 12, 7], [17, 36, 129], [123, 40, 60], [130, 20, 132]]) {
      add(shape, ROUNDED);
    }
    add([33, 132, 20], AS_THEY_WERE);
    add([6, 12, 9], OVERFLOW);
    add([5, 4096, 20], LONG);
  }
  return list;
}

/** Mistakes that the cases must reject. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "linear_half.backward_input",
    mistake: { why: "small gradients are lost", from: "SCALE = 1024.0", to: "SCALE = 1.0" },
  },
  {
    kernel: "linear_half_32x32.backward_weight",
    mistake: {
      why: "the scale stays in the gradient",
      from: "{ dw[at + X * $v] += gradient(acc[4 * $r + $j][$v]); }",
      to: "{ dw[at + X * $v] += acc[4 * $r + $j][$v]; }",
    },
  },
  {
    kernel: "linear_half_128x128.backward_weight",
    mistake: {
      why: "an overflow is clipped",
      from: "return vec4<f16>(v * SCALE);",
      to: "return vec4<f16>(clamp(v * SCALE, vec4f(-65504.0), vec4f(65504.0)));",
    },
  },
  {
    kernel: "linear_half.forward_residual",
    mistake: {
      why: "the residual is rounded too",
      from: "residual[at] + acc[$r][$v][$j]",
      to: "f32(Half(residual[at])) + acc[$r][$v][$j]",
    },
  },
  {
    kernel: "linear_half_128x128.forward",
    mistake: {
      why: "an f16 accumulator",
      from:
        "(*sums)[$r][$v] = step4(v, c$v, (*sums)[$r][$v]);\n      //# end\n      }\n      //# end\n    }\n" +
        "    //# for sliced in SLICED\n    add_slice(&acc, &slice);\n    //# end\n    //# for double in DOUBLE\n" +
        "    left_at = LEFT_PART - left_at;\n    right_at = RIGHT_PART - right_at;\n    //# end\n  }\n  //# for norm in NORMS",
      to: "(*sums)[$r][$v] = vec4f(vec4<f16>(step4(v, c$v, (*sums)[$r][$v])));\n      //# end\n      }\n" +
        "      //# end\n    }\n  }\n  //# for norm in NORMS",
    },
  },
  {
    kernel: "linear_half_double.backward_weight",
    mistake: {
      why: "the second slice of x is read where the first stood",
      from: "right[right_at + k * NS + tx + X * $v]",
      to: "right[k * NS + tx + X * $v]",
    },
  },
  {
    kernel: "linear_half_sums.forward_bias",
    mistake: {
      why: "slices are added up in f16",
      from: "(*acc)[$r][$v] += vec4f((*slice)[$r][$v]);",
      to: "(*acc)[$r][$v] = vec4f(vec4<f16>((*acc)[$r][$v]) + (*slice)[$r][$v]);",
    },
  },
  {
    kernel: "linear_half_sums_128x128.backward_input",
    mistake: {
      why: "all but the last slice is lost",
      from: "(*acc)[$r][$v] += vec4f((*slice)[$r][$v]);",
      to: "(*acc)[$r][$v] = vec4f((*slice)[$r][$v]);",
    },
  },
  {
    kernel: "linear_half_rows_2.forward",
    mistake: { why: "x is not rounded", from: "as_half(x[x$r + k])", to: "x[x$r + k]" },
  },
  {
    kernel: "linear_half_rows_8_subgroup.forward_bias",
    mistake: { why: "a column's weights are another's", from: "vec4f(w[w2 + k])", to: "vec4f(w[w1 + k])" },
  },
];
