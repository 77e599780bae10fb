import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { microRows } from "../../data/micro/world.ts";
import { Tokenizer } from "../../models/tokenizer.ts";
import type { IterationReport } from "../../trainer/aepo.ts";
import { loadConfig } from "../../trainer/config.ts";
import { MetricsLog } from "../../trainer/metrics_log.ts";
import { RolloutLog } from "../../trainer/rollout_log.ts";
import { RunFolder } from "../../trainer/run_folder.ts";
import { spans } from "../../trainer/run_report.ts";
import type { ShapedTrajectory } from "../../trainer/trajectory.ts";
import { generationsOf } from "./run_copy.ts";

const MICRO = new URL("../../models/micro", import.meta.url).pathname;
const WEIGHTS = { outside: 0.05, inside: 0.025 };
const PICTURED = [...microRows({ seed: 1, count: 2, split: "train", families: ["tally"] })];

/** What an iteration of `groups` of three rollouts reports; the second of each group is a branch of the first. */
function iteration(tokenizer: Tokenizer, groups: number): IterationReport {
  const tokens = Uint32Array.from([...tokenizer.encode("first 6+8=14 so"), tokenizer.idOf("<|im_end|>")!]);
  const numbers = (of: (t: number) => number) => Float32Array.from(tokens, (_, t) => of(t));
  const trajectories = Array.from({ length: 3 * groups }, (_, i): ShapedTrajectory => ({
    problem: { row: PICTURED[Math.floor(i / 3) % 2], prompt: [1], candidates: [] },
    group: Math.floor(i / 3),
    sample: i % 3,
    branch: i % 3 === 1 ? { parent: 0, step: 2, entropy: 0.75 } : undefined,
    tokens,
    logps: numbers(() => -0.123456),
    entropies: numbers((t) => t / 10),
    windows: numbers((t) => t < 3 ? 1 : 0.25),
    mask: numbers((t) => t < 3 ? 1 : 0),
    highEntropy: 3,
    text: "first 6+8=14 so",
    finish: "stop",
    accuracy: 0,
    format: 1,
    bucket: "hard",
    reward: { overall: -0.1, shaping: -0.1, format: 0, overlong: 0 },
    advantage: 1.5,
    lambda: 0.1,
  }));
  return {
    metrics: { step: 7, stage: "aepo" },
    trajectories,
    learned: new Set([0]),
    settings: { klWeights: { easy: WEIGHTS, medium: WEIGHTS, hard: WEIGHTS }, threshold: 0.5, lr: 1 },
    update: undefined,
  };
}

async function logged(
  groups: number,
  most: number,
): Promise<{ records: Record<string, any>[]; pictures: string[] }> {
  const folder = await RunFolder.open(await Deno.makeTempDir(), 1);
  try {
    const { config } = loadConfig({ overrides: [`trainer.rollouts_to_log=${most}`] });
    using log = MetricsLog.open(folder.generationsPath);
    const tokenizer = await Tokenizer.load(MICRO);
    await new RolloutLog(log, folder, tokenizer, config).appendIteration(iteration(tokenizer, groups));
    const pictures = await Array.fromAsync(Deno.readDir(folder.picturesPath), (entry) => entry.name);
    return { records: await generationsOf(folder.path), pictures };
  } finally {
    await Deno.remove(folder.path, { recursive: true });
  }
}

Deno.test("rollout log: a line has the text of every token and what its loss was made from", async () => {
  const { records: [first, second], pictures } = await logged(1, -1);
  assertEquals(first.tokens.join(""), "first 6+8=14 so<|im_end|>");
  const length = first.tokens.length;
  for (const key of ["logps", "entropies", "windows", "advantages"]) {
    assertEquals(first[key].length, length, key);
  }
  assertEquals([first.logps[0], first.entropies[2], first.high_entropy], [-0.123, 0.2, [[0, 3]]]);
  assertEquals([first.kl_weight, first.learned, first.level], [WEIGHTS, true, PICTURED[0].level]);
  // A + ψ: λ (H̄ − τ) inside windows, less its mean over the response, so that ψ has none.
  const mean = 3 * 0.1 * 0.5 / length;
  assertAlmostEquals(first.advantages[0], 1.5 + 0.05 - mean, 6e-4);
  assertAlmostEquals(first.advantages[length - 1], 1.5 - mean, 6e-4);
  assertEquals([first.parent, second.parent, second.branch_step, second.branch_entropy], [
    undefined,
    0,
    2,
    0.75,
  ]);
  assertEquals(pictures, first.images);
});

Deno.test("rollout log: whole groups up to the limit, at least one; each picture is kept once", async () => {
  const count = async (groups: number, most: number) => (await logged(groups, most)).records.length;
  assertEquals([await count(4, -1), await count(4, 9), await count(4, 8), await count(4, 1)], [12, 9, 6, 3]);
  const { records, pictures } = await logged(4, -1);
  assertEquals(pictures.length, 2);
  assert(records.every((r) => pictures.includes(r.images[0])));
  assertEquals(records.map((r) => r.learned), records.map((r) => r.group === 0));
});

Deno.test("rollout log: spans of a mask", () => {
  assertEquals(spans([1, 1, 0, 1, 0, 0, 1]), [[0, 2], [3, 4], [6, 7]]);
  assertEquals(spans([0, 0]), []);
});
