import { assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { parseModelConfig } from "../../models/config.ts";
import { loadGenerationConfig } from "../../models/generation_config.ts";

const CONFIG = parseModelConfig({
  model_type: "llama",
  vocab_size: 40,
  hidden_size: 16,
  intermediate_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  rope_theta: 1e4,
  eos_token_id: 5,
  pad_token_id: 6,
}, "config.json");

async function load(json?: unknown): ReturnType<typeof loadGenerationConfig> {
  const folder = await Deno.makeTempDir();
  try {
    if (json !== undefined) {
      const text = typeof json === "string" ? json : JSON.stringify(json);
      await Deno.writeTextFile(`${folder}/generation_config.json`, text);
    }
    return await loadGenerationConfig(folder, CONFIG);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("generation config: the file's settings", async () => {
  const settings = {
    eos_token_id: [7, 8],
    pad_token_id: 9,
    do_sample: true,
    temperature: 0.7,
    top_p: 0.8,
    top_k: 20,
    repetition_penalty: 1.05,
  };
  assertEquals(await load({ ...settings, transformers_version: "5" }), settings);
  assertEquals((await load({ eos_token_id: 7 })).eos_token_id, [7]);
});

Deno.test("generation config: without a file, transformers' defaults and the config's tokens", async () => {
  assertEquals(await load(), {
    eos_token_id: [5],
    pad_token_id: 6,
    do_sample: false,
    temperature: 1,
    top_p: 1,
    top_k: 50,
    repetition_penalty: 1,
  });
  assertEquals((await load({ eos_token_id: null })).eos_token_id, [5]);
});

Deno.test("generation config: bad values are refused by key", async () => {
  for (
    const [json, word] of [
      [{ temperature: -1 }, "temperature"],
      [{ temperature: 0, do_sample: true }, "temperature"],
      [{ top_p: 1.2 }, "top_p"],
      [{ top_k: 1.5 }, "top_k"],
      [{ repetition_penalty: 0 }, "repetition_penalty"],
      [{ eos_token_id: 40 }, "vocab_size = 40"],
      [{ eos_token_id: "x" }, "eos_token_id"],
      [{ do_sample: 1 }, "do_sample"],
      [[], "object"],
      ["{", "generation_config.json"],
    ] as [unknown, string][]
  ) await assertRejects(() => load(json), UserError, word);
});
