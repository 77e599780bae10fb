/**
 * Training and evaluation problems: rows turned into prompts of token ids, and the order in which they are taken.
 * @module
 */
import { Template } from "@huggingface/jinja";
import { IMAGE_MARK, type RowImage } from "../data/picture.ts";
import { Rng } from "../data/random.ts";
import { candidatesOf, type Row } from "../data/rows.ts";
import { UserError } from "../gpu/errors.ts";
import { ChatTemplate, type ContentPart, type Message, plainPrompt } from "../models/chat.ts";
import type { ImagePatches } from "../models/image_processor.ts";
import { patchCount } from "../models/packed_batch.ts";
import type { Tokenizer } from "../models/tokenizer.ts";
import type { PictureReader } from "./pictures.ts";

/** A row with its prompt. */
export interface Problem {
  /** Where it comes from: text, answer, source. */
  readonly row: Row;
  /** Prompt token ids, the assistant's turn opened. */
  readonly prompt: readonly number[];
  /** Teacher responses as token ids, the end token included. */
  readonly candidates: readonly (readonly number[])[];
  /** Makes the patches of its pictures; undefined for text alone. */
  readonly images?: () => Promise<ImagePatches[]>;
  /** Its pictures without their patches, in order; undefined for text alone. */
  readonly pictures?: readonly Pick<ImagePatches, "grid">[];
}

/** How rows become prompts. */
export interface PromptStyle {
  /** Jinja text around the problem, with `content`; null: the problem as it is. */
  readonly format_prompt: string | null;
  /** System turn in front of each problem; null: none. */
  readonly system_prompt: string | null;
  /** Longest prompt in tokens. */
  readonly max_prompt_length: number;
  /** Longest response in tokens; longer teacher responses are left out. */
  readonly max_response_length: number;
  /** The model's context: no prompt with its response is longer. */
  readonly max_position_embeddings?: number;
}

/** Something that was left out, and how often. */
export interface LeftOut {
  /** Why, in words. */
  readonly reason: string;
  /** How often. */
  readonly count: number;
}

/** Writes prompts for one model: chat template, format and tokenizer. */
export class PromptWriter {
  /** The model's tokenizer. */
  readonly tokenizer: Tokenizer;
  /** How rows become prompts; a format file is replaced by its text. */
  readonly style: PromptStyle;
  /** Token that ends a response. */
  readonly endToken: number;
  #chat: ChatTemplate | undefined;
  #format: Template | undefined;
  #pictures: PictureReader | undefined;

  private constructor(
    tokenizer: Tokenizer,
    chat: ChatTemplate | undefined,
    style: PromptStyle,
    endToken: number,
    pictures: PictureReader | undefined,
  ) {
    this.tokenizer = tokenizer;
    this.style = style;
    this.endToken = endToken;
    this.#chat = chat;
    this.#pictures = pictures;
    this.#format = style.format_prompt === null ? undefined : new Template(style.format_prompt);
  }

  /** Reads the chat template of `folder`; a model without one gets plain text. */
  static async load(
    folder: string,
    tokenizer: Tokenizer,
    style: PromptStyle,
    stops: readonly number[],
    pictures?: PictureReader,
  ): Promise<PromptWriter> {
    if (stops.length === 0) {
      throw new UserError(
        `${folder}: no end token: name one as eos_token_id in generation_config.json or config.json`,
      );
    }
    const format = style.format_prompt !== null && /\.(jinja|j2|txt)$/.test(style.format_prompt)
      ? await Deno.readTextFile(style.format_prompt).catch(() => {
        throw new UserError(`data.format_prompt: cannot read ${style.format_prompt}`);
      })
      : style.format_prompt;
    return new PromptWriter(
      tokenizer,
      await ChatTemplate.load(folder),
      { ...style, format_prompt: format },
      stops[0],
      pictures,
    );
  }

