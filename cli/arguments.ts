/**
 * The commands and their options, declared once: parsing, `--help` and the argument types below agree.
 * @module
 */
import { Argument, Command, InvalidArgumentError, Option } from "commander";
import { KERNEL_PRESETS, PRECISIONS } from "../gpu/kernel_options.ts";
import type { KernelArgs } from "./tuned_gpu.ts";

/** Arguments of `train`. What is undefined was not given and is left to the configuration. */
export interface TrainArgs extends Pick<KernelArgs, "tune">, Partial<Omit<KernelArgs, "tune">> {
  /** `a.b=c`, in the order given. */
  overrides: string[];
  /** YAML file. */
  config?: string;
  /** Name of a preset, or several with commas. */
  preset?: string;
  /** Hugging Face folder. */
  model?: string;
  /** JSONL file of training problems. */
  train?: string;
  /** JSONL file of held-out problems. */
  val?: string;
  /** Folder that relative image paths start from. */
  imageDir?: string;
  /** Iterations. */
  maxSteps?: number;
  /** Name of the run folder under `runs/`. */
  run?: string;
  /** A run's or checkpoint's folder; `true`: this run's own folder. */
  resume?: string | true;
  /** Seed of all sampling. */
  seed?: number;
  /** Which stages run. */
  stage: "adacs" | "aepo" | "both";
  /** False: no evaluation before, between and after the stages. */
  eval: boolean;
}

/** Arguments of `eval`. */
export interface EvalArgs extends KernelArgs {
  /** Hugging Face or checkpoint folder. */
  model?: string;
  /** JSONL file of problems; undefined: the micro-world's held-out ones. */
  data?: string;
  /** Responses of each problem. */
  samples: number;
  /** Take the most likely token, one response a problem. */
  greedy: boolean;
  /** Sampling temperature. */
  temperature: number;
  /** Nucleus of sampling. */
  topP: number;
  /** Longest response. */
  maxTokens?: number;
  /** Only the first so many problems. */
  limit?: number;
  /** File for the result as JSON. */
  json?: string;
  /** Gray in place of every picture. */
  blind: boolean;
  /** What the table's rows are; undefined: by what the data has. */
  by?: "source" | "level";
  /** Seed of all sampling. */
  seed: number;
}

/** Arguments of `generate`. */
export interface GenerateArgs extends KernelArgs {
  /** Hugging Face or checkpoint folder. */
  model?: string;
  /** The user's turn; undefined: read from standard input. */
  prompt?: string;
  /** Image files, in order. */
  image: string[];
  /** The system turn. */
  system?: string;
  /** Longest response. */
  maxTokens: number;
  /** Sampling temperature; undefined: the model's generation_config.json, else 1. */
  temperature?: number;
  /** Nucleus of sampling. */
  topP?: number;
  /** Most likely tokens sampled from; −1: all. */
  topK?: number;
  /** Take the most likely token. */
  greedy: boolean;
  /** Seed of all sampling. */
  seed: number;
  /** Continue the prompt as it is, without a chat template. */
  raw: boolean;
}

/** Arguments of `doctor`. */
export interface DoctorArgs {
  /** Print JSON instead of a table. */
  json: boolean;
}

/** Arguments of `bench`. */
export interface BenchArgs extends KernelArgs {
  /** Kernels whose name contains one of these; none: all. */
  names: string[];
  /** Print JSON instead of a table. */
  json: boolean;
  /** Timed repetitions of each case. */
  rounds: number;
  /** Compare with other libraries instead. */
  peers: boolean;
  /** Compare, and hold the ratios against the saved ones. */
  check: boolean;
  /** Compare, and keep the ratios. */
  save: boolean;
  /** Seconds that a peer may spend on one kind of work. */
  limit: number;
  /** Minutes after which a comparison ends with what it has. */
  minutes: number;
  /** Interpreter with PyTorch, transformers and TRL, more peers. */
  python?: string;
}

