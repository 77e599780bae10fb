/**
 * `config.json` of a Hugging Face model folder: what the model is, and which tensors it must have.
 *
 * Both layouts are read: the flat one of released folders (`rope_theta`, `torch_dtype`) and that of transformers 5
 * (`rope_parameters`, `dtype`, for Qwen2.5-VL a nested `text_config`). What the kernels do not compute is refused by key and value; nothing is ignored
 * silently that would change a logit.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import type { BlockConfig } from "./block_config.ts";
import { Fields, isObject, type Json } from "./json_fields.ts";
import { readVisionConfig, type VisionConfig, visionShapes } from "./vision_config.ts";

/** The part of `config.json` that decides shapes and numbers, under Hugging Face's names. */
export interface ModelConfig extends Omit<BlockConfig, "causal"> {
  /** Which block is computed; they differ here only in where biases stand, and Qwen2.5-VL has a vision tower. */
  model_type: "qwen2" | "llama" | "qwen2_5_vl";
  /** Rows of the embedding and of the head; may exceed the tokenizer's size. */
  vocab_size: number;
  /** Number of blocks. */
  num_hidden_layers: number;
  /** Base of the rotary frequencies. */
  rope_theta: number;
  /** Longest sequence the model was made for, in tokens. */
  max_position_embeddings: number;
  /** The head shares the embedding's weight; the folder then has no `lm_head.weight`. */
  tie_word_embeddings: boolean;
  /** Bias on the q, k and v projections: always for Qwen2, `attention_bias` for Llama. */
  attention_bias: boolean;
  /** Bias on the o projection: never for Qwen2, `attention_bias` for Llama. */
  attention_output_bias: boolean;
  /** Bias on the three SwiGLU projections: never for Qwen2, `mlp_bias` for Llama. */
  mlp_bias: boolean;
  /** First token of a text, where the model has one. */
  bos_token_id?: number;
  /** Tokens that end a text; empty where the config names none. */
  eos_token_id: number[];
  /** Padding token, where the model has one. */
  pad_token_id?: number;
  /** Pairs of a head that turn by a token's time, height and width, in this order; Qwen2.5-VL only. */
  mrope_section?: readonly [number, number, number];
  /** The vision tower; Qwen2.5-VL only. */
  vision?: VisionConfig;
  /** The whole object as read, for saving it back unchanged. */
  raw: Record<string, unknown>;
}

const ARCHITECTURES: Record<ModelConfig["model_type"], string> = {
  qwen2: "Qwen2ForCausalLM",
  llama: "LlamaForCausalLM",
  qwen2_5_vl: "Qwen2_5_VLForConditionalGeneration",
};

/**
 * Rotary settings: `rope_parameters` (transformers 5) or flat `rope_theta` with `rope_scaling`. Every scaling type
 * but "default" moves the frequencies and is refused; "mrope" is Qwen2.5-VL's default.
 */
function readRope(fields: Fields, types: readonly string[]): { theta: number; block?: Fields } {
  const block = fields.child("rope_parameters") ?? fields.child("rope_scaling");
  if (block) {
    for (const key of ["rope_type", "type"]) {
      const type = block.get(key);
      if (type !== undefined && !types.includes(String(type))) {
        block.refuse(key, 'only the rope type "default" is supported');
      }
    }
    for (const key of ["factor", "partial_rotary_factor"]) {
      const value = block.get(key);
      if (value !== undefined && value !== 1) {
        block.refuse(key, "scaled or partial rotary embedding is not supported");
      }
    }
  }
  if ((fields.get("partial_rotary_factor") ?? 1) !== 1) {
    fields.refuse("partial_rotary_factor", "partial rotary embedding is not supported");
  }
  return {
    block,
    theta: block?.get("rope_theta") !== undefined
      ? block.positive("rope_theta")
      : fields.positive("rope_theta"),
  };
}

/** The pairs of a head by the position that turns them. */
function readSections(rope: Fields | undefined, where: string, pairs: number): [number, number, number] {
  const sections = rope?.get("mrope_section");
  if (!rope || sections === undefined) throw new UserError(`${where}: the key mrope_section is missing`);
  const valid = Array.isArray(sections) && sections.length === 3 &&
    sections.every((n) => Number.isSafeInteger(n) && n >= 0) &&
    sections.reduce((a, b) => a + b, 0) === pairs;
  if (!valid) {
    rope.refuse("mrope_section", `must be three counts with the sum head_dim / 2 = ${pairs}`);
  }
  return sections as [number, number, number];
}

