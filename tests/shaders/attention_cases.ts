/**
 * Cases and planted mistakes of shaders/attention_variants.ts.
 * @module
 */
import {
  type AttentionKernels,
  attentionPlain,
  attentionTexture,
  attentionTiled,
  attentionTiledHalf,
} from "../../shaders/attention_variants.ts";
import * as reference from "../reference/attention.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** Sizes of a packed batch. */
export interface Shape {
  readonly lengths: readonly number[];
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly causal: boolean;
}

/**
 * One token; segments of 1, of the tile's 8 and one more or less, longer than several tiles, that start inside a tile;
 * equal, grouped by 2 and by 3, and single key heads; causal and full; scores so large that weights differ widely; a head
 * size in tiles and one in registers; more tokens than several tiles of a GPU.
 */
const SHAPES: readonly Shape[] = [
  { lengths: [1], heads: 1, kvHeads: 1, headDim: 24, causal: true },
  { lengths: [1, 7, 8, 9, 25], heads: 4, kvHeads: 2, headDim: 24, causal: true },
  { lengths: [5, 18, 2], heads: 3, kvHeads: 1, headDim: 24, causal: true },
  { lengths: [17, 3, 16], heads: 2, kvHeads: 2, headDim: 24, causal: false },
  { lengths: [13, 20], heads: 6, kvHeads: 2, headDim: 24, causal: false },
  { lengths: [1, 5, 27], heads: 4, kvHeads: 2, headDim: 32, causal: true },
  { lengths: [9, 36, 36], heads: 2, kvHeads: 2, headDim: 32, causal: false },
  { lengths: [3, 75, 1, 40], heads: 2, kvHeads: 1, headDim: 24, causal: true },
  { lengths: [70, 33], heads: 3, kvHeads: 1, headDim: 32, causal: false },
];

/**
 * The storage kernels, a GPU's tiles (whose delta is the storage kernels'), those that read textures as the adapter runs them,
 * and as one does whose vectors share nothing.
 */
function variants(headDim: number): Partial<AttentionKernels>[] {
  const texture = attentionTexture(headDim);
  const tiled = [attentionTiled(headDim), attentionTiledHalf(headDim)].map((k) => ({
    ...k,
    delta: undefined,
  }));
  if (!texture) return [attentionPlain(headDim), ...tiled];
  const { forward, delta, backwardQuery, backwardKeyValue } = texture;
  const alone = <K>(kernel: K): K => ({ ...kernel, fit: undefined });
  return [attentionPlain(headDim), ...tiled, texture, {
    forward: alone(forward),
    delta: alone(delta),
    backwardQuery: alone(backwardQuery),
    backwardKeyValue: alone(backwardKeyValue),
  }];
}

/** [T, 2] of segments of these lengths, one after the other. */
export function segmentsOf(lengths: readonly number[]): Uint32Array<ArrayBuffer> {
  let first = 0;
  return Uint32Array.from(lengths.flatMap((length) => {
    const own = [first, first + length];
    first += length;
    return Array.from({ length }, () => own).flat();
  }));
}

/** Forward, delta and both backward kernels of the shapes. */
export function cases(shapes = SHAPES): KernelCase[] {
  return shapes.flatMap((shape): KernelCase[] => {
    const { lengths, heads, kvHeads, headDim, causal } = shape;
    const name = `segments=${lengths} heads=${heads}/${kvHeads} head_dim=${headDim} causal=${causal}`;
    const tokens = lengths.reduce((a, b) => a + b);
    const stride = (heads + 2 * kvHeads) * headDim;
    const scale = Math.fround(headDim ** -0.5);
    const qkv = randomArray([tokens, stride], 3);
    const segments = segmentsOf(lengths);
    const attention = { qkv, segments, tokens, heads, kvHeads, headDim, causal, scale };
    const dims = { tokens, heads, kv_heads: kvHeads, causal: Number(causal), scale };
    const dout = randomArray([tokens, heads * headDim]);
    const exact = reference.attentionForward(attention);
    const out = Float32Array.from(exact.out);
    const lse = Float32Array.from(exact.lse);
    const delta = Float32Array.from(reference.attentionDelta(dout, out, tokens, heads, headDim));
    const before = randomArray([tokens, stride]);
    const backward = reference.attentionBackward(attention, dout, lse, delta);
    // What a kernel does not own must stay.
    const merged = (queries: boolean): Float64Array =>
      backward.map((g, i) => i % stride < heads * headDim === queries ? g : before[i]);
    const inputs = { qkv, segments, dout, lse, delta, dqkv: before };
    const outputs = { out: randomArray([tokens, heads * headDim]), lse: randomArray([tokens, heads]) };
    const tolerance = 1e-5;
    const own = { name, inputs, dims, tolerance };
    return variants(headDim).flatMap((kernels): KernelCase[] => [
      ...kernels.forward
        ? [{
          ...own,
          kernel: kernels.forward,
          inputs: { qkv, segments, ...outputs },
          expected: () => ({ ...exact }),
        }]
        : [],
      ...kernels.delta
        ? [{
          ...own,
          kernel: kernels.delta,
          inputs: { dout, out, delta: randomArray([tokens, heads]) },
          dims: { tokens, heads },
          expected: () => ({ delta: reference.attentionDelta(dout, out, tokens, heads, headDim) }),
        }]
        : [],
      ...kernels.backwardQuery
        ? [{ ...own, kernel: kernels.backwardQuery, expected: () => ({ dqkv: merged(true) }) }]
        : [],
      ...kernels.backwardKeyValue
        ? [{ ...own, kernel: kernels.backwardKeyValue, expected: () => ({ dqkv: merged(false) }) }]
        : [],
    ]);
  });
}

