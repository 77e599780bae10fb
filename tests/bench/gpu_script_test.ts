import { assert, assertEquals, assertMatch } from "@std/assert";
import { PEERS, pythonPeers } from "../../bench/peers/peers.ts";
import { targeted } from "../../bench/peers/targets.ts";
import { WORKS } from "../../bench/peers/work.ts";
import { chosen } from "../../cli/bench_peers.ts";

const SCRIPT = new URL("../../bench/gpu.sh", import.meta.url).pathname;
const TEXT = await Deno.readTextFile(SCRIPT);
const EVERYONE = [...PEERS, ...pythonPeers("python", "scripts")];

/** The words of a line of shell, quotes taken off. */
function words(pattern: RegExp): string[] {
  const found = TEXT.match(pattern);
  assert(found, `${pattern}`);
  return [...found[1].matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare);
}

/** Seconds by step. */
const LIMITS = words(/^declare -A limit=\((.*)\)$/m).map((word) => {
  const [, step, seconds] = word.match(/^\[(\w+)\]=(\d+)$/)!;
  return [step, Number(seconds)] as const;
});

const NATIVE = [...words(/^native=\((.*)\)$/m), ...words(/native\+=\((.*)\)$/m)];
const GOALS = words(/^goals=\((.*)\)$/m);
const CARD_GOALS = [...words(/then goals=\((.*) "\$\{goals\[@\]\}"\); fi$/m), ...GOALS];
const OTHERS = words(/^compared others (.*) "\$\{native\[@\]\}"$/m);

const worksOf = (texts: readonly string[]) =>
  chosen([...texts, ...NATIVE], EVERYONE, "discrete").works.map(({ name }) => name);

Deno.test("gpu.sh: its steps fit into ten minutes, and its help names each with its limit", async () => {
  const sum = LIMITS.reduce((sum, [, seconds]) => sum + seconds, 0);
  assert(sum > 500 && sum <= 595, `${sum} s`);
  const { stdout } = await new Deno.Command("bash", { args: [SCRIPT, "--help"] }).output();
  const help = new TextDecoder().decode(stdout);
  for (const [step, seconds] of LIMITS) {
    assertMatch(help, new RegExp(`^  ${step}=${seconds} `, "m"));
    assertMatch(TEXT, new RegExp(`^(step|compared) ${step} `, "m"));
    // A step that failed is to be seen in the exit code.
    assertMatch(TEXT, new RegExp(`\\^\\([a-z|]*\\b${step}\\b[a-z|]*\\): \\(FAILED`));
  }
});

Deno.test("gpu.sh: the two comparisons do all works once, the one with the goals first, with everyone but JavaScript", () => {
  const first = worksOf(CARD_GOALS);
  const rest = worksOf(OTHERS);
  assertEquals([...first, ...rest].sort(), WORKS.map(({ name }) => name).sort());
  assertEquals(new Set(targeted("discrete").map(([work]) => work)), new Set(first));
  const { peers } = chosen(NATIVE, EVERYONE, "discrete");
  assertEquals(peers, EVERYONE.filter(({ group }) => group !== "javascript"));
  const { peers: javascript } = chosen(words(/^compared javascript (.*)$/m), EVERYONE, "discrete");
  assertEquals(javascript.slice(1), EVERYONE.filter(({ group }) => group === "javascript"));
  // On a software adapter the large product is not asked for.
  assertEquals(chosen([...GOALS, ...NATIVE], EVERYONE, "software").works.length, first.length - 1);
});

Deno.test("gpu.sh: git takes its summary and leaves its logs", async () => {
  // A copy of this project need not be a repository.
  const cwd = await Deno.makeTempDir();
  try {
    await Deno.copyFile(new URL("../../.gitignore", import.meta.url), `${cwd}/.gitignore`);
    const git = async (...args: string[]) => (await new Deno.Command("git", { args, cwd }).output()).code;
    assertEquals(await git("init", "--quiet"), 0);
    const ignored = async (name: string) =>
      await git("check-ignore", "--quiet", `bench/results/${name}`) === 0;
    assertEquals(await ignored("card-2026-01-01.json"), false);
    assertEquals(await ignored("card-2026-01-01/summary.txt"), false);
    assertEquals(await ignored("card-2026-01-01/tests.log"), true);
    assertEquals(await ignored("card-2026-01-01/tests.txt"), true);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

Deno.test("gpu.sh: what outlives a step's time does not compute beside the next one", async () => {
  const [step] = TEXT.match(/^step\(\) \{[^]*?^\}$/m)!;
  const out = await Deno.makeTempDir();
  try {
    // The step itself ends when it is told to; what it started does not listen.
    const stubborn = `(trap "" TERM; exec sleep 60) & echo $! >"${out}/child"; sleep 60`;
    const script = `
      declare -A limit=([slow]=5)
      granted() { echo 5; }
      anywhere() { cat; }
      out=${out} summary=${out}/summary.txt
      ${step}
      step slow nothing bash -c '${stubborn}'
      ps -o stat= -p "$(cat "${out}/child")" | grep -v Z && echo "it goes on" || echo "it has ended"`;
    const { stdout } = await new Deno.Command("bash", { args: ["-c", script] }).output();
    const text = new TextDecoder().decode(stdout);
    assertMatch(text, /slow: CUT OFF after 5 s/);
    assertMatch(text, /it has ended\n$/);
  } finally {
    await Deno.remove(out, { recursive: true });
  }
});
