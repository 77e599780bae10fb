/** Rollouts that branch against rollouts that do not, in turns. @module */
import type { Gpu } from "../gpu/device.ts";
import { CausalLM } from "../models/causal_lm.ts";
import { branchesPerRoot, type BranchOptions } from "../trainer/branching.ts";
import { batchThreshold, windowEntropy } from "../trainer/entropy.ts";
import { initialWeights } from "../trainer/pretrain.ts";
import { type Rollout, RolloutEngine } from "../trainer/rollout.ts";
import { median, wallTime } from "./clock.ts";
import type { ModelShape } from "./shapes.ts";
import type { StepTime } from "./step.ts";
import { tokenIds } from "./workload.ts";

/** Rollouts of a prompt, and how many rollouts there are for each slot. */
const N = 8;
const WAVES = 4;
const WINDOW = 4;

/** Sampled tokens: a branch's prefix is its parent's. */
function generated(rollouts: readonly Rollout[]): number {
  return rollouts.reduce((n, r) => n + r.tokens.length - (r.branch?.step ?? 0), 0);
}

/**
 * Times whole generations with the trainer's own branching, at the τ of the rollouts before, and the same without.
 * `overhead` is the median over the rounds of the extra time a generated token takes: reads, prefix copies, decisions, and
 * the slots that stay empty at the end.
 */
export async function branchingRollouts(gpu: Gpu, s: ModelShape, rounds: number): Promise<StepTime> {
  const model = await CausalLM.create(gpu, s.config, initialWeights(0));
  const share = 0.5;
  const slots = s.slots / 2;
  const engine = new RolloutEngine(model, {
    slots,
    blockSize: s.blockSize,
    chunk: 16,
    maxLength: s.context,
    branches: branchesPerRoot(N, share),
  });
  const count = WAVES * slots / N;
  const ids = tokenIds(count * s.prompt, s.config.vocab_size);
  const prompts = Array.from(
    { length: count },
    (_, i) => [...ids.subarray(i * s.prompt, (i + 1) * s.prompt)],
  );
  const run = async (seed: number, branching?: BranchOptions) => {
    let rollouts: Rollout[] = [];
    const milliseconds = await wallTime(gpu, async () => {
      rollouts = await engine.generate(prompts, {
        temperature: 1,
        top_p: 0.99,
        top_k: 0,
        min_p: 0,
        repetition_penalty: 1,
        max_tokens: s.context - s.prompt,
        // Responses end at random, as trained ones do.
        stop: [0, 1, 2, 3, 4, 5],
        n: N,
        seed,
        branching,
      });
    });
    return { milliseconds, rollouts, tokens: generated(rollouts) };
  };
  const warm = await run(0);
  const threshold = batchThreshold(warm.rollouts.map((r) => windowEntropy(r.entropies, WINDOW)));
  const branching = { threshold, window: WINDOW, share, max_per_trajectory: 2, refractory: 8 };
  const pairs = [];
  for (let round = 1; round <= rounds; round++) {
    pairs.push({ plain: await run(round), tree: await run(round, branching) });
  }
  engine.free();
  model.parameters.free();
  const branches = pairs.map(({ tree }) => tree.rollouts.flatMap((r) => r.branch ?? []));
  const middle = (values: readonly number[]) => Math.round(median(values));
  const milliseconds = median(pairs.map(({ tree }) => tree.milliseconds));
  return {
    name: `branching_rollouts.${s.name}`,
    what: `${count} prompts, ${N} rollouts each in ${slots} slots; ${
      middle(branches.map((b) => b.length))
    } of ${count * N} branch and share ${
      middle(branches.map((list) => list.reduce((n, b) => n + b.step, 0)))
    } tokens; ${middle(pairs.map(({ tree }) => tree.tokens))} are generated`,
    milliseconds,
    tokensPerSecond: median(pairs.map(({ tree }) => 1000 * tree.tokens / tree.milliseconds)),
    overhead: median(
      pairs.map(({ plain, tree }) =>
        tree.milliseconds / tree.tokens / (plain.milliseconds / plain.tokens) - 1
      ),
    ),
    kernelMilliseconds: null,
    gflops: null,
    rows: [],
  };
}
