import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { loadModelConfig } from "../../models/config.ts";
import { openCheckpoint } from "../../models/checkpoint_folder.ts";
import { loadConfig } from "../../trainer/config.ts";
import { withoutTimes } from "../../trainer/metrics_log.ts";
import type { Monitor } from "../../trainer/monitor.ts";
import { initialWeights } from "../../trainer/pretrain.ts";
import { HighEntropyTokens } from "../../trainer/high_entropy.ts";
import { KlBudget } from "../../trainer/kl_budget.ts";
import { Rewarder } from "../../trainer/reward.ts";
import { RolloutLog } from "../../trainer/rollout_log.ts";
import { sampledLine, sampledTotalsOf } from "../../trainer/sampled_totals.ts";
import { train } from "../../trainer/scheduler.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { generationsOf } from "./run_copy.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
const BASE = new URL("../../models/micro", import.meta.url).pathname;

/** Settings that go through every stage in a few seconds. */
function config(folder: string, ...overrides: string[]) {
  return loadConfig({
    preset: "smoke",
    overrides: [
      `worker.actor.model.model_path=${BASE}`,
      `trainer.save_checkpoint_path=${folder}`,
      "data.micro.train_count=24",
      "data.micro.val_count=6",
      "adacs.problems=8",
      "adacs.max_tokens=1500",
      "adacs.batch_size=8",
      "trainer.max_steps=3",
      "trainer.val_freq=2",
      "data.rollout_batch_size=6",
      ...overrides,
    ],
  }).config;
}

/** Collects what is said; `at` may abort when a phase has advanced so often. */
function listener(
  at?: { phase: string; times: number; stop: AbortController },
): Monitor & { lines: string[] } {
  const lines: string[] = [];
  return {
    lines,
    say: (line) => void lines.push(line),
    phase: (name) => {
      let times = 0;
      return {
        advance: (count = 1) => {
          if (count > 0 && at && name === at.phase && ++times === at.times) at.stop.abort();
        },
        finish: () => {},
      };
    },
  };
}

async function logs(
  folder: string,
): Promise<{ metrics: string[]; records: Record<string, any>[]; generations: string }> {
  const lines = (await Deno.readTextFile(`${folder}/metrics.jsonl`)).trim().split("\n");
  return {
    metrics: lines.map(withoutTimes),
    records: lines.map((line) => JSON.parse(line)),
    generations: await Deno.readTextFile(`${folder}/generations.jsonl`),
  };
}

async function weights(folder: string): Promise<Float32Array[]> {
  const checkpoint = await openCheckpoint(folder, await loadModelConfig(folder));
  return await Promise.all([...checkpoint.shapes.keys()].map((name) => checkpoint.readF32(name)));
}

Deno.test({
  name:
    "scheduler: stopped in either stage or evaluation and resumed, a run gives the bytes of one that was never stopped",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const told = listener();
    const whole = await train(gpu, { config: config(`${root}/whole`), monitor: told });
    assert(!whole.interrupted && whole.model !== undefined);
    assertEquals(Object.keys(whole.evaluations), ["base", "adacs", "aepo_2", "aepo"]);

    const { base, adacs, aepo } = whole.evaluations;
    // One yardstick for N_HE, although each model has entropies of its own.
    assertEquals([adacs.threshold, aepo.threshold], [base.threshold, base.threshold]);
    // One of the six held-out problems has a picture: one problem of each of the first six families.
    assertEquals([base.withPictures!.problems, whole.blind!.evaluation], [1, "aepo"]);

    const folder = `${root}/parts`;
    const stops = ["AdaCS: fine-tuning", "evaluating aepo_2", "evaluating aepo"];
    for (const phase of stops) {
      const resume = phase === stops[0] ? undefined : folder;
      const stop = new AbortController();
      const monitor = listener({ phase, times: 1, stop });
      const part = await train(gpu, { config: config(folder), monitor, resume, signal: stop.signal });
      assert(part.interrupted, `${phase} was not interrupted`);
      assertEquals(part.model, undefined);
      assertStringIncludes(monitor.lines.join("\n"), "--resume");
      assertStringIncludes(await Deno.readTextFile(`${folder}/report.html`), "<dd>interrupted</dd>");
    }
    const toldRest = listener();
    const rest = await train(gpu, { config: config(folder), monitor: toldRest, resume: folder });
    assert(!rest.interrupted);
    assertStringIncludes(await Deno.readTextFile(`${folder}/report.html`), "<dd>finished</dd>");
    const [a, b] = [await logs(`${root}/whole`), await logs(folder)];
    assertEquals(b.metrics, a.metrics);
    assertEquals(b.generations, a.generations);
    // The resumed iteration branched where the threshold of the one before it, from the checkpoint, says.
    assertStringIncludes(a.generations, '"branch_step":');
    const branches = a.metrics.map((line) => JSON.parse(line)["batch/branches"]).filter((n) =>
      n !== undefined
    );
    assert(branches.length === 3 && branches[0] === 0 && branches[2] > 0, `${branches}`);
    assertEquals([rest.evaluations, rest.blind], [whole.evaluations, whole.blind]);
    // What the stage sampled, also where its iterations were another call's.
    const sampled = (monitor: { lines: string[] }) =>
      monitor.lines.filter((line) => line.includes("rollouts sampled"));
    const totals = await sampledTotalsOf(`${root}/whole/metrics.jsonl`);
    assert(totals!.shared > 0, "nothing was shared");
    assertEquals(sampled(told), [`AEPO: ${sampledLine(totals!)}`]);
    assertEquals(sampled(toldRest), sampled(told));
    assertEquals(await weights(rest.model!), await weights(whole.model!));
    assertEquals(JSON.parse(await Deno.readTextFile(`${folder}/summary.json`)).interrupted, false);
    await Deno.remove(root, { recursive: true });
  },
});

