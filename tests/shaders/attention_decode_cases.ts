/**
 * Cases of attention over the paged cache.
 * @module
 */
import { attentionDecodeStorage, attentionDecodeTexture } from "../../shaders/attention_decode.ts";
import * as reference from "../reference/attention_decode.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** Slot s stands at `positions[s]`; −1 is a dead slot. Blocks are dealt out backwards, so no table is the identity. */
function decodeCase(
  heads: number,
  kvHeads: number,
  headDim: number,
  blockSize: number,
  positions: number[],
  /** The texture variant for so many heads an invocation; undefined: the storage variant. */
  texture?: number,
): KernelCase {
  const slots = positions.length;
  const maxBlocks = Math.floor(Math.max(...positions, 0) / blockSize) + 1;
  const rows = slots * maxBlocks * blockSize;
  const shape = {
    slots,
    heads,
    kv_heads: kvHeads,
    head_dim: headDim,
    max_blocks: maxBlocks,
    block_size: blockSize,
    rows,
    scale: Math.fround(1 / Math.sqrt(headDim)),
  };
  const { head_dim: _, ...dims } = shape;
  return {
    name: `heads=${heads}/${kvHeads} head_dim=${headDim} block=${blockSize} positions=${positions}`,
    kernel: texture ? attentionDecodeTexture(headDim, texture) : attentionDecodeStorage(headDim),
    inputs: {
      // Scores of several units, so that the weights are far from equal.
      qkv: randomArray([slots, (heads + 2 * kvHeads) * headDim], 4),
      k_cache: randomArray([rows, kvHeads * headDim], 4),
      v_cache: randomArray([rows, kvHeads * headDim]),
      table: Uint32Array.from({ length: slots * maxBlocks }, (_, i) => slots * maxBlocks - 1 - i),
      slots: Uint32Array.from(
        positions.flatMap((p) => [7, Math.max(0, p), p < 0 ? 0 : 1, 1000, 1, 2, 0, p < 0 ? 1 : 0]),
      ),
      out: randomArray([slots, heads * headDim]),
    },
    dims,
    expected: ({ qkv, k_cache, v_cache, table, slots }) => ({
      out: reference.attentionDecode(qkv, k_cache, v_cache, table, slots, shape),
    }),
    tolerance: 1e-5,
  };
}

/** Head sizes of all texts, groups of 1, 2, 3 and 7, contexts around the chunk and block edges. */
export function cases(): KernelCase[] {
  return [
    decodeCase(1, 1, 8, 16, [0]),
    decodeCase(4, 2, 32, 16, [99, -1, 0, 15, 16]),
    decodeCase(3, 1, 24, 5, [4, 5, 122, -1, 2, 3, 1, 7, 64]),
    decodeCase(2, 2, 32, 3, [8, 9]),
    decodeCase(7, 1, 40, 16, [122, -1, 4]),
    decodeCase(4, 4, 64, 8, [0, 254, 255, 256, 257]),
    decodeCase(2, 1, 64, 7, [300, 63]),
    decodeCase(2, 1, 256, 16, [1, 259]),
    decodeCase(1, 1, 8, 16, [0], 1),
    decodeCase(4, 2, 32, 16, [99, -1, 0, 15, 16], 2),
    // More invocations than a workgroup has, and blocks that are no whole quads.
    decodeCase(3, 1, 24, 5, [4, 5, 122, -1, 2, 3, 1, 7, 64], 1),
    decodeCase(2, 2, 32, 3, [8, 9], 1),
    // Seven heads in parts of four: the second part lacks one.
    decodeCase(7, 1, 40, 16, [122, -1, 4], 4),
    decodeCase(3, 1, 64, 7, [300, 63], 3),
    // As a software adapter has the others.
    decodeCase(3, 1, 24, 5, [4, 122, -1], 3),
    decodeCase(4, 4, 64, 8, [0, 257], 1),
    decodeCase(2, 1, 64, 7, [300, 63], 2),
  ];
}

const both = (mistake: Mistake): { kernel: string; mistake: Mistake }[] =>
  [32, 64].map((size) => ({ kernel: attentionDecodeStorage(size).name, mistake }));
const TEXTURE = attentionDecodeTexture(32, 2).name;

/** Planted mistakes; each is rejected by at least one case. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  ...both({
    why: "the block table of slot 0 serves all",
    from: "table[s * d.max_blocks + ",
    to: "table[",
  }),
  ...both({ why: "the row within the block is lost", from: "% d.block_size", to: "/ 0x7fffffffu" }),
  {
    kernel: attentionDecodeStorage(32).name,
    mistake: { why: "always the first kv head", from: "d.kv_heads + kv_head) * D4", to: "d.kv_heads) * D4" },
  },
  {
    kernel: attentionDecodeStorage(64).name,
    mistake: { why: "always the first kv head", from: "d.kv_heads + head) * D4", to: "d.kv_heads) * D4" },
  },
  ...both({ why: "no rescaling", from: "let weight = exp(", to: "let weight = exp(0.0 * " }),
  {
    kernel: attentionDecodeStorage(32).name,
    mistake: {
      why: "the own position is left out",
      from: "slots[s * 8u + 1u] + 1u",
      to: "slots[s * 8u + 1u]",
    },
  },
  {
    kernel: attentionDecodeStorage(32).name,
    mistake: {
      why: "the scale is dropped",
      from: "qkv[base + c] * d.scale",
      to: "qkv[base + c]",
    },
  },
  {
    kernel: attentionDecodeStorage(32).name,
    mistake: {
      why: "the sum is not rescaled",
      from: "total = total * shrink + p;",
      to: "total = total + p;",
    },
  },
  {
    kernel: attentionDecodeStorage(64).name,
    mistake: {
      why: "the last quad counts past the end",
      from: "< vec4u(n)",
      to: "<= vec4u(n)",
    },
  },
  {
    kernel: attentionDecodeStorage(64).name,
    mistake: { why: "only one chunk", from: "chunk < n;", to: "chunk < min(n, 1u);" },
  },
  { kernel: TEXTURE, mistake: { why: "the first block serves all", from: "entry++;", to: "" } },
  {
    kernel: TEXTURE,
    mistake: { why: "always the first kv head", from: "* stride + kv_head * D4", to: "* stride" },
  },
  {
    kernel: TEXTURE,
    mistake: { why: "the last quad counts past the end", from: "< vec4u(held)", to: "<= vec4u(held)" },
  },
  {
    kernel: TEXTURE,
    mistake: { why: "the sums are not rescaled", from: "sum[$h][$c] * keep$h", to: "sum[$h][$c]" },
  },
  {
    kernel: TEXTURE,
    mistake: {
      why: "the own position is left out",
      from: "slots[s * 8u + 1u] + 1u",
      to: "slots[s * 8u + 1u]",
    },
  },
  { kernel: TEXTURE, mistake: { why: "the scale is dropped", from: "q$h + $c] * d.scale", to: "q$h + $c]" } },
  {
    kernel: attentionDecodeTexture(40, 4).name,
    mistake: {
      why: "the head that lacks is written",
      from: "if (head + $h <= last)",
      to: "if (head + $h > 0u)",
    },
  },
];
