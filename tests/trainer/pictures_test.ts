import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { exportRows } from "../../data/micro/export.ts";
import { CHAT_TEMPLATE } from "../../data/micro/model_files.ts";
import { microRows, PICTURE_FAMILIES } from "../../data/micro/world.ts";
import type { Gpu } from "../../gpu/device.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { parseModelConfig } from "../../models/config.ts";
import { decodeImage } from "../../models/image.ts";
import { patchCount } from "../../models/packed_batch.ts";
import { scoreTokens } from "../../models/scoring.ts";
import { Tokenizer } from "../../models/tokenizer.ts";
import { loadConfig } from "../../trainer/config.ts";
import { evaluate } from "../../trainer/evaluate.ts";
import { silent } from "../../trainer/monitor.ts";
import { PictureReader } from "../../trainer/pictures.ts";
import { Policy } from "../../trainer/policy.ts";
import { train } from "../../trainer/scheduler.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { randomWeights, tinyModel } from "../models/tiny_model.ts";
import { randomPictures, tinyVisionConfig, tokensOf } from "../models/tiny_vision.ts";
import { generationsOf } from "./run_copy.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
const MICRO = new URL("../../models/micro", import.meta.url).pathname;
/** A policy that only samples. */
async function sampler(gpu: Gpu, folder: string): Promise<Policy> {
  return await Policy.load(gpu, folder, {
    trainable: false,
    prompts: loadConfig().config.data,
    micro_batch_tokens: 256,
    recompute: false,
    max_num_seqs: 4,
    block_size: 16,
    chunk: 4,
  });
}

/** A folder with a random vision-language model over the micro-world's tokenizer. */
async function visionFolder(gpu: Gpu, folder: string): Promise<string> {
  const tokenizer = await Tokenizer.load(MICRO);
  const config = parseModelConfig({
    architectures: ["Qwen2_5_VLForConditionalGeneration"],
    model_type: "qwen2_5_vl",
    vocab_size: Math.ceil(tokenizer.size / 8) * 8,
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    hidden_act: "silu",
    max_position_embeddings: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    rope_scaling: { type: "mrope", mrope_section: [1, 1, 2] },
    tie_word_embeddings: true,
    eos_token_id: tokenizer.idOf("<|im_end|>"),
    image_token_id: tokenizer.idOf("<|image_pad|>"),
    vision_config: {
      depth: 1,
      hidden_size: 32,
      intermediate_size: 40,
      num_heads: 4,
      patch_size: 14,
      window_size: 112,
      fullatt_block_indexes: [0],
      out_hidden_size: 32,
    },
  }, "test config");
  const weights = randomWeights(config, 3);
  const model = await CausalLM.create(gpu, config, (name) => weights.get(name)!);
  await model.save(folder, { copyFrom: MICRO });
  model.parameters.free();
  await Deno.writeTextFile(`${folder}/chat_template.jinja`, CHAT_TEMPLATE);
  await Deno.writeTextFile(
    `${folder}/preprocessor_config.json`,
    JSON.stringify({ image_processor_type: "Qwen2VLImageProcessor", min_pixels: 3136, max_pixels: 12544 }),
  );
  return folder;
}