  /**
   * Token ids of a user turn, the assistant's turn opened.
   * @param images whether `<image>` marks in the text stand for pictures
   */
  prompt(content: string, system: string | null = this.style.system_prompt, images = false): number[] {
    const text = this.#format ? this.#format.render({ content }) : content;
    const messages: Message[] = system === null ? [] : [{ role: "system", content: system }];
    messages.push({ role: "user", content: images ? contentParts(text) : text });
    return this.#chat
      ? this.tokenizer.encode(this.#chat.render(messages, { addGenerationPrompt: true }))
      : this.tokenizer.encode(plainPrompt(messages), { addSpecialTokens: true });
  }

  /**
   * Token ids of a user turn with its pictures: image tokens repeated as often as each picture needs.
   * @throws UserError when a picture cannot be used, or when prompt and pictures do not fit together
   */
  async promptWithPictures(
    content: string,
    images: readonly RowImage[],
    system: string | null = this.style.system_prompt,
  ): Promise<{ ids: number[]; patches: ImagePatches[] }> {
    if (!this.#pictures) throw new UserError("this model takes text only");
    const patches = await this.#pictures.read(images);
    const ids = this.#pictures.expand(this.prompt(content, system, true), patches);
    if (!ids) {
      throw new UserError(`${images.length} pictures, but the prompt has another number of image marks`);
    }
    return { ids, patches };
  }

  /** The problem with a gray picture in place of each: what is still answered right does not come from looking. */
  blind(problem: Problem): Problem {
    const { pictures } = problem;
    const reader = this.#pictures;
    if (!pictures || !reader) return problem;
    return { ...problem, images: () => Promise.resolve(pictures.map(({ grid }) => reader.gray(grid))) };
  }

  /** Token ids of a response and its end. */
  response(text: string): number[] {
    return [...this.tokenizer.encode(text), this.endToken];
  }

  /** Text of a response without special tokens. */
  text(tokens: ArrayLike<number>): string {
    return this.tokenizer.decode(Array.from(tokens), { skipSpecialTokens: true });
  }

  /**
   * Prompts and candidates of rows; what cannot be used is left out and counted.
   * @param longest tokens of the longest prompt
   * @param most patches of pictures of the largest prompt
   */
  async problems(
    rows: readonly Row[],
    longest: number = this.style.max_prompt_length,
    most = Infinity,
  ): Promise<{ problems: Problem[]; leftOut: LeftOut[] }> {
    const { max_response_length, max_position_embeddings: context = Infinity } = this.style;
    const problems: Problem[] = [];
    const unusable = new Map<string, number>();
    let long = 0;
    let longCandidates = 0;
    for (const row of rows) {
      const made = await this.#promptOf(row);
      if (typeof made === "string" || patchCount(made.pictures) > most) {
        const reason = typeof made === "string" ? made : `pictures of more than ${most} patches`;
        unusable.set(reason, (unusable.get(reason) ?? 0) + 1);
        continue;
      }
      const { prompt } = made;
      if (prompt.length > longest || prompt.length >= context) {
        long++;
        continue;
      }
      const all = candidatesOf(row).map((text) => this.response(text));
      const room = Math.min(max_response_length, context - prompt.length);
      const candidates = all.filter((ids) => ids.length <= room);
      longCandidates += all.length - candidates.length;
      problems.push({ row, ...made, candidates });
    }
    const leftOut = [
      ...[...unusable].map(([reason, count]) => ({ reason, count })),
      {
        reason: `prompt longer than ${
          Math.min(longest, context - 1)
        } tokens (data.max_prompt_length, or the model's context)`,
        count: long,
      },
      {
        reason:
          `teacher response longer than data.max_response_length = ${max_response_length} tokens, or beyond the model's context of ${context}`,
        count: longCandidates,
      },
    ].filter((l) => l.count > 0);
    if (problems.length === 0) {
      throw new UserError(
        rows.length === 0
          ? "there are no problems to train on"
          : `of ${rows.length} rows none is left: ${leftOut.map((l) => `${l.count} ${l.reason}`).join("; ")}`,
      );
    }
    return { problems, leftOut };
  }

  /** A row's prompt, or why it has none. */
  async #promptOf(row: Row): Promise<Pick<Problem, "prompt" | "images" | "pictures"> | string> {
    const { images } = row;
    if (!images || images.length === 0) return { prompt: this.prompt(row.problem) };
    const reader = this.#pictures;
    if (!reader) return "the row has images and this model takes text only";
    try {
      const { ids, patches } = await this.promptWithPictures(row.problem, images);
      return {
        prompt: ids,
        pictures: patches.map(({ grid }) => ({ grid })),
        images: () => reader.read(images),
      };
    } catch (error) {
      // The name of the file would make every reason another one.
      if (error instanceof UserError) {
        return `a picture cannot be used: ${error.message.replace(/^.*?: /, "")}`;
      }
      throw error;
    }
  }
}

/** Text cut at its image marks. */
function contentParts(text: string): ContentPart[] {
  return text.split(IMAGE_MARK).flatMap((piece, i): ContentPart[] => [
    ...(i > 0 ? [{ type: "image" as const }] : []),
    ...(piece === "" ? [] : [{ type: "text" as const, text: piece }]),
  ]);
}

/** Goes over a list again and again, shuffled anew by each epoch; its place is one number. */
export class Cursor<T> {
  /** Items taken so far, over all epochs. */
  taken = 0;
  #items: readonly T[];
  #seed: number | undefined;
  #epoch = -1;
  #order: T[] = [];

  /** Starts at the first item. @param seed of the shuffles; undefined keeps the order */
  constructor(items: readonly T[], seed: number | undefined) {
    this.#items = items;
    this.#seed = seed;
  }

  /** The next `count` items. */
  take(count: number): T[] {
    return Array.from({ length: count }, () => {
      const epoch = Math.floor(this.taken / this.#items.length);
      if (epoch !== this.#epoch) {
        this.#epoch = epoch;
        this.#order = this.#seed === undefined ? [...this.#items] : shuffled(this.#items, this.#seed, epoch);
      }
      return this.#order[this.taken++ % this.#items.length];
    });
  }
}

/** A random order from a stream keyed with the path. */
export function shuffled<T>(items: readonly T[], ...path: (number | string)[]): T[] {
  return new Rng("shuffle", ...path).sample(items, items.length);
}
