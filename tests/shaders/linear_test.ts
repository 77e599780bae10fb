import { assert, assertEquals } from "@std/assert";
import type { AdapterTraits } from "../../gpu/kernel.ts";
import { linearHalfProducts, linearProducts } from "../../shaders/linear.ts";
import { type Forwards, type LinearKernels, linearKernels } from "../../shaders/linear_variants.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./linear_cases.ts";

checkKernels("linear", cases, mistakes);

Deno.test("linear: on a GPU forward products of few rows take the variants for these, whether or not one measures", () => {
  const dims = { inputs: 64, outputs: 64, stride: 64, accumulate: 0 };
  const rule = (
    tokens: number,
    traits: Partial<AdapterTraits>,
    product: keyof LinearKernels = "forward",
    products = linearProducts,
  ) => {
    const elements = { x: tokens * 64, dy: tokens * 64, dx: tokens * 64 };
    const adapter = { software: false, subgroup: 0, ...traits };
    const [fixed, asked] = [tokens, () => tokens].map((tokens) =>
      products[product].fit!({ ...dims, tokens }, adapter, elements)
    );
    assertEquals(fixed.name, asked.name);
    return fixed;
  };
  const names = (traits: Partial<AdapterTraits>, products = linearProducts) =>
    [1, 4, 5, 64, 65].map((tokens) => rule(tokens, traits, "forward", products).name.replace(".forward", ""));
  const plain = ["linear_rows_2", "linear_rows_2", "linear_rows_8", "linear_rows_8", "linear_tiled"];
  const own = plain.map((name) => name.replace(/(rows_.)/, "$1_subgroup"));
  const half = (list: string[]) =>
    list.map((name) => name.replace("linear_rows", "linear_half_rows").replace("tiled", "half"));
  assertEquals(names({}), plain);
  assertEquals(names({ subgroup: 32 }), own);
  // A workgroup of such a size is not known to be one subgroup.
  assertEquals(names({ subgroup: 4 }), plain);
  assertEquals(names({ portable: true }), plain);
  // By how the weight is stored, whatever the precision: it may have a width that stays in f32.
  assertEquals(names({ precision: "float16" }), plain);
  assertEquals(names({}, linearHalfProducts), half(plain));
  assertEquals(names({ subgroup: 64 }, linearHalfProducts), half(own));
  assertEquals(rule(8, { subgroup: 32 }).consts!.LANES, 32);
  for (const tokens of [1, 64, 65]) {
    assertEquals(rule(tokens, { software: true }).name, "linear_texture.forward");
  }
  assertEquals(rule(4, {}, "forwardBias").name, "linear_rows_2.forward_bias");
  assertEquals(rule(4, {}, "backwardInput").name, "linear_tiled.backward_input");
  assertEquals(rule(4, {}, "backwardWeight").name, "linear_tiled.backward_weight");
});

Deno.test("linear: no tile needs more workgroup memory than every adapter has", () => {
  for (const { forward: { name, needs, consts } } of Object.values<Forwards>(linearKernels)) {
    if (consts?.LEFT === undefined) continue;
    const bytes = (consts.LEFT + consts.RIGHT) * (needs === "shader-f16" ? 8 : 16);
    // What WebGPU guarantees.
    assert(bytes > 0 && bytes <= 16384, `${name}: ${bytes} bytes`);
  }
});
