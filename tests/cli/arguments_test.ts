import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { CommanderError } from "commander";
import { parseArguments } from "../../cli/arguments.ts";
import { main } from "../../cli/main.ts";

const MAIN = new URL("../../cli/main.ts", import.meta.url).pathname;

function refusal(argv: string[]): CommanderError {
  return assertThrows(() => parseArguments(argv), CommanderError);
}

async function run(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", MAIN, ...argv],
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}

Deno.test("arguments: train without any", () => {
  assertEquals(parseArguments(["train"]), {
    command: "train",
    args: { overrides: [], stage: "both", eval: true, tune: true },
  });
});

Deno.test("arguments: train with everything", () => {
  const argv =
    "train a.b=c --config x.yaml --preset smoke --model m --train t.jsonl --val v.jsonl --image-dir i " +
    "--max-steps 3 --run r --resume runs/r --seed 7 --stage adacs --no-eval --no-tune d.e=-1";
  assertEquals(parseArguments(argv.split(" ")), {
    command: "train",
    args: {
      overrides: ["a.b=c", "d.e=-1"],
      config: "x.yaml",
      preset: "smoke",
      model: "m",
      train: "t.jsonl",
      val: "v.jsonl",
      imageDir: "i",
      maxSteps: 3,
      run: "r",
      resume: "runs/r",
      seed: 7,
      stage: "adacs",
      eval: false,
      tune: false,
    },
  });
});

Deno.test("arguments: which kernels run, of train only where it is said", () => {
  assertEquals(parseArguments("train --kernels portable --precision float16".split(" ")), {
    command: "train",
    args: {
      overrides: [],
      stage: "both",
      eval: true,
      tune: true,
      kernels: "portable",
      precision: "float16",
    },
  });
  for (const command of ["eval", "generate", "bench"] as const) {
    const { args } = parseArguments(`${command} --kernels gpu --precision float16`.split(" ")) as {
      args: { kernels: string; precision: string };
    };
    assertEquals([args.kernels, args.precision], ["gpu", "float16"]);
    refusal(`${command} --kernels fast`.split(" "));
    refusal(`${command} --precision half`.split(" "));
  }
});

Deno.test("arguments: --resume alone, and with an override behind it", () => {
  assertEquals(parseArguments(["train", "--resume"]), {
    command: "train",
    args: { overrides: [], resume: true, stage: "both", eval: true, tune: true },
  });
  assertEquals(parseArguments(["train", "--resume", "trainer.max_steps=9", "data.seed=2"]), {
    command: "train",
    args: {
      overrides: ["trainer.max_steps=9", "data.seed=2"],
      resume: true,
      stage: "both",
      eval: true,
      tune: true,
    },
  });
});

Deno.test("arguments: the other commands' defaults", () => {
  assertEquals(parseArguments(["eval"]), {
    command: "eval",
    args: {
      samples: 4,
      greedy: false,
      temperature: 1,
      topP: 1,
      blind: false,
      seed: 0,
      tune: true,
      kernels: "auto",
      precision: "float32",
    },
  });
  assertEquals(parseArguments(["generate"]), {
    command: "generate",
    args: {
      image: [],
      maxTokens: 512,
      greedy: false,
      seed: 0,
      raw: false,
      tune: true,
      kernels: "auto",
      precision: "float32",
    },
  });
  assertEquals(parseArguments(["doctor"]), { command: "doctor", args: { json: false } });
  assertEquals(parseArguments(["bench"]), {
    command: "bench",
    args: {
      names: [],
      json: false,
      rounds: 5,
      tune: true,
      kernels: "auto",
      precision: "float32",
      peers: false,
      check: false,
      save: false,
      limit: 300,
      minutes: 60,
    },
  });
  // No seed: the recipe's own, so that the command without options makes the shipped model.
  assertEquals(parseArguments(["pretrain"]), {
    command: "pretrain",
    args: { out: "models/micro", text: false },
  });
  assertEquals(parseArguments(["train", "--help-config"]), { command: "help-config" });
});

Deno.test("arguments: the other commands with everything", () => {
  const words = (line: string): string[] => line.split(" ");
  assertEquals(
    parseArguments(words(
      "eval --model m --data d --samples 8 --greedy --temperature 0.5 --top-p 0.9 --max-tokens 64 --limit 10 --blind --json o --by level --no-tune",
    )),
    {
      command: "eval",
      args: {
        model: "m",
        data: "d",
        samples: 8,
        greedy: true,
        temperature: 0.5,
        topP: 0.9,
        maxTokens: 64,
        limit: 10,
        blind: true,
        json: "o",
        by: "level",
        seed: 0,
        tune: false,
        kernels: "auto",
        precision: "float32",
      },
    },
  );
  assertEquals(
    parseArguments(words(
      "generate --model m --prompt hi --image a.png --image b.png --system s --max-tokens 5 --temperature 0.7 --top-p 0.8 --top-k 40 --seed 3 --raw --no-tune",
    )),
    {
      command: "generate",
      args: {
        model: "m",
        prompt: "hi",
        image: ["a.png", "b.png"],
        system: "s",
        maxTokens: 5,
        temperature: 0.7,
        topP: 0.8,
        topK: 40,
        greedy: false,
        seed: 3,
        raw: true,
        tune: false,
        kernels: "auto",
        precision: "float32",
      },
    },
  );
  assertEquals(parseArguments(words("bench matmul rmsnorm --json --rounds 2 --no-tune")), {
    command: "bench",
    args: {
      names: ["matmul", "rmsnorm"],
      json: true,
      rounds: 2,
      tune: false,
      kernels: "auto",
      precision: "float32",
      peers: false,
      check: false,
      save: false,
      limit: 300,
      minutes: 60,
    },
  });
  const compared = "bench W1 --peers --check --save --python p/python --limit 9 --minutes 2";
  assertEquals(parseArguments(words(compared)), {
    command: "bench",
    args: {
      names: ["W1"],
      json: false,
      rounds: 5,
      tune: true,
      kernels: "auto",
      precision: "float32",
      peers: true,
      check: true,
      save: true,
      python: "p/python",
      limit: 9,
      minutes: 2,
    },
  });
  assertEquals(parseArguments(words("pretrain --text --out o --from m --tokens 1000 --seed 4")), {
    command: "pretrain",
    args: { out: "o", from: "m", text: true, tokens: 1000, seed: 4 },
  });
});

