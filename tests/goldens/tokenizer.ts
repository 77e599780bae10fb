/**
 * `tokenizer/` of a goldens folder: ids, texts and chat prompts of the Rust tokenizer and of transformers, exactly.
 * @module
 */
import { ChatTemplate, type Message } from "../../models/chat.ts";
import { Tokenizer } from "../../models/tokenizer.ts";

type Report = (name: string, worst: number, limit: number, detail?: string) => void;

/** Counts mismatches and keeps the first for the report. */
class Tally {
  #count = 0;
  #first = "";
  compare(what: string, actual: unknown, expected: unknown): void {
    if (JSON.stringify(actual) === JSON.stringify(expected)) return;
    this.#count++;
    this.#first ||= `${what}: got ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`;
  }
  report(report: Report, name: string): void {
    report(name, this.#count, 0, this.#first.slice(0, 500) || undefined);
  }
}

/** Every folder under `root`, two levels deep, that holds a `tokenizer.json`. */
async function tokenizerFolders(root: string): Promise<string[]> {
  const found: string[] = [];
  const visit = async (folder: string, depth: number): Promise<void> => {
    for await (const entry of Deno.readDir(folder)) {
      if (entry.isFile && entry.name === "tokenizer.json") found.push(folder);
      else if (entry.isDirectory && depth > 0) await visit(`${folder}/${entry.name}`, depth - 1);
    }
  };
  await visit(root, 2);
  return found.sort();
}

/**
 * Checks everything under `goldensFolder/tokenizer` with every checkpoint of the tree (they share one tokenizer,
 * written by different library versions) and every chat template found there. Limits are 0 mismatches.
 */
export async function checkTokenizer(goldensFolder: string, report: Report): Promise<void> {
  const read = async (name: string): Promise<any> =>
    JSON.parse(await Deno.readTextFile(`${goldensFolder}/tokenizer/${name}.json`));
  const folders = await tokenizerFolders(goldensFolder);
  if (folders.length === 0) throw new Error(`${goldensFolder}: no checkpoint with a tokenizer.json`);
  const info = await read("info");
  const texts = await read("encode_decode");
  const singles = await read("single_token_decode");
  const prefixes = await read("prefix_decode");
  const chat = await read("chat_template");
  const templates = {
    text: [{ name: "given text", template: new ChatTemplate(chat.text_template) }],
    vision: [{ name: "given text", template: new ChatTemplate(chat.vision_template) }],
  };
  for (const folder of folders) {
    const name = folder.slice(goldensFolder.length + 1);
    const tokenizer = await Tokenizer.load(folder);
    checkInfo(tokenizer, info).report(report, `tokenizer/info ${name}`);
    checkTexts(tokenizer, texts.rows).report(report, `tokenizer/encode_decode ${name}`);
    checkSingles(tokenizer, singles).report(report, `tokenizer/single_token_decode ${name}`);
    checkPrefixes(tokenizer, prefixes.rows).report(report, `tokenizer/prefix_decode ${name}`);
    const template = await ChatTemplate.load(folder);
    if (template === undefined) continue;
    if (template.source === chat.text_template) templates.text.push({ name, template });
    else if (template.source === chat.vision_template) templates.vision.push({ name, template });
    else report(`tokenizer/chat_template ${name}`, 1, 0, "is neither of the two golden templates");
  }
  const tokenizer = await Tokenizer.load(folders[0]);
  for (const [kind, list] of Object.entries(templates)) {
    const rows = chat.rows.filter((row: any) => row.template === kind);
    for (const { name, template } of list) {
      checkChat(tokenizer, template, rows).report(report, `tokenizer/chat_template ${kind} ${name}`);
    }
  }
}

function checkInfo(tokenizer: Tokenizer, info: any): Tally {
  const tally = new Tally();
  tally.compare("tokenizer_length", tokenizer.size, info.tokenizer_length);
  for (const [token, id] of Object.entries<number>(info.special_ids)) {
    tally.compare(`id of ${token}`, tokenizer.idOf(token), id);
    tally.compare(`token of ${id}`, tokenizer.tokenOf(id), token);
    tally.compare(`encoding of ${token}`, tokenizer.encode(token), [id]);
  }
  const lowest = Math.min(...Object.values<number>(info.special_ids));
  tally.compare("base_vocab", lowest, info.base_vocab);
  tally.compare("eos_token", tokenizer.namedTokens.eos_token, info.eos_token);
  tally.compare("pad_token", tokenizer.namedTokens.pad_token, info.pad_token);
  for (const [word, { bare, spaced }] of Object.entries<any>(info.trigger_words)) {
    tally.compare(word, tokenizer.encode(word), bare);
    tally.compare(` ${word}`, tokenizer.encode(` ${word}`), spaced);
  }
  return tally;
}

function checkTexts(tokenizer: Tokenizer, rows: any[]): Tally {
  const tally = new Tally();
  for (const { text, ids, tokens, decoded, decoded_skip_special } of rows) {
    const what = JSON.stringify(text);
    tally.compare(`ids of ${what}`, tokenizer.encode(text), ids);
    tally.compare(`tokens of ${what}`, ids.map((id: number) => tokenizer.tokenOf(id)), tokens);
    tally.compare(`decode of ${what}`, tokenizer.decode(ids), decoded);
    tally.compare(
      `decode without specials of ${what}`,
      tokenizer.decode(ids, { skipSpecialTokens: true }),
      decoded_skip_special,
    );
  }
  return tally;
}

function checkSingles(tokenizer: Tokenizer, singles: any): Tally {
  const tally = new Tally();
  tally.compare("vocab_size_of_tokenizer", tokenizer.size, singles.vocab_size_of_tokenizer);
  for (const [id, text] of singles.decode_of_each_id.entries()) {
    tally.compare(`decode of ${id}`, tokenizer.decode([id]), text);
  }
  for (const id of [tokenizer.size, tokenizer.size + 1, tokenizer.size + 1000]) {
    tally.compare(`decode of ${id}, beyond the tokenizer`, tokenizer.decode([id]), "");
  }
  return tally;
}

function checkPrefixes(tokenizer: Tokenizer, rows: any[]): Tally {
  const tally = new Tally();
  for (const { text, ids, decode_of_prefixes: expected } of rows) {
    const stream = tokenizer.stream();
    let streamed = "";
    for (let n = 1; n <= ids.length; n++) {
      tally.compare(
        `prefix ${n} of ${JSON.stringify(text)}`,
        tokenizer.decode(ids.slice(0, n)),
        expected[n - 1],
      );
      streamed += stream.push(ids[n - 1]);
      // The stream holds an unfinished character back; the plain decoding shows U+FFFD for it.
      tally.compare(
        `stream ${n} of ${JSON.stringify(text)}`,
        streamed,
        expected[n - 1].replace(/\uFFFD+$/, ""),
      );
    }
    tally.compare(`stream end of ${JSON.stringify(text)}`, streamed + stream.end(), expected[ids.length - 1]);
  }
  return tally;
}

function checkChat(tokenizer: Tokenizer, template: ChatTemplate, rows: any[]): Tally {
  const tally = new Tally();
  for (const row of rows) {
    const text = template.render(row.messages as Message[], {
      ...row.options,
      addGenerationPrompt: row.add_generation_prompt,
    });
    tally.compare(`text of ${row.name}`, text, row.text);
    tally.compare(`ids of ${row.name}`, tokenizer.encode(row.text), row.ids);
  }
  return tally;
}
