import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { SHAPES } from "../../bench/shapes.ts";
import { microRows } from "../../data/micro/world.ts";
import { Rng } from "../../data/random.ts";
import type { Gpu } from "../../gpu/device.ts";
import { elements, type MemoryClass } from "../../gpu/tensor.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { computedRows, groupByTokens, type Sequence } from "../../models/packed_batch.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { Tokenizer } from "../../models/tokenizer.ts";
import { curriculumBatches } from "../../trainer/adacs.ts";
import { loadConfig } from "../../trainer/config.ts";
import { perBucket } from "../../trainer/difficulty.ts";
import { AdamW } from "../../trainer/optimizer.ts";
import type { Companions, Policy } from "../../trainer/policy.ts";
import { PolicyUpdate, type UpdateSettings } from "../../trainer/policy_update.ts";
import { type Problem, PromptWriter } from "../../trainer/problems.ts";
import { RolloutEngine } from "../../trainer/rollout.ts";
import { SftTrainer } from "../../trainer/sft.ts";
import { groupsOf } from "../../trainer/shape_batch.ts";
import type { ShapedTrajectory } from "../../trainer/trajectory.ts";
import { counting } from "../gpu/device_counts.ts";
import { randomSequences, randomWeights, tinyConfig, tinyModel } from "../models/tiny_model.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
const ADAMW = { lr: 1e-3, betas: [0.9, 0.99] as const, eps: 1e-8, weight_decay: 0, max_grad_norm: 1 };
const SETTINGS: UpdateSettings = {
  klBudget: {
    weights: () => perBucket(() => ({ outside: 0.05, inside: 0.02 })),
    readsSequences: false,
    afterStep: () => {},
  },
  threshold: 0.5,
  lr: 1e-3,
};

/** What a policy's update asks of it, around a model of any size. */
function updateOf(model: CausalLM, tokens: number, ...overrides: string[]) {
  const { config } = loadConfig({ overrides: [`worker.actor.micro_batch_tokens=${tokens}`, ...overrides] });
  const optimizer = new AdamW(model.gpu, model.parameters, { ...ADAMW });
  let graph: SequenceGraph | undefined;
  let beside: Companions = {};
  const policy = {
    model,
    tokensPerPass: tokens,
    patchesPerPass: 0,
    get graph() {
      return graph ??= new SequenceGraph(model, { tokens, train: true, ...beside });
    },
    accompany(companions: Companions) {
      graph?.free();
      graph = undefined;
      beside = companions;
    },
  } as unknown as Policy;
  const reference = config.algorithm.disable_kl ? undefined : model.frozenCopy();
  const update = new PolicyUpdate(policy, reference, optimizer, config);
  return {
    update,
    free: () => {
      update.free();
      reference?.parameters.free();
      graph?.free();
      optimizer.free();
    },
  };
}

type Sampled = Pick<ShapedTrajectory, "group" | "sample" | "tokens" | "logps" | "entropies"> & {
  prompt: number[];
};

/** Trajectories as they come to the update, by group. */
function shaped(list: readonly Sampled[]): ShapedTrajectory[][] {
  const all = list.map(({ prompt, ...r }): ShapedTrajectory => ({
    ...r,
    problem: { row: { id: `${r.group}`, problem: "", answer: "", source: "" }, prompt, candidates: [] },
    text: "",
    finish: "stop",
    accuracy: r.sample % 2,
    format: 0,
    advantage: r.sample % 2 - 0.5,
    lambda: 0.1,
    bucket: "medium",
    windows: r.entropies,
    mask: new Float32Array(r.tokens.length),
    highEntropy: 0,
    reward: { overall: r.sample % 2, shaping: 0, format: 0, overlong: 0 },
  }));
  return [...groupsOf(all).values()].map((members) => members.map((i) => all[i]));
}

/** `groups` of two made-up rollouts of 10 tokens after prompts of 5. */
function made(groups: number): ShapedTrajectory[][] {
  const rng = new Rng("training cost");
  const ids = (n: number) => Array.from({ length: n }, () => rng.below(105));
  return shaped(
    Array.from({ length: 2 * groups }, (_, i) => ({
      group: i >> 1,
      sample: i % 2,
      prompt: ids(5),
      tokens: Uint32Array.from(ids(10)),
      logps: new Float32Array(10).fill(-4.6),
      entropies: new Float32Array(10).fill(4.6),
    })),
  );
}

