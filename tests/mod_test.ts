/**
 * The package as others meet it: what would be published, what its documentation says, and a second project that
 * imports it by its name.
 * @module
 */
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** JSR's limit for a whole package. */
const PACKAGE_BYTES = 20e6;

/** Output of `deno …args`; throws it when the command fails. */
async function deno(folder: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: join(ROOT, folder),
    env: { NO_COLOR: "1" },
  }).output();
  const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  // Seen now and then on a software driver: all tests have passed and said so, then the process dies as it ends, in the
  // driver's own clean-up. Every other failure counts.
  const diedAtItsEnd = /double free or corruption/.test(output) &&
    /ok \| \d+ passed \| 0 failed/.test(output);
  if (diedAtItsEnd) console.warn(`deno ${args.join(" ")} died after its last test had passed`);
  assert(success || diedAtItsEnd, `deno ${args.join(" ")} failed:\n${output}`);
  return output;
}

Deno.test("every exported symbol is documented, and no type of the public API is private", async () => {
  await deno(".", "doc", "--lint", "mod.ts");
});

Deno.test("the examples in the module's documentation run as they stand", async () => {
  const output = await deno(".", "test", "-A", "--doc", "mod.ts");
  const losses = [...output.matchAll(/^[12] ([\d.]+)$/gm)].map((m) => Number(m[1]));
  assertEquals(losses.length, 2, output);
  assert(losses[1] < losses[0], `the loss does not fall: ${losses}`);
  assert(output.includes("Float32Array(3) [ 2, 4, 6 ]"), output);
  assert(/\b3 passed/.test(output), output);
});

Deno.test("every formula that the tables of release and paper check is public: their tests import the module alone", async () => {
  for (const name of ["ares_official", "ares_paper"]) {
    const text = await Deno.readTextFile(join(ROOT, `tests/goldens/${name}.ts`));
    const sources = new Set([...text.matchAll(/ from "(\.\.[^"]+)"/g)].map((m) => m[1]));
    assertEquals([...sources], ["../../mod.ts"], name);
  }
});

Deno.test("the package can be published: no slow types, no tests or weights, nothing missing that it loads", async () => {
  const output = await deno(".", "publish", "--dry-run", "--allow-dirty");
  assert(!/warning/i.test(output), output);
  const units: Record<string, number> = { B: 1, KB: 1024, MB: 1024 ** 2 };
  const files = new Map(
    [...output.matchAll(/^\s*(file:\S+) \(([\d.]+)(B|KB|MB)\)$/gm)].map((m) => [
      fileURLToPath(m[1]).slice(ROOT.length),
      Number(m[2]) * units[m[3]],
    ]),
  );
  for (const name of ["mod.ts", "deno.json", "LICENSE"]) assert(files.has(name), `${name} is left out`);
  const strays = [...files.keys()].filter((name) =>
    !/^(\w+\.(ts|json|md)|LICENSE|\w+\/[\w/]+\.(ts|wgsl|js|css))$/.test(name)
  );
  assertEquals(strays, []);
  const foreign = [...files.keys()].filter((name) => /^(tests|bench|cli|runs)\//.test(name));
  assertEquals(foreign, []);
  const bytes = [...files.values()].reduce((a, b) => a + b, 0);
  assert(bytes < PACKAGE_BYTES, `the package has ${bytes} bytes`);
  let loads = 0;
  for (const name of files.keys()) {
    if (!name.endsWith(".ts")) continue;
    const text = await Deno.readTextFile(join(ROOT, name));
    const imports = text.matchAll(/(?:from|import|import\() ?"(\.[^"]+)"/g);
    // Workers, which the module graph does not show; a folder is no module.
    const urls = text.matchAll(/new URL\("(\.[^"]+\.ts)", import\.meta\.url\)/g);
    for (const [, path] of [...imports, ...urls]) {
      const target = resolve(ROOT, dirname(name), path).slice(ROOT.length);
      assert(files.has(target), `${name} loads ${target}, which is left out`);
      loads++;
    }
  }
  assert(loads > 100, `only ${loads} imports were found`);
  assert(files.has("trainer/latex_judge_worker.ts"));
});

Deno.test("a second project imports the package by its name, trains in both stages, and looks into the model", async () => {
  await deno("tests/module", "check", "main.ts");
  const output = await deno("tests/module", "run", "-A", "main.ts");
  const numbers = (pattern: RegExp) => [...output.matchAll(pattern)].map((m) => m.slice(1).map(Number));

  const adacs = numbers(/^adacs (\d+) loss (\S+)$/gm);
  assert(adacs.length >= 2, output);
  assert(adacs.every(([step, loss], i) => step === i + 1 && Number.isFinite(loss)), output);
  assert(adacs.at(-1)![1] < adacs[0][1] - 0.5, `fine-tuning does not lower the loss:\n${output}`);

  const aepo = numbers(/^aepo (\d+) loss (\S+) norm (\S+)$/gm);
  assertEquals(aepo.map(([step]) => step), [1, 2], output);
  assert(aepo.every(([, loss, norm]) => Number.isFinite(loss) && norm > 0 && norm < Infinity), output);

  const [[tokens, gap]] = numbers(/^sampled (\d+) tokens, logp gap (\S+)$/gm);
  assert(tokens >= 1 && gap <= 1e-4, output);
  const [[loss, gradients]] = numbers(/^loss (\S+) over (\d+) gradients$/gm);
  // One block of a tied Qwen2: the embedding, twelve tensors of the block, the last norm.
  assert(loss > 0 && loss < 20 && gradients === 14, output);
  assert(output.includes("graded true by latex"), output);
});
