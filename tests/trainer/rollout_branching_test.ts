import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import type { CausalLM } from "../../models/causal_lm.ts";
import { KvCache } from "../../models/kv_cache.ts";
import { PrefillGraph } from "../../models/prefill_graph.ts";
import { scoreTokens } from "../../models/scoring.ts";
import { branchesPerRoot, type BranchOptions } from "../../trainer/branching.ts";
import { windowEntropy } from "../../trainer/entropy.ts";
import {
  type GenerateOptions,
  type Rollout,
  RolloutEngine,
  type RolloutEngineOptions,
} from "../../trainer/rollout.ts";
import { counting } from "../gpu/device_counts.ts";
import { randomSequences, randomWeights, tinyConfig, tinyModel } from "../models/tiny_model.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
const CONFIG = tinyConfig({ num_hidden_layers: 2, max_position_embeddings: 96 });
const N = 8;
const BRANCHING: BranchOptions = {
  threshold: 1.6,
  window: 3,
  share: 0.75,
  max_per_trajectory: 2,
  refractory: 4,
};
const SAMPLING: GenerateOptions = {
  temperature: 0.9,
  top_p: 0.95,
  top_k: 0,
  min_p: 0,
  repetition_penalty: 1,
  max_tokens: 30,
  stop: [3, 50, 77, 20],
  seed: 11,
  n: N,
  branching: BRANCHING,
};

/** Prompts whose cached part (all but the last token) fills no, one part of, exactly one and several blocks of four. */
const PROMPTS = randomSequences(CONFIG, [[1, 1], [3, 1], [5, 1], [19, 1]]).map((s) => Array.from(s.ids));

async function model(): Promise<CausalLM> {
  return await tinyModel(await oneGpu(), CONFIG, randomWeights(CONFIG, 4));
}

async function generate(
  m: CausalLM,
  engine: Partial<RolloutEngineOptions> = {},
  changes: Partial<GenerateOptions> = {},
  prompts: readonly number[][] = PROMPTS,
  keys?: number[],
): Promise<Rollout[]> {
  const sampling = { ...SAMPLING, ...changes };
  const branches = sampling.branching ? branchesPerRoot(sampling.n ?? 1, sampling.branching.share) : 0;
  const e = new RolloutEngine(m, { slots: 8, blockSize: 4, chunk: 8, maxLength: 96, branches, ...engine });
  try {
    return await e.generate(prompts.map((ids, i) => ({ ids, key: [keys?.[i] ?? i] })), sampling);
  } finally {
    e.free();
  }
}

/** Tokens and tree without the values, whose last digits depend on the kernels that fit an engine's sizes. */
const plain = (rollouts: readonly Rollout[]) =>
  rollouts.map((r) => ({
    ...r,
    tokens: [...r.tokens],
    logps: undefined,
    entropies: undefined,
    branch: r.branch && { parent: r.branch.parent, step: r.branch.step },
  }));

/** Largest difference of log-probabilities and entropies to those of the training graph over the whole sequences. */
async function gap(m: CausalLM, rollouts: readonly Rollout[]): Promise<number> {
  const scores = await scoreTokens(
    m,
    rollouts.map((r) => ({ ids: [...PROMPTS[r.prompt], ...r.tokens], scoreFrom: PROMPTS[r.prompt].length })),
    { temperature: SAMPLING.temperature },
  );
  return Math.max(...rollouts.flatMap((r, i) => [
    ...Array.from(r.logps, (x, t) => Math.abs(x - scores[i].logp[t])),
    ...Array.from(r.entropies, (x, t) => Math.abs(x - scores[i].entropy[t])),
  ]));
}

Deno.test({
  name: "rollout branching: where no window exceeds τ, the rollouts are those of a run without branching",
  ...options,
  fn: async () => {
    const m = await model();
    const none = plain(await generate(m, {}, { branching: undefined }));
    const high = plain(await generate(m, {}, { branching: { ...BRANCHING, threshold: Infinity } }));
    assertEquals(high, none);
    const unshared = plain(await generate(m, {}, { branching: { ...BRANCHING, share: 0, threshold: 0 } }));
    assertEquals(unshared, none);
    m.parameters.free();
  },
});

