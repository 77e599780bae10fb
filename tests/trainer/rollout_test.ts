import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import type { CausalLM } from "../../models/causal_lm.ts";
import { scoreTokens } from "../../models/scoring.ts";
import {
  type ChunkProgress,
  type GenerateOptions,
  type Rollout,
  RolloutEngine,
  type RolloutEngineOptions,
} from "../../trainer/rollout.ts";
import { randomSequences, randomWeights, tinyConfig, tinyModel } from "../models/tiny_model.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
const CONFIG = tinyConfig({ num_hidden_layers: 2, max_position_embeddings: 96 });
const SAMPLING: GenerateOptions = {
  temperature: 0.9,
  top_p: 0.95,
  top_k: 0,
  min_p: 0,
  repetition_penalty: 1,
  max_tokens: 20,
  stop: [3, 50, 77],
  seed: 11,
  n: 3,
};

/** Prompts of very different lengths, among them one token, one block, one block and one. */
const PROMPTS = randomSequences(CONFIG, [[1, 1], [4, 1], [5, 1], [17, 1], [30, 1], [9, 1]]).map((s) =>
  Array.from(s.ids)
);

async function model(): Promise<CausalLM> {
  return await tinyModel(await oneGpu(), CONFIG, randomWeights(CONFIG, 4));
}

async function generate(
  m: CausalLM,
  engine: Partial<RolloutEngineOptions>,
  changes: Partial<GenerateOptions> = {},
  prompts: readonly number[][] = PROMPTS,
  keys?: number[],
): Promise<Rollout[]> {
  const e = new RolloutEngine(m, { slots: 4, blockSize: 4, chunk: 8, maxLength: 96, ...engine });
  try {
    return await e.generate(prompts.map((ids, i) => ({ ids, key: [keys?.[i] ?? i] })), {
      ...SAMPLING,
      ...changes,
    });
  } finally {
    e.free();
  }
}

const plain = (rollouts: readonly Rollout[]) =>
  rollouts.map((r) => [r.prompt, r.sample, r.finish, ...r.tokens]);

Deno.test({
  name: "rollout: the same tokens whatever the slots, the chunk, the block size and the company",
  ...options,
  fn: async () => {
    const m = await model();
    const whole = plain(await generate(m, { slots: 18 }));
    assertEquals(whole.length, 18);
    assert(new Set(whole.map((r) => r.join())).size === 18, "rollouts of one prompt differ");
    for (
      const engine of [
        { slots: 1, chunk: 3 },
        { slots: 4, chunk: 16 },
        { slots: 7, chunk: 1, blockSize: 16 },
        { slots: 5, blockSize: 1 },
      ]
    ) {
      assertEquals(plain(await generate(m, engine)), whole);
    }
    const alone = plain(await generate(m, { slots: 2 }, {}, [PROMPTS[4]], [4]));
    assertEquals(alone, whole.filter((r) => r[0] === 4).map((r) => [0, ...r.slice(1)]));
    assert(
      JSON.stringify(plain(await generate(m, {}, { seed: 12 }))) !== JSON.stringify(whole),
      "another seed",
    );
    m.parameters.free();
  },
});

Deno.test({
  name: "rollout: log-probabilities and entropies are those of the training graph",
  ...options,
  fn: async () => {
    const m = await model();
    const rollouts = await generate(m, {});
    const scores = await scoreTokens(
      m,
      rollouts.map((r) => ({
        ids: [...PROMPTS[r.prompt], ...r.tokens],
        scoreFrom: PROMPTS[r.prompt].length,
      })),
      { temperature: SAMPLING.temperature },
    );
    rollouts.forEach((r, i) => {
      r.logps.forEach((logp, t) => {
        assert(Math.abs(logp - scores[i].logp[t]) < 1e-5, `logp ${logp} against ${scores[i].logp[t]}`);
        assert(Math.abs(r.entropies[t] - scores[i].entropy[t]) < 1e-5);
      });
    });
    m.parameters.free();
  },
});

Deno.test({
  name: "rollout: ends at a stop token, which it keeps, or at the length",
  ...options,
  fn: async () => {
    const m = await model();
    const rollouts = await generate(m, {}, { n: 6 });
    for (const r of rollouts) {
      const at = r.tokens.findIndex((t) => SAMPLING.stop.includes(t));
      if (r.finish === "stop") assertEquals(at, r.tokens.length - 1);
      else assertEquals([at, r.tokens.length], [-1, SAMPLING.max_tokens]);
    }
    assert(rollouts.some((r) => r.finish === "stop") && rollouts.some((r) => r.finish === "length"));
    const one = await generate(m, {}, { max_tokens: 1, stop: [] });
    assert(one.every((r) => r.tokens.length === 1 && r.finish === "length"));
    // The context ends a sequence too.
    const long = await generate(m, { maxLength: 32 }, { stop: [], max_tokens: 90 }, [PROMPTS[4]]);
    assert(long.every((r) => r.tokens.length === 2 && r.finish === "length"));
    m.parameters.free();
  },
});

