/**
 * Cases of attention over the paged cache.
 * @module
 */
import {
  attentionDecodeGroup,
  attentionDecodeStorage,
  attentionDecodeTexture,
  groupHeads,
} from "../../shaders/attention_decode.ts";
import * as reference from "../reference/attention_decode.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/**
 * Slot s stands at `positions[s]`; −1 is a dead slot. Blocks are dealt out backwards, so no table is the identity. Scores
 * are of several units, so that the weights are far from equal, times `sharper`.
 */
function decodeCase(
  heads: number,
  kvHeads: number,
  headDim: number,
  blockSize: number,
  positions: number[],
  kernel: typeof attentionDecodeGroup = (size) =>
    attentionDecodeGroup(size, groupHeads(size, heads / kvHeads)),
  sharper = 1,
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
    scale: Math.fround(sharper / Math.sqrt(headDim)),
  };
  const { head_dim: _, ...dims } = shape;
  return {
    name: `heads=${heads}/${kvHeads} head_dim=${headDim} block=${blockSize} positions=${positions}`,
    kernel: kernel(headDim),
    inputs: {
      qkv: randomArray([slots, (heads + 2 * kvHeads) * headDim], 4),
      k_cache: randomArray([rows, kvHeads * headDim], 4),
      v_cache: randomArray([rows, kvHeads * headDim]),
      table: Uint32Array.from({ length: slots * maxBlocks }, (_, i) => slots * maxBlocks - 1 - i),
      slots: Uint32Array.from(
        positions.flatMap((p) => [7, Math.max(0, p), p < 0 ? 0 : 1, 1000, 1, 2, 0, p < 0 ? 1 : 0]),
      ),
      // A row more, which nobody may write.
      out: randomArray([slots + 1, heads * headDim]),
    },
    dims,
    expected: ({ qkv, k_cache, v_cache, table, slots, out }) => {
      const half = kernel(headDim).halves !== undefined;
      const [k, v] = [k_cache, v_cache].map((c) => half ? c.map(Math.f16round) : c);
      const attended = reference.attentionDecode(qkv, k, v, table, slots, shape);
      return { out: [...attended, ...out.subarray(attended.length)] };
    },
    // An exponent's rounding is relative to the scores.
    tolerance: 1e-5 * sharper,
  };
}

const half = (heads: number) => (headDim: number) => attentionDecodeGroup(headDim, heads, true);
const texture = (heads: number) => (headDim: number) => attentionDecodeTexture(headDim, heads);

/**
 * Head sizes of 8 to 256, groups of 1 to 9; contexts around the edges of chunks (128 positions) and blocks; blocks that are
 * no whole quads. Every shape in the variants of all adapters.
 */
export function cases(): KernelCase[] {
  return [
    decodeCase(1, 1, 8, 16, [0]),
    decodeCase(4, 2, 32, 16, [99, -1, 0, 15, 16]),
    decodeCase(3, 1, 24, 5, [4, 5, 122, -1, 2, 3, 1, 7, 64]),
    decodeCase(2, 2, 32, 3, [8, 9]),
    decodeCase(7, 1, 40, 16, [122, -1, 4]),
    decodeCase(4, 4, 64, 8, [0, 254, 255, 256, 257]),
    decodeCase(2, 1, 64, 7, [300, 63]),
    decodeCase(6, 1, 64, 16, [127, -1, 126, 128, 511]),
    decodeCase(8, 1, 80, 16, [126, 127, 128, -1, 0, 383]),
    decodeCase(14, 2, 128, 16, [-1, 128, 0, 127, 400]),
    decodeCase(8, 1, 128, 16, [129, 3]),
    decodeCase(6, 2, 256, 16, [1, 259]),
    // Two workgroups of four heads; workgroups of five and of four; heads that a row's loads of two threads divide.
    decodeCase(8, 1, 256, 16, [127, 260, -1]),
    decodeCase(18, 2, 16, 4, [130, -1, 9]),
    decodeCase(9, 1, 16, 4, [30, -1]),
    decodeCase(1, 1, 248, 16, [140]),
    // Weights of 1 and of next to nothing, in chunks in which the maximum rises and does not.
    decodeCase(7, 1, 40, 16, [600, 127, 128, 20], undefined, 16),
    decodeCase(4, 2, 32, 16, [99, -1, 0, 15, 16], half(2)),
    decodeCase(7, 1, 40, 16, [122, -1, 4], half(7)),
    decodeCase(14, 2, 128, 16, [-1, 128, 0, 127, 400], half(7)),
    // Chunks of 256 positions.
    decodeCase(6, 2, 256, 16, [1, 259, -1], attentionDecodeStorage),
    decodeCase(6, 2, 256, 5, [255, 254, 64], attentionDecodeStorage),
    decodeCase(1, 1, 248, 16, [140], attentionDecodeStorage),
    decodeCase(1, 1, 8, 16, [0], texture(1)),
    decodeCase(4, 2, 32, 16, [99, -1, 0, 15, 16], texture(2)),
    // More invocations than a workgroup has.
    decodeCase(3, 1, 24, 5, [4, 5, 122, -1, 2, 3, 1, 7, 64], texture(1)),
    decodeCase(2, 2, 32, 3, [8, 9], texture(1)),
    // Seven heads in parts of four: the second part lacks one.
    decodeCase(7, 1, 40, 16, [122, -1, 4], texture(4)),
    decodeCase(6, 1, 64, 7, [300, 63], texture(3)),
    decodeCase(3, 1, 24, 5, [4, 122, -1], texture(3)),
    decodeCase(4, 4, 64, 8, [0, 257], texture(1)),
    decodeCase(2, 1, 64, 7, [300, 63], texture(2)),
    decodeCase(8, 1, 80, 16, [40], texture(3)),
    decodeCase(14, 2, 128, 16, [17], texture(2)),
    decodeCase(9, 1, 16, 4, [30, -1], texture(9)),
  ];
}

