import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UserError } from "../../gpu/errors.ts";
import { parseModelConfig } from "../../models/config.ts";
import { checkVocabulary, loadTokenizerConfig, namedTokens, Tokenizer } from "../../models/tokenizer.ts";

/** GPT-2's byte alphabet: printable bytes stand for themselves, the others for U+0100 and up in order. */
function byteAlphabet(): string[] {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}

const BYTES = byteAlphabet();
const spell = (text: string): string =>
  Array.from(new TextEncoder().encode(text), (byte) => BYTES[byte]).join("");

/** Ids 0 to 255 are the bytes; then come "th", "the", " the", "é" and the added tokens. */
const MERGES: [string, string][] = [["t", "h"], ["th", "e"], ["Ġ", "the"], [spell("é")[0], spell("é")[1]]];

function byteLevel(): Record<string, unknown> {
  const tokens = [...BYTES, ...MERGES.map(([a, b]) => a + b)];
  const added = (id: number, content: string, special: boolean) => ({
    id,
    content,
    special,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  });
  return {
    version: "1.0",
    added_tokens: [added(260, "<|end|>", true), added(261, "<tool>", false)],
    normalizer: { type: "NFC" },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        {
          type: "Split",
          pattern: { Regex: " ?\\p{L}+|\\s+|[^\\s\\p{L}]+" },
          behavior: "Isolated",
          invert: false,
        },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: { type: "ByteLevel" },
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: MERGES,
      unk_token: null,
      byte_fallback: false,
    },
  };
}

