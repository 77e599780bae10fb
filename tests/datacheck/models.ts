/**
 * The real models of a data folder against their reference.json: encodings, greedy text, log-probabilities, entropies and
 * the logits after the prompt.
 * @module
 */
import type { Gpu } from "../../gpu/device.ts";
import { Program } from "../../gpu/program.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { recordLogits } from "../../models/logits.ts";
import { packSequences } from "../../models/packed_batch.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { Tokenizer } from "../../models/tokenizer.ts";
import { RolloutEngine } from "../../trainer/rollout.ts";
import { maxDifference, type Report } from "../goldens/report.ts";

interface Case {
  prompt: string;
  input_ids: number[];
  greedy_ids: number[];
  greedy_text: string;
  token_logprobs: number[];
  token_entropies: number[];
  last_prompt_logits: number[];
}

/** Checks every folder of `<data>/models` that has a reference.json. */
export async function checkModels(gpu: Gpu, dataFolder: string, report: Report): Promise<void> {
  let models = 0;
  for await (const entry of Deno.readDir(`${dataFolder}/models`)) {
    const folder = `${dataFolder}/models/${entry.name}`;
    const text = await Deno.readTextFile(`${folder}/reference.json`).catch(() => undefined);
    if (text === undefined) continue;
    models++;
    await checkModel(gpu, folder, entry.name, JSON.parse(text).cases, report);
  }
  if (models === 0) report("models with a reference.json", Infinity, 0);
}

async function checkModel(
  gpu: Gpu,
  folder: string,
  name: string,
  cases: Case[],
  report: Report,
): Promise<void> {
  const model = await CausalLM.load(gpu, folder);
  const tokenizer = await Tokenizer.load(folder);
  const longest = Math.max(...cases.map((c) => c.input_ids.length + c.greedy_ids.length));
  const graph = new SequenceGraph(model, { tokens: longest });
  const worst = { encodings: 0, greedy: 0, text: 0, logp: 0, entropy: 0, logits: 0 };
  const most = (key: keyof typeof worst, value: number) => worst[key] = Math.max(worst[key], value);
  const engine = new RolloutEngine(model, { slots: 4, blockSize: 16, chunk: 16, maxLength: longest + 1 });
  const rollouts = await engine.generate(cases.map((c) => c.input_ids), {
    temperature: 0,
    top_p: 1,
    top_k: 0,
    min_p: 0,
    repetition_penalty: 1,
    max_tokens: Math.max(...cases.map((c) => c.greedy_ids.length)),
    stop: [],
    seed: 0,
  });
  const vocabulary = model.config.vocab_size;
  const logits = gpu.alloc("logits", [longest, vocabulary], "scratch");
  for (const [i, c] of cases.entries()) {
    const encoded = tokenizer.encode(c.prompt, { addSpecialTokens: true });
    worst.encodings += JSON.stringify(encoded) === JSON.stringify(c.input_ids) ? 0 : 1;
    const greedy = [...rollouts[i].tokens].slice(0, c.greedy_ids.length);
    worst.greedy += JSON.stringify(greedy) === JSON.stringify(c.greedy_ids) ? 0 : 1;
    const ids = [...c.input_ids, ...c.greedy_ids];
    worst.text += tokenizer.decode(ids, { skipSpecialTokens: true }).trim() === c.greedy_text.trim() ? 0 : 1;
    graph.load(packSequences([{ ids, scoreFrom: 1 }]));
    await graph.forward();
    const program = new Program(gpu, "logits");
    recordLogits(program, model, graph.normed, logits, ids.length);
    await program.run();
    const [result, rows] = await gpu.read(graph.result, logits);
    program.destroy();
    const column = (k: number) => ids.slice(1).map((_, t) => result[4 * t + k]);
    most("logp", maxDifference(column(0), c.token_logprobs));
    most("entropy", maxDifference(column(1), c.token_entropies));
    const at = (c.input_ids.length - 1) * vocabulary;
    most("logits", maxDifference(rows.subarray(at, at + c.last_prompt_logits.length), c.last_prompt_logits));
  }
  report(`${name} prompt encodings`, worst.encodings, 0, `${cases.length} prompts`);
  report(`${name} greedy ids`, worst.greedy, 0);
  report(`${name} greedy text`, worst.text, 0);
  report(`${name} log-probabilities`, worst.logp, 5e-4);
  report(`${name} entropies`, worst.entropy, 5e-4);
  report(`${name} logits after the prompt`, worst.logits, 1e-3);
  gpu.pool.free(logits);
  engine.free();
  graph.free();
  model.parameters.free();
}
