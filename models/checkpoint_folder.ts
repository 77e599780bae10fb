/**
 * The weights of a Hugging Face model folder: `model.safetensors`, or shards named by
 * `model.safetensors.index.json`. Loading checks every tensor before any is read; saving is atomic.
 * @module
 */
import { basename, dirname, join, resolve } from "node:path";
import { UserError } from "../gpu/errors.ts";
import { type CheckpointNaming, namingOf, storedName } from "./checkpoint_names.ts";
import { configForSaving, type ModelConfig, parameterShapes } from "./config.ts";
import { type FloatDtype, openSafetensors, type SafetensorsFile, SafetensorsWriter } from "./safetensors.ts";

/** The element types a checkpoint can be saved in, as `config.json` spells them. */
export type CheckpointDtype = "float32" | "bfloat16" | "float16";

const DTYPES: Record<CheckpointDtype, { name: FloatDtype; bytes: number }> = {
  float32: { name: "F32", bytes: 4 },
  bfloat16: { name: "BF16", bytes: 2 },
  float16: { name: "F16", bytes: 2 },
};
const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
/** What a saved folder takes over from the folder it was trained from, where it is there. */
const COPIED = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
  "preprocessor_config.json",
  "processor_config.json",
];

/** Copies what stands beside a model's weights (tokenizer, chat template, generation settings) as far as it is there. */
export async function copyCompanions(source: string, target: string): Promise<void> {
  await Deno.mkdir(target, { recursive: true });
  for (const name of COPIED) {
    const file = join(source, name);
    // Not copyFile: that would carry over read-only permissions.
    if (await exists(file)) await Deno.writeFile(join(target, name), await Deno.readFile(file));
  }
}

/** An open model folder whose tensors are known to be exactly those the config asks for. */
export class Checkpoint {
  /** @internal Use {@link openCheckpoint}. */
  constructor(
    /** The folder. */
    readonly folder: string,
    /** Its config. */
    readonly config: ModelConfig,
    /** Every parameter's shape by Hugging Face name; see {@link parameterShapes}. */
    readonly shapes: ReadonlyMap<string, number[]>,
    /** What the files call them. */
    readonly naming: CheckpointNaming,
    private readonly fileOf: ReadonlyMap<string, SafetensorsFile>,
  ) {}

  #find(name: string): [SafetensorsFile, string] {
    const stored = storedName(name, this.naming);
    const file = this.shapes.has(name) ? this.fileOf.get(stored) : undefined;
    if (!file) throw new Error(`${this.folder}: ${name} is not a parameter of this model`);
    return [file, stored];
  }

  /** The element type a parameter is stored in. */
  dtypeOf(name: string): FloatDtype {
    const [file, stored] = this.#find(name);
    return file.info(stored).dtype as FloatDtype;
  }

  /**
   * A parameter's values as f32, row-major, read from the disk now.
   * @param from First element. @param count Number of elements; default: all that follow.
   */
  readF32(name: string, from = 0, count?: number): Promise<Float32Array<ArrayBuffer>> {
    const [file, stored] = this.#find(name);
    return file.readF32(stored, from, count);
  }
}

/**
 * Opens the weights of `folder` and checks every tensor of {@link parameterShapes}. Ignored are the rotary
 * `inv_freq` buffers of old folders and, with tied embeddings, a redundant `lm_head.weight`.
 * @throws UserError when there are no safetensors weights, a shard is missing or broken, or tensors are missing, extra,
 * misshapen or not floats: the first five are listed with expected and found shapes.
 */