Deno.test({
  name:
    "scheduler: recipe `reference` trains; stopped after an iteration and resumed, its controllers go on to the same bytes",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const settings = (folder: string) =>
      loadConfig({
        preset: "smoke,aepo-reference",
        overrides: [
          `worker.actor.model.model_path=${BASE}`,
          `trainer.save_checkpoint_path=${folder}`,
          "data.micro.train_count=24",
          "adacs.enabled=false",
          "trainer.max_steps=2",
          "data.rollout_batch_size=4",
          "worker.actor.micro_batch_size_per_device_for_update=4",
          // So often that β moves within the run.
          "reference.kl_update_interval=2",
          "algorithm.online_filtering=false",
          // Branches bring the most likely tokens of their prefixes along, and τ is the running one.
          "aepo.branching.enabled=true",
        ],
      }).config;
    const run = (folder: string, resume?: string, signal?: AbortSignal, monitor = listener()) =>
      train(gpu, { config: settings(folder), monitor, evaluate: false, resume, signal });
    const whole = await run(`${root}/whole`);
    const folder = `${root}/parts`;
    const stop = new AbortController();
    const part = await run(folder, undefined, stop.signal, listener({ phase: "AEPO", times: 1, stop }));
    assert(part.interrupted);
    const saved = JSON.parse(await Deno.readTextFile(`${folder}/checkpoints/aepo_step_1/run_state.json`));
    const { reward, klBudget, threshold } = saved.controllers;
    assert(threshold > 0 && klBudget.beta.updates > 0);
    assert(Object.keys(reward.reference.difficulty).length === 4 && reward.ascent.budget !== null);
    const rest = await run(folder, folder);
    const [a, b] = [await logs(`${root}/whole`), await logs(folder)];
    assertEquals(b.metrics, a.metrics);
    assertEquals(b.generations, a.generations);
    assertEquals(await weights(rest.model!), await weights(whole.model!));
    const last = JSON.parse(a.metrics.at(-1)!);
    const beta = (record: Record<string, number>) =>
      ["easy", "medium", "hard"].map((d) => record[`train/${d}/beta`] ?? 1);
    assert(beta(last).some((x) => x !== 1), "no β has moved");
    const first = JSON.parse(a.metrics[0]);
    assertEquals([first["entropy/threshold"], first["batch/branches"]], [-1, 0]);
    assertEquals(last["entropy/threshold"], Math.fround(threshold));
    assert(last["batch/branches"] > 0);
    // A rollout's line has the KL weight that its iteration began with, not what β became in it.
    const betas: Record<string, number> = klBudget.beta.beta;
    assert(Object.values(betas).some((x) => x !== 1), "no β has moved in the first iteration");
    for (const r of await generationsOf(folder)) {
      const weight = 0.01 * (r.step === 1 ? 1 : betas[r.difficulty]);
      assertEquals(r.kl_weight, { outside: weight, inside: weight });
      assertEquals([r.advantages.length, r.bonus], [r.length, undefined]);
    }
    await Deno.remove(root, { recursive: true });
  },
});

