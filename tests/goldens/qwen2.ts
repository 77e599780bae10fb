/**
 * `qwen2-*` of a goldens folder: hidden states, logits, log-probabilities, entropies, loss, gradients, AdamW steps and
 * greedy continuations of the text models, against transformers. Nothing is assumed about sizes or numbers of cases.
 * @module
 */
import type { Gpu } from "../../gpu/device.ts";
import { Program } from "../../gpu/program.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { recordLogits } from "../../models/logits.ts";
import { packSequences, type Sequence } from "../../models/packed_batch.ts";
import { openSafetensors } from "../../models/safetensors.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { AdamW } from "../../trainer/optimizer.ts";
import { RolloutEngine } from "../../trainer/rollout.ts";
import { maxAbs, maxDifference, type Report } from "./report.ts";

interface GoldenSequence {
  input_ids: number[];
  labels: number[];
  prompt_length: number;
  loss: number;
  [greedy: `greedy_${number}`]: number[] | undefined;
  greedy_stop?: { eos_token_id: number; tokens: number[] };
}

interface TensorSums {
  shape: number[];
  [statistic: string]: unknown;
}

/** Every tensor of a safetensors file, as numbers. */
async function tensors(path: string): Promise<Map<string, Float32Array>> {
  const file = await openSafetensors(path);
  const all = new Map<string, Float32Array>();
  for (const name of file.tensors.keys()) {
    if (["F32", "F16", "BF16"].includes(file.tensors.get(name)!.dtype)) {
      all.set(name, await file.readF32(name));
    }
  }
  return all;
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** Hidden states, log-probabilities, entropies and logits of one sequence, every token scored. */
async function runSequence(graph: SequenceGraph, ids: number[], logits: boolean) {
  const { model } = graph;
  const { gpu } = model;
  graph.load(packSequences([{ ids, scoreFrom: 1 }]));
  await graph.forward();
  const hidden = [];
  for (let j = 0; graph.programs.backward && j < model.config.num_hidden_layers; j++) {
    hidden.push((await gpu.readF32(graph.blockInput(j))).subarray(0, ids.length * model.config.hidden_size));
  }
  hidden.push((await gpu.readF32(graph.normed)).subarray(0, ids.length * model.config.hidden_size));
  const result = await gpu.readF32(graph.result);
  let rows: Float32Array | undefined;
  if (logits) {
    const out = gpu.alloc("logits", [ids.length, model.config.vocab_size], "scratch");
    const program = new Program(gpu, "logits");
    recordLogits(program, model, graph.normed, out, ids.length);
    await program.run();
    rows = await gpu.readF32(out);
    program.destroy();
    gpu.pool.free(out);
  }
  const column = (c: number) => Float64Array.from({ length: ids.length - 1 }, (_, i) => result[4 * i + c]);
  return { hidden, logits: rows, logp: column(0), entropy: column(1) };
}

/** ∂loss/∂logp = −1/N on the scored rows: the mean cross-entropy over all labels. */
async function lossAndGradient(graph: SequenceGraph, batch: Sequence[]): Promise<number> {
  const packed = packSequences(batch);
  const n = packed.rows.length;
  graph.load(packed);
  graph.model.gpu.write(graph.dlogp, new Float32Array(n).fill(-1 / n));
  await graph.forward();
  await graph.backward();
  const result = await graph.model.gpu.readF32(graph.result);
  let loss = 0;
  for (let i = 0; i < n; i++) loss -= result[4 * i] / n;
  return loss;
}

/** One folder with a full set of goldens. */
async function checkModel(gpu: Gpu, folder: string, name: string, report: Report): Promise<void> {
  const goldens = JSON.parse(await Deno.readTextFile(`${folder}/goldens.json`));
  const forward = await tensors(`${folder}/forward.safetensors`);
  const model = await CausalLM.load(gpu, `${folder}/checkpoint`, { trainable: true });
  const sequences: GoldenSequence[] = goldens.sequences;
  const longest = Math.max(...sequences.map((s) => s.input_ids.length));
  const total = sequences.reduce((n, s) => n + s.input_ids.length, 0);
  const graph = new SequenceGraph(model, { tokens: Math.max(total, longest), train: true });

  const worst = { hidden: 0, logits: 0, logp: 0, entropy: 0, loss: 0 };
  for (let i = 0; i < sequences.length; i++) {
    const s = sequences[i];
    for (const key of forward.keys()) {
      const match = key.match(new RegExp(`^seq${i}_logp_T(.+)$`));
      if (!match) continue;
      graph.temperature = Number(match[1]);
      const run = await runSequence(graph, s.input_ids, false);
      worst.logp = Math.max(worst.logp, maxDifference(run.logp, forward.get(key)!));
      worst.entropy = Math.max(
        worst.entropy,
        maxDifference(run.entropy, forward.get(`seq${i}_entropy_T${match[1]}`)!),
      );
    }
    graph.temperature = 1;
    const run = await runSequence(graph, s.input_ids, true);
    worst.logits = Math.max(worst.logits, maxDifference(run.logits!, forward.get(`seq${i}_logits`)!));
    run.hidden.forEach((h, j) => {
      const golden = forward.get(`seq${i}_hidden_${j}`);
      if (golden) worst.hidden = Math.max(worst.hidden, maxDifference(h, golden) / maxAbs(golden));
    });
    const from = s.labels.findIndex((l) => l !== -100);
    const loss = -run.logp.slice(from - 1).reduce((a, b) => a + b, 0) / (s.labels.length - from);
    worst.loss = Math.max(worst.loss, Math.abs(loss - s.loss));
  }
  report(`${name} hidden states`, worst.hidden, 1e-4);
  report(`${name} logits`, worst.logits, 1e-3);
  report(`${name} log-probabilities`, worst.logp, 5e-4);
  report(`${name} entropies`, worst.entropy, 5e-4);
  report(`${name} loss of each sequence`, worst.loss, 1e-4);

  const batch = sequences.map((s) => ({
    ids: s.input_ids,
    scoreFrom: s.labels.findIndex((l) => l !== -100),
  }));
  await checkGradients(graph, batch, `${folder}/grads.safetensors`, goldens.batch_loss, name, report);
  await checkGreedy(model, sequences, name, report);
  await checkRecompute(model, batch, `${folder}/grads.safetensors`, goldens.batch_loss, name, report);
  await checkAdamW(graph, batch, folder, goldens.adamw, name, report);
  graph.free();
  model.parameters.free();
}

async function checkGradients(
  graph: SequenceGraph,
  batch: Sequence[],
  path: string,
  batchLoss: number,
  name: string,
  report: Report,
): Promise<void> {
  const grads = await tensors(path);
  const { parameters } = graph.model;
  parameters.clearGradients();
  const loss = await lossAndGradient(graph, batch);
  report(`${name} batch loss`, Math.abs(loss - batchLoss), 1e-4);
  let worst = 0;
  let where = "";
  let seen = 0;
  for await (const g of parameters.gradients()) {
    const golden = grads.get(g.name);
    if (!golden) continue;
    seen++;
    const d = maxDifference(g.data, golden) / maxAbs(golden);
    if (!(d <= worst)) [worst, where] = [d, g.name];
  }
  report(
    `${name} gradients`,
    seen === grads.size ? worst : Infinity,
    1e-3,
    `${seen} of ${grads.size} tensors; worst ${where}`,
  );
  parameters.clearGradients();
}

/** The same gradients with every block recomputed. */
async function checkRecompute(
  model: CausalLM,
  batch: Sequence[],
  path: string,
  batchLoss: number,
  name: string,
  report: Report,
): Promise<void> {
  const tokens = batch.reduce((n, s) => n + s.ids.length, 0);
  const graph = new SequenceGraph(model, { tokens, train: true, recompute: true });
  await checkGradients(graph, batch, path, batchLoss, `${name} (recomputed)`, report);
  graph.free();
}

/** The greedy continuation of a record, under whatever length its key names. */
function greedyOf(record: object): number[] | undefined {
  const key = Object.keys(record).find((k) => /^greedy_\d+/.test(k));
  return key ? (record as Record<string, number[]>)[key] : undefined;
}

async function checkGreedy(
  model: CausalLM,
  sequences: GoldenSequence[],
  name: string,
  report: Report,
): Promise<void> {
  let mismatches = 0;
  let checked = 0;
  const engine = new RolloutEngine(model, {
    slots: 2,
    blockSize: 16,
    chunk: 16,
    maxLength: Math.max(...sequences.map((s) => s.prompt_length)) + 40,
  });
  const greedy = { temperature: 0, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1, seed: 0 };
  const prompts = sequences.map((s) => s.input_ids.slice(0, s.prompt_length));
  const continuations = sequences.map(greedyOf);
  const longest = Math.max(...continuations.map((c) => c?.length ?? 0));
  if (longest > 0) {
    for (const r of await engine.generate(prompts, { ...greedy, max_tokens: longest, stop: [] })) {
      const golden = continuations[r.prompt];
      if (!golden) continue;
      checked++;
      if (JSON.stringify([...r.tokens.subarray(0, golden.length)]) !== JSON.stringify(golden)) mismatches++;
    }
  }
  for (const [i, s] of sequences.entries()) {
    if (!s.greedy_stop) continue;
    checked++;
    const [r] = await engine.generate([prompts[i]], {
      ...greedy,
      max_tokens: 32,
      stop: [s.greedy_stop.eos_token_id],
    });
    if (JSON.stringify([...r.tokens]) !== JSON.stringify(s.greedy_stop.tokens)) mismatches++;
  }
  engine.free();
  report(`${name} greedy continuations`, checked > 0 ? mismatches : Infinity, 0, `${checked} checked`);
}

async function checkAdamW(
  graph: SequenceGraph,
  batch: Sequence[],
  folder: string,
  golden: {
    lr: number;
    betas: [number, number];
    eps: number;
    weight_decay: number;
    max_grad_norm: number;
    [key: string]: unknown;
  },
  name: string,
  report: Report,
): Promise<void> {
  const { parameters, gpu } = graph.model;
  const optimizer = new AdamW(gpu, parameters, {
    lr: golden.lr,
    betas: golden.betas,
    eps: golden.eps,
    weight_decay: golden.weight_decay,
    max_grad_norm: golden.max_grad_norm,
  });
  const losses = golden.losses_before_each_step as number[];
  const norms = golden.grad_norms_before_clipping as number[];
  let lossWorst = 0;
  let normWorst = 0;
  for (let step = 0; step < losses.length; step++) {
    lossWorst = Math.max(lossWorst, Math.abs(await lossAndGradient(graph, batch) - losses[step]));
    const { gradNorm } = await optimizer.update();
    normWorst = Math.max(normWorst, Math.abs(gradNorm - norms[step]) / norms[step]);
  }
  report(`${name} AdamW losses`, lossWorst, 1e-3);
  report(`${name} gradient norms`, normWorst, 1e-3);
  const after = await tensors(`${folder}/params_after_3_steps.safetensors`);
  let sum = 0;
  let off = 0;
  let n = 0;
  for await (const p of parameters.weights()) {
    const want = after.get(p.name)!;
    for (let i = 0; i < want.length; i++) {
      const d = Math.abs(p.data[i] - want[i]);
      sum += d;
      if (!(d <= 1e-5)) off++;
      n++;
    }
  }
  report(`${name} parameters after AdamW, mean`, sum / n, 1e-6);
  report(`${name} parameters after AdamW, share off by 1e-5`, off / n, 1e-3);
  const final = await lossAndGradient(graph, batch);
  report(`${name} loss after AdamW`, Math.abs(final - (golden.loss_after_three_steps as number)), 1e-3);
  optimizer.free();
}

/** A folder with a bf16 checkpoint: logits with weights widened to float32. */
async function checkBf16(gpu: Gpu, folder: string, name: string, report: Report): Promise<void> {
  const goldens = JSON.parse(await Deno.readTextFile(`${folder}/goldens.json`));
  const forward = await tensors(`${folder}/forward.safetensors`);
  const ids: number[] = goldens.input_ids;
  const model = await CausalLM.load(gpu, `${folder}/checkpoint`);
  const graph = new SequenceGraph(model, { tokens: ids.length, train: false });
  const run = await runSequence(graph, ids, true);
  report(`${name} logits`, maxDifference(run.logits!, forward.get("logits_float32_compute")!), 1e-3);
  graph.free();
  const scored: number[] = goldens.labels.flatMap((l: number, i: number) => l === -100 ? [] : [i]);
  const loss = -scored.reduce((sum, i) => sum + run.logp[i - 1], 0) / scored.length;
  report(`${name} loss`, Math.abs(loss - goldens.loss_float32_compute), 1e-4);
  await checkGreedy(model, [goldens], name, report);
  model.parameters.free();
}

/** A sharded folder: shape and sums of every tensor as loaded. */
async function checkSharded(gpu: Gpu, folder: string, name: string, report: Report): Promise<void> {
  const goldens = JSON.parse(await Deno.readTextFile(`${folder}/goldens.json`));
  const model = await CausalLM.load(gpu, `${folder}/checkpoint`);
  const wanted: Record<string, TensorSums> = goldens.tensors;
  let worst = 0;
  let seen = 0;
  for await (const p of model.parameters.weights()) {
    const golden = wanted[p.name];
    if (!golden) continue;
    seen++;
    let sum = 0;
    let absolute = 0;
    for (const x of p.data) {
      sum += x;
      absolute += Math.abs(x);
    }
    if (JSON.stringify(p.shape) !== JSON.stringify(golden.shape)) worst = Infinity;
    worst = Math.max(worst, Math.abs(sum - (golden.sum as number)) / Math.max(1, absolute));
  }
  report(
    `${name} tensor sums`,
    seen > 0 && seen === Object.keys(wanted).length ? worst : Infinity,
    1e-5,
    `${seen} tensors`,
  );
  model.parameters.free();
}

/** Checks every `qwen2-*` folder by what stands in it. */
export async function checkQwen2(gpu: Gpu, goldensFolder: string, report: Report): Promise<void> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(goldensFolder)) {
    if (entry.isDirectory && /^qwen2-/.test(entry.name)) names.push(entry.name);
  }
  for (const name of names.sort()) {
    const folder = `${goldensFolder}/${name}`;
    if (await exists(`${folder}/grads.safetensors`)) await checkModel(gpu, folder, name, report);
    else if (await exists(`${folder}/forward.safetensors`)) await checkBf16(gpu, folder, name, report);
    else await checkSharded(gpu, folder, name, report);
  }
  if (names.length === 0) report("qwen2-* folders", Infinity, 0, "none found");
}
