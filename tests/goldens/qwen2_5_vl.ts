/**
 * `qwen2_5_vl-*` of a goldens folder: window order, positions, hidden states of the tower, image tokens, logits,
 * log-probabilities, entropies, losses, the gradient of every parameter and AdamW steps, against transformers. Nothing
 * is assumed about sizes or numbers of cases. Mistakes that these numbers must reject stand in qwen2_5_vl_mistakes.ts.
 * @module
 */
import type { Gpu } from "../../gpu/device.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import type { ImagePatches } from "../../models/image_processor.ts";
import { packSequences, type Sequence } from "../../models/packed_batch.ts";
import { type ModelPart, partOf } from "../../models/parameters.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { AdamW } from "../../trainer/optimizer.ts";
import { logitsOf } from "./logits.ts";
import {
  answerStart,
  type GoldenCase,
  readImages,
  readJson,
  sequenceOf,
  tensors,
} from "./qwen2_5_vl_cases.ts";
import { checkMistakes } from "./qwen2_5_vl_mistakes.ts";
import { checkLayout, checkPositions, checkTower } from "./qwen2_5_vl_tower.ts";
import { maxDifference, type Report } from "./report.ts";
import { Worst } from "./worst.ts";

async function checkForward(
  graph: SequenceGraph,
  cases: GoldenCase[],
  images: Map<string, ImagePatches>,
  folder: string,
  name: string,
  report: Report,
): Promise<void> {
  const golden = await tensors(`${folder}/forward.safetensors`);
  const { gpu } = graph.model;
  const worst = { logits: 0, logp: 0, entropy: 0, loss: 0 };
  for (const c of cases) {
    graph.load(packSequences([sequenceOf(c, images, 1)]));
    for (const key of golden.keys()) {
      const temperature = key.match(/^(.+)\.logp_T(.+)$/);
      if (temperature?.[1] !== c.name) continue;
      graph.temperature = Number(temperature[2]);
      await graph.forward();
      const result = await gpu.readF32(graph.result);
      const column = (k: number) =>
        Float64Array.from({ length: c.input_ids.length - 1 }, (_, i) => result[4 * i + k]);
      worst.logp = Math.max(worst.logp, maxDifference(column(0), golden.get(key)!));
      const entropy = golden.get(`${c.name}.entropy_T${temperature[2]}`)!;
      worst.entropy = Math.max(worst.entropy, maxDifference(column(1), entropy));
      if (graph.temperature !== 1) continue;
      const from = answerStart(c);
      const loss = -column(0).slice(from - 1).reduce((a, b) => a + b, 0) / (c.labels.length - from);
      worst.loss = Math.max(worst.loss, Math.abs(loss - c.loss));
    }
    graph.temperature = 1;
    const logits = await logitsOf(graph);
    worst.logits = Math.max(worst.logits, maxDifference(logits, golden.get(`${c.name}.logits`)!));
  }
  report(`${name} logits`, worst.logits, 1e-3);
  report(`${name} log-probabilities`, worst.logp, 5e-4);
  report(`${name} entropies`, worst.entropy, 5e-4);
  report(`${name} loss of each case`, worst.loss, 1e-4);
}

/** Mean cross-entropy of the batch; its gradients are added to the parameters'. */
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

/** Gradients of every case; parameters of `frozen` parts have none, and those of a tower without a picture are 0. */
async function checkGradients(
  graph: SequenceGraph,
  cases: GoldenCase[],
  images: Map<string, ImagePatches>,
  folder: string,
  name: string,
  report: Report,
  frozen: readonly ModelPart[] = [],
): Promise<void> {
  const { parameters } = graph.model;
  const worst = new Worst();
  for (const c of cases) {
    parameters.clearGradients();
    await lossAndGradient(graph, [sequenceOf(c, images, answerStart(c))]);
    const golden = await tensors(`${folder}/grads_${c.name}.safetensors`);
    const seen = new Set<string>();
    for await (const g of parameters.gradients()) {
      seen.add(g.name);
      const want = golden.get(g.name) ?? new Float32Array(g.data.length);
      worst.gradient(g.data, want, `${c.name} ${g.name}`);
    }
    const wanted = parameters.list.flatMap((p) => p.slices.map((s) => s.name)).filter((n) =>
      !frozen.includes(partOf(n))
    );
    worst.same([...seen].sort(), wanted.sort(), `${c.name}: parameters with a gradient`);
  }
  parameters.clearGradients();
  worst.report(name, 1e-3, report);
}