async function withTiny(body: (gpu: Gpu, model: CausalLM) => Promise<void>): Promise<void> {
  const gpu = await oneGpu();
  const config = tinyConfig();
  const model = await tinyModel(gpu, config, randomWeights(config));
  await body(gpu, model);
  model.parameters.free();
}

Deno.test({
  name: "training cost: a pass is one submit and an optimizer step one wait, in fine-tuning",
  ...options,
  fn: () =>
    withTiny(async (gpu, model) => {
      const graph = new SequenceGraph(model, { tokens: 40, train: true });
      const optimizer = new AdamW(gpu, model.parameters, { ...ADAMW });
      const sft = new SftTrainer(graph, optimizer);
      const batch = (n: number) =>
        randomSequences(model.config, Array.from({ length: n }, () => [15, 5] as [number, number]));
      // Builds.
      await sft.step(batch(12));
      const cost = (n: number) =>
        counting(gpu.device, async (counts) => {
          await sft.step(batch(n));
          return { ...counts };
        });
      const [two, twelve] = [await cost(2), await cost(12)];
      assertEquals(groupByTokens(batch(12), 40).length, 6);
      assertEquals(twelve.submits - two.submits, 5);
      assertEquals([two.waits, twelve.waits], [1, 1]);
      // The update, the read, and clearing the gradients.
      assertEquals(two.submits, 1 + 3);
      assertEquals([twelve.buffers, twelve.textures, twelve.bindGroups], [0, 0, 0]);
      sft.free();
      optimizer.free();
      graph.free();
    }),
});

Deno.test({
  name:
    "training cost: a pass of the policy's update is one submit, all reference passes and a step one wait each",
  ...options,
  fn: () =>
    withTiny(async (gpu, model) => {
      // Two passes of four rollouts for each mini-batch, of which there are two; the micro-batch bounds the reference too.
      const size = ["data.rollout_batch_size=8", "worker.actor.global_batch_size=4"];
      for (
        const [override, atReference, passes, waits] of [
          ["algorithm.disable_kl=false", false, 4 + 4, 3],
          ["algorithm.disable_kl=false", true, 4, 2],
          ["algorithm.disable_kl=true", false, 4, 2],
          ["algorithm.kl_penalty=full", false, 4, 2],
        ] as const
      ) {
        const { update, free } = updateOf(model, 60, ...size, override);
        const settings = { ...SETTINGS, atReference };
        const cost = () =>
          counting(gpu.device, async (counts) => {
            const { steps, metrics } = await update.run(made(8), settings, { lap: () => {} });
            assertEquals(steps.length, 2);
            assert(steps.every((s) => s.applied));
            assertEquals(metrics["perf/padding"], 1 - 60 / 64);
            return { ...counts };
          });
        await cost();
        const counts = await cost();
        const what = `${override} ${atReference}`;
        assertEquals(counts.waits, waits, what);
        // Of a step: the sums set to zero, the update, the read, the gradients set to zero; of the reference the read.
        assertEquals(counts.submits, passes + 2 * 4 + waits - 2, what);
        assertEquals([counts.buffers, counts.textures, counts.bindGroups], [0, 0, 0], what);
        free();
      }
    }),
});

Deno.test({
  name: "training cost: at the reference's weights its pass is left out and changes nothing",
  ...options,
  fn: async () => {
    const weights = async (atReference: boolean) => {
      let after: Float32Array = new Float32Array(0);
      await withTiny(async (gpu, model) => {
        const engine = new RolloutEngine(model, { slots: 4, blockSize: 8, chunk: 8, maxLength: 24 });
        const { update, free } = updateOf(model, 60, "data.rollout_batch_size=4");
        const groups = await sampled(engine, 0);
        const kl = { outside: 1, inside: 1 };
        const klBudget = { ...SETTINGS.klBudget, weights: () => perBucket(() => kl) };
        const before = await gpu.readF32(model.headWeight.weight);
        await update.run(groups, { ...SETTINGS, klBudget, atReference }, { lap: () => {} });
        after = await gpu.readF32(model.headWeight.weight);
        assert(largest(before, after) > 1e-3);
        engine.free();
        free();
      });
      return after;
    };
    const [with_, without] = [await weights(false), await weights(true)];
    const moved = largest(with_, without);
    assert(moved < 1e-5, `${moved}`);
  },
});

