import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { loadModelConfig } from "../../models/config.ts";
import { openCheckpoint } from "../../models/checkpoint_folder.ts";
import { loadConfig } from "../../trainer/config.ts";
import { withoutTimes } from "../../trainer/metrics_log.ts";
import type { Monitor } from "../../trainer/monitor.ts";
import { initialWeights } from "../../trainer/pretrain.ts";
import { train } from "../../trainer/scheduler.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

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

async function logs(folder: string): Promise<{ metrics: string[]; generations: string }> {
  const lines = (await Deno.readTextFile(`${folder}/metrics.jsonl`)).trim().split("\n");
  return {
    metrics: lines.map(withoutTimes),
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
    const whole = await train(gpu, { config: config(`${root}/whole`), monitor: listener() });
    assert(!whole.interrupted && whole.model !== undefined);
    assertEquals(Object.keys(whole.evaluations), ["base", "adacs", "aepo_2", "aepo"]);

    const { base, adacs, aepo } = whole.evaluations;
    // One yardstick for N_HE, although each model has entropies of its own.
    assertEquals([adacs.threshold, aepo.threshold], [base.threshold, base.threshold]);
    assertEquals([base.withPictures, whole.blind], [undefined, undefined]);

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
    const rest = await train(gpu, { config: config(folder), monitor: listener(), resume: folder });
    assert(!rest.interrupted);
    assertStringIncludes(await Deno.readTextFile(`${folder}/report.html`), "<dd>finished</dd>");
    const [a, b] = [await logs(`${root}/whole`), await logs(folder)];
    assertEquals(b.metrics, a.metrics);
    assertEquals(b.generations, a.generations);
    // The resumed iteration branched where the threshold of the one before it, from the checkpoint, says.
    assertStringIncludes(a.generations, '"branch":{"parent"');
    const branches = a.metrics.map((line) => JSON.parse(line)["batch/branches"]).filter((n) =>
      n !== undefined
    );
    assert(branches.length === 3 && branches[0] === 0 && branches[2] > 0, `${branches}`);
    assertEquals(rest.evaluations, whole.evaluations);
    assertEquals(await weights(rest.model!), await weights(whole.model!));
    assertEquals(JSON.parse(await Deno.readTextFile(`${folder}/summary.json`)).interrupted, false);
    await Deno.remove(root, { recursive: true });
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
