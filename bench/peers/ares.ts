/** This project itself, as a process like its peers'. @module */
import { Gpu } from "../../gpu/device.ts";
import { Program } from "../../gpu/program.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { type ModelConfig, parseModelConfig } from "../../models/config.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { linearKernels } from "../../shaders/linear.ts";
import { AdamW } from "../../trainer/optimizer.ts";
import { RolloutEngine } from "../../trainer/rollout.ts";
import { SftTrainer } from "../../trainer/sft.ts";
import { grpoIteration } from "./ares_grpo.ts";
import { processorName } from "./processor.ts";
import { serve, type Session } from "./serve.ts";
import {
  ADAMW,
  type GenerateWork,
  type MatmulWork,
  type PeerModel,
  spread,
  tokenIds,
  TOP_P,
  type TrainWork,
  weights,
  type Work,
} from "./work.ts";

/** Steps between two reads, the default of `worker.rollout.chunk`. */
const CHUNK = 16;

function configOf(model: PeerModel): ModelConfig {
  return parseModelConfig(
    {
      ...model,
      model_type: "qwen2",
      max_position_embeddings: 256,
      tie_word_embeddings: true,
    },
    "bench: peers",
  );
}

function adamw(gpu: Gpu, model: CausalLM): AdamW {
  return new AdamW(gpu, model.parameters, {
    lr: ADAMW.lr,
    betas: [ADAMW.beta1, ADAMW.beta2],
    eps: ADAMW.eps,
    weight_decay: ADAMW.weightDecay,
    max_grad_norm: ADAMW.maxNorm,
  });
}

/** The forward product of a linear layer; its weight is the transpose of B. */
function matmul(gpu: Gpu, { m, k, n }: MatmulWork): Session["run"] {
  const { forward } = linearKernels[gpu.facts.software ? "linear" : "linear_tiled"];
  const b = spread(k * n);
  const weight = Float32Array.from(
    { length: n * k },
    (_, i) => b[i % k * n + Math.floor(i / k)],
  );
  const y = gpu.alloc("c", [m, n], "data");
  const program = new Program(gpu, "matmul").add(
    forward,
    {
      x: gpu.tensor("a", [m, k], spread(m * k)),
      weight: gpu.tensor("b", [n, k], weight),
      y,
    },
    { tokens: m, inputs: k, outputs: n, stride: n, accumulate: 0 },
  );
  return async (repeats) => {
    await program.run(repeats);
    return (await gpu.readF32(y))[n + 2];
  };
}

async function train(gpu: Gpu, w: TrainWork): Promise<Session["run"]> {
  const model = await CausalLM.create(gpu, configOf(w.model), weights, {
    trainable: true,
  });
  const graph = new SequenceGraph(model, {
    tokens: w.sequences * w.length,
    train: true,
  });
  const trainer = new SftTrainer(graph, adamw(gpu, model));
  const ids = Uint32Array.from(
    tokenIds(w.sequences * w.length, w.model.vocab_size),
  );
  const batch = Array.from({ length: w.sequences }, (_, i) => ({
    ids: ids.subarray(i * w.length, (i + 1) * w.length),
    scoreFrom: 1,
  }));
  return async (repeats) => {
    let loss = NaN;
    for (let i = 0; i < repeats; i++) loss = (await trainer.step(batch)).loss;
    return loss;
  };
}

async function generate(gpu: Gpu, w: GenerateWork): Promise<Session["run"]> {
  const model = await CausalLM.create(gpu, configOf(w.model), weights);
  const engine = new RolloutEngine(model, {
    slots: w.sequences,
    blockSize: 16,
    chunk: CHUNK,
    maxLength: w.prompt + w.fresh,
  });
  const ids = tokenIds(w.sequences * w.prompt, w.model.vocab_size);
  const prompts = Array.from(
    { length: w.sequences },
    (_, i) => [...ids.subarray(i * w.prompt, (i + 1) * w.prompt)],
  );
  let seed = 0;
  return async (repeats) => {
    let tokens = 0;
    for (let i = 0; i < repeats; i++) {
      const rollouts = await engine.generate(prompts, {
        temperature: 1,
        top_p: TOP_P,
        top_k: 0,
        min_p: 0,
        repetition_penalty: 1,
        max_tokens: w.fresh,
        stop: [],
        seed: seed++,
      });
      tokens = rollouts.reduce((n, r) => n + r.tokens.length, 0);
    }
    return tokens;
  };
}

async function open(work: Work): Promise<Session> {
  const gpu = await Gpu.open();
  const { name, driver, software } = gpu.facts;
  // A software adapter is as fast as its processor, whose name it does not tell.
  const what = JSON.stringify({ adapter: software ? `${name} on ${processorName()}` : name, driver });
  switch (work.kind) {
    case "matmul":
      return { what, run: matmul(gpu, work) };
    case "train":
      return { what, run: await train(gpu, work) };
    case "generate":
      return { what, run: await generate(gpu, work) };
    case "grpo":
      return {
        what,
        run: await grpoIteration(gpu, work, configOf(work.model)),
      };
  }
}

await serve(open);