const largest = (a: Float32Array, b: Float32Array) => Math.max(...a.map((x, i) => Math.abs(x - b[i])));

/** Two rollouts from each of two prompts; every third step's are the longest. */
async function sampled(engine: RolloutEngine, step: number): Promise<ShapedTrajectory[][]> {
  const rng = new Rng("prompts", step);
  const prompts = [0, 1].map(() => Array.from({ length: 9 - step % 3 }, () => rng.below(105)));
  const rollouts = await engine.generate(prompts, {
    n: 2,
    temperature: 1,
    top_p: 1,
    top_k: 0,
    min_p: 0,
    repetition_penalty: 1,
    max_tokens: 12 - step % 3,
    stop: [],
    seed: step,
  });
  return shaped(rollouts.map((r) => ({ ...r, group: r.prompt, prompt: prompts[r.prompt] })));
}

/** Rows that all passes compute in `body`. */
async function rowsComputed(body: () => Promise<unknown>): Promise<number> {
  const { load } = SequenceGraph.prototype;
  let rows = 0;
  SequenceGraph.prototype.load = function (batch) {
    rows += computedRows(batch.ids.length);
    load.call(this, batch);
  };
  try {
    await body();
  } finally {
    SequenceGraph.prototype.load = load;
  }
  return rows;
}

/** Problems of the micro-world as a run on the built-in model has them; token ids below 105. */
async function microProblems(count: number): Promise<Problem[]> {
  const folder = new URL("../../models/micro", import.meta.url).pathname;
  const { data } = loadConfig({ overrides: [] }).config;
  const writer = await PromptWriter.load(folder, await Tokenizer.load(folder), data, [0]);
  const { problems } = await writer.problems([...microRows({ seed: data.seed, count, split: "train" })]);
  const below = (ids: readonly number[]) => ids.map((id) => id % 105);
  return problems.map((p) => ({ ...p, prompt: below(p.prompt), candidates: p.candidates.map(below) }));
}

const lengthOf = (sequences: readonly Sequence[]) => sequences.reduce((n, s) => n + s.ids.length, 0);

Deno.test({
  name: "training cost: under 5 % of the rows that the micro-world's batches compute are padding",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const tiny = tinyConfig({ max_position_embeddings: 512 });
    const model = await tinyModel(gpu, tiny, randomWeights(tiny));
    const { adacs, data, worker: { actor, rollout } } = loadConfig({ overrides: [] }).config;
    const problems = await microProblems(64);
    const examples = problems.flatMap((p, problem) =>
      p.candidates.map((_, candidate) => ({ problem, candidate }))
    );
    const batches = curriculumBatches({ examples } as any, problems, adacs.batch_size) as Sequence[][];
    // Rollouts of every length up to where they are cut, as many short ones as long ones by their logarithms.
    const rng = new Rng("padding");
    const ids = (n: number) => Uint32Array.from({ length: n }, () => rng.below(105));
    const most = data.max_response_length;
    const groups = shaped(
      problems.slice(0, data.rollout_batch_size).flatMap(({ prompt }, group) =>
        Array.from({ length: rollout.n }, (_, sample): Sampled => {
          const length = Math.min(most, Math.ceil(8 * (1.5 * most / 8) ** rng.float()));
          return {
            group,
            sample,
            prompt: [...prompt],
            tokens: ids(length),
            logps: new Float32Array(length).fill(-4.6),
            entropies: new Float32Array(length).fill(4.6),
          };
        })
      ),
    );
    const rollouts = groups.flat().map((t) => [...t.problem.prompt, ...t.tokens].length);
    const tokens = rollouts.reduce((a, b) => a + b);

    const graph = new SequenceGraph(model, { tokens: actor.micro_batch_tokens, train: true });
    const optimizer = new AdamW(gpu, model.parameters, { ...ADAMW });
    const sft = new SftTrainer(graph, optimizer);
    const tuned = await rowsComputed(async () => {
      for (const batch of batches) await sft.step(batch);
    });
    const tuning = 1 - lengthOf(batches.flat()) / tuned;
    assert(tuning >= 0 && tuning < 0.05, `fine-tuning: ${tuning}`);
    sft.free();
    optimizer.free();
    graph.free();

    const padding = async (...overrides: string[]) => {
      const { update, free } = updateOf(
        model,
        actor.micro_batch_tokens,
        "algorithm.disable_kl=true",
        ...overrides,
      );
      let told = NaN;
      const rows = await rowsComputed(async () => {
        const { metrics } = await update.run(groups, { ...SETTINGS, atReference: true }, { lap: () => {} });
        told = metrics["perf/padding"];
      });
      free();
      const counted = 1 - actor.ppo_epochs * tokens / rows;
      assertAlmostEquals(told, counted, 1e-12);
      return counted;
    };
    const packed = await padding();
    assert(packed >= 0 && packed < 0.05, `update: ${packed}`);
    // Both ways of not packing these end to end would show: each alone, and all as long as the longest.
    const alone = await padding("worker.actor.micro_batch_size_per_device_for_update=1");
    assert(alone > 0.1, `alone: ${alone}`);
    assert(1 - tokens / (Math.max(...rollouts) * rollouts.length) > 0.1);
    model.parameters.free();
  },
});