/** A Llama tokenizer: ▁ for spaces, byte fallback where `fallback`, `<s>` in front when asked. */
function llama(fallback: boolean): Record<string, unknown> {
  const bytes = fallback
    ? Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`)
    : [];
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, "▁", "a", "b", "▁a"];
  return {
    added_tokens: [0, 1, 2].map((id) => ({ id, content: tokens[id], special: true, normalized: false })),
    normalizer: {
      type: "Sequence",
      normalizers: [{ type: "Prepend", prepend: "▁" }, {
        type: "Replace",
        pattern: { String: " " },
        content: "▁",
      }],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        ...(fallback ? [{ type: "ByteFallback" }] : []),
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: ["▁ a"],
      unk_token: "<unk>",
      fuse_unk: true,
      byte_fallback: fallback,
    },
  };
}

const QWEN_LIKE = Tokenizer.fromJson(byteLevel());
const LLAMA_LIKE = Tokenizer.fromJson(llama(true));
const CHARS = Tokenizer.fromJson(llama(false));
/** Id of a byte in {@link LLAMA_LIKE}. */
const byte = (value: number): number => 3 + value;
const [SPACE, A, B, SPACE_A] = [259, 260, 261, 262];

Deno.test("tokenizer: byte-level merges, added tokens and NFC", () => {
  const [t, h, e, space] = ["t", "h", "e", " "].map((char) => char.charCodeAt(0));
  assertEquals(QWEN_LIKE.encode(""), []);
  assertEquals(QWEN_LIKE.encode("the the"), [257, 258]);
  assertEquals(QWEN_LIKE.encode("hte th"), [h, t, e, space, 256]);
  assertEquals(QWEN_LIKE.encode("e\u0301"), [259]);
  assertEquals(QWEN_LIKE.encode("the<|end|>the<tool>"), [257, 260, 257, 261]);
  assertEquals(QWEN_LIKE.encode("<|end|"), [..."<|end|"].map((char) => char.charCodeAt(0)));
  assertEquals(QWEN_LIKE.decode([257, 260, 258, 261]), "the<|end|> the<tool>");
  assertEquals(QWEN_LIKE.decode([257, 260, 258, 261], { skipSpecialTokens: true }), "the the<tool>");
});

Deno.test("tokenizer: sizes, names and ids beyond the tokenizer", () => {
  assertEquals(QWEN_LIKE.size, 262);
  assertEquals(QWEN_LIKE.specialIds, new Set([260]));
  assertEquals([QWEN_LIKE.idOf("<tool>"), QWEN_LIKE.idOf("Ġthe"), QWEN_LIKE.idOf(" the")], [
    261,
    258,
    undefined,
  ]);
  assertEquals([QWEN_LIKE.tokenOf(258), QWEN_LIKE.tokenOf(262)], ["Ġthe", undefined]);
  assertEquals(QWEN_LIKE.decode([]), "");
  assertEquals(QWEN_LIKE.decode([262, 257, 9999, -1]), "the");
  assertEquals(LLAMA_LIKE.decode([A, 5000]), "a");
});

Deno.test("tokenizer: bytes that are no UTF-8 decode to U+FFFD", () => {
  const [first, second] = new TextEncoder().encode("é");
  assertEquals(QWEN_LIKE.decode([first]), "\uFFFD");
  assertEquals(QWEN_LIKE.decode([first, second]), "é");
  assertEquals(QWEN_LIKE.decode([second, 257]), "\uFFFDthe");
});

Deno.test("tokenizer: spaces before punctuation stay, whatever the tokenizer config says", () => {
  const tokenizer = Tokenizer.fromJson(byteLevel(), { clean_up_tokenization_spaces: true });
  assertEquals(tokenizer.decode(tokenizer.encode("a . b 's")), "a . b 's");
});

Deno.test("tokenizer: Llama's prefix space, byte fallback and <s>", () => {
  assertEquals(LLAMA_LIKE.encode("a b"), [SPACE_A, SPACE, B]);
  assertEquals(LLAMA_LIKE.encode("ba", { addSpecialTokens: true }), [1, SPACE, B, A]);
  assertEquals(LLAMA_LIKE.encode("é"), [SPACE, byte(0xC3), byte(0xA9)]);
  assertEquals(LLAMA_LIKE.encode("a</s>a"), [SPACE_A, 2, SPACE_A]);
  assertEquals(LLAMA_LIKE.decode([SPACE_A, SPACE, B]), "a b");
  assertEquals(LLAMA_LIKE.decode([SPACE, SPACE, B]), " b");
  assertEquals(LLAMA_LIKE.decode([byte(0xC3), byte(0xA9), 2], { skipSpecialTokens: true }), "é");
});

Deno.test("tokenizer: a run of byte tokens is text only as a whole, one U+FFFD a byte otherwise", () => {
  assertEquals(LLAMA_LIKE.decode([byte(0xF0), byte(0x9F)]), "\uFFFD\uFFFD");
  assertEquals(LLAMA_LIKE.decode([byte(0xC3), byte(0xA9), byte(0xFF), A]), "\uFFFD\uFFFD\uFFFDa");
  assertEquals(LLAMA_LIKE.decode([byte(0xC3), A, byte(0xA9)]), "\uFFFDa\uFFFD");
  assertEquals(LLAMA_LIKE.decode([byte(0xEF), byte(0xBB), byte(0xBF), A]), "\uFEFFa");
});

Deno.test("tokenizer: neighbouring unknown characters become one <unk>", () => {
  const [space, a] = [3, 4];
  assertEquals(CHARS.encode("xyz"), [space, 0]);
  assertEquals(CHARS.encode("xaé"), [space, 0, a, 0]);
});

Deno.test("tokenizer: a stream emits complete characters as soon as they are certain", () => {
  const stream = QWEN_LIKE.stream();
  const [first, ...rest] = new TextEncoder().encode("😀");
  assertEquals(stream.push(257), "the");
  assertEquals([first, ...rest].map((id) => stream.push(id)), ["", "", "", "😀"]);
  assertEquals(stream.push(first), "");
  assertEquals(stream.push(258), "\uFFFD the");
  assertEquals(stream.push(first), "");
  assertEquals(stream.push(999), "");
  assertEquals(stream.end(), "\uFFFD");
  assertEquals(stream.end(), "");
  const skipping = QWEN_LIKE.stream({ skipSpecialTokens: true });
  assertEquals([260, 257, 261].map((id) => skipping.push(id)), ["", "the", "<tool>"]);
});

Deno.test("tokenizer: a stream holds a run of byte tokens until it ends", () => {
  const stream = LLAMA_LIKE.stream();
  assertEquals([SPACE_A, byte(0xC3), byte(0xA9)].map((id) => stream.push(id)), ["a", "", ""]);
  assertEquals(stream.push(B), "éb");
  assertEquals([byte(0xC3), byte(0xA9), byte(0xFF)].map((id) => stream.push(id)), ["", "", ""]);
  assertEquals(stream.end(), "\uFFFD\uFFFD\uFFFD");
});

for (
  const [name, tokenizer] of Object.entries({
    "byte-level": QWEN_LIKE,
    "byte fallback": LLAMA_LIKE,
    "characters": CHARS,
  })
) {
  Deno.test(`tokenizer: a stream's pieces are the decoded text and never taken back (${name})`, () => {
    const anyId = fc.nat(tokenizer.size + 3);
    const chars = fc.string({ unit: "binary" }).map((text) => tokenizer.encode(text));
    const ids = fc.array(fc.oneof(anyId.map((id) => [id]), chars), { maxLength: 20 }).map((list) =>
      list.flat()
    );
    fc.assert(fc.property(ids, fc.boolean(), (ids, skipSpecialTokens) => {
      const stream = tokenizer.stream({ skipSpecialTokens });
      const whole = tokenizer.decode(ids, { skipSpecialTokens });
      let text = "";
      for (const id of ids) {
        text += stream.push(id);
        assert(whole.startsWith(text), JSON.stringify([text, whole]));
      }
      assertEquals(text + stream.end(), whole);
    }));
  });
}

