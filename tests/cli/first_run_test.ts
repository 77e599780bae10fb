/** The script `ares`, run for real on small projects of its own; what it fetches is fetched. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";

const SCRIPT = new URL("../../ares", import.meta.url).pathname;

/** A task that says on which Deno and adapter it runs, and with which arguments. */
const TASK = "deno eval 'const adapter = await navigator.gpu.requestAdapter();" +
  " console.log(JSON.stringify([Deno.execPath(), adapter?.info.description, Deno.args]))' --";

interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

/** A project with nothing but the script and one task. */
async function withProject(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    await Deno.copyFile(SCRIPT, `${folder}/ares`);
    await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ tasks: { doctor: TASK } }));
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function ares(folder: string, args: string[], env: Record<string, string> = {}): Promise<Run> {
  const output = await new Deno.Command("sh", {
    args: [join(folder, "ares"), ...args],
    cwd: "/",
    env: {
      PATH: `${dirname(Deno.execPath())}:${Deno.env.get("PATH")}`,
      ARES_NO_SYSTEM: "1",
      NO_COLOR: "1",
      ...env,
    },
  }).output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}

/** A folder of links to `tools`, to be all of PATH: whatever else the machine has is then not there. */
async function onlyTools(folder: string, tools: string[]): Promise<string> {
  const bin = join(folder, "bin");
  await Deno.mkdir(bin);
  for (
    const tool of [
      "sh",
      "env",
      "dirname",
      "sed",
      "mkdir",
      "uname",
      "ls",
      "cksum",
      "rm",
      "mv",
      "cat",
      "chmod",
      ...tools,
    ]
  ) {
    await Deno.symlink(await which(tool) ?? `/not/there/${tool}`, join(bin, tool));
  }
  return bin;
}

async function which(tool: string): Promise<string | undefined> {
  const output = await new Deno.Command("sh", { args: ["-c", `command -v ${tool}`] }).output();
  return output.success ? await Deno.realPath(new TextDecoder().decode(output.stdout).trim()) : undefined;
}

/** Fetches a small package into an empty cache: what the tests below need to work at all. */
async function registryAnswers(): Promise<boolean> {
  const cache = await Deno.makeTempDir();
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "--no-config", "npm:cli-table3@0.6.5"],
    env: { DENO_DIR: cache },
  }).output();
  await Deno.remove(cache, { recursive: true });
  return output.success;
}

const hasAdapter = await navigator.gpu.requestAdapter() !== null;
const online = await registryAnswers();
const hasNpm = await which("npm") !== undefined;
if (!hasAdapter) console.log("first run: the tests of the system's own adapter are left out: there is none");
if (!online) console.log("first run: the tests that fetch are left out: the npm registry does not answer");
if (!hasNpm) console.log("first run: fetching Deno is left out: there is no npm");
const swiftshaderRuns = Deno.build.os === "linux" && Deno.build.arch === "x86_64";

Deno.test("first run: the script parses, names its tasks, and refuses others", () =>
  withProject(async (folder) => {
    assert((await new Deno.Command("sh", { args: ["-n", SCRIPT] }).output()).success);
    const usage = await ares(folder, []);
    assertEquals(usage.code, 0);
    const { tasks } = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));
    for (
      const task of [
        "train",
        "test",
        "eval",
        "generate",
        "bench",
        "doctor",
        "pretrain",
        "report",
        "test:goldens",
        "test:data",
      ]
    ) {
      assertMatch(usage.stdout, new RegExp(`^  ${task} `, "m"));
      assert(task in tasks, task);
    }
    const wrong = await ares(folder, ["trian"]);
    assertEquals([wrong.code, wrong.stdout], [2, ""]);
    assertStringIncludes(wrong.stderr, "there is no task trian");
  }));

Deno.test({
  name: "first run: with Deno and an adapter it names the adapter, runs the task, and remembers",
  ignore: !hasAdapter,
  fn: () =>
    withProject(async (folder) => {
      const first = await ares(folder, ["doctor", "--json", "two words", "a'b"]);
      assertEquals(first.code, 0, first.stderr);
      const [deno, adapter, args] = JSON.parse(first.stdout);
      assertEquals([deno, args], [await Deno.realPath(Deno.execPath()), ["--json", "two words", "a'b"]]);
      assertMatch(first.stderr, /^ares: adapter: .+ \((software|hardware)\)$/m);
      assertStringIncludes(first.stderr, adapter);
      const remembered = join(folder, ".ares", "adapter");
      await Deno.writeTextFile(
        remembered,
        (await Deno.readTextFile(remembered)).replace(/\n.*\n$/, "\nfrom memory\n"),
      );
      assertStringIncludes((await ares(folder, ["doctor"])).stderr, "adapter: from memory");
      const elsewhere = await ares(folder, ["doctor"], { MESA_VK_DEVICE_SELECT: "changed" });
      assertStringIncludes(elsewhere.stderr, adapter);
    }),
});

Deno.test("first run: an old Deno does not do, and without npm it says what is missing", () =>
  withProject(async (folder) => {
    const PATH = await onlyTools(folder, []);
    const none = await ares(folder, ["doctor"], { PATH });
    assertEquals(none.code, 1);
    assertStringIncludes(none.stderr, "neither Deno 2.9 or newer nor npm was found");
    await Deno.writeTextFile(join(PATH, "deno"), '#!/bin/sh\necho "deno 2.8.5 (stable)"\n', { mode: 0o755 });
    assertStringIncludes((await ares(folder, ["doctor"], { PATH })).stderr, "neither Deno 2.9 or newer");
  }));

Deno.test({
  name: "first run: without Deno it is fetched through npm into the project",
  ignore: !online || !hasNpm || !hasAdapter,
  fn: () =>
    withProject(async (folder) => {
      const PATH = await onlyTools(folder, ["npm", "node", "find", "tar", "id"]);
      const run = await ares(folder, ["doctor"], { PATH });
      assertEquals(run.code, 0, run.stderr);
      assertStringIncludes(run.stderr, "fetching Deno");
      assertStringIncludes(JSON.parse(run.stdout)[0], `${folder}/.ares/deno/`);
      assert(!(await ares(folder, ["doctor"], { PATH })).stderr.includes("fetching"));
    }),
});

Deno.test({
  name: "first run: without a Vulkan driver SwiftShader is fetched into the project and answers",
  ignore: !online || !swiftshaderRuns,
  fn: () =>
    withProject(async (folder) => {
      const noDriver = { VK_DRIVER_FILES: "/nonexistent" };
      const run = await ares(folder, ["doctor"], noDriver);
      assertEquals(run.code, 0, run.stderr);
      assertStringIncludes(run.stderr, "fetching SwiftShader");
      assertMatch(run.stderr, /adapter: SwiftShader.* \(software\)/);
      assertStringIncludes(JSON.parse(run.stdout)[1], "SwiftShader");
      const again = await ares(folder, ["doctor"], noDriver);
      assert(!again.stderr.includes("fetching"));
      assertStringIncludes(JSON.parse(again.stdout)[1], "SwiftShader");
      await Deno.remove(join(folder, ".ares", "swiftshader"), { recursive: true });
      assertStringIncludes((await ares(folder, ["doctor"], noDriver)).stderr, "fetching SwiftShader");
    }),
});
