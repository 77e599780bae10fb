/** Tests of rotation and writing to the cache in one launch. @module */
import { assert } from "@std/assert";
import { Program } from "../../gpu/program.ts";
import { attentionDecodeTexture } from "../../shaders/attention_decode.ts";
import { ropeTables } from "../../shaders/rope.ts";
import { ropeCacheKernels } from "../../shaders/rope_cache.ts";
import { attentionDecode } from "../reference/attention_decode.ts";
import { randomArray, worstDifference } from "./case.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./rope_cache_cases.ts";
import { oneGpu } from "./one_gpu.ts";

checkKernels("rope_cache", cases, mistakes);

const { rope_cache_kept: kept } = ropeCacheKernels;

const HEADS = { heads: 4, kv_heads: 2 };
const PAGED = { slots: 3, max_blocks: 6, block_size: 16, rows: 288, scale: 0.25 };
const HEAD_DIM = 32;

/** Difference to the f64 loops of attention, right after the launch that writes the rows of the slots' own tokens. */
async function afterWriting(kernel: typeof kept): Promise<number> {
  const gpu = await oneGpu();
  const positions = [95, 3, 40];
  const slots = Uint32Array.from(positions.flatMap((p) => [7, p, 1, 1000, 1, 2, 0, 0]));
  const table = Uint32Array.from({ length: 18 }, (_, i) => 17 - i);
  const rows = Uint32Array.from(positions, (p, s) => table[s * 6 + Math.floor(p / 16)] * 16 + p % 16);
  const qkv = randomArray([3, 8 * HEAD_DIM], 4);
  const tables = ropeTables(96, HEAD_DIM, 10000);
  const t = {
    qkv: gpu.tensor("qkv", [3, 8 * HEAD_DIM], qkv),
    positions: gpu.tensor("positions", [3], Uint32Array.from(positions)),
    cos: gpu.tensor("cos", [96, HEAD_DIM / 2], tables.cos),
    sin: gpu.tensor("sin", [96, HEAD_DIM / 2], tables.sin),
    rows: gpu.tensor("rows", [3], rows),
    k_cache: gpu.tensor("k cache", [288, 64], randomArray([288, 64], 4)),
    v_cache: gpu.tensor("v cache", [288, 64], randomArray([288, 64])),
    table: gpu.tensor("table", [18], table),
    slots: gpu.tensor("slots", [24], slots),
    out: gpu.tensor("out", [3, 128], new Float32Array(384)),
  };
  const program = new Program(gpu, "write and attend")
    .add(kernel, t, { tokens: 3, ...HEADS, head_dim: HEAD_DIM })
    .add(attentionDecodeTexture(HEAD_DIM, 2), t, { ...PAGED, ...HEADS });
  try {
    await program.run();
    const [out, turned, keys, values] = await gpu.read(t.out, t.qkv, t.k_cache, t.v_cache);
    const shape = { ...PAGED, ...HEADS, head_dim: HEAD_DIM };
    return worstDifference(out, attentionDecode(turned, keys, values, table, slots, shape)).worst;
  } finally {
    program.destroy();
    for (const tensor of Object.values(t)) gpu.pool.free(tensor);
  }
}

Deno.test({
  name:
    "rope_cache: what is written is in the textures too, without another copy; a store in the wrong place is not",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const good = await afterWriting(kept);
    assert(good < 1e-5, `off by ${good}`);
    const store = "textureStore(v_texture, vec2u(at & 1023u, at >> 10u), v);";
    for (const wrong of ["", store.replace(", v)", ", v.yxzw)"), store.replace("at & 1023u", "at >> 10u")]) {
      const source = kept.source.replace(store, wrong);
      const bad = await afterWriting({ ...kept, source });
      assert(bad > 1e-3, `"${wrong}": off by ${bad}`);
    }
  },
});
