/**
 * `aepo-step` of a goldens folder: one whole update through a real model, from entropies to the parameters' gradients and
 * the loss after an AdamW step; and the release's objective on the same data.
 * @module
 */
import {
  AdamW,
  type Bucket,
  bucketOf,
  BUCKETS,
  CausalLM,
  type Gpu,
  groupAdvantages,
  lambdaClosedForm,
  moments,
  packSequences,
  paperReward,
  SequenceGraph,
} from "../../mod.ts";
import { openSafetensors } from "../../models/safetensors.ts";
// The update's own parts, which `train` puts together: records of one another's buffers, no use without them.
import {
  type LossSequence,
  type LossSums,
  lossSums,
  TokenLoss,
  type TokenLossOptions,
} from "../../trainer/token_loss.ts";
import { WindowAnalysis } from "../../trainer/window_analysis.ts";
import { maxAbs, maxDifference, type Report } from "./report.ts";

interface GoldenSequence {
  prompt_ids: number[];
  response_ids: number[];
  accuracy: number;
  old_log_probs: number[];
  ref_log_probs: number[];
  old_entropy: number[];
  log_probs: number[];
  window_entropy: number[];
  window_mask: number[];
  n_high_entropy: number;
  bucket: Bucket;
  reward: number;
  advantage: number;
}

interface Objective {
  loss_avg_mode: "token" | "seq";
  clip_low: number;
  clip_high: number;
  clip_dual: number;
  kl_coef: number;
  beta_per_bucket: Record<Bucket, number>;
  pg_loss: number;
  kl_loss: number;
  total: number;
  metrics: Record<string, number>;
  gradient_norm: number;
  gradient_norm_per_parameter: Record<string, number>;
}

interface Step {
  model: string;
  temperature: number;
  window: number;
  threshold: number;
  rollouts_per_prompt: number;
  clip_low: number;
  clip_high: number;
  rho: number;
  bucket_statistics: Record<
    Bucket,
    { target: number; mean: number; population_variance: number; lambda: number; beta: number }
  >;
  loss: number;
  gradient_norm: number;
  clip_fraction: number;
  adamw_one_step: {
    lr: number;
    betas: [number, number];
    eps: number;
    weight_decay: number;
    max_grad_norm: number;
    grad_norm_before_clipping: number;
    loss_after_step: number;
  };
  official_objective: Objective[];
  sequences: GoldenSequence[];
}

/** Forward, loss and backward of all sequences; gradients are left in the parameters. */
async function pass(
  graph: SequenceGraph,
  sequences: readonly GoldenSequence[],
  losses: readonly LossSequence[],
  options: TokenLossOptions,
): Promise<{ sums: LossSums; result: Float32Array }> {
  const loss = new TokenLoss(graph, options);
  graph.load(
    packSequences(
      sequences.map((s) => ({ ids: [...s.prompt_ids, ...s.response_ids], scoreFrom: s.prompt_ids.length })),
    ),
  );
  loss.clear();
  loss.load(losses);
  graph.model.parameters.clearGradients();
  await graph.forward();
  await loss.run();
  await graph.backward();
  const [totals, result] = await graph.model.gpu.read(loss.totals, graph.result);
  loss.free();
  return { sums: lossSums(totals), result: result as Float32Array };
}

