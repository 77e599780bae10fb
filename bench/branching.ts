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
/** Largest share of rollout time that branching may cost at equal generated tokens. */
const MOST = 0.05;
/** Of the tokens of the shorter of two whole runs: so far every slot has work in both. */
const BUSY = 0.75;

/** What one generation took and made. */
interface Run {
  /** On the wall's clock. */
  readonly milliseconds: number;
  /** Of all threads of this process, a software adapter's too. */
  readonly cpu: number;
  /** Sampled tokens: a branch's prefix is its parent's. */
  readonly tokens: number;
  /** Slots' steps. */
  readonly computed: number;
  /** Those that came to their end. */
  readonly rollouts: readonly Rollout[];
}

/** The same seed without branching and with it. */
interface Pair {
  readonly plain: Run;
  readonly tree: Run;
}

/** Median over the pairs of the time of a generated token with branching over that without, less 1. */
export function extraTime(pairs: readonly Pair[], time: "milliseconds" | "cpu"): number {
  return median(pairs.map(({ plain, tree }) => tree[time] / tree.tokens / (plain[time] / plain.tokens) - 1));
}

/** Median share of the slots' steps that made a token. */
export function usedSteps(runs: readonly Run[]): number {
  return median(runs.map(({ tokens, computed }) => tokens / computed));
}

/**
 * Times generations with the trainer's own branching, at the τ of the rollouts before, and the same without, in turns that
 * begin now with one and now with the other. Two comparisons, for branching costs in two ways:
 *
 * - what it does itself (decisions, forks, prefix copies, more prompts for as many tokens): both are ended at the same number
 *   of generated tokens, while every slot still has work. `overhead` is the median over the pairs of the extra time that a
 *   token takes there: processor time on a software adapter, where the GPU's work is in it and other programs are not, else
 *   the wall's.
 * - slots that stand empty at the end, more often since what a branch generates is shorter than a whole response: whole runs,
 *   whose shares of steps that made a token depend on the seeds alone. `what` has them, and a token's extra time with both.
 */
export async function branchingRollouts(
  gpu: Gpu,
  s: ModelShape,
  rounds: number,
  pairs = PAIRS * rounds,
): Promise<StepTime> {
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
  const run = async (seed: number, branching?: BranchOptions, until = Infinity): Promise<Run> => {
    let rollouts: Rollout[] = [];
    let tokens = 0;
    let computed = 0;
    const end = new AbortController();
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
        signal: end.signal,
        onChunk: (chunk) => {
          computed += chunk.computed;
          tokens += chunk.tokens;
          if (tokens >= until) end.abort();
        },
      });
    });
    return { ...used, computed, rollouts, tokens };
  };
  const warm = await run(0);
  const threshold = batchThreshold(warm.rollouts.map((r) => windowEntropy(r.entropies, WINDOW)));
  const branching = { threshold, window: WINDOW, share, max_per_trajectory: 2, refractory: 8 };
  const pair = async (seed: number, until?: number): Promise<Pair> => {
    const runs: Pair[keyof Pair][] = [];
    for (const branches of seed % 2 ? [undefined, branching] : [branching, undefined]) {
      runs.push(await run(seed, branches, until));
    }
    const [plain, tree] = seed % 2 ? runs : runs.reverse();
    return { plain, tree };
  };
  const whole: Pair[] = [];
  for (let seed = 1; seed <= rounds; seed++) whole.push(await pair(seed));
  const until = Math.floor(
    BUSY * Math.min(...whole.flatMap(({ plain, tree }) => [plain.tokens, tree.tokens])),
  );
  const equal: Pair[] = [];
  for (let seed = 1; seed <= pairs; seed++) equal.push(await pair(seed, until));
  engine.free();
  model.free();
  const branches = whole.map(({ tree }) => tree.rollouts.flatMap((r) => r.branch ?? []));
  const percent = (x: number) => `${(100 * x).toFixed(1)} %`;
  const middle = (values: readonly number[]) => Math.round(median(values));
  const more = (pairs: readonly Pair[]) =>
    `${percent(extraTime(pairs, "cpu"))} more processor time and ${
      percent(extraTime(pairs, "milliseconds"))
    } more on the wall's clock`;
  const trees = (pairs: readonly Pair[]) => pairs.map(({ tree }) => tree);
  const plains = (pairs: readonly Pair[]) => pairs.map(({ plain }) => plain);
  const steps = (pairs: readonly Pair[]) =>
    `${percent(usedSteps(trees(pairs)))} of the steps make a token, without branches ${
      percent(usedSteps(plains(pairs)))
    }`;
  return {
    name: `branching_rollouts.${s.name}`,
    what: [
      `${count} prompts, ${N} rollouts each in ${slots} slots`,
      `${middle(branches.map((b) => b.length))} of ${count * N} branch and share ${
        middle(branches.map((list) => list.reduce((n, b) => n + b.step, 0)))
      } tokens, ${middle(trees(whole).map(({ tokens }) => tokens))} are generated`,
      `ended at ${until} generated tokens, medians of ${equal.length} pairs: a token takes ${more(equal)}; ${
        steps(equal)
      }`,
      `to the end, ${whole.length} pairs: a token takes ${more(whole)}; ${steps(whole)}`,
    ].join("; "),
    milliseconds: median(trees(equal).map(({ milliseconds }) => milliseconds)),
    tokensPerSecond: median(trees(equal).map(({ tokens, milliseconds }) => 1000 * tokens / milliseconds)),
    overhead: extraTime(equal, gpu.facts.software ? "cpu" : "milliseconds"),
    mostOverhead: MOST,
    kernelMilliseconds: null,
    gflops: null,
    rows: [],
  };
}
