/** Rollouts that branch against rollouts that do not, in turns. @module */
import type { Gpu } from "../gpu/device.ts";
import { CausalLM } from "../models/causal_lm.ts";
import { branchesPerRoot, type BranchOptions } from "../trainer/branching.ts";
import { batchThreshold, windowEntropy } from "../trainer/entropy.ts";
import { initialWeights } from "../trainer/pretrain.ts";
import { type Rollout, RolloutEngine } from "../trainer/rollout.ts";
import { median, usedTime } from "./clock.ts";
import type { ModelShape } from "./shapes.ts";
import type { StepTime } from "./step.ts";
import { tokenIds } from "./workload.ts";

/** Rollouts of a prompt, and how many rollouts there are for each slot. */
const N = 8;
const WAVES = 4;
const WINDOW = 4;
/** Pairs of generations for each round: on a machine with other work single pairs are 10 % and more apart. */
const PAIRS = 3;

/** Sampled tokens: a branch's prefix is its parent's. */
function generated(rollouts: readonly Rollout[]): number {
  return rollouts.reduce((n, r) => n + r.tokens.length - (r.branch?.step ?? 0), 0);
}

/** What one generation took and made. */
interface Run {
  /** On the wall's clock. */
  readonly milliseconds: number;
  /** Of all threads of this process, a software adapter's too. */
  readonly cpu: number;
  readonly tokens: number;
  readonly computed: number;
}

/** Time of `a` over that of `b` at equal counts, less 1. */
function over(a: Run, b: Run, time: "milliseconds" | "cpu", count: "tokens" | "computed"): number {
  return a[time] / a[count] / (b[time] / b[count]) - 1;
}

/**
 * Times whole generations with the trainer's own branching, at the τ of the rollouts before, and the same without, in turns
 * that begin now with one and now with the other. `overhead` is the median over the pairs of the extra time that a
 * generated token takes: processor time on a software adapter, where the GPU's work is in it and other programs are not,
 * else the wall's. It has two parts: what branching itself does (decisions, prefix copies), and slots that stand empty at
 * the end, more often since what a branch generates is shorter than a whole response. `what` tells them apart: the extra
 * time of a slot's step, and the share of the slots' steps that made a token, with and without.
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
    let computed = 0;
    const used = await usedTime(gpu, async () => {
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
        onChunk: (chunk) => void (computed += chunk.computed),
      });
    });
    return { ...used, computed, rollouts, tokens: generated(rollouts) };
  };
  const warm = await run(0);
  const threshold = batchThreshold(warm.rollouts.map((r) => windowEntropy(r.entropies, WINDOW)));
  const branching = { threshold, window: WINDOW, share, max_per_trajectory: 2, refractory: 8 };
  const pairs: { plain: Run & { rollouts: Rollout[] }; tree: Run & { rollouts: Rollout[] } }[] = [];
  for (let round = 1; round <= PAIRS * rounds; round++) {
    const first = await run(round, round % 2 ? undefined : branching);
    const second = await run(round, round % 2 ? branching : undefined);
    pairs.push(round % 2 ? { plain: first, tree: second } : { plain: second, tree: first });
  }
  engine.free();
  model.free();
  const branches = pairs.map(({ tree }) => tree.rollouts.flatMap((r) => r.branch ?? []));
  const percent = (values: readonly number[]) => (100 * median(values)).toFixed(1);
  const middle = (values: readonly number[]) => Math.round(median(values));
  const extra = (time: "milliseconds" | "cpu", count: "tokens" | "computed") =>
    median(pairs.map(({ plain, tree }) => over(tree, plain, time, count)));
  const clock = gpu.facts.software ? "cpu" : "milliseconds";
  const milliseconds = median(pairs.map(({ tree }) => tree.milliseconds));
  return {
    name: `branching_rollouts.${s.name}`,
    what: [
      `${count} prompts, ${N} rollouts each in ${slots} slots`,
      `${middle(branches.map((b) => b.length))} of ${count * N} branch and share ${
        middle(branches.map((list) => list.reduce((n, b) => n + b.step, 0)))
      } tokens`,
      `${middle(pairs.map(({ tree }) => tree.tokens))} are generated`,
      `medians of ${pairs.length} pairs: a token takes ${
        (100 * extra("cpu", "tokens")).toFixed(1)
      } % more processor time and ${
        (100 * extra("milliseconds", "tokens")).toFixed(1)
      } % more on the wall's clock, a slot's step ${(100 * extra(clock, "computed")).toFixed(1)} % more`,
      `${
        percent(pairs.map(({ tree }) => tree.tokens / tree.computed))
      } % of the steps make a token, without branches ${
        percent(pairs.map(({ plain }) => plain.tokens / plain.computed))
      } %`,
    ].join("; "),
    milliseconds,
    tokensPerSecond: median(pairs.map(({ tree }) => 1000 * tree.tokens / tree.milliseconds)),
    overhead: extra(clock, "tokens"),
    kernelMilliseconds: null,
    gflops: null,
    rows: [],
  };
}
