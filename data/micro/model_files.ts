/**
 * The text files of the shipped model's folder (tokenizer, chat template, configurations), made by code so that the
 * folder can be rebuilt and tested. `deno run -A data/micro/model_files.ts` writes them to `models/micro`.
 * @module
 */
import { BYTE_LETTERS, PIECE_PATTERN, spell, trainBpe } from "./bpe.ts";
import { microRows } from "./world.ts";

/** Marks that text may not spell by accident; decoding can leave them out. Ids follow the 256 bytes. */
const SPECIAL_TOKENS = [
  "<|endoftext|>",
  "<|im_start|>",
  "<|im_end|>",
  "<|vision_start|>",
  "<|vision_end|>",
  "<|image_pad|>",
];

/** Whole tokens which decoding keeps, as `<think>` in Qwen3: they save a few tokens in every prompt and answer. */
const KEPT_TOKENS = ["<think>", "</think>", "\\boxed{", "user\n", "assistant\n"];

/** Marks have ids 256 to 271, used or not, so that a later one moves no word. */
const MARK_SLOTS = 16;

/** The tokenizer has at most this many entries. */
const MAX_VOCABULARY = 512;

/** Rows from which the merges are learned: enough that every word of the world occurs. */
const TOKENIZER_ROWS = { seed: 1, count: 4800, split: "train" } as const;

/** ChatML, without a default system turn. */
export const CHAT_TEMPLATE: string = "{%- for message in messages -%}\n" +
  "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}\n" +
  "{%- endfor -%}\n" +
  "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n";

function* trainingTexts(): Generator<string, void, undefined> {
  for (const { problem, candidates } of microRows(TOKENIZER_ROWS)) {
    yield problem;
    // Marks are cut out before merging, so the words next to them start or end there.
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
export function buildTokenizer(): TokenizerFile {
  const firstWord = 256 + MARK_SLOTS;
  const merges = trainBpe(trainingTexts(), MAX_VOCABULARY - firstWord);
  const vocab: Record<string, number> = {};
  BYTE_LETTERS.forEach((letter, id) => vocab[letter] = id);
  const marks = [...SPECIAL_TOKENS, ...KEPT_TOKENS];
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
      special: i < SPECIAL_TOKENS.length,
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

/** All text files of the folder, by name. The same code always gives the same bytes. */
export function modelFiles(): Record<string, string> {
  const tokenizer = buildTokenizer();
  const id = (token: string): number => tokenizer.model.vocab[token] ?? tokenizer.model.vocab[spell(token)];
  const config = {
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
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
    torch_dtype: "float32",
  };
  const generation = {
    do_sample: true,
    temperature: 1,
    top_p: 1,
    eos_token_id: [id("<|im_end|>"), id("<|endoftext|>")],
    pad_token_id: id("<|endoftext|>"),
  };
  const tokenizerConfig = {
    tokenizer_class: "Qwen2Tokenizer",
    added_tokens_decoder: Object.fromEntries(
      tokenizer.added_tokens.map(({ id, ...flags }) => [`${id}`, flags]),
    ),
    additional_special_tokens: SPECIAL_TOKENS.slice(1),
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