Deno.test({
  name: "scheduler: every estimator, KL kind and mask that needs more than the rollouts trains an iteration",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const run = async (...settings: string[]) => {
      const only = ["adacs.enabled=false", "trainer.max_steps=1", "data.rollout_batch_size=6", ...settings];
      const small = ["worker.rollout.n=3", "algorithm.online_filtering=false", "aepo.beta.hard=0.5"];
      const folder = `${root}/${crypto.randomUUID()}`;
      await train(gpu, {
        config: config(
          folder,
          "worker.actor.mini_batches=2",
          "worker.actor.global_batch_size=null",
          ...small,
          ...only,
        ),
        monitor: listener(),
        evaluate: false,
      });
      const { metrics } = await logs(folder);
      const last = JSON.parse(metrics.at(-1)!);
      assertEquals([last["actor/updates"], last["actor/updates_skipped"]], [2, 0], settings.join());
      return last;
    };
    const remax = await run("algorithm.adv_estimator=remax");
    assert(remax["reward/baseline"] >= 0);
    const rollouts = await run("algorithm.adv_estimator=rloo");
    assertEquals(rollouts["reward/baseline"], undefined);
    // The same rollouts, and the greedy answers beside them.
    assert(remax["batch/generated_tokens"] > rollouts["batch/generated_tokens"]);
    assertEquals(remax["reward/accuracy"], rollouts["reward/accuracy"]);
    const plus = await run("algorithm.adv_estimator=reinforce_plus_plus", "algorithm.gamma=0.95");
    assert(plus["critic/advantages/max"] > 0 && plus["critic/advantages/min"] < 0);
    const exact = await run(
      "algorithm.kl_penalty=full",
      "aepo.rules.mask=semantic",
      "aepo.rules.kl=reference",
    );
    assert(exact["actor/kl"] > 0, "after the first step the policy has moved");
    await Deno.remove(root, { recursive: true });
  },
});

Deno.test({
  name: "scheduler: GAE's value head is in the checkpoint; stopped and resumed it goes on to the same bytes",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const run = (folder: string, resume?: string, signal?: AbortSignal, monitor = listener()) => {
      const settings = config(
        folder,
        "algorithm.adv_estimator=gae",
        "algorithm.lam=0.95",
        "adacs.enabled=false",
        "trainer.max_steps=2",
        "algorithm.online_filtering=false",
      );
      return train(gpu, { config: settings, monitor, evaluate: false, resume, signal });
    };
    const whole = await run(`${root}/whole`);
    const folder = `${root}/parts`;
    const stop = new AbortController();
    const phase = "AEPO";
    await run(folder, undefined, stop.signal, listener({ phase, times: 1, stop }));
    assert((await Deno.stat(`${folder}/checkpoints/aepo_step_1/value_head.safetensors`)).isFile);
    const rest = await run(folder, folder);
    const [a, b] = [await logs(`${root}/whole`), await logs(folder)];
    assertEquals(b.metrics, a.metrics);
    assertEquals(await weights(rest.model!), await weights(whole.model!));
    const [first, last] = a.metrics.map((line) => JSON.parse(line));
    assertEquals(first["critic/vf_explained_var"], 0);
    assert(last["critic/vf_explained_var"] !== 0 && last["critic/vf_loss"] > 0);
    await Deno.remove(root, { recursive: true });
  },
});

/** Calls `spend` before a class's method while `work` goes on. */
async function before<T>(
  list: readonly (readonly [type: { prototype: object }, method: string, spend: (self: any) => void])[],
  work: () => Promise<T>,
): Promise<T> {
  const undo = list.map(([{ prototype }, method, spend]) => {
    const methods = prototype as Record<string, any>;
    const original = methods[method];
    methods[method] = function (...args: unknown[]) {
      spend(this);
      return original.apply(this, args);
    };
    return () => methods[method] = original;
  });
  try {
    return await work();
  } finally {
    for (const restore of undo) restore();
  }
}

