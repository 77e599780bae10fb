import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

const ROOT = new URL("../..", import.meta.url).pathname;

/** A real process of the command line. */
function ares(args: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "cli/main.ts", ...args],
    cwd: ROOT,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

Deno.test("train: the smoke preset goes the whole way, Ctrl-C saves, --resume finishes", async () => {
  const folder = await Deno.makeTempDir();
  const run = `trainer.save_checkpoint_path=${folder}/run`;
  const first = ares(["train", "--preset", "smoke", "--no-tune", run]);
  // The fine-tuning has begun once its first metrics line is there.
  const started = Date.now();
  while (Date.now() - started < 120_000) {
    const metrics = await Deno.readTextFile(`${folder}/run/metrics.jsonl`).catch(() => "");
    if (metrics.includes('"stage":"adacs","sft/loss"')) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  first.kill("SIGINT");
  const stopped = await first.output();
  assertEquals(stopped.code, 130, text(stopped.stderr));
  assertStringIncludes(text(stopped.stderr), `--resume ${folder}/run`);

  const second = await ares(["train", "--resume", `${folder}/run`]).output();
  assertEquals(second.code, 0, text(second.stderr));
  const out = text(second.stdout);
  for (const word of ["base", "adacs", "aepo", "easy", "medium", "hard", "accuracy", "length", "N_HE"]) {
    assertStringIncludes(out, word);
  }
  assertMatch(out, /peak GPU memory \d+ MiB \(.*parameters \d+.*\)/);
  assertMatch(out, /iterations, \d+ s: .*rollouts \d+\.\d %.*controllers together \d+\.\d %/);
  const summary = JSON.parse(await Deno.readTextFile(`${folder}/run/summary.json`));
  assertEquals(summary.interrupted, false);
  // The run goes on by rule, as it began.
  assertEquals(summary.kernels, undefined);
  assertStringIncludes(await Deno.readTextFile(`${folder}/run/config.yaml`), "tune_kernels: false");
  for (const name of ["base", "adacs", "aepo"]) assert(summary.evaluations[name].all.samples > 0);
  for (
    const file of [
      "config.yaml",
      "metrics.jsonl",
      "generations.jsonl",
      "model/model.safetensors",
      "model/tokenizer.json",
    ]
  ) {
    assert((await Deno.stat(`${folder}/run/${file}`)).size > 0, file);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("train: a key that does not exist ends with exit code 2 and the nearest one", async () => {
  const { code, stderr } = await ares(["train", "trainer.max_step=3"]).output();
  assertEquals(code, 2);
  assertStringIncludes(text(stderr), "trainer.max_steps");
});