Deno.test("tokenizer: byte-level text comes back, normalised", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }).filter((text) => text.isWellFormed()), (text) => {
    assertEquals(QWEN_LIKE.decode(QWEN_LIKE.encode(text)), text.normalize("NFC"));
  }));
});

Deno.test("tokenizer: one that does not fit the vocabulary is refused", () => {
  const config = (vocab_size: number) =>
    parseModelConfig({
      model_type: "llama",
      vocab_size,
      hidden_size: 16,
      intermediate_size: 8,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      max_position_embeddings: 64,
      rms_norm_eps: 1e-6,
      rope_theta: 1e4,
    }, "config.json");
  checkVocabulary(QWEN_LIKE, config(262));
  checkVocabulary(QWEN_LIKE, config(300));
  const error = assertThrows(() => checkVocabulary(QWEN_LIKE, config(261)), UserError, "262 ids");
  assert(error.message.includes("261") && error.message.includes("<tool>"), error.message);
});

Deno.test("tokenizer: missing and broken files, and kinds that would be encoded wrongly, are refused", async () => {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/tokenizer.json`;
  const refuses = async (json: unknown, word: string): Promise<void> => {
    await Deno.writeTextFile(file, typeof json === "string" ? json : JSON.stringify(json));
    const error = await assertRejects(() => Tokenizer.load(folder), UserError, word);
    assert(error.message.startsWith(file), error.message);
  };
  await assertRejects(() => Tokenizer.load(folder), UserError, `${file}: not found`);
  const good = byteLevel();
  await refuses(JSON.stringify(good).slice(0, -20), "cannot be read");
  await refuses([], "must hold a JSON object");
  await refuses({}, "model.type");
  await refuses({ ...good, model: { type: "Unigram", vocab: [] } }, '"Unigram"');
  await refuses({ ...good, model: { type: "BPE" } }, "broken tokenizer");
  await refuses({ ...good, normalizer: { type: "Shout" } }, "Shout");
  await refuses({ ...good, added_tokens: [{ id: 300, content: "x", single_word: true }] }, "single_word");
  const split = { type: "Split", pattern: { String: "a" }, behavior: "MergedWithNext" };
  await refuses({ ...good, pre_tokenizer: split }, "MergedWithNext");
  await Deno.writeTextFile(file, JSON.stringify(good));
  await Deno.writeTextFile(
    `${folder}/tokenizer_config.json`,
    JSON.stringify({ eos_token: { content: "<|end|>" }, pad_token: null }),
  );
  assertEquals((await Tokenizer.load(folder)).namedTokens, { eos_token: "<|end|>" });
  assertEquals(namedTokens(await loadTokenizerConfig(folder)), { eos_token: "<|end|>" });
  await Deno.remove(folder, { recursive: true });
  assertEquals(await loadTokenizerConfig(folder), {});
});
