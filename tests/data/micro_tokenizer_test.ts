import { assert, assertEquals } from "@std/assert";
import { Tokenizer } from "@huggingface/tokenizers";
import { Template } from "@huggingface/jinja";
import fc from "fast-check";
import { BYTE_LETTERS, spell, trainBpe } from "../../data/micro/bpe.ts";
import { modelFiles } from "../../data/micro/model_files.ts";
import { RECIPE, TEXT_RECIPE } from "../../data/micro/recipe.ts";
import { microRows, pretrainExamples } from "../../data/micro/world.ts";

const files = modelFiles("text");
const json = JSON.parse(files["tokenizer.json"]);
const config = JSON.parse(files["config.json"]);
const tokenizer = new Tokenizer(json, JSON.parse(files["tokenizer_config.json"]));

Deno.test("the shipped files are the ones the code makes", async () => {
  for (const [name, text] of Object.entries(modelFiles())) {
    const shipped = await Deno.readTextFile(new URL(`../../models/micro/${name}`, import.meta.url));
    assertEquals(shipped, text, `models/micro/${name} is stale: deno run -A data/micro/model_files.ts`);
  }
  const { size } = await Deno.stat(new URL("../../models/micro/model.safetensors", import.meta.url));
  assert(size <= 6e6, `the shipped weights take ${size} bytes`);
});

Deno.test("the most frequent pair merges first, ties by code points, until every piece is one token", () => {
  const merges = trainBpe(["abab abab", "xy", "12 12"], 100);
  assertEquals(merges, [["a", "b"], ["ab", "ab"], ["x", "y"], ["Ġ", "abab"]]);
  assertEquals(trainBpe(["abab abab", "xy"], 2), [["a", "b"], ["ab", "ab"]]);
  assertEquals(spell(" é\n"), "ĠÃ©Ċ");
  assertEquals(new Set(BYTE_LETTERS).size, 256);
});

Deno.test("any text survives encoding and decoding", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", minLength: 1 }),
    fc.string({ unit: "grapheme", minLength: 1 }),
    fc.string({ minLength: 1 }),
  );
  fc.assert(
    fc.property(text, (text) => {
      const { ids } = tokenizer.encode(text);
      assert(ids.every((id) => id < config.vocab_size));
      assertEquals(tokenizer.decode(ids), text);
    }),
    { numRuns: 500, seed: 1 },
  );
});

Deno.test("every word of the world is one token, every digit its own", () => {
  const words = new Set<string>();
  const examples = pretrainExamples(77, "unseen", TEXT_RECIPE.phases.at(-1)!);
  for (let i = 0; i < 3000; i++) {
    const { prompt, response } = examples.next().value;
    for (const text of [prompt, response]) {
      const { ids, tokens } = tokenizer.encode(text);
      assertEquals(tokenizer.decode(ids), text);
      for (const token of tokens) {
        if (/\d/.test(token)) assertEquals(token.length, 1);
        if (/^Ġ?[a-z]+$/.test(token)) words.add(token.replace("Ġ", " "));
      }
      const written = text.replace(/<\/?think>|\\boxed/g, "|").match(/ ?[a-z]+/g) ?? [];
      for (const word of written) {
        assert(tokens.includes(word.replace(" ", "Ġ")), `${word} in ${tokens.join(" | ")}`);
      }
    }
  }
  assert(words.size > 35 && words.size < 80, `${words.size} words`);
  for (const word of ["<think>", "</think>", "\\boxed{", "user\n", "assistant\n"]) {
    assertEquals(tokenizer.encode(word).ids.length, 1, word);
  }
});