const STORAGE = attentionDecodeStorage(256).name;
const GROUP = attentionDecodeGroup(128, 7).name;
const HALF = attentionDecodeGroup(128, 7, true).name;
const TEXTURE = attentionDecodeTexture(32, 2).name;

/** Planted mistakes; each is rejected by at least one case. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  ...[
    { why: "the block table of slot 0 serves all", from: "table[s * d.max_blocks + ", to: "table[" },
    { why: "the row within the block is lost", from: "% d.block_size", to: "/ 0x7fffffffu" },
    { why: "always the first kv head", from: "d.kv_heads + head) * D4", to: "d.kv_heads) * D4" },
    { why: "the scale is dropped", from: "i % D4] * d.scale", to: "i % D4]" },
    { why: "the first head's query serves all", from: "min(i / D4, held - 1u)", to: "0u" },
    { why: "a head has the weights of its neighbour", from: "keeps[$h];", to: "keeps[($h + 1) % HEADS];" },
    { why: "the own position is left out", from: "slots[s * 8u + 1u] + 1u", to: "slots[s * 8u + 1u]" },
    { why: "every slot is alive", from: "slots[s * 8u + 2u] != 1u", to: "slots[s * 8u + 2u] == 9u" },
    { why: "a dead slot keeps what it had", from: "out[first_out + i] = vec4f(); }", to: "}" },
    { why: "the last chunk counts past the end", from: "< vec4u(n);", to: "< vec4u(n + 999u);" },
    { why: "one position too many", from: "< vec4u(n);", to: "<= vec4u(n);" },
    { why: "only one chunk", from: "chunk < n;", to: "chunk < min(n, 1u);" },
    { why: "older sums are not rescaled", from: "sum[$h] *= keeps[$h];", to: "" },
    { why: "the older total is not rescaled", from: "total$j * keep + ", to: "total$j + " },
    { why: "no maximum at all", from: "top$j = highest;", to: "top$j = highest - 1.0;" },
    { why: "the team adds up a part", from: "m < TEAM;", to: "m < TEAM - 1u;" },
    { why: "parts are lost", from: "p < PARTS;", to: "p < 1u;" },
    { why: "the total of one quad", from: "i < (lane + 1u) * TEAMS;", to: "i <= lane * TEAMS;" },
    { why: "chunks after the first read its rows", from: "base_of(s, chunk + i,", to: "base_of(s, i," },
    { why: "quads that are not loaded ahead are lost", from: "i < quads;", to: "i < min(quads, 1u);" },
    { why: "the second half of a row is left out", from: "c < D4;", to: "c < (D4 + 1u) / 2u;" },
  ].map((mistake) => ({ kernel: GROUP, mistake })),
  ...[
    {
      why: "every second row of k is another's",
      from: "k_cache[bases[4u * quad + 1u] + column])",
      to: "k_cache[bases[4u * quad] + column])",
    },
    {
      why: "v is read where k stands",
      from: "vec4f(v_cache[bases[4u * quad] + column])",
      to: "vec4f(k_cache[bases[4u * quad] + column])",
    },
  ].map((mistake) => ({ kernel: HALF, mistake })),
  {
    kernel: attentionDecodeGroup(40, 7).name,
    mistake: {
      why: "every chunk has a maximum of its own",
      from: "max(max(top$j, max(most.x",
      to: "max(max(LOWEST, max(most.x",
    },
  },
  {
    kernel: attentionDecodeGroup(16, 5).name,
    mistake: {
      why: "the head that lacks is written",
      from: "min(HEADS, (kv_head + 1u) * group - head)",
      to: "HEADS",
    },
  },
  ...[
    { why: "the block table of slot 0 serves all", from: "table[s * d.max_blocks + ", to: "table[" },
    { why: "the row within the block is lost", from: "% d.block_size", to: "/ 0x7fffffffu" },
    { why: "always the first kv head", from: "d.kv_heads + head) * D4", to: "d.kv_heads) * D4" },
    { why: "no rescaling", from: "let weight = exp(", to: "let weight = exp(0.0 * " },
    { why: "the last quad counts past the end", from: "< vec4u(n)", to: "<= vec4u(n)" },
    { why: "only one chunk", from: "chunk < n;", to: "chunk < min(n, 1u);" },
  ].map((mistake) => ({ kernel: STORAGE, mistake })),
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
