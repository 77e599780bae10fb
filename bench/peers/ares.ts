/** This project itself, as a process like its peers'. @module */
import type { Gpu } from "../../gpu/device.ts";
import { UserError } from "../../gpu/errors.ts";
import type { Precision } from "../../gpu/kernel.ts";
import { Tuner } from "../../gpu/tuner.ts";
import { Program } from "../../gpu/program.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { addLinear } from "../../shaders/linear.ts";
import { PhaseTimes, steeringSeconds } from "../../trainer/phase_times.ts";
import { RolloutEngine } from "../../trainer/rollout.ts";
import { SftTrainer } from "../../trainer/sft.ts";
import { aepoIterations } from "./ares_aepo.ts";
import { grpoIteration } from "./ares_grpo.ts";
import { adamw, promptsOf, sampling } from "./ares_setup.ts";
import { processorName } from "./processor.ts";
import { serve, type Session, Unavailable } from "./serve.ts";
import { configOf, type GenerateWork, type MatmulWork, type TrainWork, weights, type Work } from "./work.ts";
import { spread, tokenIds } from "../workload.ts";

/** Steps between two reads, the default of `worker.rollout.chunk`. */
const CHUNK = 16;

/** The forward product of a linear layer; its weight is the transpose of B. */
function matmul(gpu: Gpu, { m, k, n }: MatmulWork): Session["run"] {
  const numbers = spread(k * n);
  const weight = new Float32Array(n * k);
  for (let row = 0; row < n; row++) {
    for (let i = 0; i < k; i++) weight[row * k + i] = numbers[i * n + row];
  }
  const y = gpu.alloc("c", [m, n], "data");
  // As a model of this precision stores it.
  const b = gpu.alloc("b", [n, k], "data", gpu.traits.precision === "float16" ? "f16" : "f32");
  gpu.write(b, weight);
  const program = new Program(gpu, "matmul");
  const x = gpu.tensor("a", [m, k], spread(m * k));
  addLinear(program, { x, weight: b, y }, { tokens: m, inputs: k, outputs: n });
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
  const ids = tokenIds(w.sequences * w.length, w.model.vocab_size);
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
  const prompts = promptsOf(w.sequences, w.prompt, w.model.vocab_size);
  let seed = 0;
  return async (repeats) => {
    let tokens = 0;
    for (let i = 0; i < repeats; i++) {
      const rollouts = await engine.generate(prompts, sampling(w.fresh, seed++));
      tokens = rollouts.reduce((n, r) => n + r.tokens.length, 0);
    }
    return tokens;
  };
}

async function aepo(gpu: Gpu, what: string): Promise<Session> {
  const iterate = await aepoIterations(gpu);
  let steering = 0;
  return {
    what,
    async run(repeats) {
      let tokens = 0;
      steering = 0;
      for (let i = 0; i < repeats; i++) {
        const metrics = await iterate();
        tokens = metrics["batch/generated_tokens"] as number;
        const times = new PhaseTimes();
        times.add(metrics);
        steering += steeringSeconds(times.seconds);
      }
      return tokens;
    },
    counted: (seconds) => ({ seconds, steering }),
  };
}

const precision = (Deno.args[1] ?? "float32") as Precision;

async function open(work: Work): Promise<Session> {
  const gpu = await Tuner.open({}, { precision }).catch((error) => {
    throw precision === "float16" && error instanceof UserError ? new Unavailable(error.message) : error;
  });
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
    case "aepo":
      return await aepo(gpu, what);
  }
}

await serve(open);
