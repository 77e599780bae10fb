import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { type ModelConfig, parameterShapes } from "../../models/config.ts";
import { packSequences } from "../../models/packed_batch.ts";
import { openSafetensors } from "../../models/safetensors.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import {
  difference,
  type Pass,
  pass,
  randomSequences,
  randomSlopes,
  randomWeights,
  tinyConfig,
  tinyModel,
} from "./tiny_model.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
const MODELS: [string, ModelConfig][] = [
  ["qwen2, tied", tinyConfig({ num_hidden_layers: 2 })],
  [
    "llama with biases, untied",
    tinyConfig({ model_type: "llama", attention_bias: true, mlp_bias: true, tie_word_embeddings: false }),
  ],
];

/** Scores and gradients of one fixed batch. */
async function scored(model: CausalLM): Promise<Pass> {
  const sequences = randomSequences(model.config, [[9, 2], [14, 1]]);
  const graph = new SequenceGraph(model, { tokens: 23, train: true });
  const result = await pass(graph, sequences, randomSlopes(sequences));
  graph.free();
  return result;
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const [name, config] of MODELS) {
  Deno.test({
    name: `saved as float32 and loaded, every score and gradient is the same bit for bit: ${name}`,
    ...options,
    fn: () =>
      inFolder(async (folder) => {
        const gpu = await oneGpu();
        const model = await tinyModel(gpu, config, randomWeights(config));
        const before = await scored(model);
        await model.save(`${folder}/model`);

        const file = await openSafetensors(`${folder}/model/model.safetensors`);
        const found = [...file.tensors].map(([name, info]) => [name, info.shape]);
        assertEquals(new Map(found as [string, number[]][]), parameterShapes(config));

        const loaded = await CausalLM.load(gpu, `${folder}/model`, { trainable: true });
        assertEquals(await scored(loaded), before);
        assertEquals(new Set(before.gradients.keys()), new Set(parameterShapes(config).keys()));
        model.parameters.free();
        loaded.parameters.free();
      }),
  });
}

Deno.test({
  name: "saved as bfloat16 and loaded, weights are the nearest bfloat16 and scores stay close",
  ...options,
  fn: () =>
    inFolder(async (folder) => {
      const gpu = await oneGpu();
      const [, config] = MODELS[0];
      const weights = randomWeights(config);
      const model = await tinyModel(gpu, config, weights);
      await model.save(`${folder}/model`, { dtype: "bfloat16" });
      const loaded = await CausalLM.load(gpu, `${folder}/model`, { trainable: true });
      for await (const { name, data } of loaded.parameters.weights()) {
        data.forEach((value, i) => {
          const bits = new Uint32Array(Float32Array.of(value).buffer)[0];
          assertEquals(bits & 0xffff, 0, `${name}[${i}] = ${value} is no bfloat16`);
          const exact = weights.get(name)![i];
          assert(
            Math.abs(value - exact) <= 2 ** -8 * Math.abs(exact),
            `${name}[${i}] = ${value}, not ${exact}`,
          );
        });
      }
      const [a, b] = [await scored(loaded), await scored(model)];
      const off = difference(a.logp, b.logp);
      // Measured: 0.003 of the largest log-probability. Bit for bit would mean that nothing was rounded.
      assert(off > 0 && off < 0.01, `log-probabilities are off by ${off}`);
      model.parameters.free();
      loaded.parameters.free();
    }),
});

Deno.test({
  name: "a frozen copy scores as its model did, and goes on doing so when the model is changed",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    for (const [, config] of MODELS) {
      const model = await tinyModel(gpu, config, randomWeights(config));
      const frozen = model.frozenCopy();
      const { logp, entropy } = await scored(model);
      gpu.clear(model.headWeight.weight);
      const changed = await scored(model);
      const uniformEntropy = Math.log(config.vocab_size);
      assert(changed.entropy.every((h) => Math.abs(h - uniformEntropy) < 1e-5), "a head of zeros is uniform");

      const sequences = randomSequences(config, [[9, 2], [14, 1]]);
      const graph = new SequenceGraph(frozen, { tokens: 23 });
      graph.load(packSequences(sequences));
      await graph.forward();
      const result = await gpu.readF32(graph.result);
      assertEquals(logp.map((_, r) => result[4 * r]), logp);
      assertEquals(entropy.map((_, r) => result[4 * r + 1]), entropy);
      assertThrows(() => graph.backward(), Error, "train");
      graph.free();
      model.parameters.free();
      frozen.parameters.free();
    }
  },
});

Deno.test({
  name: "a folder whose weights do not fit its config is refused by tensor and shape",
  ...options,
  fn: () =>
    inFolder(async (folder) => {
      const gpu = await oneGpu();
      const model = await tinyModel(gpu, tinyConfig(), randomWeights(tinyConfig()));
      await model.save(`${folder}/model`);
      const path = `${folder}/model/config.json`;
      const json = JSON.parse(await Deno.readTextFile(path));
      await Deno.writeTextFile(path, JSON.stringify({ ...json, intermediate_size: 32 }));
      await assertRejects(
        () => CausalLM.load(gpu, `${folder}/model`),
        UserError,
        "mlp.down_proj.weight: expected [24,32], found [24,28]",
      );
      model.parameters.free();
    }),
});