Deno.test("arguments: report takes a run's folder and how much is shown", () => {
  assertEquals(parseArguments(["report", "runs/micro", "--tokens", "5000"]), {
    command: "report",
    args: { folder: "runs/micro", tokens: 5000 },
  });
  assertMatch(refusal(["report"]).message, /missing required argument 'folder'/);
});

Deno.test("arguments: study takes lists of arms and seeds, and overrides for all arms", () => {
  assertEquals(parseArguments(["study"]), {
    command: "study",
    args: { overrides: [], seeds: [0, 1, 2], smoke: false, reportOnly: false },
  });
  const words =
    "study --arms adacs,grpo --seeds 4,7 --iterations 5 --base b --out o --runs r --smoke --report-only a.b=c";
  assertEquals(parseArguments(words.split(" ")), {
    command: "study",
    args: {
      overrides: ["a.b=c"],
      arms: ["adacs", "grpo"],
      seeds: [4, 7],
      iterations: 5,
      base: "b",
      out: "o",
      runs: "r",
      smoke: true,
      reportOnly: true,
    },
  });
  assertMatch(refusal(["study", "--seeds", "1,1"]).message, /different whole numbers/);
  assertMatch(refusal(["study", "--seeds", "1,x"]).message, /an integer/);
});

Deno.test("arguments: what cannot be right is refused by name", () => {
  assertMatch(refusal(["train", "--max-steps", "0"]).message, /--max-steps.*'0'.*at least 1/);
  assertMatch(refusal(["train", "--max-steps", "1.5"]).message, /an integer/);
  assertMatch(refusal(["train", "--seed", ""]).message, /from 0 to 2147483647/);
  assertMatch(refusal(["train", "--stage", "sft"]).message, /adacs, aepo, both/);
  assertMatch(refusal(["eval", "--top-p", "2"]).message, /from 0.01 to 1/);
  assertMatch(refusal(["eval", "extra"]).message, /too many arguments/);
  assertMatch(refusal(["bench", "--round", "2"]).message, /unknown option '--round'[^]*--rounds/);
  assertMatch(refusal(["trian"]).message, /unknown command 'trian'[^]*train/);
});

Deno.test("main: the command line's own answers and exit codes", async () => {
  const table = await run("train", "--help-config");
  assertEquals(table.code, 0);
  assertStringIncludes(table.stdout, "| `aepo.kappa.delta` | `0.005` |");
  const help = await run("eval", "--help");
  assertEquals(help.code, 0);
  assertStringIncludes(help.stdout, "--top-p <p>");
  const wrong = await run("eval", "--frobnicate");
  assertEquals([wrong.code, wrong.stdout], [2, ""]);
  assertStringIncludes(wrong.stderr, "error: unknown option '--frobnicate'");
});

Deno.test("main: a command's number is the exit code; the user's errors are 2 without a stack, others 1 with one", async () => {
  const folder = await Deno.makeTempDir();
  const errors = new URL("../../gpu/errors.ts", import.meta.url).href;
  await Deno.writeTextFile(`${folder}/doctor.ts`, `export const doctor = async (a) => a.json ? 0 : 7;`);
  await Deno.writeTextFile(
    `${folder}/bench.ts`,
    `import { UserError } from "${errors}"; export async function bench() { throw new UserError("no such kernel"); }`,
  );
  await Deno.writeTextFile(
    `${folder}/eval.ts`,
    `async function f() { throw new TypeError("a bug"); } export { f as eval };`,
  );
  const printed: unknown[] = [];
  const print = console.error;
  console.error = (...what: unknown[]): void => void printed.push(...what);
  try {
    const commands = new URL(`file://${folder}/`);
    assertEquals(await main(["doctor"], commands), 7);
    assertEquals(await main(["doctor", "--json"], commands), 0);
    assertEquals(await main(["bench"], commands), 2);
    assertEquals(printed, ["error: no such kernel"]);
    assertEquals(await main(["eval"], commands), 1);
    assertStringIncludes((printed[1] as Error).stack ?? "", "eval.ts:1");
  } finally {
    console.error = print;
    await Deno.remove(folder, { recursive: true });
  }
});
