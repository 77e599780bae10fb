import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { configForSaving, parameterShapes, parseModelConfig } from "../../models/config.ts";
import { patchWidth, visionBlock } from "../../models/vision_config.ts";

const VISION = {
  depth: 3,
  hidden_act: "silu",
  hidden_size: 32,
  intermediate_size: 40,
  num_heads: 2,
  in_chans: 3,
  out_hidden_size: 48,
  patch_size: 14,
  spatial_merge_size: 2,
  spatial_patch_size: 14,
  window_size: 112,
  fullatt_block_indexes: [1],
  tokens_per_second: 2,
  temporal_patch_size: 2,
};
const TEXT = {
  vocab_size: 90,
  hidden_size: 48,
  intermediate_size: 56,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  num_key_value_heads: 1,
  hidden_act: "silu",
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  bos_token_id: 3,
  eos_token_id: 5,
};
const IDS = { image_token_id: 80, video_token_id: 81, vision_start_token_id: 78, vision_end_token_id: 79 };
const ARCHITECTURES = ["Qwen2_5_VLForConditionalGeneration"];
/** As in released folders. */
const FLAT = {
  architectures: ARCHITECTURES,
  model_type: "qwen2_5_vl",
  ...TEXT,
  ...IDS,
  rope_theta: 1e6,
  rope_scaling: { type: "mrope", mrope_section: [2, 3, 3] },
  use_sliding_window: false,
  sliding_window: 32,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  vision_config: VISION,
};
/** As transformers 5 writes it. */
const NESTED = {
  architectures: ARCHITECTURES,
  model_type: "qwen2_5_vl",
  dtype: "float32",
  ...IDS,
  tie_word_embeddings: true,
  text_config: {
    ...TEXT,
    model_type: "qwen2_5_vl_text",
    dtype: "float32",
    rope_parameters: { mrope_section: [2, 3, 3], rope_theta: 1e6, rope_type: "default" },
    pad_token_id: null,
  },
  vision_config: {
    ...VISION,
    in_channels: 3,
    rope_parameters: { rope_theta: 10000, rope_type: "axial" },
  },
};
const parse = (json: unknown) => parseModelConfig(json, "x/config.json");

Deno.test("vision config: the flat layout of released folders and the nested one of transformers 5 say the same", () => {
  const { raw: _, ...flat } = parse(FLAT);
  const { raw: __, ...nested } = parse(NESTED);
  assertEquals(nested, flat);
  assertEquals([flat.head_dim, flat.rope_theta, flat.tie_word_embeddings], [16, 1e6, true]);
  assertEquals([flat.attention_bias, flat.attention_output_bias, flat.mlp_bias], [true, false, false]);
  assertEquals([flat.mrope_section, flat.eos_token_id, flat.bos_token_id], [[2, 3, 3], [5], 3]);
  const v = flat.vision!;
  assertEquals([v.image_token_id, v.video_token_id, v.vision_start_token_id, v.vision_end_token_id], [
    80,
    81,
    78,
    79,
  ]);
  assertEquals([v.in_channels, v.rope_theta, v.fullatt_block_indexes], [3, 10000, [1]]);
  assertEquals(patchWidth(v), 1176);
});

Deno.test("vision config: the tower's norms have epsilon 1e-6 whatever the text's is, and no causal mask", () => {
  const block = visionBlock(parse(FLAT).vision!);
  assertEquals([block.rms_norm_eps, block.causal, block.head_dim], [1e-6, false, 16]);
});

Deno.test("vision config: parameters under the released names, in their order", () => {
  const shapes = parameterShapes(parse(NESTED));
  assertEquals([...shapes.keys()], [...shapes.keys()].sort());
  const expected: [string, number[] | undefined][] = [
    ["visual.patch_embed.proj.weight", [32, 3, 2, 14, 14]],
    ["visual.blocks.2.attn.qkv.weight", [96, 32]],
    ["visual.blocks.2.attn.qkv.bias", [96]],
    ["visual.blocks.0.mlp.up_proj.bias", [40]],
    ["visual.blocks.0.norm2.weight", [32]],
    ["visual.blocks.3.norm1.weight", undefined],
    ["visual.merger.ln_q.weight", [32]],
    ["visual.merger.mlp.0.weight", [128, 128]],
    ["visual.merger.mlp.2.weight", [48, 128]],
    ["visual.merger.mlp.2.bias", [48]],
    ["model.layers.1.self_attn.o_proj.bias", undefined],
    ["lm_head.weight", undefined],
  ];
  for (const [name, shape] of expected) assertEquals(shapes.get(name), shape, name);
  assertEquals(shapes.size, 2 + 2 * (2 + 4 + 3 + 3) + 1 + 5 + 3 * 12);
});

Deno.test("vision config: saved back unchanged but for the dtypes, nested ones too", () => {
  assertEquals(configForSaving(parse(FLAT)), FLAT);
  assertEquals(configForSaving(parse(NESTED), "bfloat16"), {
    ...NESTED,
    dtype: "bfloat16",
    text_config: { ...NESTED.text_config, dtype: "bfloat16" },
  });
});

Deno.test("vision config: what is not computed is refused by key and value", () => {
  const refuses = (change: object, ...words: string[]): void => {
    const { message } = assertThrows(() => parse({ ...FLAT, ...change }), UserError);
    for (const word of ["x/config.json", ...words]) {
      assertEquals(message.includes(word), true, `"${message}" should name ${word}`);
    }
  };
  const vision = (change: object, ...words: string[]) =>
    refuses({ vision_config: { ...VISION, ...change } }, ...words);
  refuses({ vision_config: undefined }, "vision_config is missing");
  refuses({ image_token_id: undefined }, "image_token_id is missing");
  refuses({ rope_scaling: undefined }, "mrope_section is missing");
  refuses({ rope_scaling: { type: "mrope", mrope_section: [2, 3, 4] } }, "mrope_section", "8");
  refuses({ rope_scaling: { type: "yarn", mrope_section: [2, 3, 3] } }, "type", "yarn");
  refuses({ quantization_config: { bits: 4 } }, "quantization_config");
  refuses({ architectures: ["Qwen2_5_VLModel"] }, "architectures", "Qwen2_5_VLForConditionalGeneration");
  vision({ hidden_act: "quick_gelu" }, "vision_config: hidden_act", "quick_gelu");
  vision({ num_heads: 8 }, "hidden_size", "32", "8");
  vision({ fullatt_block_indexes: [3] }, "fullatt_block_indexes", "[3]", "depth = 3");
  vision({ window_size: 100 }, "window_size", "100", "28");
  vision({ out_hidden_size: 64 }, "out_hidden_size", "64", "48");
  vision({ depth: undefined }, "depth", "missing");
  vision({ rope_parameters: { rope_type: "yarn" } }, "rope_type", "yarn");
  assertThrows(() => parse({ ...FLAT, model_type: "qwen2" }), UserError, "architectures");
});