export async function openCheckpoint(folder: string, config: ModelConfig): Promise<Checkpoint> {
  const found = await findTensors(folder);
  const shapes = parameterShapes(config);
  const naming = namingOf(config, found.keys());
  const expected = new Map([...shapes].map(([name, shape]) => [storedName(name, naming), shape]));
  const problems: string[] = [];
  for (const [name, shape] of expected) {
    const info = found.get(name)?.info(name);
    if (!info) problems.push(`${name}: missing, expected [${shape}]`);
    else if (String(info.shape) !== String(shape)) {
      problems.push(`${name}: expected [${shape}], found [${info.shape}]`);
    } else if (!["F32", "F16", "BF16"].includes(info.dtype)) {
      problems.push(`${name}: expected F32, F16 or BF16, found ${info.dtype}`);
    }
  }
  for (const [name, file] of found) {
    const redundant = name.endsWith(".rotary_emb.inv_freq") ||
      (config.tie_word_embeddings && name === "lm_head.weight");
    if (!expected.has(name) && !redundant) {
      problems.push(`${name}: not part of this model, found [${file.info(name).shape}]`);
    }
  }
  if (problems.length > 0) {
    const more = problems.length > 5 ? `\n  and ${problems.length - 5} more` : "";
    throw new UserError(
      `${folder}: the weights do not fit config.json (${config.model_type}):\n  ${
        problems.slice(0, 5).join("\n  ")
      }${more}`,
    );
  }
  return new Checkpoint(folder, config, shapes, naming, found);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** Every tensor of the folder, with the file it stands in. */
async function findTensors(folder: string): Promise<Map<string, SafetensorsFile>> {
  if (await exists(join(folder, SINGLE))) {
    const file = await openSafetensors(join(folder, SINGLE));
    return new Map([...file.tensors.keys()].map((name) => [name, file]));
  }
  const indexFile = join(folder, INDEX);
  if (!await exists(indexFile)) throw new UserError(await explainMissingWeights(folder));
  let map: Record<string, string>;
  try {
    map = JSON.parse(await Deno.readTextFile(indexFile)).weight_map;
  } catch (error) {
    throw new UserError(`${indexFile}: not JSON (${(error as Error).message})`);
  }
  if (typeof map !== "object" || map === null) throw new UserError(`${indexFile}: has no weight_map`);
  const shards = new Map<string, SafetensorsFile>();
  for (const shard of new Set(Object.values(map))) {
    if (typeof shard !== "string" || basename(shard) !== shard) {
      throw new UserError(`${indexFile}: ${JSON.stringify(shard)} is not the name of a file in this folder`);
    }
    shards.set(shard, await openSafetensors(join(folder, shard)));
  }
  const found = new Map<string, SafetensorsFile>();
  for (const [name, shard] of Object.entries(map)) {
    const file = shards.get(shard) as SafetensorsFile;
    if (!file.tensors.has(name)) {
      throw new UserError(`${join(folder, shard)}: has no tensor ${name}, though ${INDEX} names it`);
    }
    found.set(name, file);
  }
  return found;
}

async function explainMissingWeights(folder: string): Promise<string> {
  const why = `${folder}: found neither ${SINGLE} nor ${INDEX}`;
  if (await exists(join(folder, "pytorch_model.bin"))) {
    return `${why}; pytorch_model.bin cannot be read: save the model as safetensors first`;
  }
  // A machine that dies between the two renames of saveCheckpoint leaves the earlier folder under this name.
  if (!await exists(folder) && await exists(dirname(resolve(folder)))) {
    for await (const { name } of Deno.readDir(dirname(resolve(folder)))) {
      if (name.startsWith(`${basename(resolve(folder))}.old-`)) {
        return `${why}; an interrupted save left the earlier checkpoint as ${name}: rename it back`;
      }
    }
  }
  return why;
}

/** One parameter to save. */
export interface NamedTensor {
  /** Hugging Face name. */
  name: string;
  /** Shape; must be that of {@link parameterShapes}. */
  shape: number[];
  /** Row-major values. */
  data: Float32Array;
}

/** What to save; see {@link saveCheckpoint}. */
export interface CheckpointContents {
  /** Written as `config.json`; decides which tensors must come. */
  config: ModelConfig;
  /** Every parameter once, in any order; one at a time is held in memory. */
  tensors: AsyncIterable<NamedTensor> | Iterable<NamedTensor>;
  /** Element type of the file, rounded to nearest even; default float32. */
  dtype?: CheckpointDtype;
  /** What the file calls the tensors; default: the released names. */
  naming?: CheckpointNaming;
  /** Folder whose tokenizer, chat template and generation config are copied. */
  copyFrom?: string;
  /** Writes further files (an optimizer's state, a data cursor) into the folder it is given, before the swap. */
  alsoWrite?: (folder: string) => Promise<void>;
  /** Weights beyond this many bytes are split into shards with an index; default 4e9. */
  shardBytes?: number;
}

/**
 * Saves a model folder that `transformers` loads with equal logits. All files are written beside the target, flushed
 * to the disk, and only then renamed into place, so a failure at any moment leaves an earlier checkpoint there as it was.
 * @throws UserError when the system refuses (a full disk, no permission) or the target is a folder that is no checkpoint;
 * Error when tensors are missing, repeated or misshapen.
 */
export async function saveCheckpoint(folder: string, contents: CheckpointContents): Promise<void> {
  const target = await Deno.realPath(folder).catch(() => resolve(folder));
  const replaces = await exists(target);
  if (replaces && !await exists(join(target, "config.json")) && !await isEmpty(target)) {
    throw new UserError(
      `${target}: exists and holds no config.json; a checkpoint would replace what is in it`,
    );
  }
  const id = crypto.randomUUID().slice(0, 8);
  const fresh = `${target}.tmp-${id}`;
  const old = `${target}.old-${id}`;
  try {
    await Deno.mkdir(fresh, { recursive: true });
    await writeWeights(fresh, contents);
    const config = configForSaving(contents.config, contents.dtype ?? "float32");
    await Deno.writeTextFile(join(fresh, "config.json"), JSON.stringify(config, null, 2) + "\n");
    if (contents.copyFrom !== undefined) await copyCompanions(contents.copyFrom, fresh);
    await contents.alsoWrite?.(fresh);
    await syncFolder(fresh);
    if (replaces) await Deno.rename(target, old);
    try {
      await Deno.rename(fresh, target);
    } catch (error) {
      if (replaces) await Deno.rename(old, target);
      throw error;
    }
  } catch (error) {
    await Deno.remove(fresh, { recursive: true }).catch(() => {});
    const message = (error as Error).message;
    if (!/\(os error \d+\)/.test(message)) throw error;
    const kept = replaces ? "; the checkpoint that was there is unchanged" : "";
    throw new UserError(`${target}: the checkpoint could not be saved: ${message}${kept}`);
  }
  await syncPath(dirname(target));
  if (replaces) await Deno.remove(old, { recursive: true });
}

async function isEmpty(folder: string): Promise<boolean> {
  if (!(await Deno.stat(folder)).isDirectory) return false;
  for await (const _ of Deno.readDir(folder)) return false;
  return true;
}

/** Puts each parameter into the first shard with room, in the order of the names, as `save_pretrained` does. */
function planShards(shapes: Map<string, number[]>, bytes: number, limit: number): string[][] {
  const shards: string[][] = [[]];
  let size = 0;
  for (const [name, shape] of shapes) {
    const more = shape.reduce((product, n) => product * n, bytes);
    if (size > 0 && size + more > limit) {
      shards.push([]);
      size = 0;
    }
    shards[shards.length - 1].push(name);
    size += more;
  }
  return shards;
}

async function writeWeights(folder: string, contents: CheckpointContents): Promise<void> {
  const { name: dtype, bytes } = DTYPES[contents.dtype ?? "float32"];
  const shapes = parameterShapes(contents.config);
  const shards = planShards(shapes, bytes, contents.shardBytes ?? 4e9);
  const stored = (name: string): string => storedName(name, contents.naming ?? "released");
  const digits = (n: number): string => String(n).padStart(5, "0");
  const weightMap: Record<string, string> = {};
  const writers: SafetensorsWriter[] = [];
  const writerOf = new Map<string, SafetensorsWriter>();
  try {
    for (const [i, names] of shards.entries()) {
      const file = shards.length === 1
        ? SINGLE
        : `model-${digits(i + 1)}-of-${digits(shards.length)}.safetensors`;
      const plan = names.map((name) => ({ name: stored(name), shape: shapes.get(name) as number[], dtype }));
      const writer = await SafetensorsWriter.create(join(folder, file), plan, { format: "pt" });
      writers.push(writer);
      for (const name of names) {
        writerOf.set(name, writer);
        weightMap[stored(name)] = file;
      }
    }
    for await (const { name, shape, data } of contents.tensors) {
      const writer = writerOf.get(name);
      if (!writer) {
        throw new Error(`${name} [${shape}] is not a parameter of this ${contents.config.model_type} model`);
      }
      const expected = shapes.get(name) as number[];
      if (String(shape) !== String(expected)) {
        throw new Error(`${name}: expected [${expected}], got [${shape}]`);
      }
      await writer.write(stored(name), data);
    }
    for (const writer of writers) await writer.finish();
  } finally {
    for (const writer of writers) writer.close();
  }
  if (shards.length === 1) return;
  const total_parameters = [...shapes.values()].reduce(
    (sum, shape) => sum + shape.reduce((a, b) => a * b, 1),
    0,
  );
  const index = {
    metadata: { total_parameters, total_size: total_parameters * bytes },
    weight_map: weightMap,
  };
  await Deno.writeTextFile(join(folder, INDEX), JSON.stringify(index, null, 2) + "\n");
}

async function syncFolder(folder: string): Promise<void> {
  for await (const entry of Deno.readDir(folder)) {
    const path = join(folder, entry.name);
    await (entry.isDirectory ? syncFolder(path) : syncPath(path));
  }
  await syncPath(folder);
}

async function syncPath(path: string): Promise<void> {
  // Windows cannot open a folder to flush it, and needs a writable handle for a file; renames there are journaled.
  if (Deno.build.os === "windows") return;
  using file = await Deno.open(path);
  await file.sync();
}