Deno.test({
  name: "training cost: nothing grows in two hundred steps of rollouts, fine-tuning and updates",
  ...options,
  fn: () =>
    withTiny((gpu, model) =>
      counting(gpu.device, async (counts) => {
        const engine = new RolloutEngine(model, { slots: 3, blockSize: 8, chunk: 12, maxLength: 24 });
        const { update, free } = updateOf(model, 48, "data.rollout_batch_size=2");
        const graph = new SequenceGraph(model, { tokens: 48, train: true, recompute: true });
        const optimizer = new AdamW(gpu, model.parameters, { ...ADAMW });
        const sft = new SftTrainer(graph, optimizer);
        const state = () => {
          const { buffers, textures, bindGroups, shaders, pipelines } = counts;
          return { buffers, textures, bindGroups, shaders, pipelines, pool: gpu.pool.report() };
        };
        let third: ReturnType<typeof state> | undefined;
        for (let step = 0; step < 200; step++) {
          const { steps } = await update.run(await sampled(engine, step), SETTINGS, { lap: () => {} });
          assert(steps.every((s) => s.applied));
          await sft.step(randomSequences(model.config, [[16 - step % 3, 4], [24 - step % 3, 8]], step));
          if (step === 2) third = state();
        }
        assertEquals(state(), third);
        assert(third!.buffers > 0 && third!.bindGroups > 0 && third!.pipelines > 0);
        sft.free();
        optimizer.free();
        graph.free();
        free();
        engine.free();
      })
    ),
});

Deno.test({
  name: "training cost: with recomputation a step of the small model takes less than 1.3 times what it must",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const { config: c, tokens: T } = SHAPES.small;
    const { byClass: before } = gpu.pool.report();
    const zeros = (_: string, shape: readonly number[]) => new Float32Array(elements(shape));
    const model = await CausalLM.create(gpu, c, zeros, { trainable: true });
    const optimizer = new AdamW(gpu, model.parameters, { ...ADAMW });
    const attended = c.num_attention_heads * c.head_dim;
    const qkv = attended + 2 * c.num_key_value_heads * c.head_dim;
    // Both norms with their scales, qkv, attention with its log-sum-exp, the residual, gate and up, their product.
    const block = 2 * (c.hidden_size + 1) + qkv + attended + c.num_attention_heads + c.hidden_size +
      3 * c.intermediate_size;
    const inputs = (c.num_hidden_layers + 1) * c.hidden_size;
    const must = 4 * (4 * model.parameters.count + T * (block + inputs));
    const held = async (recompute: boolean) => {
      const graph = new SequenceGraph(model, { tokens: T, train: true, recompute });
      await graph.programs.forward.build();
      await graph.programs.backward!.build();
      await optimizer.program.build();
      const { byClass } = gpu.pool.report();
      const own = Object.entries(byClass).map(([k, n]) => [k, n - before[k as MemoryClass]] as const);
      graph.free();
      const all = own.reduce((sum, [, n]) => sum + n, 0);
      return { all: all / must, buffers: (all - Object.fromEntries(own).mirror) / must };
    };
    const with_ = await held(true);
    assert(with_.all < 1.3 && with_.buffers < 1.15, JSON.stringify(with_));
    assert((await held(false)).buffers > 1.3, "all blocks' activations do not fit");
    optimizer.free();
    model.parameters.free();
    // A model's rotary tables stay.
    assertEquals({ ...gpu.pool.report().byClass, data: before.data }, before);
    gpu.pool.trim();
  },
});