/**
 * The language model's numbers.
 * @param top The whole file. @param fields The object they stand in: the same, or a nested `text_config`.
 */
function readTextModel(top: Fields, fields: Fields): Omit<ModelConfig, "raw"> {
  const model_type = top.need("model_type") as ModelConfig["model_type"];
  const vision = model_type === "qwen2_5_vl";
  const num_attention_heads = fields.count("num_attention_heads");
  const hidden_size = fields.count("hidden_size");
  // Llama folders from before grouped-query attention leave the key out and mean one kv head per query head.
  const num_key_value_heads = fields.count(
    "num_key_value_heads",
    model_type === "llama" ? num_attention_heads : undefined,
  );
  if (num_attention_heads % num_key_value_heads !== 0) {
    fields.refuse("num_key_value_heads", `must divide num_attention_heads = ${num_attention_heads}`);
  }
  if (fields.get("head_dim") === undefined && hidden_size % num_attention_heads !== 0) {
    fields.refuse("hidden_size", `must be a multiple of num_attention_heads = ${num_attention_heads}`);
  }
  const head_dim = fields.count("head_dim", hidden_size / num_attention_heads);
  if (head_dim % 8 !== 0) {
    throw new UserError(`${fields.where}: head_dim = ${head_dim}: must be a multiple of 8`);
  }
  if ((fields.get("hidden_act") ?? "silu") !== "silu") {
    fields.refuse("hidden_act", 'only "silu" is supported');
  }
  if (top.get("quantization_config") !== undefined) {
    top.refuse("quantization_config", "quantized weights are not supported; use the unquantized folder");
  }
  const max_position_embeddings = fields.count("max_position_embeddings");
  if (fields.flag("use_sliding_window", false) && fields.count("sliding_window") < max_position_embeddings) {
    fields.refuse(
      "sliding_window",
      `with use_sliding_window true, only a window of at least max_position_embeddings = ` +
        `${max_position_embeddings} (no window at all) is supported`,
    );
  }
  const llama = model_type === "llama";
  const ids = (key: string): number[] => fields.get(key) === undefined ? top.ids(key) : fields.ids(key);
  const [bos_token_id] = ids("bos_token_id");
  const [pad_token_id] = ids("pad_token_id");
  const rope = readRope(fields, vision ? ["default", "mrope"] : ["default"]);
  return {
    model_type,
    vocab_size: fields.count("vocab_size"),
    hidden_size,
    intermediate_size: fields.count("intermediate_size"),
    num_hidden_layers: fields.count("num_hidden_layers"),
    num_attention_heads,
    num_key_value_heads,
    head_dim,
    rms_norm_eps: fields.positive("rms_norm_eps"),
    rope_theta: rope.theta,
    max_position_embeddings,
    tie_word_embeddings: top.flag("tie_word_embeddings", fields.flag("tie_word_embeddings", false)),
    attention_bias: llama ? fields.flag("attention_bias", false) : true,
    attention_output_bias: llama && fields.flag("attention_bias", false),
    mlp_bias: llama && fields.flag("mlp_bias", false),
    ...(bos_token_id === undefined ? {} : { bos_token_id }),
    eos_token_id: ids("eos_token_id"),
    ...(pad_token_id === undefined ? {} : { pad_token_id }),
    ...(vision
      ? {
        mrope_section: readSections(rope.block, fields.where, head_dim / 2),
        vision: readVisionConfig(top, hidden_size),
      }
      : {}),
  };
}

/**
 * Reads a parsed `config.json`.
 * @param json The parsed object; kept as `raw`.
 * @param file Where it came from, for messages.
 * @throws UserError naming key and value: another architecture, rope scaling, a sliding window, a head size that is
 * not a multiple of 8, heads not divisible by kv heads, another activation, quantized weights, a missing key.
 */
