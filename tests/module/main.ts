/**
 * A second project that knows the package by its name only: makes a small model, trains it in both stages and looks
 * into it. Prints one line per fact; `tests/mod_test.ts` reads them.
 */
import {
  CausalLM,
  Gpu,
  gradeAll,
  initialWeights,
  loadConfig,
  loadModelConfig,
  lossAndGradients,
  modelFiles,
  Policy,
  scoreTokens,
  silent,
  train,
} from "@ares-webgpu/trainer";

const folder = await Deno.makeTempDir({ prefix: "ares-module-" });
const gpu = await Gpu.open();
try {
  const base = `${folder}/base`;
  await Deno.mkdir(base);
  for (const [name, text] of Object.entries(modelFiles("text"))) {
    await Deno.writeTextFile(`${base}/${name}`, text);
  }
  const size = { num_hidden_layers: 1, hidden_size: 32, intermediate_size: 64, num_attention_heads: 2 };
  const shape = { ...JSON.parse(await Deno.readTextFile(`${base}/config.json`)), ...size };
  await Deno.writeTextFile(`${base}/config.json`, JSON.stringify(shape));
  const fresh = await CausalLM.create(gpu, await loadModelConfig(base), initialWeights(1));
  await fresh.save(base, { copyFrom: base });
  fresh.parameters.free();

  const { config } = loadConfig({
    preset: "smoke",
    overrides: [
      `worker.actor.model.model_path=${base}`,
      `trainer.save_checkpoint_path=${folder}/run`,
      "data.max_response_length=48",
      "adacs.batch_size=8",
      "adacs.lr=5e-3",
      "adacs.max_tokens=1400",
      // A model this new is never right; that shorter responses are paid more gives it something to learn.
      "algorithm.online_filtering=false",
      "worker.reward.overlong_buffer_length=48",
    ],
  });
  const summary = await train(gpu, { config, evaluate: false, monitor: silent });
  for (const line of (await Deno.readTextFile(`${summary.folder}/metrics.jsonl`)).trim().split("\n")) {
    const m = JSON.parse(line);
    if (m.stage === "adacs") console.log(`adacs ${m.step} loss ${m["sft/loss"]}`);
    else console.log(`aepo ${m.step} loss ${m["actor/pg_loss"]} norm ${m["actor/grad_norm"]}`);
  }

  const policy = await Policy.load(gpu, summary.model!, {
    trainable: true,
    prompts: config.data,
    micro_batch_tokens: 1024,
    recompute: false,
    max_num_seqs: 2,
    block_size: 16,
    chunk: 16,
  });
  const prompt = policy.writer.prompt("what is 3+4?");
  const [rollout] = await policy.engine.generate([prompt], {
    temperature: 1,
    top_p: 1,
    top_k: 0,
    min_p: 0,
    repetition_penalty: 1,
    max_tokens: 12,
    stop: policy.generation.eos_token_id,
    seed: 1,
  });
  const sequence = { ids: [...prompt, ...rollout.tokens], scoreFrom: prompt.length };
  const [scores] = await scoreTokens(policy.model, [sequence]);
  const gap = Math.max(...scores.logp.map((x, i) => Math.abs(x - rollout.logps[i])));
  console.log(`sampled ${rollout.tokens.length} tokens, logp gap ${gap}`);
  const { loss, gradients } = await lossAndGradients(policy.model, [sequence]);
  console.log(`loss ${loss} over ${gradients.size} gradients`);
} finally {
  gpu.close();
  await Deno.remove(folder, { recursive: true });
}

// Only the LaTeX engine decides this one, and it runs in a worker of the package.
const [verdict] = await gradeAll([{ gold: "\\int_0^1 2x\\,dx", answer: "\\boxed{1}" }], {
  timeLimitMs: 20_000,
});
console.log(`graded ${verdict.same} by ${verdict.by}`);
