/**
 * Cases and planted mistakes of shaders/attention_variants.ts.
 * @module
 */
import {
  type AttentionKernels,
  attentionPlain,
  attentionTexture,
  attentionTiled,
  attentionTiledSmall,
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
 * equal, grouped by 2 and by 3, and single key heads; causal and full; scores so large that weights differ widely; two
 * head sizes; more tokens than several tiles of a GPU.
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
  const tiled = [attentionTiled(headDim), attentionTiledSmall(headDim)].map((k) => ({
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
  {
    kernel: "attention_tiled.forward.d24",
    mistake: {
      why: "the causal mask off by one",
      from: "return vec2u(segment.x, token + 1u);",
      to: "return vec2u(segment.x, token + 2u);",
    },
  },
  {
    kernel: "attention_tiled.forward.d24",
    mistake: {
      why: "the segment's start ignored",
      from: "(at >= vec4u(range.x)) & (at < vec4u(range.y))",
      to: "at < vec4u(range.y)",
    },
  },
  {
    kernel: "attention_tiled.forward.d24",
    mistake: {
      why: "what a tile holds past the end counted",
      from: "(at >= vec4u(range.x)) & (at < vec4u(range.y))",
      to: "at >= vec4u(range.x)",
    },
  },
  {
    kernel: "attention_tiled.forward.d24",
    mistake: {
      why: "query heads dealt out in turn instead of in groups",
      from: "kv_head * shared_by + row % shared_by);",
      to: "kv_head + row % shared_by * dims.kv_heads);",
    },
  },
  {
    kernel: "attention_tiled.forward.d24",
    mistake: {
      why: "the output not rescaled when a larger score comes",
      from: "    sums[$r][$v] *= shrink[$r];\n",
      to: "",
    },
  },
  {
    kernel: "attention_tiled.forward.d24",
    mistake: {
      why: "the sum of weights not rescaled when a larger score comes",
      from: "    total *= shrink;\n",
      to: "",
    },
  },
  {
    kernel: "attention_tiled.forward.d24",
    mistake: {
      why: "the scale forgotten",
      from: "block[$r] * dims.scale, valid$r",
      to: "block[$r], valid$r",
    },
  },
  {
    kernel: "attention_tiled.forward.d24",
    mistake: {
      why: "the largest score missing from lse",
      from: "let logs = top + log(total);",
      to: "let logs = log(total);",
    },
  },
  {
    kernel: "attention_tiled.forward.d24",
    mistake: {
      why: "the largest score of the thread's own columns only",
      from: "now = max(now, memory[SHARED + x * Y + ty]);",
      to: "now = max(now, highest);",
    },
  },
  {
    kernel: "attention_tiled.forward.d32",
    mistake: {
      why: "a tile's first keys in every chunk",
      from: "rows = chunk_keys(key + CHUNK * (n + 1u), end - 1u, values, thread);",
      to: "rows = chunk_keys(key, end - 1u, values, thread);",
    },
  },
  {
    kernel: "attention_tiled.backward_query.d24",
    mistake: {
      why: "delta forgotten",
      from: "(dp[$r] - own_delta$r)",
      to: "dp[$r]",
    },
  },
  {
    kernel: "attention_tiled.backward_query.d24",
    mistake: {
      why: "the scale of the slopes forgotten",
      from: "(dp[$r] - own_delta$r) * dims.scale",
      to: "(dp[$r] - own_delta$r)",
    },
  },
  {
    kernel: "attention_tiled.backward_query.d24",
    mistake: {
      why: "values read for keys",
      from: "chunk_keys(key, end - 1u, dims.heads + kv_head, thread)",
      to: "chunk_keys(key, end - 1u, dims.heads + dims.kv_heads + kv_head, thread)",
    },
  },
  {
    kernel: "attention_tiled.backward_query.d32",
    mistake: {
      why: "a slice stored before the one before is done with",
      from: "thread: u32) {\n  workgroupBarrier();\n  //# for l in OWN_LOADS",
      to: "thread: u32) {\n  //# for l in OWN_LOADS",
    },
  },
  {
    kernel: "attention_tiled.backward_query.d32",
    mistake: {
      why: "a chunk multiplied before it stands there",
      from: "memory[ROWS + thread + THREADS * $l] = rows[$l]; }\n  //# end\n  workgroupBarrier();",
      to: "memory[ROWS + thread + THREADS * $l] = rows[$l]; }\n  //# end",
    },
  },
  {
    kernel: "attention_tiled.backward_key_value.d24",
    mistake: {
      why: "queries before the key",
      from: "return vec2u(token, segment.y);",
      to: "return segment;",
    },
  },
  {
    kernel: "attention_tiled.backward_key_value.d24",
    mistake: {
      why: "one query head of a group only",
      from: "row < end; row += N",
      to: "row < end; row += N * shared_by",
    },
  },
  {
    kernel: "attention_tiled.backward_key_value.d24",
    mistake: {
      why: "delta forgotten",
      from: "(ds[$r] - deltas)",
      to: "ds[$r]",
    },
  },
  {
    kernel: "attention_tiled.backward_key_value.d24",
    mistake: {
      why: "one row's log-sum-exp for all",
      from: "logs[$c] = backward_lse[at$c];",
      to: "logs[$c] = backward_lse[at0];",
    },
  },
  {
    kernel: "attention_tiled.backward_key_value.d32",
    mistake: {
      why: "the first chunk's weights in every chunk",
      from: "column(weights, n * COLUMNS + $c)",
      to: "column(weights, $c)",
    },
  },
  {
    kernel: "attention_tiled.backward_key_value.d32",
    mistake: {
      why: "probabilities for slopes",
      from: "store_chunk(n, ds_weights, rows, thread);",
      to: "store_chunk(n, p_weights, rows, thread);",
    },
  },
];