/** Each is rejected by a case. */
export const mistakes: readonly { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "attention.forward.d24",
    mistake: {
      why: "the causal mask off by one",
      from: "var end = token + 1u;",
      to: "var end = token + 2u;",
    },
  },
  {
    kernel: "attention.forward.d24",
    mistake: {
      why: "the segment's start ignored",
      from: "(at >= vec4u(first)) & (at < vec4u(end))",
      to: "at < vec4u(end)",
    },
  },
  {
    kernel: "attention.forward.d24",
    mistake: {
      why: "query heads dealt out in turn instead of in groups",
      from: "kv_head * shared_by + r % shared_by;",
      to: "kv_head + r % shared_by * dims.kv_heads;",
    },
  },
  {
    kernel: "attention.forward.d24",
    mistake: {
      why: "the output not rescaled when a larger score comes",
      from: "columns_times(load_out(out_y + d), wy.shrink)",
      to: "load_out(out_y + d)",
    },
  },
  {
    kernel: "attention.forward.d24",
    mistake: { why: "the scale forgotten", from: "softmax(ax * dims.scale,", to: "softmax(ax," },
  },
  {
    kernel: "attention.delta.d24",
    mistake: {
      why: "the first four values skipped",
      from: "var d = i * VECTORS;",
      to: "var d = i * VECTORS + 1u;",
    },
  },
  {
    kernel: "attention.backward_query.d24",
    mistake: {
      why: "delta forgotten",
      from: "vec4f(l.x)) * (dp[0] - delta.x)",
      to: "vec4f(l.x)) * dp[0]",
    },
  },
  {
    kernel: "attention.backward_query.d24",
    mistake: {
      why: "values read for keys",
      from: "let a = load_qkv(ka + d);\n      let b = load_qkv(kb + d);\n      let dx",
      to: "let a = load_qkv(va + d);\n      let b = load_qkv(vb + d);\n      let dx",
    },
  },
  {
    kernel: "attention.backward_key_value.d24",
    mistake: {
      why: "one query head of a group only",
      from: "row <= last; row += 8u",
      to: "row <= last; row += 8u * shared_by",
    },
  },
  {
    kernel: "attention.backward_key_value.d24",
    mistake: {
      why: "queries before the key",
      from: "if (dims.causal == 0u) { first = firsts(t); }",
      to: "first = firsts(t);",
    },
  },
  {
    kernel: "attention.backward_key_value.d24",
    mistake: {
      why: "the value's gradient from the last tile only",
      from: "load_dqkv(x.v + d) + da * pax",
      to: "da * pax",
    },
  },
  {
    kernel: "attention.backward_query.d32",
    mistake: {
      why: "four of the values left out of every product",
      from: " +\n    transpose((*x).g) * (*y).g",
      to: "",
    },
  },
  {
    kernel: "attention.backward_key_value.d32",
    mistake: { why: "four of the values left out of every sum", from: "  (*o).h += (*x).h * w;", to: "" },
  },
  {
    kernel: "attention_texture.forward.d32",
    mistake: { why: "the output not rescaled when a larger score comes", from: "o[$d] *= shrink;", to: "" },
  },
  {
    kernel: "attention_texture.forward.d32",
    mistake: {
      why: "the largest score missing from lse",
      from: "top + log(sum)",
      to: "log(sum)",
    },
  },
  {
    kernel: "attention_texture.forward.d32",
    mistake: {
      why: "other segments seen",
      from: "if (key + $c < own.x || key + $c >= own.y)",
      to: "if (key + $c >= own.y)",
    },
  },
  {
    kernel: "attention_texture.delta_of.d32",
    mistake: {
      why: "the first four values skipped",
      from: "var d = i * VECTORS;",
      to: "var d = i * VECTORS + 1u;",
    },
  },
  {
    kernel: "attention_texture.backward_query.d32",
    mistake: { why: "delta forgotten", from: "(ds[$c] - own_delta)", to: "ds[$c]" },
  },
  {
    kernel: "attention_texture.backward_query.d32",
    mistake: { why: "the scale forgotten", from: "= dq[$d] * dims.scale;", to: "= dq[$d];" },
  },
  {
    kernel: "attention_texture.backward_key_value.d32",
    mistake: {
      why: "the next four values loaded",
      from: "place(token, head) + n % VECTORS",
      to: "place(token, head) + (n + 1u) % VECTORS",
    },
  },
  {
    kernel: "attention_texture.backward_key_value.d32",
    mistake: {
      why: "lse and delta of another row of the block",
      from: "$l * SHARE + share % COLUMNS",
      to: "$l * SHARE + (share ^ 1u) % COLUMNS",
    },
  },
  {
    kernel: "attention_texture.backward_key_value.d32",
    mistake: { why: "queries before the key", from: "if (dims.causal == 1u) { range.x = key; }", to: "" },
  },
];
