/**
 * The text files of a base model's folder (tokenizer, chat template, configurations), made by code so that the folder
 * can be rebuilt and tested. `deno run -A data/micro/model_files.ts` writes the shipped model's to `models/micro`.
 * @module
 */
import { IMAGE_MARK } from "../picture.ts";
import { BACKGROUND } from "./drawing.ts";
import { BYTE_LETTERS, PIECE_PATTERN, spell, trainBpe } from "./bpe.ts";
import { type BaseKind, microRows, VISIBLE_FAMILIES } from "./world.ts";

/** Marks that text may not spell by accident; decoding can leave them out. Ids follow the 256 bytes. */
const SPECIAL_TOKENS = [
  "<|endoftext|>",
  "<|im_start|>",
  "<|im_end|>",
  "<|vision_start|>",
  "<|vision_end|>",
  "<|image_pad|>",
];

/** Qwen2.5-VL's configuration names this token too. */
const VISION_TOKENS = ["<|video_pad|>"];

/** Whole tokens which decoding keeps, as `<think>` in Qwen3: they save a few tokens in every prompt and answer. */
const KEPT_TOKENS = ["<think>", "</think>", "\\boxed{", "user\n", "assistant\n"];

/** Marks have ids 256 to 271, used or not, so that a later one moves no word. */
const MARK_SLOTS = 16;

/** The tokenizer has at most this many entries. */
const MAX_VOCABULARY = 512;

/** Rows of each family from which the merges are learned: enough that every word of the world occurs. */
const TOKENIZER_ROWS = 1200;

/** Pictures are shrunk to at most so many image tokens: a quarter of the context. */
const MAX_IMAGE_TOKENS = 64;

/** ChatML, without a default system turn; a picture is one image token between its marks, as in Qwen2.5-VL's. */
export const CHAT_TEMPLATE: string = "{%- for message in messages -%}\n" +
  "{{- '<|im_start|>' + message['role'] + '\\n' -}}\n" +
  "{%- if message['content'] is string -%}{{- message['content'] -}}\n" +
  "{%- else -%}{%- for part in message['content'] -%}\n" +
  "{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}\n" +
  "{%- else -%}{{- part['text'] -}}{%- endif -%}\n" +
  "{%- endfor -%}{%- endif -%}\n" +
  "{{- '<|im_end|>\\n' -}}\n" +
  "{%- endfor -%}\n" +
  "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n";

/** The vision tower, under Hugging Face's names; a window is 4 × 4 cells of the micro-world's pictures. */
const VISION = {
  depth: 2,
  hidden_act: "silu",
  hidden_size: 64,
  intermediate_size: 160,
  num_heads: 2,
  in_chans: 3,
  out_hidden_size: 128,
  patch_size: 14,
  spatial_merge_size: 2,
  temporal_patch_size: 2,
  tokens_per_second: 2,
  window_size: 112,
  fullatt_block_indexes: [1],
};

function* trainingTexts(kind: BaseKind): Generator<string, void, undefined> {
  const families = VISIBLE_FAMILIES[kind];
  const count = TOKENIZER_ROWS * families.length;
  for (const { problem, candidates } of microRows({ seed: 1, count, split: "train", families })) {
    // Marks are cut out before merging, so the words next to them start or end there.
    yield* problem.split(IMAGE_MARK);
    let texts = candidates;
    for (const mark of KEPT_TOKENS) texts = texts.flatMap((text) => text.split(mark));
    yield* texts;
  }
}

/** The shape of a Hugging Face tokenizer.json, as far as it is used here. */
export interface TokenizerFile {
  /** Version of the format. */
  version: string;
  /** The marks. */
  added_tokens: { id: number; content: string; special: boolean; [flag: string]: unknown }[];
  /** The byte-pair encoding. */
  model: {
    type: string;
    vocab: Record<string, number>;
    merges: [string, string][];
    [option: string]: unknown;
  };
  /** Normaliser, pre-tokenizer, decoder and what else the format has. */
  [part: string]: unknown;
}

