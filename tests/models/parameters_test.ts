import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { GpuError } from "../../gpu/errors.ts";
import { elements } from "../../gpu/tensor.ts";
import { parameterShapes } from "../../models/config.ts";
import { Parameters, storagePlan } from "../../models/parameters.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { randomWeights, tinyConfig } from "./tiny_model.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
const config = tinyConfig({
  model_type: "llama",
  attention_bias: true,
  mlp_bias: true,
  tie_word_embeddings: false,
  num_hidden_layers: 2,
  num_key_value_heads: 2,
});
const weights = randomWeights(config);

/** Whatever a generator of named arrays gives, by name. */
async function collect(
  arrays: AsyncIterable<{ name: string; shape: number[]; data: Float32Array }>,
): Promise<Map<string, { shape: number[]; data: number[] }>> {
  const all = new Map<string, { shape: number[]; data: number[] }>();
  for await (const { name, shape, data } of arrays) {
    assert(!all.has(name), `${name} came twice`);
    all.set(name, { shape, data: [...data] });
  }
  return all;
}

const expected = new Map(
  [...parameterShapes(config)].map(([name, shape]) => [name, { shape, data: [...weights.get(name)!] }]),
);

Deno.test("storagePlan: every parameter lies once and without gaps in one stored tensor, in the kernels' order", () => {
  for (const c of [config, tinyConfig(), tinyConfig({ tie_word_embeddings: false, num_hidden_layers: 3 })]) {
    const plan = storagePlan(c);
    const named = new Map<string, readonly number[]>();
    for (const { name, shape, slices } of plan) {
      let at = 0;
      for (const s of slices) {
        assertEquals(s.start, at, s.name);
        assert(!named.has(s.name), `${s.name} lies in two tensors`);
        named.set(s.name, s.shape);
        at += elements(s.shape);
      }
      assertEquals(at, elements(shape), name);
    }
    assertEquals(new Map([...named].sort()), new Map([...parameterShapes(c)].sort()));
    const parts = (stored: string) =>
      plan.find((p) => p.name === `model.layers.0.${stored}`)!.slices.map((s) => s.name.split(".").at(-2));
    assertEquals(parts("self_attn.qkv_proj.weight"), ["q_proj", "k_proj", "v_proj"]);
    assertEquals(parts("mlp.gate_up_proj.weight"), ["gate_proj", "up_proj"]);
  }
  const biases = storagePlan(config).filter((p) =>
    p.name.startsWith("model.layers.1.") && p.name.endsWith(".bias")
  );
  assertEquals(biases.map((p) => [p.name, p.slices.length]).sort(), [
    ["model.layers.1.mlp.down_proj.bias", 1],
    ["model.layers.1.mlp.gate_up_proj.bias", 2],
    ["model.layers.1.self_attn.o_proj.bias", 1],
    ["model.layers.1.self_attn.qkv_proj.bias", 3],
  ]);
});

Deno.test({
  name: "weights come back bit for bit under their Hugging Face names; gradients too, in the same shapes",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const before = gpu.pool.report().bytes;
    const parameters = await Parameters.load(gpu, config, (name) => weights.get(name)!, true);
    assertEquals(await collect(parameters.weights()), expected);
    assertEquals(parameters.count, [...weights.values()].reduce((n, w) => n + w.length, 0));

    const zeros = await collect(parameters.gradients());
    for (const [name, { shape, data }] of zeros) {
      assertEquals(shape, expected.get(name)!.shape, name);
      assert(data.every((g) => g === 0), `${name}: a new gradient is not zero`);
    }
    assertEquals(new Set(zeros.keys()), new Set(expected.keys()));
    for (const p of parameters.list) gpu.copy([p.weight, p.gradient!]);
    assertEquals(await collect(parameters.gradients()), expected);
    parameters.clearGradients();
    assertEquals(await collect(parameters.gradients()), zeros);

    assertEquals(parameters.find("model.layers.2.self_attn.qkv_proj.weight"), undefined);
    assertThrows(() => parameters.get("model.layers.0.self_attn.q_proj.weight"), Error, "q_proj.weight");
    parameters.free();
    assertEquals(gpu.pool.report().bytes, before);
  },
});

Deno.test({
  name:
    "a frozen copy has no gradients and keeps its weights when the original moves; copyFrom brings it along",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const parameters = await Parameters.load(gpu, config, (name) => weights.get(name)!, true);
    const frozen = parameters.frozenCopy();
    assertEquals((await collect(frozen.gradients())).size, 0);
    for (const p of parameters.list) gpu.clear(p.weight);
    assertEquals(await collect(frozen.weights()), expected);
    const cleared = await collect(parameters.weights());
    frozen.copyFrom(parameters);
    assertEquals(await collect(frozen.weights()), cleared);
    parameters.free();
    frozen.free();
  },
});

Deno.test({
  name:
    "float16: matrices stand in f16, beside their values where anything is trained, alone where nothing is",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    if (!gpu.facts.features.includes("shader-f16")) {
      return console.log("left out: this adapter has no shader-f16");
    }
    gpu.prefer({ precision: "float16" });
    const load = (trainable: boolean | ["language_model"]) =>
      Parameters.load(gpu, config, (name) => weights.get(name)!, trainable);
    const rounded = new Map(
      [...expected].map(([name, { shape, data }]) => {
        // A table of 105 rows, whose logits are padded; norms and biases stay as they are.
        const matrix = shape.length > 1;
        return [name, { shape, data: matrix ? data.map(Math.f16round) : data }];
      }),
    );
    try {
      const trained = await load(true);
      assertEquals(await collect(trained.weights()), expected);
      const frozen = trained.frozenCopy();
      const alone = await load(false);
      for (const p of [frozen, alone]) {
        assertEquals(await collect(p.weights()), rounded);
        assert(p.list.every(({ weight, operand }) => weight === operand));
      }
      for (const { name, weight, operand } of trained.list) {
        assertEquals([weight.dtype, operand.dtype], ["f32", weight.shape.length > 1 ? "f16" : "f32"], name);
        const values = await gpu.readF32(weight);
        const read = await gpu.readF32(operand);
        assertEquals(read, weight === operand ? values : values.map(Math.f16round), name);
      }
      const bytes = ({ list }: Parameters): number => list.reduce((n, { weight }) => n + weight.bytes, 0);
      const vectors = trained.list.filter(({ weight }) => weight.shape.length === 1);
      const rest = vectors.reduce((n, { weight }) => n + weight.bytes, 0);
      assertEquals(bytes(alone) - rest, (bytes(trained) - rest) / 2);
      gpu.prefer();
      const full = await load(true);
      assertThrows(() => frozen.copyFrom(full), GpuError, "f16");
      for (const p of [trained, frozen, alone, full]) p.free();
    } finally {
      gpu.prefer();
    }
  },
});

Deno.test({
  name: "values of the wrong length are refused by name and shape",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    for (const change of [-1, 1]) {
      const read = (name: string) =>
        name.endsWith("q_proj.weight")
          ? new Float32Array(weights.get(name)!.length + change)
          : weights.get(name)!;
      await assertRejects(
        () => Parameters.load(gpu, config, read, false),
        RangeError,
        "model.layers.0.self_attn.q_proj.weight [32 x 24]",
      );
    }
  },
});
