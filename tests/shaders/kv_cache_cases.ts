/**
 * Cases of the cache kernels. They only copy, so the tolerance is 0.
 * @module
 */
import { kvCopyRows, kvCopyRowsHalf, kvWrite, kvWriteHalf } from "../../shaders/kv_cache.ts";
import * as reference from "../reference/kv_cache.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** As the kernel's caches hold it. */
const stored = ({ halves }: { readonly halves?: readonly string[] }, values: Float64Array): Float64Array =>
  halves ? values.map(Math.f16round) : values;

function writeCase(
  tokens: number,
  heads: number,
  kvHeads: number,
  headDim: number,
  kernel = kvWrite,
): KernelCase {
  const width = kvHeads * headDim;
  const cacheRows = tokens + 5;
  const dims = { tokens, heads, kv_heads: kvHeads, head_dim: headDim };
  // Rows in reverse with a hole; every third token (but never all of them) is skipped.
  const rows = Uint32Array.from({ length: tokens }, (_, t) => t % 3 === 1 ? 0xffffffff : cacheRows - 2 - t);
  return {
    name: `tokens=${tokens} heads=${heads}/${kvHeads} head_dim=${headDim}`,
    kernel,
    inputs: {
      qkv: randomArray([tokens, (heads + 2 * kvHeads) * headDim]),
      rows,
      k_cache: randomArray([cacheRows, width]),
      v_cache: randomArray([cacheRows, width]),
    },
    dims,
    expected: ({ qkv, rows, k_cache, v_cache }) => ({
      k_cache: stored(kernel, reference.kvWrite(k_cache, qkv, rows, dims, 0)),
      v_cache: stored(kernel, reference.kvWrite(v_cache, qkv, rows, dims, 1)),
    }),
    tolerance: 0,
  };
}

function copyCase(count: number, width: number, kernel = kvCopyRows): KernelCase {
  const pairs = Uint32Array.from({ length: 2 * count }, (_, i) => i % 2 ? 2 * count - (i >> 1) : i >> 1);
  return {
    name: `count=${count} width=${width}`,
    kernel,
    inputs: {
      pairs,
      k_cache: randomArray([2 * count + 2, width]),
      v_cache: randomArray([2 * count + 2, width]),
    },
    dims: { count, width },
    expected: ({ pairs, k_cache, v_cache }) => ({
      k_cache: stored(kernel, reference.kvCopyRows(k_cache, pairs, width)),
      v_cache: stored(kernel, reference.kvCopyRows(v_cache, pairs, width)),
    }),
    tolerance: 0,
  };
}

/** Normal and odd shapes of both kernels. */
export function cases(): KernelCase[] {
  return [
    writeCase(1, 1, 1, 8),
    writeCase(5, 4, 2, 32),
    writeCase(123, 3, 3, 40),
    writeCase(65, 8, 1, 16),
    copyCase(1, 8),
    copyCase(5, 64),
    copyCase(123, 40),
    writeCase(5, 4, 2, 32, kvWriteHalf),
    writeCase(123, 3, 3, 40, kvWriteHalf),
    copyCase(123, 40, kvCopyRowsHalf),
  ];
}

/** Planted mistakes; each is rejected by at least one case. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  {
    kernel: kvWrite.name,
    mistake: {
      why: "k and v exchanged",
      from: "k_cache[dest] = vec4<Cached>(qkv[source]);",
      to: "k_cache[dest] = vec4<Cached>(qkv[source + width]);",
    },
  },
  {
    kernel: kvWrite.name,
    mistake: {
      why: "skipped rows are written to row 0",
      from: "let row = rows[t];",
      to: "let row = select(rows[t], 0u, rows[t] == 0xffffffffu);",
    },
  },
  {
    kernel: kvCopyRows.name,
    mistake: {
      why: "v is not copied",
      from: "v_rows[dest] = v_rows[source];",
      to: "v_rows[dest] = v_rows[dest];",
    },
  },
  {
    kernel: kvCopyRows.name,
    mistake: { why: "from and to exchanged", from: "pairs[n].y * width", to: "pairs[n].x * width" },
  },
  {
    kernel: kvWriteHalf.name,
    mistake: {
      why: "half of a vec4 is lost",
      from: "v_cache[dest] = vec4<Cached>(qkv[source + width]);",
      to: "v_cache[dest] = vec4<Cached>(qkv[source + width].xyxy);",
    },
  },
  {
    kernel: kvCopyRowsHalf.name,
    mistake: { why: "from and to exchanged", from: "pairs[n].y * width", to: "pairs[n].x * width" },
  },
];
