import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import type { AdapterTraits } from "../../gpu/kernel.ts";
import { attentionForward } from "../../shaders/attention.ts";
import { attentionTexture, attentionTiled, attentionTiledSmall } from "../../shaders/attention_variants.ts";
import * as reference from "../reference/attention.ts";
import { finiteDifferences } from "../reference/finite_differences.ts";
import { cases, mistakes, segmentsOf, type Shape } from "./attention_cases.ts";
import { randomArray, runCase, withMistake, worstDifference } from "./case.ts";
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

// Those of Qwen2.5 and its vision tower, and the widest.
for (const headDim of [64, 80, 128, 256]) {
  Deno.test({
    name: `attention: heads of ${headDim} in a GPU's tiles`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const shapes: Shape[] = [
        { lengths: [1], heads: 3, kvHeads: 1, headDim, causal: true },
        { lengths: [3, 75, 1, 22], heads: 2, kvHeads: 1, headDim, causal: true },
        { lengths: [35, 66], heads: 2, kvHeads: 2, headDim, causal: false },
      ];
      const own = cases(shapes).filter((c) => c.kernel.name.startsWith("attention_tiled"));
      assertEquals(own.length, 2 * 3 * shapes.length);
      for (const c of own) {
        const result = await runCase(await oneGpu(), c);
        assert(result.passed, `${c.kernel.name} ${c.name}: off by ${result.worst} at ${result.where}`);
      }
    },
  });
}

Deno.test({
  name: "attention: one part of a wide head in the place of all is noticed",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const [own] = cases([{ lengths: [3, 5], heads: 2, kvHeads: 1, headDim: 136, causal: true }])
      .filter((c) => c.kernel === attentionTiled(136).backwardKeyValue);
    const why = "every workgroup has the head's first half";
    const from = "let offset = group % PARTS * PART;";
    assertEquals((await runCase(await oneGpu(), own)).passed, true);
    const wrong = withMistake(own, { why, from, to: "let offset = 0u;" });
    assertEquals((await runCase(await oneGpu(), wrong)).passed, false);
  },
});

Deno.test("attention: tiles of every head size keep within what every adapter has", () => {
  for (let headDim = 8; headDim <= 256; headDim += 8) {
    for (const kernels of [attentionTiled(headDim), attentionTiledSmall(headDim)]) {
      for (const { name, consts } of [kernels.forward, kernels.backwardQuery, kernels.backwardKeyValue]) {
        const { MEMORY, THREADS, CHUNK, CHUNKS, COLUMNS, N, X, SLICE, SLICES, VECTORS, VECS, PART, PARTS } =
          consts!;
        assert(16 * MEMORY <= 16384 && THREADS <= 256, `${name}: ${16 * MEMORY} bytes, ${THREADS} threads`);
        assert(Number.isInteger(CHUNKS) && CHUNK * CHUNKS === N && X * COLUMNS === CHUNK, name);
        assert(SLICE * SLICES >= VECTORS && X * VECS >= PART && PART * PARTS === VECTORS, name);
      }
    }
  }
});

Deno.test("attention: a software adapter reads textures, every other one takes tiles; only a GPU has a choice", () => {
  const kernel = attentionForward(64);
  const dims = { tokens: 300, heads: 2, kv_heads: 1, causal: 1, scale: 1 };
  const gpu = { software: false, subgroup: 0 };
  const [portable, software] = [{ ...gpu, portable: true }, { ...gpu, software: true }];
  const fit = (traits: AdapterTraits) => kernel.fit!(dims, traits, {}).name;
  assertEquals([fit(gpu), fit(portable), fit(software)], [
    "attention_tiled.forward.d64",
    "attention_tiled.forward.d64",
    "attention_texture.forward.d64",
  ]);
  assertEquals(attentionForward(248).fit!(dims, software, {}).name, "attention.forward.d248");
  const rivals = (traits: AdapterTraits) => kernel.candidates!(dims, traits, {}).kernels.map((k) => k.name);
  assertEquals(rivals(gpu), ["attention_tiled_32x32.forward.d64", "attention.forward.d64"]);
  assertEquals([rivals(portable), rivals(software)], [[], []]);
  // One class for all that round to the same power of two, also where a program asks for its tokens at every run.
  const { dims: measured, contents } = kernel.candidates!(dims, gpu, {});
  assertEquals(measured, { ...dims, tokens: 512 });
  const asked = kernel.candidates!({ ...dims, tokens: () => 7 }, gpu, { segments: 2 * 300 });
  assertEquals([asked.dims, asked.contents], [measured, contents]);
  assertEquals([...contents!.segments], [...segmentsOf([128, 128, 128, 128])]);
  assertEquals([...kernel.candidates!({ ...dims, tokens: 3 }, gpu, {}).contents!.segments], [
    ...segmentsOf([4]),
  ]);
});
