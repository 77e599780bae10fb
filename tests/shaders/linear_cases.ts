/** Cases and planted mistakes of the linear layer's kernels. @module */
import {
  addBias,
  linearKernels,
  linearRowsKernels,
  type LinearVariant,
} from "../../shaders/linear_variants.ts";
import { linear, linearBackwardInput, linearBackwardWeight } from "../reference/linear.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** The kernels of a family: all products, or the forward ones alone. */
export type LinearFamily = typeof linearKernels[LinearVariant] | typeof linearRowsKernels["linear_rows_2"];

/** What the products of a family are compared with. */
export interface LinearCheck {
  /** What the case is called beside its sizes. */
  readonly note?: string;
  /** Largest value of dy, dx and dweight. */
  readonly gradients: number;
  /** x and weight as the kernel takes them. */
  readonly operand: (values: Float32Array) => ArrayLike<number>;
  /** dy as the kernel takes it. */
  readonly gradient: (values: Float32Array) => ArrayLike<number>;
  /** Changes x, weight and dy before they are used. */
  readonly prepare?: (values: Float32Array) => void;
  readonly tolerance: number;
}
const EXACT: LinearCheck = { gradients: 1, operand: (v) => v, gradient: (v) => v, tolerance: 1e-5 };

/** Zeroes the padding columns of rows, as the producers of dy do. */
function padded(tokens: number, outputs: number, stride: number): Float32Array<ArrayBuffer> {
  const a = randomArray([tokens, stride]);
  for (let t = 0; t < tokens; t++) for (let n = outputs; n < stride; n++) a[t * stride + n] = 0;
  return a;
}

/** Every product of a family on one shape. */
export function casesOf(
  kernels: LinearFamily,
  [tokens, inputs, outputs]: readonly number[],
  stride: number,
  check = EXACT,
): KernelCase[] {
  const s = { tokens, inputs, outputs, stride };
  const name = `${tokens}x${inputs}x${outputs}${check.note ? ` ${check.note}` : ""}`;
  const { gradients, operand, gradient, tolerance } = check;
  const x = randomArray([tokens, inputs]);
  const weight = randomArray([outputs, inputs]);
  const y = randomArray([tokens, stride]);
  const bias = randomArray([outputs]);
  const residual = randomArray([tokens, stride]);
  const dy = padded(tokens, outputs, stride).map((v) => v * gradients);
  const dx = randomArray([tokens, inputs], gradients);
  const dweight = randomArray([outputs, inputs], gradients);
  for (const values of [x, weight, dy]) check.prepare?.(values);
  const forward = (b?: Float32Array, r?: Float32Array) => () => ({
    y: linear(operand(x), operand(weight), y, s, b, r),
  });
  const dims = { ...s, accumulate: 0 };
  const common = { name, dims, tolerance };
  const list: KernelCase[] = [
    { ...common, kernel: kernels.forward, inputs: { x, weight, y }, expected: forward() },
    { ...common, kernel: kernels.forwardBias, inputs: { x, weight, y, bias }, expected: forward(bias) },
    {
      ...common,
      kernel: kernels.forwardResidual,
      inputs: { x, weight, y, residual },
      expected: forward(undefined, residual),
    },
  ];
  if (!("backwardInput" in kernels)) return list;
  list.push({
    ...common,
    kernel: kernels.backwardWeight,
    inputs: { dy, x, dweight },
    expected: () => ({ dweight: linearBackwardWeight(gradient(dy), operand(x), dweight, s) }),
  });
  for (const accumulate of [0, 1]) {
    list.push({
      ...common,
      name: `${name} accumulate=${accumulate}`,
      kernel: kernels.backwardInput,
      inputs: { dy, weight, dx },
      dims: { ...s, accumulate },
      expected: () => ({
        dx: linearBackwardInput(gradient(dy), operand(weight), dx, s, accumulate === 1),
      }),
    });
  }
  return list;
}

