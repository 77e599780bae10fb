/** Tests of attention over the paged cache. @module */
import { assert, assertThrows } from "@std/assert";
import { GpuError } from "../../gpu/errors.ts";
import { attentionDecode, attentionDecodeGroup, groupHeads } from "../../shaders/attention_decode.ts";
import { cases, mistakes } from "./attention_decode_cases.ts";
import { checkKernels } from "./check_kernels.ts";

checkKernels("attention_decode", cases, mistakes);

Deno.test("attention_decode: a head size it cannot do is refused", () => {
  for (const size of [0, 12, 264]) assertThrows(() => attentionDecode(size), GpuError, `head size ${size}`);
});

Deno.test("attention_decode: every head size and group keeps to what the group text and every adapter allow", () => {
  for (let headDim = 8; headDim <= 256; headDim += 8) {
    for (let group = 1; group <= 20; group++) {
      const heads = groupHeads(headDim, group);
      const c = attentionDecodeGroup(headDim, heads).consts!;
      const what = JSON.stringify({ group, ...c });
      // The variables of the text, in its order.
      const bytes = 16 * c.HEADS * c.D4 + 4 * 4 * 32 + 4 * c.HEADS + 16 * c.EXCHANGE;
      assert(bytes <= 16384 && c.THREADS <= 256, what);
      assert(c.HEADS === heads && heads <= Math.min(8, group) && 4 * c.D4 === headDim, what);
      // A group of up to seven heads, and of eight up to a head of 128, is one workgroup's.
      assert(heads === group || group > 7 && (group > 8 || headDim > 128), what);
      assert(c.THREADS === 32 * c.TEAM && c.D4 % (c.TEAM * c.STEP) === 0, what);
      assert(c.PARTS >= 1 && c.PARTS * c.D4 <= c.THREADS && c.DEEP * c.PARTS <= 32, what);
      assert(c.DEEP === 1 || 32 % (2 * c.PARTS) === 0, what);
      assert(c.TEAM % c.ROUND === 0 && c.ROUND * c.ROUNDS >= heads && c.ITEMS * c.TEAM >= heads, what);
      assert(c.EXCHANGE >= Math.max(c.ROUND * c.THREADS, 32 * heads), what);
    }
  }
});