/** Arguments of `pretrain`. */
export interface PretrainArgs {
  /** Folder for the model. */
  out: string;
  /** A model to go on from. */
  from?: string;
  /** Training tokens. */
  tokens?: number;
  /** For text alone, without a vision tower. */
  text: boolean;
  /** Seed of weights and data; the recipe's when undefined. */
  seed?: number;
}

/** Arguments of `study`. */
export interface StudyArgs {
  /** `a.b=c`, for all arms. */
  overrides: string[];
  /** Names of arms; undefined: all. */
  arms?: string[];
  /** One cold start each. */
  seeds: number[];
  /** Iterations of the reinforcement arms. */
  iterations?: number;
  /** Folder of the base model. */
  base?: string;
  /** Folder of the page; undefined: docs/study, or beside the runs of a smoke study. */
  out?: string;
  /** Folder of the runs; undefined: runs/study or runs/study-smoke. */
  runs?: string;
  /** As little of everything as shows that it works. */
  smoke: boolean;
  /** Run nothing. */
  reportOnly: boolean;
}

/** Arguments of `report`. */
export interface ReportArgs {
  /** A run's folder. */
  folder: string;
  /** Most tokens of the rollouts on the page; undefined: what a browser opens without a wait. */
  tokens?: number;
}

/** Arguments of `data export`. */
export interface DataArgs {
  /** Folder for the files. */
  out: string;
  /** How many problems. */
  count: number;
  /** Which side of the held-out split they come from. */
  split: "train" | "heldout";
  /** Names of families with commas; undefined: all. */
  families?: string;
  /** Seed of the problems. */
  seed: number;
}

/** The commands by name with their arguments. */
export interface CommandArgs {
  /** Both training stages. */
  train: TrainArgs;
  /** Accuracy of a model. */
  eval: EvalArgs;
  /** One answer, streamed. */
  generate: GenerateArgs;
  /** Adapter, limits and every kernel's check. */
  doctor: DoctorArgs;
  /** Speed of every kernel. */
  bench: BenchArgs;
  /** Makes the built-in base model. */
  pretrain: PretrainArgs;
  /** A run's page. */
  report: ReportArgs;
  /** Arms × seeds and their page. */
  study: StudyArgs;
  /** The built-in problems as files. */
  data: DataArgs;
}

/** A parsed command line. */
export type Invocation =
  | { [K in keyof CommandArgs]: { command: K; args: CommandArgs[K] } }[keyof CommandArgs]
  | { command: "help-config" };

/** Alike in all commands that run a model. */
function kernelOptions(command: Command): Command {
  const given = command.name() === "train";
  const preset = new Option("--kernels <preset>", "which variants of kernels run").choices(KERNEL_PRESETS);
  const precision = new Option(
    "--precision <name>",
    "of the operands of products; float16 needs shader-f16",
  ).choices(PRECISIONS);
  return command
    .option("--no-tune", "choose kernels by rule, not by measuring them once on this adapter")
    // Of train, what is not given is left to the configuration.
    .addOption(given ? preset : preset.default("auto"))
    .addOption(given ? precision : precision.default("float32"));
}

/**
 * Parses a command line (without program name).
 * @throws CommanderError after printing help (exit code 0) or what is wrong with the arguments
 */
