/**
 * Runs the tests and ends with `N passed, N failed` alone on a line. Arguments: parts of file names that choose
 * among the `*_test.ts` below this folder, and `--parallel` (files side by side; slower on a software adapter,
 * where they share the cores).
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** What a run of `deno test` came to. */
export interface Outcome {
  /** Tests that passed. */
  passed: number;
  /** Tests that failed; at least 1 whenever the run as a whole did. */
  failed: number;
}

/** Reads the closing line of `deno test`; a run without one (a type error, a crash) is one failure. */
export function readOutcome(output: string, succeeded: boolean): Outcome {
  // deno-lint-ignore no-control-regex
  const plain = output.replace(/\x1b\[[\d;]*m/g, "");
  const closing = [...plain.matchAll(/^(?:ok|FAILED) \| (\d+) passed[^|\n]*\| (\d+) failed/gm)].at(-1);
  if (closing === undefined) return { passed: 0, failed: 1 };
  const [passed, failed] = [Number(closing[1]), Number(closing[2])];
  return { passed, failed: succeeded ? failed : Math.max(1, failed) };
}

async function testFiles(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(join(ROOT, folder))) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) found.push(...await testFiles(path));
    else if (entry.name.endsWith("_test.ts")) found.push(path);
  }
  return found.sort();
}

async function main(args: string[]): Promise<number> {
  const parallel = args.filter((arg) => arg === "--parallel");
  const wanted = args.filter((arg) => arg !== "--parallel");
  const files = (await testFiles("tests")).filter((file) =>
    wanted.length === 0 || wanted.some((part) => file.includes(part))
  );
  if (files.length === 0) {
    console.error(`error: no test file's name contains ${wanted.join(" or ")}`);
    console.log("0 passed, 0 failed");
    return 1;
  }
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", ...parallel, ...files],
    cwd: ROOT,
    env: {
      // Mesa's software driver is several times faster with the CPU's widest vectors; others ignore this.
      LP_NATIVE_VECTOR_WIDTH: Deno.env.get("LP_NATIVE_VECTOR_WIDTH") ?? "512",
      XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? Deno.env.get("TMPDIR") ?? "/tmp",
      ...(Deno.stdout.isTerminal() ? { FORCE_COLOR: "1" } : {}),
    },
    stdout: "piped",
  }).spawn();
  let output = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    output += decoder.decode(chunk, { stream: true });
    for (let done = 0; done < chunk.length;) done += await Deno.stdout.write(chunk.subarray(done));
  }
  const { success } = await child.status;
  const { passed, failed } = readOutcome(output, success);
  if (passed + failed === 0) console.error("error: no test ran");
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