Deno.test({
  name: "pictures: exported problems go through both stages; a broken picture is left out and counted",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const model = await visionFolder(gpu, `${root}/model`);
    const families = PICTURE_FAMILIES.map((f) => f.name);
    await exportRows(microRows({ seed: 5, count: 16, split: "train", families }), `${root}/data`);
    const file = `${root}/data/problems.jsonl`;
    const heldOut = { count: 8, split: "heldout", families: ["sum", "tally", "grid"] } as const;
    await exportRows(microRows({ seed: 5, ...heldOut }), `${root}/heldout`);
    const broken = { problem: "<image>what?", answer: "1", images: ["missing.png"] };
    await Deno.writeTextFile(file, `${await Deno.readTextFile(file)}${JSON.stringify(broken)}\n`);
    const lines: string[] = [];
    const { config } = loadConfig({
      preset: "smoke",
      overrides: [
        `worker.actor.model.model_path=${model}`,
        `data.train_files=${file}`,
        `data.val_files=${root}/heldout/problems.jsonl`,
        `trainer.save_checkpoint_path=${root}/run`,
        "worker.actor.micro_batch_patches=64",
        "adacs.max_tokens=600",
        "adacs.problems=8",
        "trainer.max_steps=1",
        "data.max_response_length=24",
        "algorithm.online_filtering=false",
      ],
    });
    const monitor = {
      say: (line: string) => void lines.push(line),
      phase: () => ({ advance: () => {}, finish: () => {} }),
    };
    const summary = await train(gpu, { config, monitor });
    assert(!summary.interrupted);
    const { evaluations: { base, aepo }, blind } = summary;
    // 3 of sum, 3 of tally, 2 of grid: the control asks the pictures' problems only, and the last model.
    assertEquals([aepo.all.problems, aepo.withPictures!.problems], [8, 5]);
    assertEquals([blind!.evaluation, blind!.seen], ["aepo", aepo.withPictures!]);
    assertEquals(Object.keys(blind!.blind.bySource), ["tally", "grid"]);
    assertEquals([blind!.blind.all.problems, blind!.blind.threshold], [5, base.threshold]);
    const { blind: written } = JSON.parse(await Deno.readTextFile(`${root}/run/summary.json`));
    assertEquals(written, JSON.parse(JSON.stringify(blind)));
    assertStringIncludes(lines.join("\n"), "1 left out: a picture cannot be used");
    const metrics = (await Deno.readTextFile(`${root}/run/metrics.jsonl`)).trim().split("\n").map((l) =>
      JSON.parse(l)
    );
    const control = metrics.find((m) => "val_blind/accuracy" in m);
    assertEquals([control.stage, control.step], ["aepo", 1]);
    const losses = metrics.filter((m) => "sft/loss" in m).map((m) => m["sft/loss"]);
    assert(losses.length > 0 && losses.every(Number.isFinite));
    const generations = await generationsOf(`${root}/run`);
    const pictured = generations.filter((r) => r.stage === "aepo");
    assert(pictured.length > 0 && pictured.every((r) => r.images.length === 1));
    const report = await Deno.readTextFile(`${root}/run/report.html`);
    for (const name of new Set(pictured.flatMap((r) => r.images))) {
      const { width } = await decodeImage(`${root}/run/pictures/${name}`);
      assert(width > 0);
      assertEquals(report.split(`"${name}":"data:image/png;base64,`).length, 2, `${name} is there once`);
    }
    const step = metrics.find((m) => m.stage === "aepo");
    // Rollouts and training see the same pictures at the same places.
    assert(step["actor/logp_gap_max"] < 1e-4, `gap ${step["actor/logp_gap_max"]}`);
    await Deno.remove(root, { recursive: true });
  },
});

Deno.test({
  name: "pictures: prompts hold an image token for each merge group, and another picture changes the scores",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const folder = await visionFolder(gpu, `${root}/model`);
    const policy = await sampler(gpu, folder);
    const rows = [
      ...microRows({ seed: 1, count: 2, split: "train", families: ["tally"], difficulties: [2] }),
    ];
    const { problems, leftOut } = await policy.writer.problems(rows);
    assertEquals(leftOut, []);
    const [first, second] = problems;
    const image = policy.model.config.vision!.image_token_id;
    assertEquals(first.prompt.filter((id) => id === image).length, patchCount(first.pictures) / 4);
    const score = async (pictures: typeof first) => {
      const ids = [...first.prompt, ...first.candidates[0]];
      const images = await pictures.images!();
      const [s] = await scoreTokens(policy.model, [{ ids, scoreFrom: first.prompt.length, images }]);
      return [...s.logp];
    };
    if (patchCount(second.pictures) === patchCount(first.pictures)) {
      assert(JSON.stringify(await score(first)) !== JSON.stringify(await score(second)));
    }
    assertEquals(await score(first), await score(first));
    policy.free();
    await Deno.remove(root, { recursive: true });
  },
});