Deno.test("marks have fixed ids, the vocabulary is padded to 8 and below 512", () => {
  const marks = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
  ];
  marks.forEach((mark, i) => assertEquals(tokenizer.encode(mark).ids, [256 + i]));
  assertEquals(tokenizer.encode("a<|im_end|>b").tokens, ["a", "<|im_end|>", "b"]);
  const { ids } = tokenizer.encode("<think>easy</think>\\boxed{7}<|im_end|>");
  assertEquals(tokenizer.decode(ids, { skip_special_tokens: true }), "<think>easy</think>\\boxed{7}");
  const used = Math.max(...Object.values<number>(json.model.vocab)) + 1;
  assert(config.vocab_size % 8 === 0 && config.vocab_size >= used && config.vocab_size - used < 8);
  assert(config.vocab_size <= 512);
});

Deno.test("the chat template costs six tokens a question, and traces keep to their lengths", () => {
  const render = (messages: { role: string; content: string }[], add_generation_prompt: boolean): string =>
    new Template(files["chat_template.jinja"]).render({ messages, add_generation_prompt });
  const user = { role: "user", content: "what is 1+2?" };
  const prompt = "<|im_start|>user\nwhat is 1+2?<|im_end|>\n<|im_start|>assistant\n";
  assertEquals(render([user], true), prompt);
  const whole = render([user, { role: "assistant", content: "\\boxed{3}" }], false);
  assertEquals(whole, prompt + "\\boxed{3}<|im_end|>\n");
  assertEquals(tokenizer.encode(prompt).ids.length, tokenizer.encode(user.content).ids.length + 6);

  const limits = { direct: [6, 8], steps: [13, 62], check: [23, 128] };
  for (const row of microRows({ seed: 2, count: 600, split: "train" })) {
    assert(tokenizer.encode(row.problem).ids.length <= 36, row.problem);
    for (const { style, text } of row.traces) {
      const length = tokenizer.encode(text).ids.length;
      assert(length >= limits[style][0] && length <= limits[style][1], `${length}: ${text}`);
    }
  }
});

Deno.test("with pictures: every word of all families is one token, a picture is one token between marks", () => {
  const files = modelFiles("vision");
  const config = JSON.parse(files["config.json"]);
  const tokenizer = new Tokenizer(
    JSON.parse(files["tokenizer.json"]),
    JSON.parse(files["tokenizer_config.json"]),
  );
  const examples = pretrainExamples(78, "unseen", RECIPE.phases.at(-1)!);
  for (let i = 0; i < 2000; i++) {
    const { prompt, response } = examples.next().value;
    for (const text of [prompt.replace("<image>", ""), response]) {
      const { tokens } = tokenizer.encode(text);
      // A word goes with the space or mark before it: " blue" and ";blue" are two tokens.
      for (const word of text.replace(/<\/?think>|\\boxed\{/g, "\n").match(/[^a-z\d\n]?[a-z]+/g) ?? []) {
        assert(tokens.includes(word.replace(" ", "Ġ")), `${word} in ${tokens.join(" | ")}`);
      }
    }
  }
  assert(config.vocab_size <= 512);
  const content = [{ type: "image" }, { type: "text", text: "odd one out?" }];
  const prompt = new Template(files["chat_template.jinja"]).render({
    messages: [{ role: "user", content }],
    add_generation_prompt: true,
  });
  assertEquals(
    prompt,
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>odd one out?<|im_end|>\n" +
      "<|im_start|>assistant\n",
  );
  const marks = ["vision_start_token_id", "image_token_id", "vision_end_token_id"];
  const { ids } = tokenizer.encode("<|vision_start|><|image_pad|><|vision_end|>");
  assertEquals(ids, marks.map((mark) => config[mark]));
  assertEquals(tokenizer.encode("<|video_pad|>").ids, [config.video_token_id]);
  // Text costs what it costs the text model.
  const text = [{ role: "user", content: "what is 1+2?" }];
  const rendered = (template: string) =>
    new Template(template).render({ messages: text, add_generation_prompt: true });
  assertEquals(
    rendered(files["chat_template.jinja"]),
    rendered(modelFiles("text")["chat_template.jinja"]),
  );
});
