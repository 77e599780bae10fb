/**
 * Chat templates: from messages to the prompt text a model was trained on. The Jinja dialect is that of
 * @huggingface/jinja, given the names transformers gives (`apply_chat_template`).
 * @module
 */
import { Environment, Interpreter, Template } from "@huggingface/jinja";
import { UserError } from "../gpu/errors.ts";
import { loadTokenizerConfig, type NamedTokens, namedTokens } from "./tokenizer.ts";

/** A piece of a message: text, or the place of an image (its data travel beside the prompt). */
export type ContentPart = { type: "text"; text: string } | { type: "image"; [key: string]: unknown };

/** One turn of a conversation. */
export interface Message {
  /** `system`, `user` or `assistant`, or what else the template knows. */
  role: string;
  /** Text, or text and images in order. */
  content: string | ContentPart[];
  /** Further fields the template may read, such as `tool_calls`. */
  [key: string]: unknown;
}

/** Settings of {@link ChatTemplate.render}; every further key is a variable of the template. */
export interface RenderOptions {
  /** Ends with the opening of the assistant's turn; default false. */
  addGenerationPrompt?: boolean;
  /** Variables of the template, such as `tools` or `add_vision_id`. */
  [variable: string]: unknown;
}

// deno-fmt-ignore
const MONTHS = [
  "January", "February", "March", "April", "May", "June",
  "July", "August", "September", "October", "November", "December",
];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** Python's `datetime.now().strftime` with English names: Jinja's own follows the machine's language. */
function strftimeNow(format: string): string {
  const now = new Date();
  const two = (n: number): string => String(n).padStart(2, "0");
  const values: Record<string, string> = {
    Y: String(now.getFullYear()),
    y: two(now.getFullYear() % 100),
    m: two(now.getMonth() + 1),
    d: two(now.getDate()),
    B: MONTHS[now.getMonth()],
    b: MONTHS[now.getMonth()].slice(0, 3),
    A: DAYS[now.getDay()],
    a: DAYS[now.getDay()].slice(0, 3),
    H: two(now.getHours()),
    I: two(now.getHours() % 12 || 12),
    M: two(now.getMinutes()),
    S: two(now.getSeconds()),
    p: now.getHours() < 12 ? "AM" : "PM",
    "%": "%",
  };
  return format.replace(/%([A-Za-z%])/g, (whole, letter) => values[letter] ?? whole);
}

function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  return Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, i) => from + i * step);
}

/** What every template sees: Jinja's constants and the functions transformers adds. */
function globals(): Record<string, unknown> {
  return {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    range,
    strftime_now: strftimeNow,
    raise_exception: (message: string): never => {
      throw new Error(message);
    },
  };
}

/** A compiled chat template. */
export class ChatTemplate {
  readonly #program: Template["parsed"];
  #takesParts?: boolean;

  /**
   * Compiles a template.
   * @param source The Jinja text.
   * @param tokens Special tokens the template may name (`bos_token`, …).
   * @param where The template's file, for messages.
   * @throws UserError when the template does not parse.
   */
  constructor(
    /** The Jinja text. */
    readonly source: string,
    private readonly tokens: NamedTokens = {},
    private readonly where = "chat template",
  ) {
    try {
      this.#program = new Template(source).parsed;
    } catch (error) {
      throw new UserError(`${where}: the chat template does not parse (${(error as Error).message})`);
    }
  }

  /**
   * The template of a model folder: `chat_template.jinja`, else `chat_template.json`, else `chat_template` in
   * `tokenizer_config.json` (of a list, the one named "default"). Undefined where the folder has none.
   * @throws UserError when a template is there and broken.
   */
  static async load(folder: string): Promise<ChatTemplate | undefined> {
    const config = await loadTokenizerConfig(folder);
    const tokens = namedTokens(config);
    for (const name of ["chat_template.jinja", "chat_template.json"]) {
      const file = `${folder}/${name}`;
      let text: string;
      try {
        text = await Deno.readTextFile(file);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) continue;
        throw new UserError(`${file}: cannot be read (${(error as Error).message})`);
      }
      return new ChatTemplate(name.endsWith(".json") ? sourceOf(text, file) : text, tokens, file);
    }
    const file = `${folder}/tokenizer_config.json`;
    const source = pick(config.chat_template, file);
    return source === undefined ? undefined : new ChatTemplate(source, tokens, file);
  }

  /**
   * The prompt of a conversation. Where the template knows no lists of parts, a list of texts is joined first.
   * @throws UserError when the template raises, or images meet a template that takes text only.
   */
  render(messages: Message[], options: RenderOptions = {}): string {
    const { addGenerationPrompt = false, ...variables } = options;
    const listed = messages.some((message) => typeof message.content !== "string");
    const plain = listed && !(this.#takesParts ??= this.#probe());
    try {
      return this.#run({
        tools: null,
        documents: null,
        ...this.tokens,
        ...variables,
        messages: plain ? messages.map((message) => ({ ...message, content: textOf(message) })) : messages,
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (error) {
      throw new UserError(`${this.where}: ${(error as Error).message}`);
    }
  }

  #run(variables: Record<string, unknown>): string {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...globals(), ...variables })) environment.set(name, value);
    return String(new Interpreter(environment).run(this.#program).value);
  }

  /**
   * Does the template read lists of parts? One that does not would print them as JSON: the library joins a string and
   * a list, where Python raises.
   */
  #probe(): boolean {
    const text = "a piece of text";
    try {
      const messages = [{ role: "user", content: [{ type: "text", text }] }];
      const out = this.#run({
        tools: null,
        documents: null,
        ...this.tokens,
        messages,
        add_generation_prompt: false,
      });
      return out.includes(text) && !out.includes(JSON.stringify(text));
    } catch {
      return false;
    }
  }
}

/** The template in a parsed `chat_template` field: a string, or a list of named ones. */
function pick(field: unknown, file: string): string | undefined {
  if (field === undefined || field === null) return undefined;
  if (typeof field === "string") return field;
  const list = (Array.isArray(field) ? field : []) as { name?: unknown; template?: unknown }[];
  const source = list.find((entry) => entry?.name === "default")?.template;
  if (typeof source !== "string") {
    throw new UserError(`${file}: chat_template is neither text nor a list with "default"`);
  }
  return source;
}

function sourceOf(text: string, file: string): string {
  let json: { chat_template?: unknown };
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file}: not JSON (${(error as Error).message})`);
  }
  const source = pick(json?.chat_template, file);
  if (source === undefined) throw new UserError(`${file}: has no chat_template`);
  return source;
}

/** A message's text. @throws UserError when it holds anything else. */
function textOf(message: Message): string {
  if (typeof message.content === "string") return message.content;
  return message.content.map((part) => {
    if (part.type !== "text") {
      throw new UserError(
        `a ${message.role} message holds an ${part.type}, but the prompt format takes text only`,
      );
    }
    return part.text;
  }).join("");
}

/**
 * The prompt for a model without a chat template: the texts of the messages with a blank line between them, nothing
 * else. No roles, no special tokens, no invented chat format; a base model simply continues the text.
 * @throws UserError when a message holds an image.
 */
export function plainPrompt(messages: Message[]): string {
  return messages.map(textOf).join("\n\n");
}