Deno.test({
  name:
    "pictures: gray ones have the grid of theirs, halfway levels, and nothing that a model could tell apart",
  ...options,
  fn: async () => {
    const root = await Deno.makeTempDir();
    const mean = [0.1, 0.2, 0.3];
    const std = [0.5, 0.25, 0.2];
    await Deno.writeTextFile(
      `${root}/preprocessor_config.json`,
      JSON.stringify({
        image_processor_type: "Qwen2VLImageProcessor",
        patch_size: 2,
        image_mean: mean,
        image_std: std,
      }),
    );
    const config = tinyVisionConfig();
    const reader = await PictureReader.load(root, config.vision!);
    const pictures = randomPictures(config, [[4, 6], [4, 6]]);
    const gray = pictures.map((picture) => reader.gray(picture.grid));
    for (const [i, { grid, pixelValues }] of gray.entries()) {
      assertEquals(grid, pictures[i].grid);
      assertEquals(pixelValues.length, pictures[i].pixelValues.length);
      // [h · w, channel, frames · pixels]
      const channel = pixelValues.length / (grid.h * grid.w * 3);
      pixelValues.forEach((x, at) => {
        const c = Math.floor(at / channel) % 3;
        assertAlmostEquals(x, (128 / 255 - mean[c]) / std[c], 1e-6);
      });
    }
    const model = await tinyModel(await oneGpu(), config, randomWeights(config, 3));
    const ids = [1, ...tokensOf(pictures[0]), 2, 3, 4];
    const score = async (picture: typeof gray[number]) =>
      (await scoreTokens(model, [{ ids, scoreFrom: ids.length - 3, images: [picture] }]))[0].logp;
    assert(JSON.stringify(await score(pictures[0])) !== JSON.stringify(await score(pictures[1])));
    assertEquals(await score(gray[0]), await score(gray[1]));
    assert(JSON.stringify(await score(pictures[0])) !== JSON.stringify(await score(gray[0])));
    model.parameters.free();
    await Deno.remove(root, { recursive: true });
  },
});

Deno.test({
  name:
    "pictures: a blind problem keeps its prompt and loses what is on its picture; a text problem stays as it is",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const policy = await sampler(gpu, await visionFolder(gpu, `${root}/model`));
    const families = ["sum", "tally", "grid"];
    const { problems } = await policy.writer.problems([
      ...microRows({ seed: 1, count: 6, split: "heldout", families }),
    ]);
    const blind = problems.map((p) => policy.writer.blind(p));
    for (const [i, problem] of problems.entries()) {
      if (!problem.images) {
        assertEquals(blind[i], problem);
        continue;
      }
      assertEquals({ ...blind[i], images: problem.images }, problem);
      const [[seen], [gray]] = await Promise.all([problem.images(), blind[i].images!()]);
      assertEquals(gray.grid, seen.grid);
      assert(new Set(seen.pixelValues).size > 3);
      assertEquals(new Set(gray.pixelValues).size, 3);
    }
    // Evaluated with the same seed, the problems with pictures get other answers and the others the same.
    const how = { n: 1, temperature: 1, top_p: 1, max_tokens: 12, seed: 1, window: 4, quantile: 0.95 };
    const run = (list: typeof problems, threshold?: number) =>
      evaluate(policy, list, { ...how, threshold }, silent, "test");
    const [seen, gray] = [await run(problems), await run(blind)];
    for (const [i, { problem, text }] of seen.responses.entries()) {
      assertEquals(gray.responses[i].text === text, !problem.images, `response ${i}`);
    }
    // A threshold that is given is the one that is counted with.
    const [none, every] = [await run(problems, Infinity), await run(problems, 0)];
    assertEquals([none.threshold, none.all.highEntropy], [Infinity, 0]);
    assertEquals([every.threshold, every.all.highEntropy], [0, every.all.length]);
    assert(seen.all.highEntropy > 0 && seen.all.highEntropy < seen.all.length);
    policy.free();
    await Deno.remove(root, { recursive: true });
  },
});
