import { assert, assertEquals } from "@std/assert";
import type { Gpu } from "../../gpu/device.ts";
import type { KernelOptions } from "../../gpu/kernel_options.ts";
import { Program } from "../../gpu/program.ts";
import { Tuner } from "../../gpu/tuner.ts";
import { addNormGated, addNormLinear } from "../../shaders/linear_fused.ts";
import { fusedKernels } from "../../shaders/linear_fused_variants.ts";
import { linear } from "../reference/linear.ts";
import { rmsnormForward } from "../reference/rmsnorm.ts";
import { swigluForward } from "../reference/swiglu.ts";
import { randomArray, worstDifference } from "./case.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./linear_fused_cases.ts";
import { oneGpu } from "./one_gpu.ts";

checkKernels("fused linear", cases, mistakes);

const EPS = 0.02;

/** Both layers on one shape, with a bias or without: launches of each, and how far y is from f64 loops. */
async function layers(gpu: Gpu, inputs: number, outputs: number, biased: boolean) {
  const tokens = 5;
  const x = randomArray([tokens, inputs]);
  const norm = randomArray([inputs]);
  const weight = randomArray([outputs, inputs]);
  const b = biased ? randomArray([outputs]) : undefined;
  const shape = { tokens, inputs, outputs };
  const alloc = (width: number) => gpu.alloc("fused test", [tokens, width], "data");
  // As a model stores it.
  const half = gpu.traits.precision === "float16";
  const stored = gpu.alloc("weight", [outputs, inputs], "data", half ? "f16" : "f32");
  gpu.write(stored, weight);
  const common = {
    x: gpu.tensor("x", [tokens, inputs], x),
    norm: gpu.tensor("norm", [inputs], norm),
    weight: stored,
    bias: b && gpu.tensor("bias", [outputs], b),
    normed: alloc(inputs),
    rstd: alloc(1),
  };
  const [y, inner, gateUp] = [alloc(outputs), alloc(outputs / 2), alloc(outputs)];
  const plain = new Program(gpu, "norm and product");
  addNormLinear(plain, { ...common, y }, shape, { eps: EPS });
  const gated = new Program(gpu, "norm, product and gate");
  addNormGated(gated, { ...common, y: inner, gateUp }, shape, { eps: EPS });
  await plain.run();
  await gated.run();
  const found = await gpu.read(y, inner);
  const both = linear(
    rmsnormForward(x, norm, tokens, inputs, EPS).y,
    weight,
    new Float64Array(tokens * outputs),
    { ...shape, stride: outputs },
    b,
  );
  const expected = [both, swigluForward(both, tokens, outputs / 2)];
  const result = {
    launches: [plain.length, gated.length],
    off: Math.max(...found.map((values, i) => worstDifference(values, expected[i]).worst)),
  };
  for (const program of [plain, gated]) program.destroy();
  for (const t of [...Object.values(common), y, inner, gateUp]) if (t) gpu.pool.free(t);
  return result;
}

Deno.test({
  name:
    "layers are fused where the kernels serve the sizes, the bias and the precision, and right everywhere",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const gpu = await oneGpu();
    const check = async (asked: KernelOptions, expected: Record<string, number[]>, tolerance: number) => {
      gpu.prefer(asked);
      try {
        for (const [name, launches] of Object.entries(expected)) {
          const [inputs, outputs] = name.split(" ").map(Number);
          const found = await layers(gpu, inputs, outputs, name.endsWith("bias"));
          assertEquals(found.launches, launches, `${JSON.stringify(asked)} ${name}`);
          assert(found.off <= tolerance, `${JSON.stringify(asked)} ${name}: off by ${found.off}`);
        }
      } finally {
        gpu.prefer();
      }
    };
    await check({ preset: "software" }, {
      "20 40": [1, 1],
      "20 40 bias": [1, 3],
      "20 12": [1, 3],
      "22 40": [2, 3],
      "20 42": [2, 3],
    }, 1e-5);
    await check({ preset: "portable" }, { "20 40": [1, 1], "20 42 bias": [1, 3], "22 40": [2, 3] }, 1e-5);
    if (gpu.facts.features.includes("shader-f16")) {
      await check({ preset: "gpu", precision: "float16" }, { "20 40": [2, 2], "20 40 bias": [2, 3] }, 4e-3);
    }
  },
});

Deno.test({
  name: "fused layers on a GPU that is tuned: whatever is chosen is right",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    // The rules and the candidates of a GPU; software adapters compute them as well.
    const gpu = await Tuner.open({ cache: null, seconds: 60 }, { preset: "gpu" });
    const found = await layers(gpu, 36, 72, true);
    assert(found.off <= 1e-5, `off by ${found.off}`);
    assertEquals((await layers(gpu, 36, 72, false)).launches, [1, 1]);
    const known = new Set(
      Object.values(fusedKernels).flatMap((all) => Object.values(all)).map((k) => k.name),
    );
    const fused = Object.entries(gpu.tuner!.choices().choices).filter(([key]) => /norm_|gated/.test(key));
    assertEquals(
      fused.map(([key]) => key.split(" inputs")[0].replace("_subgroup", "")),
      ["forward", "forward_bias", "forward_gated"].map((entry) => `linear_rows_8.norm_${entry} tokens=8`),
    );
    assertEquals(fused.filter(([, { kernel }]) => !known.has(kernel)), []);
    gpu.close();
  },
});
