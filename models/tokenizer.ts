/**
 * Text to token ids and back, from a model folder's `tokenizer.json`. The work is done by @huggingface/tokenizers;
 * here it is held to what the Rust library does, because that is what models were trained with.
 * @module
 */
import { ByteFallbackDecoder, SequenceDecoder, Tokenizer as Library } from "@huggingface/tokenizers";
import { UserError } from "../gpu/errors.ts";
import type { ModelConfig } from "./config.ts";

type Json = Record<string, unknown>;

/** The special tokens a folder names (`eos_token`, `bos_token`, …), as chat templates see them. */
export type NamedTokens = Record<string, string>;

const NAMED = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

async function readJson(file: string): Promise<Json> {
  let json: unknown;
  try {
    json = JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new UserError(`${file}: not found`);
    throw new UserError(`${file}: cannot be read (${(error as Error).message})`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new UserError(`${file}: must hold a JSON object`);
  }
  return json as Json;
}

/**
 * Reads `folder/tokenizer_config.json`; an empty object where there is none.
 * @throws UserError when the file is not a JSON object.
 */
export async function loadTokenizerConfig(folder: string): Promise<Record<string, unknown>> {
  const file = `${folder}/tokenizer_config.json`;
  const there = await Deno.stat(file).then(() => true, () => false);
  return there ? await readJson(file) : {};
}

/** The named special tokens of a `tokenizer_config.json`; each stands there as a string or as `{content}`. */
export function namedTokens(tokenizerConfig: Record<string, unknown>): NamedTokens {
  const named: NamedTokens = {};
  for (const key of NAMED) {
    const value = tokenizerConfig[key] as string | { content?: unknown } | null | undefined;
    const content = typeof value === "string" ? value : value?.content;
    if (typeof content === "string") named[key] = content;
  }
  return named;
}

/**
 * Refuses what the library would accept and then encode otherwise than the Rust library does: it knows no
 * `single_word`, and treats every split behaviour but Removed as Isolated.
 */
function refuseUnfaithful(file: string, json: Json): void {
  const model = json.model as Json | undefined;
  if (model?.type !== "BPE") {
    throw new UserError(`${file}: model.type = ${JSON.stringify(model?.type)}: only "BPE" is supported`);
  }
  for (const token of (json.added_tokens ?? []) as Json[]) {
    if (token.single_word) {
      throw new UserError(`${file}: added token ${token.content}: single_word is not supported`);
    }
  }
  const pre = json.pre_tokenizer as Json | null | undefined;
  for (const step of (pre?.type === "Sequence" ? pre.pretokenizers : pre ? [pre] : []) as Json[]) {
    if (step.type === "Split" && step.behavior !== "Isolated" && step.behavior !== "Removed") {
      throw new UserError(`${file}: pre_tokenizer Split with behavior ${step.behavior} is not supported`);
    }
  }
}

const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/**
 * Rust's ByteFallback: a run of byte tokens is text when the whole run is valid UTF-8, else one U+FFFD a byte. The
 * library replaces invalid parts only, and swallows a byte order mark.
 */
function decodeByteRuns(tokens: string[]): string[] {
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const out: string[] = [];
  let run: number[] = [];
  const close = (): void => {
    if (run.length === 0) return;
    try {
      out.push(utf8.decode(Uint8Array.from(run)));
    } catch {
      out.push("\uFFFD".repeat(run.length));
    }
    run = [];
  };
  for (const token of tokens) {
    const byte = BYTE_TOKEN.exec(token);
    if (byte) run.push(parseInt(byte[1], 16));
    else {
      close();
      out.push(token);
    }
  }
  close();
  return out;
}

/** A tokenizer. Encoding and decoding are pure; one instance serves everywhere. */
export class Tokenizer {
  /** Number of ids: one more than the highest, added tokens included. Ids from here up decode to nothing. */
  readonly size: number;
  /** Ids that `skipSpecialTokens` leaves out. */
  readonly specialIds: ReadonlySet<number>;
  readonly #library: Library;
  readonly #fallsBackToBytes: boolean;

  private constructor(library: Library, json: Json, readonly namedTokens: NamedTokens) {
    this.#library = library;
    const added = (json.added_tokens ?? []) as { id: number; special?: boolean }[];
    this.specialIds = new Set(added.filter((token) => token.special).map((token) => token.id));
    this.size = library.model?.vocab.length ?? 0;
    const decoders = library.decoder instanceof SequenceDecoder
      ? library.decoder.decoders
      : [library.decoder];
    const fallbacks = decoders.filter((decoder) => decoder instanceof ByteFallbackDecoder);
    for (const decoder of fallbacks) decoder.decode_chain = decodeByteRuns;
    this.#fallsBackToBytes = fallbacks.length > 0;
  }

  /**
   * Loads `folder/tokenizer.json` and, for the named tokens, `tokenizer_config.json`.
   * @throws UserError when the file is missing, broken, or of a kind that is not encoded faithfully.
   */
  static async load(folder: string): Promise<Tokenizer> {
    const config = await loadTokenizerConfig(folder);
    return Tokenizer.fromJson(await readJson(`${folder}/tokenizer.json`), config, `${folder}/tokenizer.json`);
  }

  /** Makes a tokenizer of parsed JSON; `file` names it in messages. @throws UserError as {@link Tokenizer.load}. */
  static fromJson(
    json: Record<string, unknown>,
    tokenizerConfig: Record<string, unknown> = {},
    file = "tokenizer.json",
  ): Tokenizer {
    refuseUnfaithful(file, json);
    try {
      const parts = {
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: null,
        added_tokens: [],
      };
      // The tokenizer config is kept from the library: its `clean_up_tokenization_spaces` would strip spaces
      // before punctuation, which transformers 5 ignores for BPE because it corrupts text.
      const library = new Library({ ...parts, ...json }, { clean_up_tokenization_spaces: false });
      return new Tokenizer(library, json, namedTokens(tokenizerConfig));
    } catch (error) {
      throw new UserError(`${file}: broken tokenizer (${(error as Error).message})`);
    }
  }

  /**
   * The ids of `text`; special tokens written in it are recognised.
   * @param options `addSpecialTokens` adds what the folder's post-processor adds (Llama: `<s>`); default false.
   */
  encode(text: string, options: { addSpecialTokens?: boolean } = {}): number[] {
    return this.#library.encode(text, { add_special_tokens: options.addSpecialTokens ?? false }).ids;
  }

  /**
   * The text of `ids`; bytes that are no UTF-8 become U+FFFD, ids without a token nothing.
   * @param options `skipSpecialTokens` leaves out {@link Tokenizer.specialIds}; default false.
   */
  decode(ids: Iterable<number>, options: { skipSpecialTokens?: boolean } = {}): string {
    const known = [...ids].filter((id) => this.#speaks(id, options.skipSpecialTokens ?? false));
    // The library throws on an empty list.
    return known.length === 0 ? "" : this.#library.decode(known);
  }

  #speaks(id: number, skipSpecialTokens: boolean): boolean {
    return this.tokenOf(id) !== undefined && !(skipSpecialTokens && this.specialIds.has(id));
  }

  /** The id of a token in the vocabulary's own spelling (byte-level: `Ġthe`), or undefined. */
  idOf(token: string): number | undefined {
    return this.#library.token_to_id(token);
  }

  /** The vocabulary's spelling of an id, or undefined where it has none. */
  tokenOf(id: number): string | undefined {
    return this.#library.id_to_token(id);
  }

  /** A decoder for ids that come one at a time; see {@link TextStream}. */
  stream(options: { skipSpecialTokens?: boolean } = {}): TextStream {
    const skip = options.skipSpecialTokens ?? false;
    return new TextStream(
      (ids) => this.decode(ids),
      (id) => this.#speaks(id, skip),
      (id) => this.#fallsBackToBytes && BYTE_TOKEN.test(this.tokenOf(id) ?? ""),
    );
  }
}

/**
 * Decodes a growing sequence. What is emitted is never taken back: the pieces joined are `decode` of all ids. An
 * incomplete character waits for its last byte, and a run of byte-fallback tokens for its end, since one bad byte
 * changes the text of the whole run.
 */
export class TextStream {
  /** The last ids whose text is out in full, kept because decoders look back (one leading space is stripped). */
  #context: number[] = [];
  #pending: number[] = [];
  /** How much of the text of context and pending ids is out, in UTF-16 units. */
  #shown = 0;

  /** @internal Use {@link Tokenizer.stream}. */
  constructor(
    private readonly decode: (ids: number[]) => string,
    private readonly speaks: (id: number) => boolean,
    private readonly isByte: (id: number) => boolean,
  ) {}

  /** Takes the next id; returns the text that is now certain, often empty. */
  push(id: number): string {
    if (!this.speaks(id)) return "";
    this.#pending.push(id);
    if (this.isByte(id)) return "";
    const text = this.decode([...this.#context, ...this.#pending]);
    const certain = text.replace(/\uFFFD+$/, "");
    const piece = certain.slice(this.#shown);
    if (certain.length === text.length) {
      this.#context = this.#pending;
      this.#pending = [];
      this.#shown = this.decode(this.#context).length;
    } else this.#shown += piece.length;
    return piece;
  }

  /** The text still held back; the stream can then be used anew. */
  end(): string {
    const rest = this.decode([...this.#context, ...this.#pending]).slice(this.#shown);
    this.#context = [];
    this.#pending = [];
    this.#shown = 0;
    return rest;
  }
}

/**
 * Checks that every id the tokenizer can make has a row in the model's embedding.
 * @throws UserError when the tokenizer is larger than `vocab_size`.
 */
export function checkVocabulary(tokenizer: Tokenizer, config: ModelConfig): void {
  if (tokenizer.size > config.vocab_size) {
    throw new UserError(
      `the tokenizer has ${tokenizer.size} ids, the model's vocab_size is ${config.vocab_size}: ` +
        `ids from ${config.vocab_size} (${
          JSON.stringify(tokenizer.tokenOf(config.vocab_size))
        }) up have no embedding; ` +
        `this tokenizer belongs to another model`,
    );
  }
}
