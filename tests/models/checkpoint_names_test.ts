/** Both namings of a Qwen2.5-VL folder: read, saved as they were read, and refused by the file's own names. */
import { assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { openCheckpoint, saveCheckpoint } from "../../models/checkpoint_folder.ts";
import { type CheckpointNaming, namingOf, storedName } from "../../models/checkpoint_names.ts";
import { loadModelConfig, parameterShapes } from "../../models/config.ts";
import { openSafetensors, SafetensorsWriter } from "../../models/safetensors.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { randomWeights, tinyConfig } from "./tiny_model.ts";
import { tinyVisionConfig } from "./tiny_vision.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
const config = tinyVisionConfig({}, { tie_word_embeddings: false });
const weights = randomWeights(config);
const tensors = [...parameterShapes(config)].map(([name, shape]) => ({
  name,
  shape,
  data: weights.get(name)!,
}));

Deno.test("checkpoint names: the nested naming puts tower and language model below model", () => {
  const nested = (name: string) => storedName(name, "nested");
  assertEquals(nested("visual.blocks.0.norm1.weight"), "model.visual.blocks.0.norm1.weight");
  assertEquals(
    nested("model.layers.0.mlp.up_proj.weight"),
    "model.language_model.layers.0.mlp.up_proj.weight",
  );
  assertEquals(nested("model.embed_tokens.weight"), "model.language_model.embed_tokens.weight");
  assertEquals(nested("lm_head.weight"), "lm_head.weight");
  for (const naming of ["released", "nested"] as const) {
    const stored = [...parameterShapes(config).keys()].map((name) => storedName(name, naming));
    assertEquals(new Set(stored).size, tensors.length);
    assertEquals(namingOf(config, stored), naming);
  }
  assertEquals(namingOf(tinyConfig(), ["model.language_model.norm.weight"]), "released");
});

for (const naming of ["released", "nested"] as CheckpointNaming[]) {
  Deno.test({
    name:
      `checkpoint names: a folder with the ${naming} names loads, and saves under them, in one file and in shards`,
    ...options,
    fn: async () => {
      const root = await Deno.makeTempDir();
      try {
        await saveCheckpoint(`${root}/first`, { config, tensors, naming });
        const model = await CausalLM.load(await oneGpu(), `${root}/first`);
        const copy = model.frozenCopy();
        await copy.save(`${root}/second`, { dtype: "float32" });
        copy.parameters.free();
        for await (const { name, data } of model.parameters.weights()) {
          assertEquals(data, weights.get(name), name);
        }
        model.parameters.free();
        const read = (path: string) => Deno.readFile(`${root}/${path}/model.safetensors`);
        assertEquals(await read("second"), await read("first"));
        const file = await openSafetensors(`${root}/second/model.safetensors`);
        assertEquals(
          new Set(file.tensors.keys()),
          new Set(tensors.map(({ name }) => storedName(name, naming))),
        );

        await saveCheckpoint(`${root}/shards`, { config, tensors, naming, shardBytes: 4000 });
        const index = JSON.parse(await Deno.readTextFile(`${root}/shards/model.safetensors.index.json`));
        assertEquals(Object.keys(index.weight_map).length, tensors.length);
        const shards = await openCheckpoint(`${root}/shards`, await loadModelConfig(`${root}/shards`));
        assertEquals(shards.naming, naming);
        for (const { name, data } of tensors) assertEquals(await shards.readF32(name), data, name);
      } finally {
        await Deno.remove(root, { recursive: true });
      }
    },
  });
}

Deno.test("checkpoint names: complaints use the names of the file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await saveCheckpoint(folder, { config, tensors });
    const kept = tensors.filter(({ name }) => name !== "visual.merger.ln_q.weight");
    const plan = kept.map(({ name, shape }) => ({
      name: storedName(name, "nested"),
      shape,
      dtype: "F32" as const,
    }));
    const writer = await SafetensorsWriter.create(`${folder}/model.safetensors`, plan, { format: "pt" });
    for (const { name, data } of kept) await writer.write(storedName(name, "nested"), data);
    await writer.finish();
    writer.close();
    const { message } = await assertRejects(async () => {
      await openCheckpoint(folder, await loadModelConfig(folder));
    }, UserError);
    assertEquals(message.includes("model.visual.merger.ln_q.weight: missing, expected [16]"), true, message);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
