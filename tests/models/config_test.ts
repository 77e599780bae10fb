import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { configForSaving, loadModelConfig, parameterShapes, parseModelConfig } from "../../models/config.ts";

const QWEN = {
  architectures: ["Qwen2ForCausalLM"],
  model_type: "qwen2",
  vocab_size: 40,
  hidden_size: 48,
  intermediate_size: 56,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  hidden_act: "silu",
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  bos_token_id: 3,
  eos_token_id: 5,
};
const LLAMA = {
  ...QWEN,
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  head_dim: 16,
  attention_bias: true,
  mlp_bias: true,
  tie_word_embeddings: false,
  eos_token_id: [1, 2],
  pad_token_id: 0,
};
const parse = (json: unknown) => parseModelConfig(json, "x/config.json");
const refuses = (base: object, change: object, ...words: string[]): void => {
  const error = assertThrows(() => parse({ ...base, ...change }), UserError);
  for (const word of ["x/config.json", ...words]) {
    assertEquals(error.message.includes(word), true, `"${error.message}" should name ${word}`);
  }
};

Deno.test("config: the flat layout of released folders", () => {
  const config = parse(QWEN);
  assertEquals(config.head_dim, 8);
  assertEquals(config.rope_theta, 1e6);
  assertEquals([config.attention_bias, config.attention_output_bias, config.mlp_bias], [true, false, false]);
  assertEquals(config.eos_token_id, [5]);
  assertEquals(config.bos_token_id, 3);
  assertEquals("pad_token_id" in config, false);
});

Deno.test("config: the layout of transformers 5", () => {
  const { rope_theta: _, torch_dtype: __, ...rest } = QWEN;
  const config = parse({
    ...rest,
    dtype: "float32",
    rope_parameters: { rope_theta: 500, rope_type: "default" },
    layer_types: ["full_attention", "full_attention"],
    sliding_window: null,
    pad_token_id: null,
  });
  assertEquals(config.rope_theta, 500);
});

Deno.test("config: Llama's biases, head size and token lists", () => {
  const config = parse(LLAMA);
  assertEquals([config.attention_bias, config.attention_output_bias, config.mlp_bias], [true, true, true]);
  assertEquals([config.head_dim, config.eos_token_id, config.pad_token_id], [16, [1, 2], 0]);
  const { num_key_value_heads: _, ...old } = LLAMA;
  assertEquals(parse(old).num_key_value_heads, 6);
});

Deno.test("config: what the kernels do not compute is refused by key and value", () => {
  refuses(QWEN, { model_type: "gpt2" }, "model_type", '"gpt2"', "qwen2, llama");
  refuses(QWEN, { model_type: "toString" }, "model_type");
  refuses(
    QWEN,
    { architectures: ["Qwen2ForSequenceClassification"] },
    "architectures",
    "SequenceClassification",
  );
  refuses(QWEN, { rope_scaling: { type: "yarn", factor: 4 } }, "type", '"yarn"');
  refuses(QWEN, { rope_parameters: { rope_type: "llama3", rope_theta: 1 } }, "rope_type", '"llama3"');
  refuses(
    QWEN,
    { rope_parameters: { rope_theta: 1, partial_rotary_factor: 0.5 } },
    "partial_rotary_factor",
    "0.5",
  );
  refuses(QWEN, { use_sliding_window: true, sliding_window: 63 }, "sliding_window", "63", "64");
  refuses(QWEN, { head_dim: 12 }, "head_dim", "12", "8");
  refuses(QWEN, { num_attention_heads: 12 }, "head_dim", "4");
  refuses(QWEN, { num_key_value_heads: 4 }, "num_key_value_heads", "4", "6");
  refuses(QWEN, { hidden_size: 50 }, "hidden_size", "50");
  refuses(QWEN, { hidden_act: "gelu" }, "hidden_act", '"gelu"');
  refuses(QWEN, { quantization_config: { bits: 4 } }, "quantization_config");
  refuses(QWEN, { vocab_size: 1.5 }, "vocab_size", "1.5");
  refuses(QWEN, { num_hidden_layers: -1 }, "num_hidden_layers", "-1");
  refuses(QWEN, { rms_norm_eps: "1e-6" }, "rms_norm_eps", '"1e-6"');
  refuses(QWEN, { tie_word_embeddings: "yes" }, "tie_word_embeddings", '"yes"');
  refuses(QWEN, { eos_token_id: ["</s>"] }, "eos_token_id", "</s>");
  assertThrows(() => parse([QWEN]), UserError, "object");
});

