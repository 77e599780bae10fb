import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { attentionForward } from "../../shaders/attention.ts";
import { attentionPlain, attentionTexture } from "../../shaders/attention_variants.ts";
import * as reference from "../reference/attention.ts";
import { finiteDifferences } from "../reference/finite_differences.ts";
import { cases, mistakes, segmentsOf } from "./attention_cases.ts";
import { randomArray, runCase, worstDifference } from "./case.ts";
import { checkKernels } from "./check_kernels.ts";
import { oneGpu } from "./one_gpu.ts";

checkKernels("attention", cases, mistakes);

for (const causal of [true, false]) {
  Deno.test(`attention: the reference's gradients agree with finite differences, causal=${causal}`, () => {
    const [lengths, heads, kvHeads, headDim] = [[3, 2], 4, 2, 4];
    const qkv = randomArray([5, (heads + 2 * kvHeads) * headDim]);
    const dout = randomArray([5, heads * headDim]);
    const attention = {
      segments: segmentsOf(lengths),
      tokens: 5,
      heads,
      kvHeads,
      headDim,
      causal,
      scale: 0.5,
    };
    const { out, lse } = reference.attentionForward({ ...attention, qkv });
    const delta = reference.attentionDelta(dout, out, 5, heads, headDim);
    const dqkv = reference.attentionBackward({ ...attention, qkv }, dout, lse, delta);
    const loss = (x: Float64Array): number =>
      reference.attentionForward({ ...attention, qkv: x }).out.reduce((sum, o, i) => sum + o * dout[i], 0);
    assert(worstDifference(dqkv, finiteDifferences(loss, qkv)).worst < 1e-6);
  });
}

Deno.test("attention: one spec per head size, multiples of 8 only", () => {
  assertEquals(attentionForward(32) === attentionForward(32), true);
  assertEquals([16, 32, 64, 80, 128].filter((headDim) => !attentionTexture(headDim)), []);
  assertEquals(attentionTexture(248), undefined);
  for (const headDim of [0, 12, 264]) assertThrows(() => attentionForward(headDim), UserError, `${headDim}`);
});

// Compiling them takes too long for every doctor's visit.
Deno.test({
  name: "attention: keys and values of 64 in registers",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const own = cases([{ lengths: [11, 6], heads: 3, kvHeads: 1, headDim: 64, causal: true }])
      .filter((c) => c.kernel === attentionPlain(64).backwardKeyValue);
    assertEquals(own.length, 1);
    for (const c of own) {
      const result = await runCase(await oneGpu(), c);
      assert(result.passed, `${c.kernel.name}: off by ${result.worst} at ${result.where}`);
    }
  },
});

Deno.test({
  name: "attention: heads of 16, 64, 80 and 128 through textures",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    for (const headDim of [16, 64, 80, 128]) {
      const own = cases([{ lengths: [11, 6], heads: 3, kvHeads: 1, headDim, causal: true }])
        .filter((c) => c.kernel.name.startsWith("attention_texture.") && c.kernel.fit);
      assertEquals(own.length, 4);
      for (const c of own) {
        const result = await runCase(await oneGpu(), c);
        assert(result.passed, `${c.kernel.name}: off by ${result.worst} at ${result.where}`);
      }
    }
  },
});