export function parseModelConfig(json: unknown, file: string): ModelConfig {
  if (!isObject(json)) throw new UserError(`${file}: must hold a JSON object`);
  const fields = new Fields(json, file);
  const supported = Object.keys(ARCHITECTURES).join(", ");
  const type = fields.need("model_type");
  if (typeof type !== "string" || !Object.hasOwn(ARCHITECTURES, type)) {
    fields.refuse("model_type", `this architecture is not supported; supported: ${supported}`);
  }
  const architecture = ARCHITECTURES[type as ModelConfig["model_type"]];
  const named = fields.get("architectures");
  if (named !== undefined && !(Array.isArray(named) && named.length === 1 && named[0] === architecture)) {
    fields.refuse("architectures", `only ["${architecture}"] is supported for model_type "${type}"`);
  }
  const text = type === "qwen2_5_vl" ? fields.child("text_config") : undefined;
  return { ...readTextModel(fields, text ?? fields), raw: json };
}

/**
 * Reads `folder/config.json`.
 * @throws UserError when the file is missing, not JSON, or refused by {@link parseModelConfig}.
 */
export async function loadModelConfig(folder: string): Promise<ModelConfig> {
  const file = `${folder}/config.json`;
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    throw new UserError(
      `${file}: cannot be read (${(error as Error).message}); is ${folder} a Hugging Face model folder?`,
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file}: not JSON (${(error as Error).message})`);
  }
  return parseModelConfig(json, file);
}

/**
 * Every tensor the model needs, by Hugging Face name, with its shape (`[out, in]` for projections; Qwen2.5-VL's under
 * the names of the released folders, `visual.…` and `model.…`). In the order of the names, as `save_pretrained` writes them; no `lm_head.weight` when the embeddings are tied.
 */
export function parameterShapes(config: ModelConfig): Map<string, number[]> {
  const { hidden_size: hidden, intermediate_size: ffn, vocab_size: vocab, head_dim } = config;
  const q = config.num_attention_heads * head_dim;
  const kv = config.num_key_value_heads * head_dim;
  const shapes: [string, number[]][] = [["model.embed_tokens.weight", [vocab, hidden]], [
    "model.norm.weight",
    [hidden],
  ]];
  if (!config.tie_word_embeddings) shapes.push(["lm_head.weight", [vocab, hidden]]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const block = `model.layers.${layer}`;
    const linear = (name: string, out: number, width: number, bias: boolean): void => {
      shapes.push([`${block}.${name}.weight`, [out, width]]);
      if (bias) shapes.push([`${block}.${name}.bias`, [out]]);
    };
    shapes.push([`${block}.input_layernorm.weight`, [hidden]], [`${block}.post_attention_layernorm.weight`, [
      hidden,
    ]]);
    linear("self_attn.q_proj", q, hidden, config.attention_bias);
    linear("self_attn.k_proj", kv, hidden, config.attention_bias);
    linear("self_attn.v_proj", kv, hidden, config.attention_bias);
    linear("self_attn.o_proj", hidden, q, config.attention_output_bias);
    linear("mlp.gate_proj", ffn, hidden, config.mlp_bias);
    linear("mlp.up_proj", ffn, hidden, config.mlp_bias);
    linear("mlp.down_proj", hidden, ffn, config.mlp_bias);
  }
  if (config.vision) shapes.push(...visionShapes(config.vision));
  return new Map(shapes.sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * The object to write as `config.json`: `raw` unchanged but for the dtype of the saved weights (under the key the
 * folder already used; transformers loads in that dtype) and `architectures`, added where it is missing.
 */
export function configForSaving(config: ModelConfig, dtype?: string): Record<string, unknown> {
  const saved = structuredClone(config.raw);
  saved.architectures ??= [ARCHITECTURES[config.model_type]];
  // transformers reads `dtype` first, so a folder that names both must not keep a stale one.
  if (dtype !== undefined) {
    const named = (object: Json): string[] => ["dtype", "torch_dtype"].filter((key) => key in object);
    const keys = named(saved);
    for (const key of keys.length > 0 ? keys : ["torch_dtype"]) saved[key] = dtype;
    for (const part of [saved.text_config, saved.vision_config]) {
      if (isObject(part)) { for (const key of named(part)) part[key] = dtype; }
    }
  }
  return saved;
}