/** Checks the folder. */
export async function checkAepoStep(gpu: Gpu, goldensFolder: string, report: Report): Promise<void> {
  const folder = `${goldensFolder}/aepo-step`;
  const golden: Step = JSON.parse(await Deno.readTextFile(`${folder}/step.json`));
  const { sequences: S } = golden;
  const model = await CausalLM.load(gpu, `${goldensFolder}/${golden.model}/checkpoint`, { trainable: true });
  const tokens = S.reduce((n, s) => n + s.prompt_ids.length + s.response_ids.length, 0);
  const graph = new SequenceGraph(model, { tokens, train: true });
  graph.temperature = golden.temperature;

  const analysis = new WindowAnalysis(gpu, golden.window, 0.95);
  const windows = await analysis.analyse(S.map((s) => Float32Array.from(s.old_entropy)));
  analysis.free();
  report(
    "aepo-step window entropies",
    Math.max(...S.map((s, i) => maxDifference(windows.windows[i], s.window_entropy))),
    5e-4,
  );
  report("aepo-step threshold", Math.abs(windows.threshold - golden.threshold), 5e-4);
  const wrongMasks = S.filter((s, i) => maxDifference(windows.masks[i], s.window_mask) !== 0).length;
  report(
    "aepo-step window masks",
    wrongMasks + S.filter((s, i) => s.n_high_entropy !== windows.counts[i]).length,
    0,
  );

  const G = golden.rollouts_per_prompt;
  const group = S.map((_, i) => Math.floor(i / G));
  const buckets = S.map((_, i) =>
    bucketOf(S.filter((s, j) => group[j] === group[i] && s.accuracy > 0).length, G)
  );
  report("aepo-step buckets", S.filter((s, i) => s.bucket !== buckets[i]).length, 0);
  const lambdas: Partial<Record<Bucket, number>> = {};
  let lambdaWorst = 0;
  for (const b of BUCKETS) {
    const m = moments(Array.from(windows.counts).filter((_, i) => buckets[i] === b));
    const stats = golden.bucket_statistics[b];
    if (!m || !stats) continue;
    lambdas[b] = lambdaClosedForm(m, stats.target);
    lambdaWorst = Math.max(
      lambdaWorst,
      Math.abs(lambdas[b]! - stats.lambda) / Math.max(1e-12, Math.abs(stats.lambda)),
    );
  }
  report("aepo-step lambda", lambdaWorst, 1e-9);
  const rewards = S.map((s, i) =>
    paperReward(s.accuracy, buckets[i], windows.counts[i], {
      target: golden.bucket_statistics[buckets[i]].target,
      lambda: lambdas[buckets[i]]!,
    }, Infinity)
  );
  report("aepo-step rewards", maxDifference(rewards, S.map((s) => s.reward)), 1e-9);
  const advantages = groupAdvantages(rewards, group);
  report("aepo-step advantages", maxDifference(advantages, S.map((s) => s.advantage)), 1e-5);

  const paper = S.map((s, i): LossSequence => ({
    logps: s.old_log_probs,
    reference: s.ref_log_probs,
    windows: windows.windows[i],
    mask: windows.masks[i],
    advantages: s.response_ids.map(() => advantages[i]),
    weight: 1 / (S.length * s.response_ids.length),
    klOutside: golden.bucket_statistics[buckets[i]].beta,
    klInside: golden.bucket_statistics[buckets[i]].beta * golden.rho,
    bonus: 0,
    threshold: windows.threshold,
    bucket: BUCKETS.indexOf(buckets[i]),
  }));
  const options: TokenLossOptions = {
    clip_low: golden.clip_low,
    clip_high: golden.clip_high,
    clip_dual: null,
    kl_kind: "k3",
    length_normalise: false,
  };
  const { sums, result } = await pass(graph, S, paper, options);
  const logps = S.flatMap((s) => s.log_probs);
  report("aepo-step log-probabilities", maxDifference(logps.map((_, i) => result[4 * i]), logps), 5e-4);
  report("aepo-step loss", Math.abs(sums.pg_loss + sums.kl_loss - golden.loss), 1e-4);
  report("aepo-step clip fraction", Math.abs(sums.clipped / logps.length - golden.clip_fraction), 1e-6);
  const grads = await openSafetensors(`${folder}/grads.safetensors`);
  let worst = 0;
  let squares = 0;
  let seen = 0;
  for await (const g of model.parameters.gradients()) {
    const want = await grads.readF32(g.name);
    worst = Math.max(worst, maxDifference(g.data, want) / maxAbs(want));
    for (const x of g.data) squares += x * x;
    seen++;
  }
  report("aepo-step gradients", seen === grads.tensors.size ? worst : Infinity, 1e-3, `${seen} tensors`);
  report(
    "aepo-step gradient norm",
    Math.abs(Math.sqrt(squares) - golden.gradient_norm) / golden.gradient_norm,
    1e-3,
  );

  for (const o of golden.official_objective) await checkObjective(graph, S, buckets, advantages, o, report);

  await pass(graph, S, paper, options);
  const adamw = golden.adamw_one_step;
  const optimizer = new AdamW(gpu, model.parameters, adamw);
  const { gradNorm } = await optimizer.update();
  report(
    "aepo-step norm before clipping",
    Math.abs(gradNorm - adamw.grad_norm_before_clipping) / adamw.grad_norm_before_clipping,
    1e-3,
  );
  const after = await pass(graph, S, paper, options);
  report(
    "aepo-step loss after AdamW",
    Math.abs(after.sums.pg_loss + after.sums.kl_loss - adamw.loss_after_step),
    1e-3,
  );
  optimizer.free();
  graph.free();
  model.parameters.free();
}

/** The release's objective on the same data. */
async function checkObjective(
  graph: SequenceGraph,
  S: readonly GoldenSequence[],
  buckets: readonly Bucket[],
  advantages: ArrayLike<number>,
  o: Objective,
  report: Report,
): Promise<void> {
  const tokens = S.reduce((n, s) => n + s.response_ids.length, 0);
  const name = `aepo-step release objective (${o.loss_avg_mode})`;
  const losses = S.map((s, i): LossSequence => {
    const kl = o.kl_coef * o.beta_per_bucket[buckets[i]];
    return {
      logps: s.old_log_probs,
      reference: s.ref_log_probs,
      windows: s.window_entropy,
      mask: new Float32Array(s.response_ids.length),
      advantages: s.response_ids.map(() => advantages[i]),
      weight: o.loss_avg_mode === "token" ? 1 / tokens : 1 / (S.length * s.response_ids.length),
      klOutside: kl,
      klInside: kl,
      bonus: 0,
      threshold: 0,
      bucket: BUCKETS.indexOf(buckets[i]),
    };
  });
  const { sums } = await pass(graph, S, losses, {
    clip_low: o.clip_low,
    clip_high: o.clip_high,
    clip_dual: o.clip_dual,
    kl_kind: "low_var_kl",
    length_normalise: false,
  });
  report(`${name} policy loss`, Math.abs(sums.pg_loss - o.pg_loss), 1e-5);
  report(`${name} KL loss`, Math.abs(sums.kl_loss / o.kl_coef - o.kl_loss), 1e-4);
  report(`${name} total`, Math.abs(sums.pg_loss + sums.kl_loss - o.total), 1e-5);
  report(`${name} clip fraction`, Math.abs(sums.clipped / tokens - o.metrics.pg_clipfrac_higher), 1e-5);
  report(`${name} mean -log ratio`, Math.abs(sums.ppo_kl / tokens - o.metrics.ppo_kl), 1e-5);
  let worst = 0;
  let squares = 0;
  for await (const g of graph.model.parameters.gradients()) {
    const norm = g.data.reduce((n, x) => n + x * x, 0);
    squares += norm;
    const want = o.gradient_norm_per_parameter[g.name];
    worst = Math.max(worst, Math.abs(Math.sqrt(norm) - want) / want);
  }
  report(`${name} gradient norms`, worst, 1e-3);
  report(`${name} gradient norm`, Math.abs(Math.sqrt(squares) - o.gradient_norm) / o.gradient_norm, 1e-3);
}
