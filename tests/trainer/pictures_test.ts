import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { exportRows } from "../../data/micro/export.ts";
import { microRows, PICTURE_FAMILIES } from "../../data/micro/world.ts";
import type { Gpu } from "../../gpu/device.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { parseModelConfig } from "../../models/config.ts";
import { scoreTokens } from "../../models/scoring.ts";
import { Tokenizer } from "../../models/tokenizer.ts";
import { loadConfig } from "../../trainer/config.ts";
import { Policy } from "../../trainer/policy.ts";
import { train } from "../../trainer/scheduler.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { randomWeights } from "../models/tiny_model.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
const MICRO = new URL("../../models/micro", import.meta.url).pathname;
const TEMPLATE =
  "{%- for m in messages -%}<|im_start|>{{ m.role }}\n{%- if m.content is string -%}{{ m.content }}" +
  "{%- else -%}{%- for part in m.content -%}{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>" +
  "{%- else -%}{{ part.text }}{%- endif -%}{%- endfor -%}{%- endif -%}<|im_end|>\n{%- endfor -%}" +
  "{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}";

/** A folder with a random vision-language model over the micro-world's tokenizer. */
async function visionFolder(gpu: Gpu, folder: string): Promise<string> {
  const tokenizer = await Tokenizer.load(MICRO);
  const config = parseModelConfig({
    architectures: ["Qwen2_5_VLForConditionalGeneration"],
    model_type: "qwen2_5_vl",
    vocab_size: 392,
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
    eos_token_id: 258,
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
  await Deno.writeTextFile(`${folder}/chat_template.jinja`, TEMPLATE);
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
    const broken = { problem: "<image>what?", answer: "1", images: ["missing.png"] };
    await Deno.writeTextFile(file, `${await Deno.readTextFile(file)}${JSON.stringify(broken)}\n`);
    const lines: string[] = [];
    const { config } = loadConfig({
      preset: "smoke",
      overrides: [
        `worker.actor.model.model_path=${model}`,
        `data.train_files=${file}`,
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
    const summary = await train(gpu, { config, monitor, evaluate: false });
    assert(!summary.interrupted);
    assertStringIncludes(lines.join("\n"), "1 left out: a picture cannot be used");
    const metrics = (await Deno.readTextFile(`${root}/run/metrics.jsonl`)).trim().split("\n").map((l) =>
      JSON.parse(l)
    );
    const losses = metrics.filter((m) => m.stage === "adacs").map((m) => m["sft/loss"]);
    assert(losses.length > 0 && losses.every(Number.isFinite));
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
    const { config } = loadConfig();
    const policy = await Policy.load(gpu, folder, {
      trainable: false,
      prompts: config.data,
      micro_batch_tokens: 256,
      recompute: false,
      max_num_seqs: 1,
      block_size: 16,
      chunk: 4,
    });
    const rows = [
      ...microRows({ seed: 1, count: 2, split: "train", families: ["tally"], difficulties: [2] }),
    ];
    const { problems, leftOut } = await policy.writer.problems(rows);
    assertEquals(leftOut, []);
    const [first, second] = problems;
    const image = policy.model.config.vision!.image_token_id;
    assertEquals(first.prompt.filter((id) => id === image).length, first.patches! / 4);
    const score = async (pictures: typeof first) => {
      const ids = [...first.prompt, ...first.candidates[0]];
      const images = await pictures.images!();
      const [s] = await scoreTokens(policy.model, [{ ids, scoreFrom: first.prompt.length, images }]);
      return [...s.logp];
    };
    if (second.patches === first.patches) {
      assert(JSON.stringify(await score(first)) !== JSON.stringify(await score(second)));
    }
    assertEquals(await score(first), await score(first));
    policy.free();
    await Deno.remove(root, { recursive: true });
  },
});
