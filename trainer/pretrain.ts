/**
 * Pretraining of the built-in base model on the micro-world: cross-entropy on responses, by the recipe in
 * data/micro/recipe.ts.
 * @module
 */
import { modelFiles } from "../data/micro/model_files.ts";
import { type PretrainPhase, type PretrainRecipe, RECIPE } from "../data/micro/recipe.ts";
import { type PretrainExample, pretrainExamples } from "../data/micro/world.ts";
import { Rng } from "../data/random.ts";
import type { Gpu } from "../gpu/device.ts";
import { UserError } from "../gpu/errors.ts";
import { CausalLM } from "../models/causal_lm.ts";
import { parseModelConfig } from "../models/config.ts";
import type { Sequence } from "../models/packed_batch.ts";
import { SequenceGraph } from "../models/sequence_graph.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import type { Monitor } from "./monitor.ts";
import { AdamW } from "./optimizer.ts";
import { PictureReader } from "./pictures.ts";
import { PromptWriter } from "./problems.ts";
import { SftTrainer } from "./sft.ts";

/** How to pretrain. */
export interface PretrainOptions {
  /** Folder for the model. */
  readonly out: string;
  /** A model to go on from at the recipe's last phase that begins afresh, instead of from nothing. */
  readonly from?: string;
  /** Training tokens in all; those of the phases when undefined, and the phases are scaled to it otherwise. */
  readonly tokens?: number;
  /** Of weights and examples; the recipe's when undefined. */
  readonly seed?: number;
  /** Hears of the progress. */
  readonly monitor: Monitor;
  /** Ends early; the model so far is written. */
  readonly signal?: AbortSignal;
}

/** Standard deviation of initial weights (Hugging Face's `initializer_range`). */
const INITIALIZER_RANGE = 0.02;

/**
 * Of the initial embeddings: names that come up in the same places (the colours) stay apart until the model has learnt to
 * tell what they stand for. From 0.02 they grow into one before that, and are never told apart again.
 */
const EMBEDDING_RANGE = 0.1;

/** The largest picture of the micro-world: 3 × 3 cells of 2 × 2 patches. */
const MAX_PATCHES = 36;

/** Normal(0, 0.02) matrices, Normal(0, 0.1) embeddings, zero biases, unit norms; each tensor from its own stream. */
export function initialWeights(seed: number): (name: string, shape: readonly number[]) => Float32Array {
  return (name, shape) => {
    const size = shape.reduce((a, b) => a * b, 1);
    if (/(norm\d?|ln_q)\.weight$/.test(name)) return new Float32Array(size).fill(1);
    if (name.endsWith(".bias")) return new Float32Array(size);
    const rng = new Rng("initial weights", seed, name);
    const normal = () => Math.sqrt(-2 * Math.log(1 - rng.float())) * Math.cos(2 * Math.PI * rng.float());
    const range = name.endsWith("embed_tokens.weight") ? EMBEDDING_RANGE : INITIALIZER_RANGE;
    return Float32Array.from({ length: size }, () => range * normal());
  };
}

/**
 * Makes the base model and writes it as a Hugging Face folder.
 * @returns mean loss of the last hundred steps, nats a token
 * @throws UserError when there is no such model, or it is of another shape
 */