export function parseArguments(argv: readonly string[]): Invocation {
  let invocation: Invocation | undefined;
  const program = new Command("ares")
    .description("Trains reasoning models with ARES (AdaCS, then AEPO) on WebGPU.")
    .exitOverride();
  const command = (name: keyof CommandArgs, description: string): Command =>
    program.command(name).description(description).showHelpAfterError(
      `(--help lists the options of ${name})`,
    );
  const seed = (what: string): Option => new Option("--seed <n>", what).argParser(integer(0, 2 ** 31 - 1));

  kernelOptions(command("train", "train a model: the built-in demo, or your own model and problems"))
    .argument("[overrides...]", "configuration fields as a.b=c")
    .option("--config <file>", "YAML file (EasyR1 files are accepted)")
    .option("--preset <name>", "default, smoke, aepo, grpo, dapo; several with commas")
    .option("--model <folder>", "Hugging Face folder of the model to train")
    .option("--train <file>", "JSONL file of training problems")
    .option("--val <file>", "JSONL file of held-out problems")
    .option("--image-dir <folder>", "folder that relative image paths start from")
    .option("--max-steps <n>", "iterations", integer(1))
    .option("--run <name>", "name of the run folder under runs/")
    .option("--resume [folder]", "go on from a run's newest sound checkpoint, or from one checkpoint")
    .addOption(seed("seed of all sampling"))
    .addOption(
      new Option("--stage <name>", "stages to run").choices(["adacs", "aepo", "both"]).default("both"),
    )
    .option("--no-eval", "no evaluation before, between and after the stages")
    .option("--help-config", "print every configuration field and stop")
    .action((given: string[], { helpConfig, ...options }) => {
      const overrides = [...given];
      // In `--resume a.b=c` the optional folder was left out and an override follows.
      if (typeof options.resume === "string" && /^[\w.]+=/.test(options.resume)) {
        overrides.unshift(options.resume);
        options.resume = true;
      }
      invocation = helpConfig
        ? { command: "help-config" }
        : { command: "train", args: { overrides, ...options } as TrainArgs };
    });

  kernelOptions(command("eval", "measure a model's accuracy: pass@1 and avg@k with 95 % intervals"))
    .option("--model <folder>", "Hugging Face or checkpoint folder (default: the built-in base)")
    .option("--data <file>", "JSONL file of problems (default: the micro-world's held-out ones)")
    .option("--samples <k>", "responses of each problem", integer(1, 4096), 4)
    .option("--greedy", "take the most likely token, one response a problem", false)
    .option("--temperature <t>", "sampling temperature", number(0, 10), 1)
    .option("--top-p <p>", "sample from the smallest set of tokens with this probability", number(0.01, 1), 1)
    .option("--max-tokens <n>", "longest response", integer(1))
    .option("--limit <n>", "only the first n problems", integer(1))
    .option("--blind", "put gray in place of every picture: shows what the pictures are good for", false)
    .option("--json <file>", "write the result as JSON as well")
    .addOption(new Option("--by <column>", "rows of the table").choices(["source", "level"]))
    .addOption(seed("seed of all sampling").default(0))
    .action((options) => void (invocation = { command: "eval", args: options as EvalArgs }));

  kernelOptions(command("generate", "answer a prompt, streaming"))
    .option("--model <folder>", "Hugging Face or checkpoint folder (default: the built-in base)")
    .option("--prompt <text>", "the user's turn (default: standard input)")
    .option("--image <file>", "an image; may be given several times", collect, [])
    .option("--system <text>", "the system turn")
    .option("--max-tokens <n>", "longest response", integer(1), 512)
    .option("--temperature <t>", "sampling temperature (default: the model's own)", number(0, 10))
    .option("--top-p <p>", "sample from the smallest set of tokens with this probability", number(0.01, 1))
    .option("--top-k <k>", "sample from the k most likely tokens; -1: all", integer(-1))
    .option("--greedy", "take the most likely token", false)
    .addOption(seed("seed of all sampling").default(0))
    .option("--raw", "continue the prompt as it is, without a chat template", false)
    .action((options) => void (invocation = { command: "generate", args: options as GenerateArgs }));

  command("doctor", "print adapter, limits and features, and check every kernel on it")
    .option("--json", "print JSON", false)
    .action((options) => void (invocation = { command: "doctor", args: options as DoctorArgs }));

  kernelOptions(
    command("bench", "time every kernel on its real shapes, and one training and one decode step"),
  )
    .addArgument(
      new Argument("[names...]", "kernels (with --peers: works and peers) whose name contains one of these"),
    )
    .option("--json", "print JSON", false)
    .option("--rounds <n>", "timed repetitions of each case", integer(1, 10_000), 5)
    .option("--peers", "compare with other libraries, which it installs, on the same work in turns", false)
    .option(
      "--check",
      "compare, and fail where a ratio fell by more than 20 % of the saved one or steering takes too much of an iteration",
      false,
    )
    .option("--save", "compare, and keep the ratios in bench/results", false)
    .option("--python <program>", "compare with PyTorch, transformers and TRL under this interpreter too")
    .option("--limit <s>", "seconds that a peer may spend on one work; then it is cut off", integer(1), 300)
    .option("--minutes <n>", "minutes after which a comparison ends with what it has", number(0.1, 1e4), 60)
    .action((names: string[], options) =>
      void (invocation = { command: "bench", args: { names, ...options } as BenchArgs })
    );

  command("pretrain", "make the built-in base model from nothing")
    .option("--out <folder>", "folder for the model", "models/micro")
    .option("--from <folder>", "a model to go on from, with the recipe's last phase that begins afresh")
    .option("--tokens <n>", "training tokens (default: the recipe's)", integer(1))
    .option(
      "--text",
      "for text alone, without a vision tower (default: with one, as the shipped model)",
      false,
    )
    .addOption(seed("seed of weights and data (default: the recipe's, as the shipped model's)"))
    .action((options) => void (invocation = { command: "pretrain", args: options as PretrainArgs }));

  command("report", "write a run's report.html: curves, tables, and every logged rollout token by token")
    .argument("<folder>", "the run's folder")
    .option(
      "--tokens <n>",
      "most tokens of the rollouts on the page; of more, groups spread evenly over the run (default: a million)",
      integer(1),
    )
    .action((folder: string, options) =>
      void (invocation = { command: "report", args: { folder, ...options } as ReportArgs })
    );

  command(
    "study",
    "compare AEPO, its parts and its baselines on the built-in problems, over seeds; goes on where it was",
  )
    .argument("[overrides...]", "configuration fields as a.b=c, for all arms alike")
    .option("--arms <names>", "names of arms with commas (default: all)", list)
    .option("--seeds <numbers>", "seeds with commas; each has a cold start of its own", seeds, [0, 1, 2])
    .option("--iterations <n>", "iterations of the reinforcement arms", integer(1))
    .option("--base <folder>", "Hugging Face folder of the base model (default: the built-in base)")
    .option("--out <folder>", "folder of the page (default: docs/study)")
    .option("--runs <folder>", "folder of the runs (default: runs/study)")
    .option("--smoke", "as little of everything as shows that it works, all of it under runs/", false)
    .option("--report-only", "write the page of the runs that are there", false)
    .action((overrides: string[], options) =>
      void (invocation = { command: "study", args: { overrides, ...options } as StudyArgs })
    );

  command("data", "the built-in problems as files, to see the format to bring")
    .command("export")
    .description("write problems as JSONL and their pictures as PNG")
    .showHelpAfterError("(--help lists the options of data export)")
    .requiredOption("--out <folder>", "folder for problems.jsonl and images/")
    .option("--count <n>", "problems", integer(1), 96)
    .addOption(
      new Option("--split <name>", "side of the held-out split").choices(["train", "heldout"]).default(
        "train",
      ),
    )
    .option("--families <names>", "names of families with commas (default: all, with and without pictures)")
    .addOption(seed("seed of the problems").default(0))
    .action((options) => void (invocation = { command: "data", args: options as DataArgs }));

  program.parse(argv, { from: "user" });
  if (invocation === undefined) throw new Error("commander returned without running a command");
  return invocation;
}

function integer(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isInteger(value) || value < min || value > max) {
      const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
      throw new InvalidArgumentError(`Give an integer ${range}.`);
    }
    return value;
  };
}

function number(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !(value >= min && value <= max)) {
      throw new InvalidArgumentError(`Give a number from ${min} to ${max}.`);
    }
    return value;
  };
}

function list(text: string): string[] {
  return text.split(",").map((name) => name.trim()).filter((name) => name !== "");
}

function seeds(text: string): number[] {
  const numbers = list(text).map(integer(0, 2 ** 31 - 2));
  if (numbers.length === 0 || new Set(numbers).size < numbers.length) {
    throw new InvalidArgumentError("Give different whole numbers with commas between them.");
  }
  return numbers;
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}