Deno.test({
  name:
    "scheduler: on a clock that stands still but for known work, every second is in its phase and none is lost",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const { now } = performance;
    let clock = 0;
    performance.now = () => clock;
    const spent: Record<string, number> = {};
    /** A second of the phase, and of the part of it. */
    const spend = (phase: string, part?: string) => {
      clock += 1000;
      for (const name of part === undefined ? [phase] : [phase, part]) spent[name] = (spent[name] ?? 0) + 1;
    };
    const phases: [RegExp, string][] = [
      [/sampling pass rates/, "curation"],
      [/fine-tuning/, "sft"],
      [/^evaluating/, "evaluation"],
    ];
    const monitor: Monitor = {
      say: (line) => {
        if (/M weights/.test(line)) spend("setup");
      },
      phase: (name) => ({
        advance: (_, note) => {
          const phase = phases.find(([pattern]) => pattern.test(name))?.[1];
          if (phase) spend(phase);
          else if (/ rollouts$/.test(note ?? "")) spend("step", "gen");
          else if (/^update on/.test(note ?? "")) spend("step", "ref");
        },
        finish: () => {},
      }),
    };
    const looks = new WeakSet<Rewarder>();
    const { preview } = Rewarder.prototype;
    Rewarder.prototype.preview = function () {
      const look = preview.call(this);
      looks.add(look);
      return look;
    };
    try {
      const summary = await before([
        [Rewarder, "reward", (self) => spend("step", looks.has(self) ? "filter" : "reward")],
        [HighEntropyTokens, "begin", () => spend("step", "windows")],
        [HighEntropyTokens, "learn", () => spend("step", "windows")],
        [KlBudget, "afterIteration", () => spend("step", "controllers")],
        [RolloutLog, "appendIteration", () => spend("log")],
        [CausalLM, "save", () => spend("save")],
      ], () => train(gpu, { config: config(`${root}/run`), monitor }));
      const { timing, seconds } = summary;
      const all = ["setup", "curation", "sft", "evaluation", "step", "log", "save"];
      const parts = ["gen", "windows", "filter", "reward", "ref", "controllers"];
      for (const name of [...all, ...parts]) {
        assert(spent[name] > 0, `${name} was not done`);
        assertEquals(Math.round(1e6 * timing[name]), 1e6 * spent[name], name);
      }
      const sum = (names: readonly string[]) => names.reduce((n, name) => n + timing[name], 0);
      const rest = Object.keys(timing).filter((name) => !all.includes(name));
      assertEquals([Math.round(sum(all)), Math.round(seconds)], [clock / 1000, clock / 1000]);
      assertEquals(Math.round(sum(rest)), Math.round(timing.step));
      const records = (await logs(`${root}/run`)).records.filter((m) =>
        m.stage === "aepo" && "actor/lr" in m
      );
      assertEquals(records.length, 3);
      for (const m of records) {
        const laps = Object.entries<number>(m).filter(([name]) => /^timing_s\/(?!step)/.test(name));
        assertEquals(Math.round(laps.reduce((n, [, s]) => n + s, 0)), Math.round(m["timing_s/step"]));
      }
    } finally {
      Rewarder.prototype.preview = preview;
      performance.now = now;
      await Deno.remove(root, { recursive: true });
    }
  },
});

Deno.test({
  name: "scheduler: another seed gives another run, the same seed the same",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const run = async (name: string, seed: number) => {
      const only = ["adacs.enabled=false", "trainer.max_steps=1", `trainer.seed=${seed}`];
      await train(gpu, { config: config(`${root}/${name}`, ...only), monitor: listener(), evaluate: false });
      return (await logs(`${root}/${name}`)).generations;
    };
    const first = await run("a", 3);
    assertEquals(await run("b", 3), first);
    assert(await run("c", 4) !== first);
    await Deno.remove(root, { recursive: true });
  },
});

Deno.test({
  name: "scheduler: where every group scores zero it says so and changes no weight",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const random = await CausalLM.create(gpu, await loadModelConfig(BASE), initialWeights(5));
    await random.save(`${root}/random`, { copyFrom: BASE });
    random.parameters.free();
    const monitor = listener();
    const summary = await train(gpu, {
      config: config(
        `${root}/run`,
        `worker.actor.model.model_path=${root}/random`,
        "adacs.enabled=false",
        "trainer.max_steps=1",
        "data.max_response_length=8",
      ),
      monitor,
      evaluate: false,
    });
    assertStringIncludes(
      monitor.lines.join("\n"),
      "every rollout is wrong: there is no reward to learn from",
    );
    assertEquals(await weights(summary.model!), await weights(`${root}/random`));
    await Deno.remove(root, { recursive: true });
  },
});

Deno.test({
  name: "scheduler: bad input stops before the run folder is made",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const root = await Deno.makeTempDir();
    const refuse = async (message: string, ...overrides: string[]) => {
      await assertRejects(
        () => train(gpu, { config: config(`${root}/run`, ...overrides), monitor: listener() }),
        UserError,
        message,
      );
      assert(!await Deno.stat(`${root}/run`).then(() => true, () => false));
    };
    await Deno.writeTextFile(`${root}/empty.jsonl`, "");
    await Deno.writeTextFile(`${root}/answerless.jsonl`, '{"problem":"what is 1 + 1 ?"}\n');
    await Deno.writeTextFile(
      `${root}/long.jsonl`,
      JSON.stringify({ problem: "1 + ".repeat(400), answer: "1" }),
    );
    await refuse("empty.jsonl", `data.train_files=${root}/empty.jsonl`);
    await refuse("no answer", `data.train_files=${root}/answerless.jsonl`);
    await refuse("data.max_prompt_length", `data.train_files=${root}/long.jsonl`);
    await refuse("missing.jsonl", `data.train_files=${root}/missing.jsonl`);
    await refuse("config.json", `worker.actor.model.model_path=${root}`);
    await Deno.remove(root, { recursive: true });
  },
});