Deno.test({
  name:
    "rollout: the most likely token of every step is told where asked: greedy takes it, sampling not always",
  ...options,
  fn: async () => {
    const m = await model();
    assertEquals((await generate(m, {}))[0].topTokens, undefined);
    for (const r of await generate(m, { topTokens: true }, { temperature: 0, n: 1 })) {
      assertEquals(r.topTokens, r.tokens);
    }
    const sampled = await generate(m, { topTokens: true });
    assertEquals(plain(sampled), plain(await generate(m, {})));
    let elsewhere = 0;
    const scores = await scoreTokens(
      m,
      sampled.map((r) => ({
        ids: [...PROMPTS[r.prompt], ...r.topTokens!.slice(0, 1)],
        scoreFrom: PROMPTS[r.prompt].length,
      })),
    );
    sampled.forEach((r, i) => {
      if (r.tokens[0] !== r.topTokens![0]) elsewhere++;
      // No other token is likelier than the most likely one: at least 1/V.
      assert(scores[i].logp[0] >= -Math.log(CONFIG.vocab_size));
      assertEquals(r.topTokens!.length, r.tokens.length);
    });
    assert(elsewhere > 0);
    m.parameters.free();
  },
});

Deno.test({
  name: "rollout: greedy takes the best token, top-k 1 too; banned tokens never come",
  ...options,
  fn: async () => {
    const m = await model();
    const greedy = plain(await generate(m, {}, { temperature: 0, n: 1 }));
    assertEquals(plain(await generate(m, {}, { temperature: 1, top_k: 1, n: 1 })), greedy);
    const favourite = greedy[0][3] as number;
    const without = await generate(m, { banned: [favourite] }, { n: 8 });
    assert(without.every((r) => !r.tokens.includes(favourite)));
    m.parameters.free();
  },
});

Deno.test({
  name: "rollout: the repetition penalty sees the prompt and what was sampled",
  ...options,
  fn: async () => {
    const m = await model();
    const strong = await generate(m, {}, {
      temperature: 0,
      repetition_penalty: 1e6,
      n: 1,
      stop: [],
      max_tokens: 30,
    });
    for (const r of strong) {
      const all = [...new Set(PROMPTS[r.prompt]), ...r.tokens];
      assertEquals(new Set(all).size, all.length, "a token came twice");
    }
    m.parameters.free();
  },
});

Deno.test({
  name: "rollout: an engine serves again after an error and after an abort, and leaks nothing",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const m = await model();
    const before = gpu.pool.report().bytes;
    const engine = new RolloutEngine(m, { slots: 3, blockSize: 4, chunk: 4, maxLength: 96 });
    const prompts = PROMPTS.map((ids, i) => ({ ids, key: [i] }));
    await assertRejects(() => engine.generate([[]], SAMPLING), UserError, "empty");
    await assertRejects(() => engine.generate([Array(96).fill(1)], SAMPLING), UserError, "96 tokens");
    await assertRejects(() => engine.generate([[1, 105]], SAMPLING), UserError, "vocabulary has 105");
    const stop = new AbortController();
    await engine.generate(prompts, { ...SAMPLING, signal: stop.signal, onChunk: () => stop.abort() });
    const again = await engine.generate(prompts, SAMPLING);
    assertEquals(plain(again), plain(await generate(m, { slots: 18 })));
    engine.free();
    assertEquals(gpu.pool.report().bytes, before);
    m.parameters.free();
  },
});

/** Tokens made and slots computed, all steps together. */
async function work(
  m: CausalLM,
  engine: Partial<RolloutEngineOptions>,
  changes: Partial<GenerateOptions>,
  prompts: readonly number[][],
): Promise<{ tokens: number; computed: number }> {
  const sum = { tokens: 0, computed: 0 };
  const onChunk = (p: ChunkProgress) => {
    sum.tokens += p.tokens;
    sum.computed += p.computed;
  };
  await generate(m, engine, { stop: [], onChunk, ...changes }, prompts);
  return sum;
}

Deno.test({
  name: "rollout: a slot goes on at the step after its sequence has ended, and empty slots are not computed",
  ...options,
  fn: async () => {
    const m = await model();
    // Sixteen sequences of 12 tokens in four slots end within chunks of 5; only the last chunk has steps without use.
    const full = await work(m, { slots: 4, chunk: 5, maxLength: 24 }, { n: 8, max_tokens: 12 }, [[1, 2], [
      3,
    ]]);
    assertEquals(full.tokens, 16 * 12);
    assert(full.computed <= full.tokens + 4 * 5, `${full.computed} for ${full.tokens}`);
    // Four end after two tokens, in the first slots; the others go on alone for 76.
    const long = Array.from({ length: 94 }, (_, i) => i % 100);
    const tail = await work(m, { slots: 8, chunk: 8 }, { n: 4, max_tokens: 76 }, [long, [5]]);
    assertEquals(tail.tokens, 4 * 2 + 4 * 76);
    assert(tail.computed <= 4 * 76 + 4 * 2 * 8, `${tail.computed} for ${tail.tokens}`);
    m.parameters.free();
  },
});

Deno.test({
  name: "rollout: weights that are not finite are named as the cause, at the token where it shows",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const m = await model();
    gpu.write(m.parameters.get("model.norm.weight").weight, Float32Array.of(NaN));
    await assertRejects(() => generate(m, {}), UserError, "not finite");
    m.parameters.free();
  },
});
