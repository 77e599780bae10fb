/**
 * `generation_config.json`: how the makers of a model meant it to be sampled, and which tokens end a text.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import type { ModelConfig } from "./config.ts";

/** Sampling settings under Hugging Face's names. */
export interface GenerationConfig {
  /** Tokens that end a text; the config's where this file names none. */
  eos_token_id: number[];
  /** Padding token, where the folder names one. */
  pad_token_id?: number;
  /** Sample; false means greedy. */
  do_sample: boolean;
  /** Divides the logits; above 0 when sampling. */
  temperature: number;
  /** Keeps the smallest set of tokens whose probability reaches this. */
  top_p: number;
  /** Keeps this many of the likeliest tokens; 0 keeps all. */
  top_k: number;
  /** Above 1, tokens already seen are made less likely. */
  repetition_penalty: number;
}

/**
 * Reads `folder/generation_config.json`; what the file leaves out is what transformers assumes (greedy, temperature
 * 1, top_p 1, top_k 50, no penalty), and the token ids are the config's. A missing file is no error.
 * @throws UserError when the file is not JSON or a value is out of range.
 */
export async function loadGenerationConfig(folder: string, config: ModelConfig): Promise<GenerationConfig> {
  const file = `${folder}/generation_config.json`;
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new UserError(`${file}: cannot be read (${(error as Error).message})`);
    }
    json = {};
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new UserError(`${file}: must hold a JSON object`);
  }
  const refuse = (key: string, why: string): never => {
    throw new UserError(`${file}: ${key} = ${JSON.stringify(json[key])}: ${why}`);
  };
  const number = (key: string, fallback: number, low: number, high = Infinity): number => {
    const value = json[key] ?? fallback;
    if (typeof value === "number" && value >= low && value <= high) return value;
    return refuse(key, `must be a number from ${low} to ${high}`);
  };
  const ids = (key: string): number[] | undefined => {
    if (json[key] === undefined || json[key] === null) return undefined;
    const list = [json[key]].flat();
    const isId = (id: unknown): boolean =>
      Number.isSafeInteger(id) && id as number >= 0 && id as number < config.vocab_size;
    if (!list.every(isId)) refuse(key, `must be token ids below vocab_size = ${config.vocab_size}`);
    return list as number[];
  };
  const do_sample = json.do_sample ?? false;
  if (typeof do_sample !== "boolean") refuse("do_sample", "must be true or false");
  const pad_token_id = ids("pad_token_id")?.[0] ?? config.pad_token_id;
  const temperature = number("temperature", 1, 0);
  if (do_sample && temperature === 0) refuse("temperature", "must be above 0 when do_sample is true");
  const top_k = number("top_k", 50, 0);
  if (!Number.isInteger(top_k)) refuse("top_k", "must be a whole number");
  const repetition_penalty = number("repetition_penalty", 1, 0);
  if (repetition_penalty === 0) refuse("repetition_penalty", "must be above 0");
  return {
    eos_token_id: ids("eos_token_id") ?? config.eos_token_id,
    ...(pad_token_id === undefined ? {} : { pad_token_id }),
    do_sample: do_sample as boolean,
    temperature,
    top_p: number("top_p", 1, 0, 1),
    top_k,
    repetition_penalty,
  };
}
