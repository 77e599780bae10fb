import { assert, assertEquals, assertRejects } from "@std/assert";
import type { CausalLM } from "../../models/causal_lm.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { AdamW, type AdamWOptions } from "../../trainer/optimizer.ts";
import {
  pass,
  randomSequences,
  randomSlopes,
  randomWeights,
  readGradients,
  tinyConfig,
  tinyModel,
} from "../models/tiny_model.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
const SETTINGS: AdamWOptions = {
  lr: 1e-2,
  betas: [0.9, 0.999],
  eps: 1e-8,
  weight_decay: 0.01,
  max_grad_norm: 1,
};
const config = tinyConfig();
const sequences = randomSequences(config, [[9, 2], [14, 1]]);
const slopes = randomSlopes(sequences);

/** Weights and moments, byte for byte. */
async function snapshot(model: CausalLM, adamw: AdamW): Promise<Map<string, Uint32Array>> {
  const all = new Map<string, Uint32Array>();
  const bits = (data: Float32Array) => new Uint32Array(data.slice().buffer);
  for await (const { name, data } of model.parameters.weights()) all.set(name, bits(data));
  for await (const { name, data } of adamw.state()) all.set(name, bits(data));
  return all;
}

async function setUp() {
  const gpu = await oneGpu();
  const model = await tinyModel(gpu, config, randomWeights(config));
  const graph = new SequenceGraph(model, { tokens: 23, train: true });
  const adamw = new AdamW(gpu, model.parameters, { ...SETTINGS });
  const free = () => {
    adamw.free();
    graph.free();
    model.parameters.free();
  };
  return { gpu, model, graph, adamw, free };
}

Deno.test({
  name:
    "a NaN in one weight: the update is skipped, tensors are named, weights and moments stay byte for byte",
  ...options,
  fn: async () => {
    const { gpu, model, graph, adamw, free } = await setUp();
    await pass(graph, sequences, slopes);
    const good = await adamw.update();
    assertEquals([good.applied, good.offenders, adamw.step], [true, [], 1]);
    assert(Number.isFinite(good.gradNorm) && good.gradNorm > 0);

    const down = model.parameters.get("model.layers.0.mlp.down_proj.weight").weight;
    const healthy = (await gpu.readF32(down)).slice();
    gpu.write(down, Float32Array.of(NaN), 17);
    const before = await snapshot(model, adamw);
    const { gradients } = await pass(graph, sequences, slopes);
    const broken = [...gradients].filter(([, g]) => !g.every(Number.isFinite)).map(([name]) => name);
    assert(broken.length > 0, "a NaN weight must give gradients that are not finite");

    const bad = await adamw.update();
    assertEquals([bad.applied, adamw.step], [false, 1]);
    assert(Number.isNaN(bad.gradNorm));
    assertEquals(bad.offenders.length, Math.min(5, broken.length));
    for (const name of bad.offenders) assert(broken.includes(name), `${name} was finite`);
    assertEquals(await snapshot(model, adamw), before);
    for (const [name, g] of await readGradients(model)) {
      assert(g.every((x) => x === 0), `${name} was not cleared`);
    }

    // Mended, the run goes on as if the bad step had never been.
    gpu.write(down, healthy);
    await pass(graph, sequences, slopes);
    assertEquals((await adamw.update()).applied, true);
    const mended = await snapshot(model, adamw);
    free();
    const straight = await setUp();
    for (let step = 0; step < 2; step++) {
      await pass(straight.graph, sequences, slopes);
      await straight.adamw.update();
    }
    assertEquals(await snapshot(straight.model, straight.adamw), mended);
    straight.free();
  },
});

Deno.test({
  name: "one infinite element among finite gradients: only its own tensor is named, nothing is changed",
  ...options,
  fn: async () => {
    const { gpu, model, graph, adamw, free } = await setUp();
    const qkv = model.parameters.get("model.layers.0.self_attn.qkv_proj.weight");
    const k = qkv.slices.find((s) => s.name.includes("k_proj"))!;
    for (const value of [Infinity, -Infinity, NaN]) {
      await pass(graph, sequences, slopes);
      gpu.write(qkv.gradient!, Float32Array.of(value), k.start + 3);
      const before = await snapshot(model, adamw);
      const result = await adamw.update();
      assertEquals([result.applied, result.offenders, adamw.step], [false, [k.name], 0]);
      assertEquals(await snapshot(model, adamw), before);
    }
    free();
  },
});

Deno.test({
  name: "a learning rate that is not finite is refused before anything runs",
  ...options,
  fn: async () => {
    const { model, graph, adamw, free } = await setUp();
    await pass(graph, sequences, slopes);
    const before = await snapshot(model, adamw);
    for (const lr of [NaN, Infinity]) {
      adamw.options.lr = lr;
      await assertRejects(() => adamw.update(), RangeError, `step 1: the learning rate is ${lr}`);
    }
    assertEquals(await snapshot(model, adamw), before);
    free();
  },
});