/** Normal and odd shapes: one row, tile − 1, tile + 1, widths that are no multiple of a tile. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  const shapes = [
    [1, 8, 1],
    [5, 12, 7],
    [16, 64, 128],
    [17, 36, 129],
    [123, 40, 60],
    [33, 132, 20],
    [2, 5, 3],
    [19, 33, 130],
    [130, 20, 132],
  ];
  const families: Record<string, LinearFamily> = { ...linearKernels, ...linearRowsKernels };
  for (const shape of shapes) {
    const [tokens, inputs, outputs] = shape;
    for (const [variant, kernels] of Object.entries(families)) {
      // Those of rounded operands have their own.
      if (kernels.forward.needs) continue;
      const wide = variant !== "linear_any";
      if (wide && inputs % 4 !== 0) continue;
      if (/^linear_(texture|broadcast)/.test(variant) && outputs % 4 !== 0) continue;
      const stride = wide ? Math.ceil(outputs / 4) * 4 : outputs;
      list.push(...casesOf(kernels, shape, stride));
      if (variant !== "linear") continue;
      const s = { tokens, inputs: 4, outputs, stride };
      const bias = randomArray([outputs]);
      const y = randomArray([tokens, stride]);
      const zero = new Float32Array(outputs * 4);
      list.push({
        name: shape.join("x"),
        kernel: addBias,
        inputs: { bias, y },
        dims: { ...s, inputs, accumulate: 0 },
        tolerance: EXACT.tolerance,
        expected: () => ({ y: linear(new Float32Array(tokens * 4), zero, y, s, bias, y) }),
      });
    }
  }
  return list;
}

/** Mistakes that the cases must reject. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "linear.forward_residual",
    mistake: { why: "dropped residual", from: "y[at] = residual[at] + v.x;", to: "y[at] = v.x;" },
  },
  {
    kernel: "linear.forward",
    mistake: {
      why: "one step short",
      from: "let width = d.inputs / 4u;\n  let last_row = d.tokens - 1u;\n  let last_column",
      to: "let width = d.inputs / 4u - 1u;\n  let last_row = d.tokens - 1u;\n  let last_column",
    },
  },
  {
    kernel: "linear.forward_bias",
    mistake: { why: "second half takes the first's bias", from: "bias_at(n + 4u)", to: "bias_at(n)" },
  },
  {
    kernel: "linear.backward_input",
    mistake: { why: "never accumulates", from: "{ dx[at] += v; }", to: "{ dx[at] = v; }" },
  },
  {
    kernel: "linear.backward_weight",
    mistake: {
      why: "overwrites earlier micro-batches",
      from: "dw[n * width + k] += v;",
      to: "dw[n * width + k] = v;",
    },
  },
  {
    kernel: "linear.backward_weight",
    mistake: { why: "last token lost", from: "t < d.tokens; t++", to: "t + 1u < d.tokens; t++" },
  },
  {
    kernel: "linear_texture.forward",
    mistake: {
      why: "row of another tile",
      from: "let x$g = min(m + SHARE * $g",
      to: "let x$g = min(m + SHARE * 0",
    },
  },
  {
    kernel: "linear_texture.forward_bias",
    mistake: { why: "one bias for the whole tile", from: "bias[min(n + $c, columns - 1u)]", to: "bias[n]" },
  },
  {
    kernel: "linear_texture.forward_residual",
    mistake: { why: "dropped residual", from: "texel(residual, row$r + $c) + acc", to: "acc" },
  },
  {
    kernel: "linear_texture.backward_input",
    mistake: {
      why: "weights not transposed",
      from: "acc[SHARE * $g + $r][$c] += b[$s][$c] * v;",
      to: "acc[SHARE * $g + $r][$c] += v * b[$s][$c];",
    },
  },
  {
    kernel: "linear_texture.backward_weight",
    mistake: {
      why: "overwrites earlier micro-batches",
      from: "{ dw[row$r + $c] += acc",
      to: "{ dw[row$r + $c] = acc",
    },
  },
  {
    kernel: "linear_texture.backward_weight",
    mistake: {
      why: "every load the first quad",
      from: "(SHARE * $l + lane % SHARE) / STEPS",
      to: "lane % SHARE / STEPS",
    },
  },
  {
    kernel: "linear_broadcast.forward",
    mistake: {
      why: "every group has the first rows",
      from: "let x$g = min(m + SHARE * $g",
      to: "let x$g = min(m",
    },
  },
  {
    kernel: "linear_broadcast_16.forward",
    mistake: {
      why: "the row of the next lane, or too much of its own where nothing is shared",
      from: "v * b[$s][$c];",
      to: "subgroupBroadcast(rows[$s][$g], u32($r) ^ 1u) * 1.5 * b[$s][$c];",
    },
  },
  {
    kernel: "linear_broadcast.forward",
    mistake: {
      why: "what follows a row counts as its end",
      from: "texel(x, x$g + k$s), k + $s < width);",
      to: "texel(x, x$g + k + $s), true);",
    },
  },
  {
    kernel: "linear_broadcast.backward_input",
    mistake: {
      why: "what follows a row counts as its end",
      from: "texel(input_dy, y$g + n$s), n + $s < steps);",
      to: "texel(input_dy, y$g + n + $s), true);",
    },
  },
  {
    kernel: "linear_broadcast.backward_input",
    mistake: { why: "never accumulates", from: "for add in ADDS", to: "for add in SETS" },
  },
  {
    kernel: "linear_broadcast.backward_weight",
    mistake: {
      why: "every row of a quad takes the first's gradients",
      from: "v$s[$i]",
      to: "v$s.x",
    },
  },
  {
    kernel: "linear_broadcast.forward_bias",
    mistake: { why: "dropped bias", from: "acc[$r][$c] + bias$c", to: "acc[$r][$c]" },
  },
  {
    kernel: "linear_broadcast.forward_residual",
    mistake: { why: "dropped residual", from: "texel(residual, row$r + $c) + acc", to: "acc" },
  },
  {
    kernel: "linear_broadcast.backward_input",
    mistake: {
      why: "weights not transposed",
      from: "acc[SHARE * $g + $r][$c] += b[$s][$c] * v;",
      to: "acc[SHARE * $g + $r][$c] += v * b[$s][$c];",
    },
  },
  {
    kernel: "linear_broadcast.backward_weight",
    mistake: {
      why: "tokens past the end count",
      from: "t + ahead$l < d.tokens);",
      to: "t < d.tokens);",
    },
  },
  {
    kernel: "linear_broadcast_16.backward_weight",
    mistake: { why: "all steps of a trip at one token", from: "min(t + $s, last)", to: "min(t, last)" },
  },
  {
    kernel: "linear_tiled.forward",
    mistake: {
      why: "the next slice is never fetched",
      from: "a$l = x_at(m + i + THREADS / QUADS * $l, next",
      to: "a$l = x_at(m + i + THREADS / QUADS * $l, q",
    },
  },
  {
    kernel: "linear_tiled_128x64.forward_bias",
    mistake: {
      why: "one bias for four columns",
      from: "acc[$r][$v][$j] + bias$v[$j]",
      to: "acc[$r][$v][$j] + bias$v[0]",
    },
  },
  {
    kernel: "linear_tiled_128x128.forward_residual",
    mistake: { why: "dropped residual", from: "residual[at] + acc", to: "acc" },
  },
  {
    kernel: "linear_tiled_16x64.forward",
    mistake: {
      why: "columns past the end are written",
      from:
        "if (m + Y * $r < d.tokens) {\n    let row = (m + Y * $r) * d.stride;\n    //# for v in VECS\n    //# for j in 4\n    if (n + X * (4u * $v + $j) < d.outputs) { y[row + n + X * (4u * $v + $j)] = acc[$r][$v][$j]; }",
      to:
        "if (m + Y * $r < d.tokens) {\n    let row = (m + Y * $r) * d.stride;\n    //# for v in VECS\n    //# for j in 4\n    if (true) { y[row + n + X * (4u * $v + $j)] = acc[$r][$v][$j]; }",
    },
  },
  {
    kernel: "linear_tiled_16x64.backward_input",
    mistake: { why: "weights of the wrong step", from: "input_w_at(4u * next + ", to: "input_w_at(next + " },
  },
  {
    kernel: "linear_tiled_32x32.backward_input",
    mistake: { why: "never accumulates", from: "{ dx[at] += gradient(acc", to: "{ dx[at] = gradient(acc" },
  },
  {
    kernel: "linear_tiled_128x64.backward_weight",
    mistake: {
      why: "the second quad of rows is the first",
      from: "left[left_at + k * MS + ty + Y * $r]",
      to: "left[left_at + k * MS + ty]",
    },
  },
  {
    kernel: "linear_tiled_128x128.backward_weight",
    mistake: {
      why: "overwrites earlier micro-batches",
      from: "{ dw[at + X * $v] += gradient(acc",
      to: "{ dw[at + X * $v] = gradient(acc",
    },
  },
  {
    kernel: "linear_tiled_double.forward",
    mistake: {
      why: "the second slice is read where the first stood",
      from:
        "let v = Factor(left[left_at + (ty + Y * $r) * SPAN + k]);\n      //# for v in VECS\n      (*sums)[$r][$v] = " +
        "step4(v, c$v, (*sums)[$r][$v]);\n      //# end\n      }\n      //# end\n    }\n    //# for sliced in SLICED\n" +
        "    add_slice(&acc, &slice);\n    //# end\n    //# for double in DOUBLE\n    left_at = LEFT_PART - left_at;\n" +
        "    right_at = RIGHT_PART - right_at;\n    //# end\n  }\n  //# for norm in NORMS",
      to:
        "let v = Factor(left[(ty + Y * $r) * SPAN + k]);\n      //# for v in VECS\n      (*sums)[$r][$v] = " +
        "step4(v, c$v, (*sums)[$r][$v]);\n      //# end\n      }\n      //# end\n    }\n    //# for sliced in SLICED\n" +
        "    add_slice(&acc, &slice);\n    //# end\n    //# for double in DOUBLE\n    left_at = LEFT_PART - left_at;\n" +
        "    right_at = RIGHT_PART - right_at;\n    //# end\n  }\n  //# for norm in NORMS",
    },
  },
  {
    kernel: "linear_tiled_double.backward_weight",
    mistake: {
      why: "the second slice of x is read where the first stood",
      from: "right[right_at + k * NS + tx + X * $v]",
      to: "right[k * NS + tx + X * $v]",
    },
  },
  {
    kernel: "linear_tiled_double.backward_input",
    mistake: {
      why: "half a slice ahead",
      from: "right[right_at + (4u * k + 3u) * NS",
      to: "right[right_at + (4u * k + 2u) * NS",
    },
  },
  {
    kernel: "linear_rows_2.forward",
    mistake: { why: "the last half is not added up", from: "half > 0u", to: "half > 1u" },
  },
  {
    kernel: "linear_rows_8.forward_bias",
    mistake: { why: "dropped bias", from: "v[$c] + addend[n + $c]", to: "v[$c]" },
  },
  {
    kernel: "linear_rows_8_subgroup.forward",
    mistake: { why: "every lane begins at the first step", from: "var k = lane;", to: "var k = 0u;" },
  },
  {
    kernel: "linear_rows_2_subgroup.forward_residual",
    mistake: { why: "dropped residual", from: "residual[at + $c] + v", to: "v" },
  },
  {
    kernel: "linear_any.backward_weight",
    mistake: {
      why: "row stride ignored",
      from: "weight_x[t * d.inputs + id.x]",
      to: "weight_x[t * d.outputs + id.x]",
    },
  },
];
