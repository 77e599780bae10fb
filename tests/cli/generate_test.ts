import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const ROOT = new URL("../..", import.meta.url).pathname;

async function ares(args: string[], input = ""): Promise<{ code: number; out: string; err: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "cli/main.ts", ...args, "--no-tune"],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

Deno.test("generate: answers a prompt from the option and from standard input alike, greedy is repeatable", async () => {
  const prompt = "what is 2 + 5 ?";
  const first = await ares(["generate", "--greedy", "--max-tokens", "60", "--prompt", prompt]);
  assertEquals(first.code, 0, first.err);
  assertStringIncludes(first.out, "\\boxed{");
  const second = await ares(["generate", "--greedy", "--max-tokens", "60"], prompt);
  assertEquals(second.out, first.out);
});

Deno.test("generate: a folder without a model is refused by name", async () => {
  const { code, err } = await ares(["generate", "--model", "/nonexistent", "--prompt", "x"]);
  assertEquals(code, 2);
  assertStringIncludes(err, "/nonexistent");
});

Deno.test("eval: pass@1 and avg@k with intervals, as a table and as JSON", async () => {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/result.json`;
  const { code, out, err } = await ares(["eval", "--limit", "12", "--samples", "2", "--json", file]);
  assertEquals(code, 0, err);
  for (const word of ["pass@1", "avg@2", "95 %", "easy", "all"]) assertStringIncludes(out, word);
  const result = JSON.parse(await Deno.readTextFile(file));
  assertEquals(result.samples.length, 24);
  const [low, high] = result.all.interval;
  assert(low <= result.all.accuracy && result.all.accuracy <= high);
  const right = result.samples.filter((s: { correct: boolean }) => s.correct).length;
  assertEquals(result.all.accuracy, right / 24);
  await Deno.remove(folder, { recursive: true });
});