/** Builds tokenizer.json: 256 bytes, 16 places for marks, then the learned merges. */
export function buildTokenizer(kind: BaseKind): TokenizerFile {
  const firstWord = 256 + MARK_SLOTS;
  const special = kind === "vision" ? [...SPECIAL_TOKENS, ...VISION_TOKENS] : SPECIAL_TOKENS;
  const merges = trainBpe(trainingTexts(kind), MAX_VOCABULARY - firstWord);
  const vocab: Record<string, number> = {};
  BYTE_LETTERS.forEach((letter, id) => vocab[letter] = id);
  const marks = [...special, ...KEPT_TOKENS];
  marks.forEach((mark, i) => vocab[mark] = 256 + i);
  merges.forEach(([left, right], i) => vocab[left + right] = firstWord + i);
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: marks.map((content, i) => ({
      id: 256 + i,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: i < special.length,
    })),
    // Qwen2 has NFC here; none keeps every text as it is. `transformers` applies NFC to any Qwen2 model all the same,
    // so ids there can differ for text that is not NFC.
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: PIECE_PATTERN }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  };
}

/** The smallest multiple of 8 above every id. */
export function vocabularySize(tokenizer: TokenizerFile): number {
  return Math.ceil((Math.max(...Object.values(tokenizer.model.vocab)) + 1) / 8) * 8;
}

/** All text files of the folder, by name; the shipped model takes pictures too. The same code always gives the same bytes. */
export function modelFiles(kind: BaseKind = "vision"): Record<string, string> {
  const tokenizer = buildTokenizer(kind);
  const id = (token: string): number => tokenizer.model.vocab[token] ?? tokenizer.model.vocab[spell(token)];
  const config = {
    architectures: [kind === "vision" ? "Qwen2_5_VLForConditionalGeneration" : "Qwen2ForCausalLM"],
    model_type: kind === "vision" ? "qwen2_5_vl" : "qwen2",
    vocab_size: vocabularySize(tokenizer),
    hidden_size: 128,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 344,
    hidden_act: "silu",
    max_position_embeddings: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: true,
    attention_dropout: 0,
    initializer_range: 0.02,
    use_cache: true,
    use_sliding_window: false,
    bos_token_id: null,
    eos_token_id: id("<|im_end|>"),
    pad_token_id: id("<|endoftext|>"),
    ...(kind === "vision" && {
      rope_scaling: { type: "mrope", mrope_section: [4, 6, 6] },
      vision_start_token_id: id("<|vision_start|>"),
      vision_end_token_id: id("<|vision_end|>"),
      image_token_id: id("<|image_pad|>"),
      video_token_id: id("<|video_pad|>"),
      vision_config: VISION,
    }),
    torch_dtype: "float32",
  };
  const generation = {
    do_sample: true,
    temperature: 1,
    top_p: 1,
    eos_token_id: [id("<|im_end|>"), id("<|endoftext|>")],
    pad_token_id: id("<|endoftext|>"),
  };
  const cell = VISION.patch_size * VISION.spatial_merge_size;
  const processor = {
    image_processor_type: "Qwen2VLImageProcessor",
    processor_class: "Qwen2_5_VLProcessor",
    min_pixels: cell ** 2,
    max_pixels: MAX_IMAGE_TOKENS * cell ** 2,
    patch_size: VISION.patch_size,
    temporal_patch_size: VISION.temporal_patch_size,
    merge_size: VISION.spatial_merge_size,
    // Paper is zero, so that a small tower has only ink to learn from.
    image_mean: BACKGROUND.map((channel) => channel / 255),
    image_std: [0.5, 0.5, 0.5],
  };
  const tokenizerConfig = {
    tokenizer_class: "Qwen2Tokenizer",
    ...(kind === "vision" && { processor_class: "Qwen2_5_VLProcessor" }),
    added_tokens_decoder: Object.fromEntries(
      tokenizer.added_tokens.map(({ id, ...flags }) => [`${id}`, flags]),
    ),
    additional_special_tokens: tokenizer.added_tokens.filter((t) => t.special).map((t) => t.content).slice(1),
    bos_token: null,
    eos_token: "<|im_end|>",
    pad_token: "<|endoftext|>",
    unk_token: null,
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
    model_max_length: config.max_position_embeddings,
  };
  const json = (value: unknown): string => JSON.stringify(value, null, 1) + "\n";
  return {
    "tokenizer.json": json(tokenizer),
    "tokenizer_config.json": json(tokenizerConfig),
    "chat_template.jinja": CHAT_TEMPLATE,
    "config.json": json(config),
    ...(kind === "vision" && { "preprocessor_config.json": json(processor) }),
    "generation_config.json": json(generation),
  };
}

if (import.meta.main) {
  const folder = new URL("../../models/micro/", import.meta.url);
  await Deno.mkdir(folder, { recursive: true });
  for (const [name, text] of Object.entries(modelFiles())) {
    await Deno.writeTextFile(new URL(name, folder), text);
    console.log(`models/micro/${name}: ${text.length} characters`);
  }
}