export async function pretrain(
  gpu: Gpu,
  options: PretrainOptions,
  recipe: PretrainRecipe = RECIPE,
): Promise<number> {
  const { out, monitor } = options;
  const seed = options.seed ?? recipe.seed;
  await Deno.mkdir(out, { recursive: true });
  const writeFiles = () => {
    for (const [name, text] of Object.entries(modelFiles(recipe.kind))) {
      Deno.writeTextFileSync(`${out}/${name}`, text);
    }
  };
  writeFiles();
  const config = parseModelConfig(
    JSON.parse(await Deno.readTextFile(`${out}/config.json`)),
    `${out}/config.json`,
  );
  const tokenizer = await Tokenizer.load(out);
  const writer = await PromptWriter.load(
    out,
    tokenizer,
    { format_prompt: null, system_prompt: null, max_prompt_length: 1 << 20, max_response_length: 1 << 20 },
    config.eos_token_id,
    config.vision && await PictureReader.load(out, config.vision),
  );
  const model = options.from === undefined
    ? await CausalLM.create(gpu, config, initialWeights(seed), { trainable: true })
    : await CausalLM.load(gpu, options.from, { trainable: true });
  if (JSON.stringify(model.config) !== JSON.stringify(config)) {
    throw new UserError(
      `${options.from}: not a model of the ${recipe.kind} recipe: its config.json is another`,
    );
  }
  const graph = new SequenceGraph(model, {
    tokens: recipe.batchSize * config.max_position_embeddings,
    patches: config.vision ? recipe.batchSize * MAX_PATCHES : 0,
    train: true,
  });
  const begin = () => {
    const optimizer = new AdamW(gpu, model.parameters, {
      lr: 0,
      betas: recipe.betas,
      eps: 1e-8,
      weight_decay: recipe.weightDecay,
      max_grad_norm: recipe.maxGradNorm,
    });
    return { optimizer, sft: new SftTrainer(graph, optimizer), seen: 0 };
  };
  const end = () => {
    stretch.sft.free();
    stretch.optimizer.free();
  };
  const phases = options.from === undefined ? recipe.phases : lastStretch(recipe);
  const scale = options.tokens === undefined ? 1 : options.tokens / phases.reduce((n, p) => n + p.tokens, 0);
  const losses: number[] = [];
  let stretch = begin();
  for (const phase of phases) {
    if (phase.afresh && stretch.seen > 0) {
      end();
      stretch = begin();
    }
    const total = Math.round(phase.tokens * scale);
    const shown = monitor.phase(`pretraining: ${phase.name}`, total, "tokens");
    const examples = pretrainExamples(seed, phase.name, phase);
    for (let done = 0; done < total && !options.signal?.aborted;) {
      const batch: Sequence[] = [];
      while (batch.length < recipe.batchSize) batch.push(await sequence(writer, examples.next().value));
      const warmup = Math.min(1, stretch.seen / Math.max(1, recipe.warmupTokens * scale));
      const [from, to] = phase.learningRate;
      stretch.optimizer.options.lr = warmup * (from + (to - from) * Math.min(1, done / total));
      const step = await stretch.sft.step(batch);
      losses.push(step.loss);
      done += step.tokens;
      stretch.seen += step.tokens;
      shown.advance(step.tokens, `loss ${step.loss.toFixed(3)}`);
    }
    shown.finish(`loss ${recent(losses).toFixed(4)}`);
  }
  await model.save(out, { copyFrom: out });
  // Saving lays config.json out in its own way; the generated files are the folder's.
  writeFiles();
  end();
  graph.free();
  model.free();
  return recent(losses);
}

/** The phases from the last one on that begins afresh. */
function lastStretch({ kind, phases }: PretrainRecipe): readonly PretrainPhase[] {
  const start = phases.findLastIndex((phase) => phase.afresh);
  if (start < 0) {
    throw new UserError(`no phase of the ${kind} recipe begins afresh: leave out the model to go on from`);
  }
  return phases.slice(start);
}

/** An example as ids; its pictures are drawn and cut into patches. */
async function sequence(writer: PromptWriter, example: PretrainExample): Promise<Sequence> {
  const { prompt, response, images } = example;
  const { ids, patches } = images
    ? await writer.promptWithPictures(prompt, images)
    : { ids: writer.prompt(prompt), patches: undefined };
  return { ids: [...ids, ...writer.response(response)], scoreFrom: ids.length, images: patches };
}

function recent(losses: readonly number[]): number {
  const last = losses.slice(-100);
  return last.reduce((a, b) => a + b, 0) / Math.max(1, last.length);
}