/** The three freezable parts, each alone, and both parts of the vision side. */
const FROZEN: readonly (readonly ModelPart[])[] = [
  ["vision_tower"],
  ["merger"],
  ["language_model"],
  ["vision_tower", "merger"],
  ["vision_tower", "language_model"],
];

async function checkFreezing(
  gpu: Gpu,
  cases: GoldenCase[],
  images: Map<string, ImagePatches>,
  folder: string,
  name: string,
  report: Report,
): Promise<void> {
  for (const freeze of FROZEN) {
    const model = await CausalLM.load(gpu, `${folder}/checkpoint`, { trainable: true, freeze });
    const graph = new SequenceGraph(model, capacity(cases, images, true));
    const title = `${name} gradients without ${freeze.join(" and ")}`;
    await checkGradients(graph, cases, images, folder, title, report, freeze);
    graph.free();
    model.parameters.free();
  }
}

async function checkAdamW(
  graph: SequenceGraph,
  batch: Sequence[],
  golden: Record<string, any>,
  name: string,
  report: Report,
): Promise<void> {
  const { parameters, gpu } = graph.model;
  const { lr, betas, eps, weight_decay, max_grad_norm } = golden;
  const optimizer = new AdamW(gpu, parameters, { lr, betas, eps, weight_decay, max_grad_norm });
  let losses = 0;
  let norms = 0;
  for (const [step, wanted] of golden.losses_before_each_step.entries()) {
    losses = Math.max(losses, Math.abs(await lossAndGradient(graph, batch) - wanted));
    const { gradNorm } = await optimizer.update();
    norms = Math.max(norms, Math.abs(gradNorm / golden.grad_norms_before_clipping[step] - 1));
  }
  report(`${name} AdamW losses`, losses, 1e-3);
  report(`${name} gradient norms`, norms, 1e-3);
  const final = await lossAndGradient(graph, batch);
  report(`${name} loss after AdamW`, Math.abs(final - golden.loss_after_three_steps), 1e-3);
  optimizer.free();
}

function capacity(cases: GoldenCase[], images: Map<string, ImagePatches>, train: boolean) {
  const patches = cases.flatMap((c) => c.images).reduce((n, file) => {
    const { h, w } = images.get(file)!.grid;
    return n + h * w;
  }, 0);
  return { tokens: cases.reduce((n, c) => n + c.input_ids.length, 0), patches, train };
}