Deno.test({
  name: "rollout branching: the same tree whatever the slots, the chunk, the block size and the company",
  ...options,
  fn: async () => {
    const m = await model();
    const whole = plain(await generate(m, { slots: 32 }));
    assertEquals(
      whole.map((r) => [r.prompt, r.sample]),
      PROMPTS.flatMap((_, p) => Array.from({ length: N }, (_, i) => [p, i])),
    );
    const branches = whole.filter((r) => r.branch);
    assert(branches.length >= N, `${branches.length} branches`);
    assert(branches.some((r) => whole[r.prompt * N + r.branch!.parent].branch), "branches of branches");
    assert(whole.some((r) => r.sample >= 2 && !r.branch), "unspent branches are ordinary rollouts");
    for (
      const engine of [
        { slots: 1, chunk: 3 },
        { slots: 3, chunk: 16, blockSize: 16 },
        { slots: 7, chunk: 1 },
        { slots: 5, blockSize: 1 },
      ]
    ) {
      assertEquals(plain(await generate(m, engine)), whole, JSON.stringify(engine));
    }
    const alone = plain(await generate(m, { slots: 2 }, {}, [PROMPTS[3]], [3]));
    assertEquals(alone, whole.filter((r) => r.prompt === 3).map((r) => ({ ...r, prompt: 0 })));
    m.parameters.free();
  },
});

Deno.test({
  name: "rollout branching: at the windows above τ, within the budget, each with random numbers of its own",
  ...options,
  fn: async () => {
    const m = await model();
    const { threshold, window, refractory, max_per_trajectory } = BRANCHING;
    const rollouts = await generate(m, { topTokens: true });
    let apart = 0;
    for (const r of rollouts) {
      const group = rollouts.filter((o) => o.prompt === r.prompt);
      const children = group.filter((o) => o.branch?.parent === r.sample).sort((a, b) => a.sample - b.sample);
      assert(children.length <= max_per_trajectory);
      // Every step where it branched is the first that may: after its start and after its last branch.
      const windows = windowEntropy(r.entropies, window);
      let from = r.branch ? r.branch.step + refractory : 1;
      for (const child of [...children].sort((a, b) => a.branch!.step - b.branch!.step)) {
        const { step, entropy } = child.branch!;
        const first = windows.findIndex((h, t) =>
          t >= from && t + window <= r.tokens.length && h > threshold
        );
        assertEquals([step, entropy], [first, windows[first]]);
        from = step + refractory;
        for (const list of ["tokens", "logps", "entropies"] as const) {
          assertEquals(child[list].slice(0, step), r[list].slice(0, step), `${list} of the prefix`);
        }
        // The same state, so the same entropy and the same most likely token; another draw.
        assertEquals(child.entropies[step], r.entropies[step]);
        assertEquals(child.topTokens!.length, child.tokens.length);
        assertEquals(child.topTokens!.slice(0, step + 1), r.topTokens!.slice(0, step + 1));
        if (child.tokens[step] !== r.tokens[step]) apart++;
      }
    }
    const branches = rollouts.filter((r) => r.branch).length;
    assert(apart > branches / 2, `${apart} of ${branches} branches draw another token`);
    m.parameters.free();
  },
});

Deno.test({
  name:
    "rollout branching: values are those of the training graph; a partial block that is not copied is found out",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const m = await model();
    const good = await gap(m, await generate(m));
    assert(good < 1e-5, `gap ${good}`);
    const { copyRows } = PrefillGraph.prototype;
    let copied = 0;
    for (const mistake of ["nothing is copied", "parent and branch share it"]) {
      // Cached prompts of whole blocks: every copy is a branch's.
      const prompts = PROMPTS.filter((p) => (p.length - 1) % 4 === 0);
      assertEquals(prompts.length, 2);
      const tables = new Map<number, Uint32Array<ArrayBuffer>>();
      const engine = new RolloutEngine(m, { slots: 8, blockSize: 4, chunk: 8, maxLength: 96, branches: 3 });
      const { table } = engine.decode;
      const write = gpu.write.bind(gpu);
      gpu.write = (tensor, data, offset) => {
        if (tensor === table) tables.set(offset!, data as Uint32Array<ArrayBuffer>);
        return write(tensor, data, offset);
      };
      PrefillGraph.prototype.copyRows = (pairs) => {
        const source = new Map(pairs.map(([from, to]) => [Math.floor(to / 4), Math.floor(from / 4)]));
        copied += source.size;
        if (mistake === "parent and branch share it") {
          for (const [offset, blocks] of tables) write(table, blocks.map((b) => source.get(b) ?? b), offset);
        }
        tables.clear();
        return Promise.resolve();
      };
      try {
        const rollouts = await engine.generate(prompts.map((ids, i) => ({ ids, key: [i] })), SAMPLING);
        const bad = await gap(m, rollouts.map((r) => ({ ...r, prompt: PROMPTS.indexOf(prompts[r.prompt]) })));
        assert(bad > 1e-3, `${mistake}: gap ${bad}`);
      } finally {
        PrefillGraph.prototype.copyRows = copyRows;
        gpu.write = write;
        engine.free();
      }
    }
    assert(copied > 0, "branches had partial blocks");
    m.parameters.free();
  },
});