Deno.test("config: a window that never cuts, and default rope types, are accepted", () => {
  assertEquals(parse({ ...QWEN, use_sliding_window: true, sliding_window: 64 }).rope_theta, 1e6);
  assertEquals(parse({ ...QWEN, use_sliding_window: false, sliding_window: 8 }).rope_theta, 1e6);
  assertEquals(parse({ ...QWEN, rope_scaling: { type: "default" } }).rope_theta, 1e6);
});

Deno.test("config: each key that decides shapes or numbers must be there", () => {
  for (
    const key of [
      "model_type",
      "vocab_size",
      "hidden_size",
      "intermediate_size",
      "num_hidden_layers",
      "num_attention_heads",
      "num_key_value_heads",
      "max_position_embeddings",
      "rms_norm_eps",
      "rope_theta",
    ]
  ) refuses(QWEN, { [key]: undefined }, key, "missing");
});

Deno.test("config: parameters of a tied Qwen2 and an untied Llama, in the order of the names", () => {
  const tied = parameterShapes(parse(QWEN));
  assertEquals(tied.has("lm_head.weight"), false);
  assertEquals(tied.get("model.embed_tokens.weight"), [40, 48]);
  assertEquals(tied.get("model.layers.1.self_attn.k_proj.weight"), [16, 48]);
  assertEquals(tied.get("model.layers.1.self_attn.k_proj.bias"), [16]);
  assertEquals(tied.get("model.layers.0.mlp.down_proj.weight"), [48, 56]);
  assertEquals(tied.has("model.layers.0.self_attn.o_proj.bias"), false);
  assertEquals([...tied.keys()], [...tied.keys()].sort());
  assertEquals(tied.size, 2 + 2 * (2 + 4 + 3 + 3));
  const llama = parameterShapes(parse(LLAMA));
  assertEquals(llama.get("lm_head.weight"), [40, 48]);
  assertEquals(llama.get("model.layers.0.self_attn.q_proj.weight"), [96, 48]);
  assertEquals(llama.get("model.layers.0.self_attn.o_proj.weight"), [48, 96]);
  assertEquals(llama.get("model.layers.0.self_attn.o_proj.bias"), [48]);
  assertEquals(llama.get("model.layers.0.mlp.up_proj.bias"), [56]);
  assertEquals(llama.size, 3 + 2 * (2 + 8 + 6));
});

Deno.test("config: saved back unchanged but for the dtype", () => {
  assertEquals(configForSaving(parse(QWEN)), QWEN);
  assertEquals(configForSaving(parse(QWEN), "float32"), { ...QWEN, torch_dtype: "float32" });
  const both = { ...QWEN, dtype: "bfloat16", future_key: [1] };
  assertEquals(configForSaving(parse(both), "float16"), {
    ...both,
    dtype: "float16",
    torch_dtype: "float16",
  });
  const { architectures: _, ...bare } = LLAMA;
  assertEquals(configForSaving(parse(bare)).architectures, ["LlamaForCausalLM"]);
});

Deno.test("config: a folder without one, and one that is not JSON", async () => {
  const folder = await Deno.makeTempDir();
  await assertRejects(() => loadModelConfig(folder), UserError, `${folder}/config.json`);
  await Deno.writeTextFile(`${folder}/config.json`, "{");
  await assertRejects(() => loadModelConfig(folder), UserError, "not JSON");
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(QWEN));
  assertEquals((await loadModelConfig(folder)).vocab_size, 40);
  await Deno.remove(folder, { recursive: true });
});
