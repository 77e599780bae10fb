/** The study as a real process: killed, run again, and what it writes. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import sharp from "sharp";

const ROOT = new URL("../..", import.meta.url).pathname;
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

function study(folder: string, ...args: string[]): Deno.ChildProcess {
  const small = [
    "data.micro.train_count=24",
    "data.micro.val_count=12",
    "adacs.problems=8",
    "adacs.max_tokens=600",
    "adacs.batch_size=8",
    "data.rollout_batch_size=4",
  ];
  const where = ["--runs", `${folder}/runs`, "--out", `${folder}/page`];
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "cli/main.ts", "study", "--smoke", ...where, ...args, ...small],
    cwd: ROOT,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const started = Date.now();
  while (!await holds()) {
    assert(Date.now() - started < 1_200_000, "it did not come to that in twenty minutes");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const read = (path: string) => Deno.readTextFile(path).catch(() => "");

Deno.test("study: killed in an arm and run again, done arms are kept, the arm resumes, and the page is written", async () => {
  const folder = await Deno.makeTempDir();
  const args = ["--arms", "base,adacs,grpo,dapo", "--seeds", "0", "--iterations", "3"];
  const first = study(folder, ...args);
  const grpo = `${folder}/runs/seed-0/grpo`;
  await until(async () => (await read(`${grpo}/checkpoints/latest.json`)).includes("aepo_step_1"));
  first.kill("SIGKILL");
  await first.output();
  const adacs = `${folder}/runs/seed-0/adacs/summary.json`;
  const [kept, metrics] = [await Deno.stat(adacs), await read(`${grpo}/metrics.jsonl`)];
  assertEquals(await read(`${grpo}/summary.json`), "");

  const again = await study(folder, ...args).output();
  assertEquals(again.code, 0, text(again.stderr));
  const said = text(again.stderr);
  assertEquals((await Deno.stat(adacs)).mtime, kept.mtime);
  assert(!said.includes("seed 0, adacs: evaluating"), "the cold start was run again");
  assertMatch(said, /seed 0, grpo: going on from \S+aepo_step_\d/);
  // The first iteration is the one from before the kill, time and all.
  const line = metrics.split("\n").find((l) => l.includes("batch/sampled_trajectories"))!;
  assertStringIncludes(await read(`${grpo}/metrics.jsonl`), line);
  for (const arm of ["adacs", "grpo", "dapo"]) {
    assert((await Deno.stat(`${folder}/runs/seed-0/${arm}/report.html`)).size > 0);
  }

  const results = JSON.parse(await read(`${folder}/page/results.json`));
  const run = (arm: string) => results.runs.find((r: { arm: string }) => r.arm === arm);
  assertEquals(results.runs.map((r: { status: string }) => r.status), ["done", "done", "done", "done"]);
  // DAPO refills, and samples as many rollouts all the same: 3 iterations of 4 × 4.
  for (const arm of ["grpo", "dapo"]) {
    const { course } = run(arm);
    assertEquals(course.at(-1).trajectories, 48, arm);
    assertEquals(course[0].heldOut.accuracy, run("adacs").figures.all.accuracy, arm);
    assertEquals(course.at(-1).heldOut.accuracy, run(arm).figures.all.accuracy, arm);
  }
  // One yardstick for all: the base's.
  assertEquals(new Set(results.runs.map((r: { threshold: number }) => r.threshold)).size, 1);
  const page = await read(`${folder}/page/README.md`);
  const files = [...page.matchAll(/!\[[^\]]+\]\(([^)]+)\)/g)].map(([, file]) => file);
  for (const name of ["accuracy.svg", "course-held-out.svg", "length-n-he.svg", "decisions.svg"]) {
    assert(files.includes(name), name);
  }
  for (const file of files) {
    const { width, format } = await sharp(`${folder}/page/${file}`).metadata();
    assert(format === "svg" && width! > 200, file);
    // The whole drawing is parsed, by a parser that takes no broken XML.
    await sharp(`${folder}/page/${file}`).png().toBuffer();
  }
  // The numbers behind the page: what was run, from which weights, and each iteration as the run logged it.
  const weights = await Deno.readFile(`${ROOT}models/micro/model.safetensors`);
  const sha256 = createHash("sha256").update(weights).digest("hex");
  assertEquals(results.base, {
    folder: "models/micro",
    sha256: { "model.safetensors": sha256 },
    recorded: true,
  });
  assertStringIncludes(page, sha256);
  const { shared, arms } = results.configuration;
  assertEquals([shared["data.rollout_batch_size"], arms.dapo["algorithm.disable_kl"]], [4, true]);
  for (const arm of ["grpo", "dapo"]) {
    const logged = (await read(`${folder}/runs/seed-0/${arm}/metrics.jsonl`)).trim().split("\n")
      .map((l) => JSON.parse(l)).filter((m) => "batch/sampled_trajectories" in m);
    const { series } = run(arm);
    assertEquals(series.step, logged.map((m) => m.step), arm);
    for (const key of ["entropy/threshold", "train/easy/kl_outside", "batch/trained_tokens"]) {
      const own = logged.map((m) => m[key] === undefined ? null : Number(m[key].toPrecision(4)));
      assertEquals(series[key] ?? own.map(() => null), own, `${arm}: ${key}`);
    }
    assertEquals(run(arm).logged.step, series.step, arm);
  }
  assert(run("grpo").series["actor/kl"] && !run("dapo").series["actor/kl"]);
  assertMatch(page, /\*\*AdaCS \+ DAPO\*\*: τ [^|\n]*no KL: this arm has no reference/);
  assertMatch(page, /\| entropy collapsed: token entropy of rollouts, nats \| [\d.]+ → [\d.]+ \|/);
  assertMatch(page, /\| windows never fire: responses with a window, % \| [\d.]+ → [\d.]+ \|/);
  for (const told of [page, await read(`${folder}/page/results.json`)]) {
    assert(!told.includes(folder) && !told.includes(ROOT), "a path of the machine is told");
  }
  assert(!page.includes("of other settings"));
  assertStringIncludes(page, "All 4 runs are done");
  assertStringIncludes(page, "**one seed**");

  const other = await study(folder, ...args, "worker.actor.optim.lr=1e-5").output();
  assertEquals(other.code, 2);
  assertStringIncludes(text(other.stderr), "worker.actor.optim.lr = 0.00012, not 0.00001");

  // Another base under the same path is found by its hash; the page does not claim the weights of runs without a record.
  const record = `${folder}/runs/base.json`;
  await Deno.writeTextFile(record, JSON.stringify({ "model.safetensors": "0123" }));
  const rebased = await study(folder, ...args).output();
  assertEquals(rebased.code, 2, text(rebased.stderr));
  assertStringIncludes(text(rebased.stderr), "model.safetensors is not what the runs in");
  await Deno.remove(record);

  // A run that is there no more, and one that failed: told, not left out.
  await Deno.remove(`${folder}/runs/seed-0/dapo`, { recursive: true });
  await Deno.writeTextFile(`${grpo}/failed.json`, JSON.stringify({ message: "3 updates in a row" }));
  const report = await study(folder, ...args, "--report-only").output();
  assertEquals(report.code, 0, text(report.stderr));
  const rest = await read(`${folder}/page/README.md`);
  assertStringIncludes(rest, "**failed**: 3 updates in a row");
  assertStringIncludes(rest, "**not started**");
  assertStringIncludes(rest, "as it was when this was written");
  // A page of other settings than the runs' says so.
  const wrong = await study(folder, ...args, "--report-only", "worker.actor.optim.lr=1e-5").output();
  assertEquals(wrong.code, 0, text(wrong.stderr));
  assertMatch(
    await read(`${folder}/page/README.md`),
    /1 run of other settings than this page tells\*\*: adacs under seed 0 \(worker.actor.optim.lr = 0.00012, not/,
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("study: keys that it sets itself and arms that do not exist are refused before any work", async () => {
  const folder = await Deno.makeTempDir();
  const refused = async (words: string, ...args: string[]) => {
    const { code, stderr } = await study(folder, ...args).output();
    assertEquals(code, 2, text(stderr));
    assertStringIncludes(text(stderr), words);
  };
  await refused("trainer.seed: the study sets it itself", "trainer.seed=3");
  await refused('there is no arm "ppo"; there are base, uniform', "--arms", "ppo");
  await refused("Give different whole numbers", "--seeds", "1,1");
  await refused("config.json", "--base", folder);
  assertEquals(await Array.fromAsync(Deno.readDir(folder)), []);
  await Deno.remove(folder, { recursive: true });
});