Deno.test({
  name:
    "rollout branching: an engine serves again after an abort, leaks nothing, and says when it has too little memory",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const m = await model();
    const before = gpu.pool.report().bytes;
    const whole = plain(await generate(m, { slots: 32 }));
    const engine = new RolloutEngine(m, { slots: 3, blockSize: 4, chunk: 4, maxLength: 96, branches: 3 });
    const prompts = PROMPTS.map((ids, i) => ({ ids, key: [i] }));
    // Every cache block comes back, too.
    const { take } = KvCache.prototype;
    let cache: KvCache | undefined;
    KvCache.prototype.take = function (count) {
      cache = this;
      return take.call(this, count);
    };
    const allFree = () => assertEquals(cache!.available, cache!.blocks);
    for (const reads of [1, 5, 9, 40]) {
      const stop = new AbortController();
      let left = reads;
      const onChunk = () => void (--left === 0 && stop.abort());
      await engine.generate(prompts, { ...SAMPLING, signal: stop.signal, onChunk });
      allFree();
    }
    assertEquals(plain(await engine.generate(prompts, SAMPLING)), whole);
    allFree();
    KvCache.prototype.take = take;
    await assertRejects(
      () => engine.generate(prompts, { ...SAMPLING, branching: { ...BRANCHING, share: 0.9 } }),
      UserError,
      "memory for 3",
    );
    engine.free();
    assertEquals(gpu.pool.report().bytes, before);
    m.parameters.free();
  },
});

Deno.test({
  name:
    "rollout branching: the GPU is read once a chunk and waited for no more often, with branches and without",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const m = await model();
    const engine = new RolloutEngine(m, { slots: 8, blockSize: 4, chunk: 8, maxLength: 96, branches: 3 });
    const prompts = PROMPTS.map((ids, i) => ({ ids, key: [i] }));
    const cost = (branching?: BranchOptions) =>
      counting(gpu.device, async (counts) => {
        let chunks = 0;
        const rollouts = await engine.generate(prompts, {
          ...SAMPLING,
          branching,
          onChunk: () => void chunks++,
        });
        const { waits, buffers, textures, bindGroups } = counts;
        const branches = rollouts.filter((r) => r.branch).length;
        return { chunks, waits, branches, made: [buffers, textures, bindGroups] };
      });
    // Builds.
    await cost(BRANCHING);
    const [plain, unbranched, tree] = [
      await cost(),
      await cost({ ...BRANCHING, threshold: Infinity }),
      await cost(BRANCHING),
    ];
    assertEquals([plain.branches, unbranched.branches], [0, 0]);
    assert(tree.branches >= N, `${tree.branches} branches`);
    for (const { chunks, waits, made } of [plain, unbranched, tree]) {
      assert(chunks > 5);
      assertEquals(waits, chunks);
      assertEquals(made, [0, 0, 0]);
    }
    engine.free();
    m.parameters.free();
  },
});

Deno.test({
  name: "rollout branching: the deepest trees fit the cache with one slot and many",
  ...options,
  fn: async () => {
    const m = await model();
    const branching = {
      ...BRANCHING,
      threshold: 0,
      share: 1,
      window: 1,
      refractory: 1,
      max_per_trajectory: 9,
    };
    const changes = { branching, n: 12, stop: [], max_tokens: 24 };
    const trees = [];
    for (const engine of [{ slots: 1, blockSize: 16 }, { slots: 5, blockSize: 8 }]) {
      const rollouts = await generate(m, { ...engine, maxLength: 43 }, changes, PROMPTS.slice(2));
      assertEquals(rollouts.filter((r) => r.branch).length, 2 * 11);
      trees.push(plain(rollouts));
    }
    assertEquals(trees[0], trees[1]);
    m.parameters.free();
  },
});