async function checkModel(gpu: Gpu, folder: string, name: string, report: Report): Promise<void> {
  const goldens = readJson(`${folder}/goldens.json`);
  const cases: GoldenCase[] = goldens.cases;
  const images = await readImages(folder);
  const model = await CausalLM.load(gpu, `${folder}/checkpoint`, { trainable: true });
  await checkSaving(model, `${folder}/checkpoint`, name, report);
  checkLayout(model, folder, name, report);
  checkPositions(model, cases, folder, name, report);
  await checkTower(model, images, folder, name, report);

  const graph = new SequenceGraph(model, capacity(cases, images, true));
  await checkForward(graph, cases, images, folder, name, report);
  await checkGradients(graph, cases, images, folder, `${name} gradients`, report);
  const batch = cases.map((c) => sequenceOf(c, images, answerStart(c)));
  const loss = await lossAndGradient(graph, batch);
  report(`${name} loss of all cases packed`, Math.abs(loss - goldens.batch.loss), 1e-4);
  model.parameters.clearGradients();
  const lean = new SequenceGraph(model, { ...capacity(cases, images, true), recompute: true });
  await checkGradients(lean, cases, images, folder, `${name} gradients (recomputed)`, report);
  lean.free();
  const forward = await tensors(`${folder}/forward.safetensors`);
  const pictured = cases.filter((c) => c.images.length > 0).map((c) => ({
    sequence: sequenceOf(c, images, 1),
    logits: forward.get(`${c.name}.logits`)!,
  }));
  await checkMistakes(model, pictured, name, report);
  const stepped = cases.filter((c) => `adamw_${c.name}` in goldens);
  for (const c of stepped) {
    await checkAdamW(
      graph,
      [sequenceOf(c, images, answerStart(c))],
      goldens[`adamw_${c.name}`],
      name,
      report,
    );
  }
  if (stepped.length === 0) report(`${name} AdamW`, Infinity, 0, "no case with AdamW steps");
  graph.free();
  model.parameters.free();
  await checkFreezing(gpu, cases, images, folder, name, report);
}

/** What was loaded and saved again: every tensor of the file under its own name, and the config. */
async function checkSaving(model: CausalLM, folder: string, name: string, report: Report): Promise<void> {
  const out = await Deno.makeTempDir();
  await model.save(out);
  const [before, after] = [
    await tensors(`${folder}/model.safetensors`),
    await tensors(`${out}/model.safetensors`),
  ];
  const worst = new Worst();
  worst.same([...after.keys()].sort(), [...before.keys()].sort(), "names");
  worst.same(readJson(`${out}/config.json`), readJson(`${folder}/config.json`), "config.json");
  for (const [key, values] of before) worst.list(after.get(key)!, values, key);
  worst.report(`${name} loaded and saved again`, 0, report);
  await Deno.remove(out, { recursive: true });
}

/** A folder in the released layout, in bf16: logits and loss of one case of the full model's folder. */
async function checkReleased(
  gpu: Gpu,
  folder: string,
  full: string,
  name: string,
  report: Report,
): Promise<void> {
  const golden = readJson(`${folder}/goldens.json`);
  const cases: GoldenCase[] = readJson(`${full}/goldens.json`).cases;
  const c = cases.find((c) => c.name === golden.case.split(" ")[0])!;
  const images = await readImages(full);
  const model = await CausalLM.load(gpu, `${folder}/checkpoint`);
  const graph = new SequenceGraph(model, capacity([c], images, false));
  graph.load(packSequences([sequenceOf(c, images, answerStart(c))]));
  await graph.forward();
  const result = await gpu.readF32(graph.result);
  const rows = graph.size.rows;
  let loss = 0;
  for (let i = 0; i < rows; i++) loss -= result[4 * i] / rows;
  const want = (await tensors(`${folder}/forward.safetensors`)).get(`${c.name}.logits`)!;
  report(`${name} logits`, maxDifference(await logitsOf(graph), want), 1e-3);
  report(`${name} loss`, Math.abs(loss - golden.loss), 1e-4);
  graph.free();
  model.parameters.free();
}

/** Checks every `qwen2_5_vl-*` folder by what stands in it. */
export async function checkQwen25VL(gpu: Gpu, goldensFolder: string, report: Report): Promise<void> {
  const names = [...Deno.readDirSync(goldensFolder)].map((e) => e.name).filter((n) => /^qwen2_5_vl-/.test(n));
  const full = names.filter((n) => "cases" in readJson(`${goldensFolder}/${n}/goldens.json`)).sort();
  for (const name of full) await checkModel(gpu, `${goldensFolder}/${name}`, name, report);
  for (const name of names.filter((n) => !full.includes(n))) {
    const base = full.find((n) => name.startsWith(n))!;
    await checkReleased(gpu, `${goldensFolder}/${name}`, `${goldensFolder}/${base}`, name, report);
  }
  if (full.length === 0) report("qwen2_5_vl-* folders", Infinity, 0, "none found");
}
