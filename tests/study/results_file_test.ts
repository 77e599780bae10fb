/** results.json: complete, small, and without the machine it was made on. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { ARMS } from "../../study/arms.ts";
import { hashWeights, readBase, recordBase } from "../../study/base_weights.ts";
import { sharedConfiguration } from "../../study/configuration.ts";
import { withoutMachinePaths } from "../../study/places.ts";
import { pageText } from "../../study/page.ts";
import { compactJson, resultsJson, seriesOf } from "../../study/results_file.ts";
import { configOf, flat } from "../../study/settings.ts";
import { UserError } from "../../gpu/errors.ts";
import { madeStudy, seedOf } from "./made_study.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const D = ["easy", "medium", "hard"];
const KEYS = [
  ...["entropy/threshold", "entropy/mean", "entropy/n_he", "actor/kl", "actor/lr", "reward/accuracy"],
  ...["batch/groups", "batch/shared_tokens", "batch/trained_tokens", "batch/sampled_trajectories"],
  ...D.flatMap((d) =>
    ["acc_mean", "len_mean", "n_he", "n_target", "lambda", "kappa", "beta", "kl_inside", "kl_outside"]
      .map((name) => `train/${d}/${name}`)
  ),
];

Deno.test("study: results.json holds all series of ten arms, three seeds and 100 iterations below 1.5 MB", () => {
  const three = [seedOf(1), seedOf(2), seedOf(3)];
  const study = madeStudy(Object.fromEntries(ARMS.map((a) => [a.name, three])), {
    settings: { smoke: false },
    metrics: (_, seed) =>
      Array.from({ length: 100 }, (_, i) => ({
        step: i + 1,
        ...Object.fromEntries(KEYS.map((key, k) => [key, Math.abs(Math.sin(i * 7 + k * 3 + seed)) / 300])),
      })),
  });
  const text = resultsJson(study);
  assert(text.length < 1.5e6, `${text.length} bytes`);
  // More seeds make no larger file: their series are thinned.
  const six = { ...study, runs: [...study.runs, ...study.runs.map((r) => ({ ...r, seed: r.seed + 3 }))] };
  const thinner = resultsJson(six);
  assert(thinner.length < 1.5e6, `${thinner.length} bytes`);
  assertEquals(JSON.parse(thinner).runs.at(-1).series.step.length, 50);
  const run = JSON.parse(text).runs.find((r: { arm: string; seed: number }) =>
    r.arm === "grpo" && r.seed === 2
  );
  for (const [k, key] of KEYS.entries()) {
    assertEquals(run.series[key].length, 100);
    assertAlmostEquals(run.series[key][41], Math.abs(Math.sin(41 * 7 + k * 3 + 2)) / 300, 5e-7, key);
  }
  // DAPO has no reference: the 0 that it logs is not a KL.
  const dapo = JSON.parse(text).runs.find((r: { arm: string }) => r.arm === "dapo");
  assert(!("actor/kl" in dapo.series) && dapo.series["actor/lr"]);
});

Deno.test("study: a series has null where nothing is known, and of many iterations means of neighbours", () => {
  const of = (n: number, metrics: (i: number) => Record<string, number>) =>
    seriesOf(
      madeStudy({ aepo: [seedOf(1)] }, { metrics: () => Array.from({ length: n }, (_, i) => metrics(i)) })
        .runs[0],
    );
  assertEquals(
    of(3, (i): Record<string, number> => ({ step: i + 1, ...(i !== 1 && { "actor/kl": i / 3 }) })),
    { step: [1, 2, 3], "actor/kl": [0, null, 0.6667] },
  );
  const long = of(201, (i) => ({ step: i + 1, "train/easy/lambda": i }));
  // Three by three: 0 1 2, 3 4 5, …, 198 199 200.
  assertEquals([long.step.length, long.step[1], long.step[66]], [67, 6, 201]);
  assertEquals([long["train/easy/lambda"][0], long["train/easy/lambda"][66]], [1, 199]);
});

Deno.test("study: shared, arm's, seed's and own fields together are each run's configuration, and none stands twice", () => {
  const settings = { arms: ARMS, seeds: [0, 3], overrides: [], smoke: false, runs: "runs/study" };
  const runs = settings.seeds.flatMap((seed) =>
    ARMS.filter((a) => a.kind !== "base")
      .map((arm) => ({ arm: arm.name, seed, config: configOf(settings, arm, seed) }))
  );
  const parts = sharedConfiguration(runs);
  runs.forEach(({ arm, seed, config }, i) => {
    const fields = [parts.shared, parts.arms[arm], parts.seeds[seed], parts.runs[i]];
    assertEquals(
      Object.fromEntries(fields.flatMap((f) => Object.entries(f))),
      Object.fromEntries([...flat(config)].map(([key, json]) => [key, JSON.parse(json)])),
    );
    const keys = fields.flatMap((f) => Object.keys(f));
    assertEquals(new Set(keys).size, keys.length);
  });
  assertEquals(parts.seeds, {
    0: { "data.seed": 1, "trainer.seed": 0 },
    3: { "data.seed": 4, "trainer.seed": 3 },
  });
  assertEquals(parts.arms.dapo["algorithm.disable_kl"], true);
  assertEquals(parts.shared["aepo.window"], 4);
  assertEquals(
    Object.keys(parts.runs[0]).sort(),
    [
      "trainer.experiment_name",
      "trainer.save_checkpoint_path",
      "worker.actor.model.model_path",
    ].sort(),
  );
});

Deno.test("study: paths of the machine become the project's, wherever they stand", () => {
  const of = (text: string, ...folders: string[]) => withoutMachinePaths(text, folders);
  assertEquals(of(`${ROOT}runs/study/seed-0/grpo`), "runs/study/seed-0/grpo");
  assertEquals(of(`cannot read ${ROOT}models/micro: no`), "cannot read models/micro: no");
  assertEquals(of(`at file://${ROOT}trainer/aepo.ts:3:4`), "at trainer/aepo.ts:3:4");
  assertEquals(of("in /mnt/disk one/runs/seed-0/adacs", "/mnt/disk one/runs"), "in …/runs/seed-0/adacs");
  assertEquals(of("no '/home/someone/models/base' there"), "no '…/base' there");
  assertEquals(of("(file:///home/someone/x.ts)"), "(…/x.ts)");
  for (
    const same of ["runs/study/seed-0", "../a/b", "64.2 % / 21.2", "train/easy/kl", "a / b / c", "λ_d/κ_d/N"]
  ) {
    assertEquals(of(same), same);
  }
});

Deno.test("study: neither the page nor results.json names a folder of the machine", () => {
  const elsewhere = "/mnt/somewhere/deep/runs";
  const study = madeStudy({ grpo: [seedOf(1)], aepo: [seedOf(2)], dapo: [null] }, {
    settings: {
      smoke: true,
      runs: elsewhere,
      base: "/mnt/somewhere/deep/base",
      overrides: ["data.image_dir=/mnt/somewhere/x"],
    },
  });
  const planted = {
    ...study,
    runs: study.runs.map((r) => ({
      ...r,
      folder: `${elsewhere}/seed-0/${r.arm.name}`,
      ...(r.error && { error: `no ${ROOT}models/other and no ${elsewhere}/seed-0/adacs/model` }),
    })),
  };
  const [json, page] = [resultsJson(planted), pageText(planted, [], [])];
  for (const text of [json, page]) {
    assert(!text.includes("somewhere") && !text.includes(ROOT), text);
    assertStringIncludes(text, "no models/other and no …/runs/seed-0/adacs/model");
    assertStringIncludes(text, "…/base");
  }
  const { runs, configuration } = JSON.parse(json);
  assertEquals(runs[0].folder, "…/runs/seed-0/grpo");
  // A run that failed has the configuration that it was to have.
  assertEquals(configuration.arms.dapo["trainer.save_checkpoint_path"], "…/runs/seed-0/dapo");
});

Deno.test("study: compact JSON is the same value, a line for what holds nothing else", () => {
  const value = { a: [1, 2, { b: null, c: "x\n" }], d: {}, e: [], f: [[1, 2], [3]], g: 1 };
  const text = compactJson(value);
  assertEquals(JSON.parse(text), value);
  assertStringIncludes(text, `\n  [1,2],\n`);
  assertStringIncludes(text, `{"b":null,"c":"x\\n"}`);
});

Deno.test("study: the base's hash is kept before the first run; other weights are refused, and never passed off", async () => {
  const folder = await Deno.makeTempDir();
  const [runs, base] = [`${folder}/runs`, `${folder}/base`];
  await Deno.mkdir(base);
  const write = (text: string) => Deno.writeTextFile(`${base}/model.safetensors`, text);
  await write("weights");
  await Deno.writeTextFile(`${base}/config.json`, "{}");
  const sha256 = { "model.safetensors": createHash("sha256").update("weights").digest("hex") };
  assertEquals(await hashWeights(base), sha256);
  // Runs without a record began with no one knows what.
  await recordBase(runs, base, true);
  assertEquals(await readBase(runs, base), { sha256, recorded: false });
  await recordBase(runs, base, false);
  assertEquals(await readBase(runs, base), { sha256, recorded: true });
  await recordBase(runs, base, true);
  await write("weightz");
  await assertRejects(() => recordBase(runs, base, true), UserError, "is not what the runs in");
  assertEquals(await readBase(runs, base), { sha256, recorded: true });
  await write("weights");
  await Deno.writeTextFile(`${base}/model-2.safetensors`, "more");
  await assertRejects(() => recordBase(runs, base, true), UserError, "model-2.safetensors");
  assertEquals(await hashWeights(`${folder}/none`), {});
  await Deno.remove(folder, { recursive: true });
});
