import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { writeAtomically } from "../../trainer/atomic_write.ts";
import { MetricsLog } from "../../trainer/metrics_log.ts";
import { RunFolder } from "../../trainer/run_folder.ts";

async function withFolder(use: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir();
  try {
    await use(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

function save(folder: RunFolder, step: number, bytes = 1000): Promise<string> {
  return folder.checkpoint(`aepo_step_${step}`, async (to) => {
    await Deno.writeFile(`${to}/model.safetensors`, new Uint8Array(bytes).fill(step));
    await Deno.mkdir(`${to}/optimizer`);
    await Deno.writeTextFile(`${to}/optimizer/state.json`, JSON.stringify({ step }));
  });
}

async function names(folder: RunFolder): Promise<string[]> {
  const found = [];
  for await (const entry of Deno.readDir(folder.checkpointsPath)) found.push(entry.name);
  return found.sort();
}

const silent = (line: string): void => assert(false, `nothing should be said, was: ${line}`);

Deno.test("run folder: a checkpoint is found again, the tracker names it, old ones go", () =>
  withFolder(async (path) => {
    const folder = await RunFolder.open(path, 2);
    assertEquals(await folder.latest(silent), undefined);
    for (const step of [9, 10, 11]) await save(folder, step);
    assertEquals(await names(folder), ["aepo_step_10", "aepo_step_11", "latest.json"]);
    assertEquals((await folder.latest(silent))?.name, "aepo_step_11");
    assertEquals(JSON.parse(await Deno.readTextFile(`${folder.checkpointsPath}/latest.json`)), {
      latest: "aepo_step_11",
    });
  }));

Deno.test("run folder: newest means saved last, whatever the name; -1 keeps all", () =>
  withFolder(async (path) => {
    const folder = await RunFolder.open(path, -1);
    for (const step of [20, 3]) await save(folder, step);
    assertEquals((await folder.latest(silent))?.name, "aepo_step_3");
    assertEquals((await names(folder)).length, 3);
  }));

Deno.test("run folder: saving under a name that exists replaces it", () =>
  withFolder(async (path) => {
    const folder = await RunFolder.open(path, 2);
    await save(folder, 1);
    const again = await folder.checkpoint("aepo_step_1", (to) => Deno.writeTextFile(`${to}/state.json`, "2"));
    assertEquals(await Deno.readTextFile(`${again}/state.json`), "2");
    assertEquals(await names(folder), ["aepo_step_1", "latest.json"]);
    assertEquals((await folder.latest(silent))?.name, "aepo_step_1");
  }));

const DAMAGES: Record<string, [says: string, (checkpoint: string) => Promise<void>]> = {
  "one bit of the weights is flipped": ["model.safetensors has other contents", async (path) => {
    const bytes = await Deno.readFile(`${path}/model.safetensors`);
    bytes[123] ^= 1;
    await Deno.writeFile(`${path}/model.safetensors`, bytes);
  }],
  "the weights are cut short": [
    "model.safetensors has 999 bytes, saved were 1000",
    (path) => Deno.truncate(`${path}/model.safetensors`, 999),
  ],
  "a file in a subfolder is missing": [
    "optimizer/state.json is missing",
    (path) => Deno.remove(`${path}/optimizer/state.json`),
  ],
  "the manifest is missing": ["it has no manifest.json", (path) => Deno.remove(`${path}/manifest.json`)],
  "a digit of the manifest is changed": ["manifest.json is damaged", async (path) => {
    const text = await Deno.readTextFile(`${path}/manifest.json`);
    await Deno.writeTextFile(`${path}/manifest.json`, text.replace('"bytes": 1000', '"bytes": 1001'));
  }],
  "the manifest is cut short": [
    "manifest.json is damaged",
    (path) => Deno.truncate(`${path}/manifest.json`, 20),
  ],
};

for (const [damage, [says, make]] of Object.entries(DAMAGES)) {
  Deno.test(`run folder: when ${damage}, the one before is taken and it says why`, () =>
    withFolder(async (path) => {
      const folder = await RunFolder.open(path, 3);
      await save(folder, 1);
      const damaged = await save(folder, 2);
      await make(damaged);
      const said: string[] = [];
      assertEquals((await folder.latest((line) => said.push(line)))?.name, "aepo_step_1");
      assertEquals(said.length, 1);
      assertStringIncludes(said[0], "aepo_step_2 is passed over");
      assertStringIncludes(said[0], says);
      await save(folder, 2);
      assertEquals((await folder.latest(silent))?.name, "aepo_step_2");
    }));
}

Deno.test("run folder: an error while writing leaves no trace and keeps the one before", () =>
  withFolder(async (path) => {
    const folder = await RunFolder.open(path, 1);
    await save(folder, 1);
    const failure = folder.checkpoint("aepo_step_2", async (to) => {
      await Deno.writeTextFile(`${to}/half`, "x");
      throw new TypeError("a bug, not the disk");
    });
    await assertRejects(() => failure, TypeError, "a bug, not the disk");
    assertEquals(await names(folder), ["aepo_step_1", "latest.json"]);
    assertEquals((await folder.latest(silent))?.name, "aepo_step_1");
  }));

Deno.test("run folder: resume takes a run's folder or one checkpoint", () =>
  withFolder(async (path) => {
    const folder = await RunFolder.open(path, 3);
    const first = await save(folder, 1);
    await save(folder, 2);
    assertEquals((await RunFolder.resume(path, 3, silent)).checkpoint.name, "aepo_step_2");
    const chosen = await RunFolder.resume(first, 3, silent);
    assertEquals([chosen.checkpoint.name, chosen.folder.path], ["aepo_step_1", await Deno.realPath(path)]);
    await Deno.truncate(`${first}/model.safetensors`, 1);
    await assertRejects(() => RunFolder.resume(first, 3, silent), UserError, "has 1 bytes, saved were 1000");
    await assertRejects(
      () => RunFolder.resume(`${path}/nowhere`, 3, silent),
      UserError,
      "neither a run's folder",
    );
    const empty = await RunFolder.open(`${path}/empty`, 3);
    await assertRejects(() => RunFolder.resume(empty.path, 3, silent), UserError, "no sound checkpoint");
  }));

Deno.test("run folder: a fresh run moves an earlier one aside", () =>
  withFolder(async (path) => {
    const first = await RunFolder.fresh(`${path}/micro`, 2);
    assertEquals(first.movedTo, undefined);
    await Deno.writeTextFile(first.folder.metricsPath, "1");
    await RunFolder.fresh(`${path}/micro`, 2);
    const third = await RunFolder.fresh(`${path}/micro`, 2);
    assertEquals(third.movedTo, `${path}/micro-2`);
    assertEquals(await Deno.readTextFile(`${path}/micro-1/metrics.jsonl`), "1");
  }));

Deno.test("run folder: killed at any moment, the last one said to be saved, or a newer one, is there whole", () =>
  withFolder(async (path) => {
    const writer = new URL("./checkpoint_writer.ts", import.meta.url).pathname;
    let said = 0;
    for (let round = 0; round < 12; round++) {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", writer, path, "2", String(said + 1)],
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      let output = "";
      let deadline: ReturnType<typeof setTimeout> | undefined;
      for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
        output += chunk;
        deadline ??= setTimeout(() => child.kill("SIGKILL"), 5 + (97 * round) % 60);
      }
      clearTimeout(deadline);
      assertEquals((await child.status).signal, "SIGKILL");
      said = Number(/saved (\d+)\n(?:saved \d*)?$/.exec(output)?.[1]);
      const found = await (await RunFolder.open(path, 2)).latest(silent);
      assert(found !== undefined, `round ${round}: nothing found after ${output}`);
      const { step } = JSON.parse(await Deno.readTextFile(`${found.path}/state.json`));
      assert(step >= said && step <= said + 2, `round ${round}: found ${step}, said ${said}`);
      assert((await Deno.readFile(`${found.path}/model.safetensors`)).every((byte) => byte === step % 256));
      said = step;
    }
  }));

async function smallDisk(path: string, bytes: number): Promise<string | undefined> {
  if (Deno.uid() !== 0) return "mounting a small file system needs root";
  const command = new Deno.Command("mount", { args: ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path] });
  try {
    const { success, stderr } = await command.output();
    return success ? undefined : new TextDecoder().decode(stderr).trim();
  } catch (error) {
    return (error as Error).message;
  }
}

Deno.test("run folder: a full disk keeps the last good checkpoint and the log whole, and says so", async () => {
  const path = await Deno.makeTempDir();
  const reason = await smallDisk(path, 400_000);
  if (reason !== undefined) {
    console.log(`skipped, no small disk to be had: ${reason}`);
    await Deno.remove(path);
    return;
  }
  try {
    const folder = await RunFolder.open(path, 2);
    await save(folder, 1, 200_000);
    const full = await assertRejects(() => save(folder, 2, 300_000), UserError, "the disk is full");
    assertStringIncludes(full.message, "the last good one stays");
    assertStringIncludes(full.message, "aepo_step_1");
    assertEquals(await names(folder), ["aepo_step_1", "latest.json"]);
    assertEquals((await folder.latest(silent))?.name, "aepo_step_1");

    using log = MetricsLog.open(folder.metricsPath);
    log.append({ step: 1, stage: "aepo" });
    let refused: unknown;
    for (let step = 2; refused === undefined; step++) {
      try {
        log.append({ step, stage: "aepo", text: "x".repeat(50_000) });
      } catch (error) {
        refused = error;
      }
    }
    assert(refused instanceof UserError, String(refused));
    const lines = (await Deno.readTextFile(folder.metricsPath)).trimEnd().split("\n");
    assertEquals(lines.map((line) => JSON.parse(line).step), lines.map((_, i) => i + 1));

    const summary = await assertRejects(
      () => writeAtomically(folder.summaryPath, new Uint8Array(300_000)),
      UserError,
    );
    assertStringIncludes(summary.message, "summary.json");
    await save(folder, 3, 1000);
    assertEquals((await folder.latest(silent))?.name, "aepo_step_3");
  } finally {
    await new Deno.Command("umount", { args: [path] }).output();
    await Deno.remove(path, { recursive: true });
  }
});

Deno.test("run folder: one process at a time trains there; a killed one leaves it free", () =>
  withFolder(async (path) => {
    const held = `${path}/run`;
    const code = `import { RunFolder } from ${
      JSON.stringify(new URL("../../trainer/run_folder.ts", import.meta.url).href)
    };
      const folder = await RunFolder.open(${JSON.stringify(held)}, 1);
      await folder.lock();
      console.log("locked");
      setInterval(() => {}, 1000);`;
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        "--config",
        new URL("../../deno.json", import.meta.url).pathname,
        `data:application/typescript,${encodeURIComponent(code)}`,
      ],
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const reader = child.stdout.getReader();
    assertStringIncludes(new TextDecoder().decode((await reader.read()).value), "locked");
    const folder = await RunFolder.open(held, 1);
    for (const attempt of [() => folder.lock(), () => RunFolder.fresh(held, 1)]) {
      assertStringIncludes((await assertRejects(attempt, UserError)).message, "another process trains in");
    }
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    await folder.lock();
    await folder.lock();
    folder.unlock();
    const { movedTo } = await RunFolder.fresh(held, 1);
    assertEquals(movedTo, `${held}-1`);
  }));
