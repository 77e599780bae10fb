/** Who is compared, with what each can do and how its process is started. @module */
import { fileURLToPath } from "node:url";
import { PYTORCH } from "./pytorch.ts";
import type { Work } from "./work.ts";

/** This project's name among its peers. */
export const OWN = "ares";

/** A program that does some of the work. */
export interface Peer {
  readonly name: string;
  /** What it runs on; ratios to peers on the same adapter say most. */
  readonly group: "own" | "javascript" | "pytorch";
  /** Why it does not do a kind of work; the other kinds it does. */
  readonly cannot: Readonly<Partial<Record<Work["kind"], string>>>;
  /** Program and arguments, the work's JSON left out, which comes first among the script's own. */
  readonly command: (work: string) => readonly string[];
  /** Variables of its process. */
  readonly env: Readonly<Record<string, string>>;
}

const local = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Holds the peers' packages; git ignores it. */
export const PACKAGES_FOLDER = local("../../.ares/peers");

const CONFIG = local("packages.json");

/** Arguments of a `deno` that knows the peers' packages and nothing else; the lock file is for the project's own. */
export const PEER_FLAGS: readonly string[] = ["-A", "--no-check", "--no-lock", "--quiet", "--config", CONFIG];

const NO_GRPO = "has no reinforcement trainer to compare with";

function javascript(name: string, file: string, device: string, cannot: Peer["cannot"]): Peer {
  return {
    name,
    group: "javascript",
    cannot: { grpo: NO_GRPO, ...cannot },
    command: (work) => [Deno.execPath(), "run", ...PEER_FLAGS, local(file), work, device],
    env: { DENO_DIR: PACKAGES_FOLDER },
  };
}

const NO_MODEL = "only its product is compared: nobody has written the model in it here";

/** Everyone but PyTorch, this project first. */
export const PEERS: readonly Peer[] = [
  {
    name: OWN,
    group: "own",
    cannot: {},
    command: (
      work,
    ) => [
      Deno.execPath(),
      "run",
      "-A",
      "--no-check",
      "--config",
      local("../../deno.json"),
      local("ares.ts"),
      work,
    ],
    env: {},
  },
  javascript("jax-js webgpu", "jax_js.ts", "webgpu", {}),
  javascript("jax-js wasm", "jax_js.ts", "wasm", {}),
  javascript("tf.js webgpu", "tfjs.ts", "webgpu", { train: NO_MODEL, generate: NO_MODEL }),
  javascript("tf.js wasm", "tfjs.ts", "wasm", { train: NO_MODEL, generate: NO_MODEL }),
  javascript("gpu.js webgpu", "gpu_js.ts", "webgpu", {
    train: "has no gradients",
    generate: "has no models; a cache and sampling would have to be written in it",
  }),
];

/** The scripts whose packages are installed before anything is timed. */
export const PEER_SCRIPTS: readonly string[] = ["jax_js.ts", "tfjs.ts", "gpu_js.ts"].map(local);

/** PyTorch under the given interpreter; `script` is a file with {@link PYTORCH}. */
export function pytorch(python: string, script: string): Peer {
  return {
    name: "PyTorch",
    group: "pytorch",
    cannot: {},
    command: (work) => [python, script, work],
    env: {},
  };
}

/** Writes the script for {@link pytorch} to a temporary file. */
export async function writePytorchScript(): Promise<string> {
  const file = await Deno.makeTempFile({ prefix: "ares-bench-", suffix: ".py" });
  await Deno.writeTextFile(file, PYTORCH);
  return file;
}
