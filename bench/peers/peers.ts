/** Who is compared, with what each can do and how its process is started. @module */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Precision } from "../../gpu/kernel.ts";
import { PRELUDE } from "./python.ts";
import { PYTORCH } from "./pytorch.ts";
import { TRANSFORMERS } from "./transformers.ts";
import { TRL } from "./trl.ts";
import type { Work } from "./work.ts";

/** This project's name among its peers. */
export const OWN = "ares";

/** This project with operands of linear layers rounded to f16; see `KernelOptions.precision`. */
export const OWN_HALF = "ares float16";

/** The step that runs all its operations as fast as the adapter's best product. */
export const BEST_PRODUCT = "best product";

/** The iteration that is nothing but its compute passes. */
export const PASSES = "passes alone";

type Cannot = Readonly<Partial<Record<Work["kind"], string>>>;

/** A program that does some of the work. */
export interface Peer {
  readonly name: string;
  /** What it runs on; ratios to peers on the same adapter say most. A `ceiling` is a part of this project. */
  readonly group: "own" | "ceiling" | "javascript" | "python";
  /** Why it does not do a kind of work; the other kinds it does. */
  readonly cannot: Cannot;
  /** Why it does nothing at all here. */
  readonly absent?: string;
  /** The script whose packages have to be fetched first. */
  readonly packages?: string;
  /** Program and arguments, the work's JSON left out, which comes first among the script's own. */
  readonly command: (work: string) => readonly string[];
  /** Variables of its process. */
  readonly env: Readonly<Record<string, string>>;
  /** Products of 16-bit numbers, where everyone else's are of 32: it is compared with {@link OWN_HALF}. */
  readonly half?: boolean;
  /** Says nothing on a software adapter, which has no units for 16 bits: there it waits to be asked for by name. */
  readonly hardware?: boolean;
}

/** Whose speed is put over a peer's: this project in the same precision; null for this project itself. */
export function against({ group, half }: Pick<Peer, "group" | "half">): string | null {
  return group === "own" ? null : half ? OWN_HALF : OWN;
}

const local = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Holds the peers' packages; git ignores it. */
export const PACKAGES_FOLDER = local("../../.ares/peers");

/** A configuration that knows the peers' packages and nothing else, with a frozen lock of their own beside it. */
const CONFIG = ["--quiet", "--config", local("packages.json")];

/** Arguments of the `deno` that fetches a script's packages into {@link PACKAGES_FOLDER}. */
export function installArguments(script: string): string[] {
  return ["cache", ...CONFIG, script];
}

function own(
  name: string,
  group: Peer["group"],
  file: string,
  cannot: Cannot,
  precision: Precision[] = [],
): Peer {
  return {
    name,
    group,
    cannot,
    command: (work) => [
      Deno.execPath(),
      "run",
      "-A",
      "--no-check",
      "--config",
      local("../../deno.json"),
      local(file),
      work,
      ...precision,
    ],
    env: {},
  };
}

const NO_AEPO = "has no AEPO";

function javascript(name: string, file: string, device: string, cannot: Cannot): Peer {
  return {
    name,
    group: "javascript",
    cannot: { grpo: "has no reinforcement trainer to compare with", aepo: NO_AEPO, ...cannot },
    command: (work) => [Deno.execPath(), "run", "-A", "--no-check", ...CONFIG, local(file), work, device],
    env: { DENO_DIR: PACKAGES_FOLDER },
    packages: local(file),
  };
}

const NO_SAMPLING = "its products and training step are compared: nobody has written sampling in it here";
const ONE_STEP = "a ceiling of the training step alone";
const ONE_ITERATION = "a ceiling of the AEPO iteration alone";

/** Everyone but the Python libraries, this project first. */
export const PEERS: readonly Peer[] = [
  own(OWN, "own", "ares.ts", {}),
  {
    ...own(OWN_HALF, "own", "ares.ts", { aepo: "is there to be compared, and nobody else has AEPO" }, [
      "float16",
    ]),
    half: true,
    hardware: true,
  },
  own(BEST_PRODUCT, "ceiling", "ares_ceiling.ts", {
    matmul: ONE_STEP,
    generate: ONE_STEP,
    grpo: ONE_STEP,
    aepo: ONE_STEP,
  }),
  own(PASSES, "ceiling", "ares_ceiling.ts", {
    matmul: ONE_ITERATION,
    train: ONE_ITERATION,
    generate: ONE_ITERATION,
    grpo: ONE_ITERATION,
  }),
  javascript("jax-js webgpu", "jax_js.ts", "webgpu", {}),
  javascript("jax-js wasm", "jax_js.ts", "wasm", {}),
  javascript("tf.js webgpu", "tfjs.ts", "webgpu", { generate: NO_SAMPLING }),
  javascript("tf.js wasm", "tfjs.ts", "wasm", { generate: NO_SAMPLING }),
  javascript("gpu.js webgpu", "gpu_js.ts", "webgpu", {
    train: "has no gradients",
    generate: "has no models; a cache and sampling would have to be written in it",
  }),
];

const ONLY_GENERATES = "its generate is compared; the rest is PyTorch's row";
const ONLY_GRPO = "its GRPOTrainer is compared; the rest is PyTorch's row";

/** A Python library: its name, its script and what that leaves out; whether it is asked for 16 bits. */
const PYTHON: readonly (readonly [name: string, script: string, cannot: Cannot, half?: true])[] = [
  ["PyTorch", PYTORCH, {}],
  ["PyTorch bf16", PYTORCH, {}, true],
  ["HF generate", TRANSFORMERS, { matmul: ONLY_GENERATES, train: ONLY_GENERATES, grpo: ONLY_GENERATES }],
  ["TRL", TRL, { matmul: ONLY_GRPO, train: ONLY_GRPO, generate: ONLY_GRPO }],
];

/** The Python libraries under an interpreter that has them; their scripts lie in `folder`. */
export function pythonPeers(python: string, folder: string): Peer[] {
  return PYTHON.map(([name, , cannot, half]) => ({
    name,
    group: "python",
    cannot: { aepo: NO_AEPO, ...cannot },
    command: (work) => [python, join(folder, scriptName(name)), work, ...half ? ["bfloat16"] : []],
    env: {},
    half,
    hardware: half,
  }));
}

/** Writes the scripts for {@link pythonPeers} into a folder. */
export async function writePythonScripts(folder: string): Promise<void> {
  for (const [name, script] of PYTHON) {
    await Deno.writeTextFile(join(folder, scriptName(name)), PRELUDE + script);
  }
}

/** Not the name of a module: the script's folder is the first that Python looks into. */
function scriptName(peer: string): string {
  return `peer_${peer.toLowerCase().replaceAll(" ", "_")}.py`;
}
