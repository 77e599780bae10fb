/**
 * Recipe `reference` against the tables made by running the release's functions.
 * @module
 */
import {
  AdaptiveKl,
  type AdvantagesAndReturns,
  averageOverTokens,
  BetaBuckets,
  type BetaOptions,
  type Bucket,
  bucketOf,
  BUCKETS,
  countTriggers,
  deadBand,
  DEFAULT_BETA,
  EntropyThresholdEma,
  formatReward,
  fullKl,
  fullKlGrad,
  gae,
  huberPenalty,
  klPerToken,
  LambdaDualAscent,
  maskedMean,
  maskedVariance,
  maskedWhiten,
  normaliseToken,
  percentileThreshold,
  policyLoss,
  referenceBoxed,
  referenceGroupAdvantages,
  referenceReward,
  referenceSameAnswer,
  ReferenceTargets,
  reinforcePlusPlus,
  remaxAdvantages,
  responseMask,
  rewardsWithKl,
  rlooAdvantages,
  type SampledKlKind,
  saturation,
  sequenceRewards,
  spreadOverTokens,
  tightenTags,
  TokenLevelAdaptiveKl,
  tokenWeights,
  topEntropy,
  topEntropyWithTail,
  topToken,
  valueLoss,
} from "../../mod.ts";
import { type GoldenTensor, readSafetensors, rowOf } from "./read_safetensors.ts";
import type { Report } from "./report.ts";
import { Worst } from "./worst.ts";

const SCALARS = 1e-9, ENTROPIES = 1e-5, FLOATS = 1e-5;

type Table = Record<string, any>;

/** Checks every table under `goldensFolder`/ares-official and reports the worst difference of each. */
export function checkAresOfficial(goldensFolder: string, report: Report): void {
  const folder = `${goldensFolder}/ares-official`;
  const table = (name: string): Table => JSON.parse(Deno.readTextFileSync(`${folder}/${name}.json`));
  const check = (name: string, limit: number, body: (worst: Worst) => void) => {
    const worst = new Worst();
    body(worst);
    worst.report(`ares-official/${name}`, limit, report);
  };
  check("reward_grid", SCALARS, (w) => rewardGrid(table("reward_grid"), w));
  check("reward_special", SCALARS, (w) => rewardSpecial(table("reward_special"), w));
  check("reward_primitives", SCALARS, (w) => rewardPrimitives(table("reward_primitives"), w));
  const decode = JSON.parse(Deno.readTextFileSync(`${goldensFolder}/tokenizer/single_token_decode.json`));
  check("entropy_top10", ENTROPIES, (w) => entropies(table("entropy_top10"), decode.decode_of_each_id, w));
  check("normalize_token", 0, (w) => {
    for (const [token, wanted] of table("normalize_token").pairs) {
      w.same(normaliseToken(token), wanted, token);
    }
  });
  check("advantages", FLOATS, (w) => table("advantages").cases.forEach((c: Table) => advantages(c, w)));
  const tensors = readSafetensors(`${folder}/losses.safetensors`);
  check("losses", FLOATS, (w) => losses(table("losses"), tensors, w));
  check("kl_kinds", FLOATS, (w) => klKinds(tensors, w));
  check("kl_controllers", SCALARS, (w) => controllers(table("kl_controllers"), w));
  check(
    "beta_buckets",
    SCALARS,
    (w) => table("beta_buckets").runs.forEach((run: Table) => betaBuckets(run, w)),
  );
  check("difficulty_from_counts", 0, (w) => {
    for (const [rollouts, correct, wanted] of table("difficulty_from_counts").rows) {
      w.same(bucketOf(correct, rollouts, "reference"), wanted, `${correct} of ${rollouts}`);
    }
  });
  check(
    "difficulty_targets_alpha",
    SCALARS,
    (w) => table("difficulty_targets_alpha").runs.forEach((run: Table) => targets(run, w)),
  );
  check("entropy_threshold_ema", SCALARS, (w) => {
    let ema = new EntropyThresholdEma();
    w.same(ema.threshold, -1, "before the first batch");
    for (const [batch, wanted] of table("entropy_threshold_ema").steps) {
      w.relative(ema.update(batch), wanted, "threshold");
      ema = new EntropyThresholdEma(ema.state());
    }
  });
  check("lambda_dual_ascent", SCALARS, (w) => lambdaAscent(table("lambda_dual_ascent"), w));
  check("response_mask", 0, (w) => {
    for (const row of table("response_mask").rows) {
      row.response_ids.forEach((ids: number[], i: number) =>
        w.same([...responseMask(ids, [row.eos_token_id].flat())], row.response_mask[i], `row ${i}`)
      );
    }
  });
  check("answer_grader", 0, (w) => {
    const t = table("answer_grader");
    for (const [given, gold, wanted] of t.rows) {
      w.same(referenceSameAnswer(given, gold), wanted, `${given} for ${gold}`);
    }
    for (const [text, wanted] of t.extract_boxed) w.same(referenceBoxed(text), wanted, text);
  });
}

function rewardGrid(t: Table, w: Worst): void {
  for (let i = 0; i < t.difficulty.length; i++) {
    const got = referenceReward({
      response: "",
      ground_truth: "1",
      accuracy: t.accuracy[i],
      difficulty: t.difficulty[i],
      high_entropy_token_num: t.count[i],
      target_high_entropy_token_num: t.target[i],
      alpha_entropy: t.alpha[i],
    }, () => false);
    w.relative(got.overall, t.overall[i], `row ${i} overall`);
    w.relative(got.high_entropy_token_num_score, t.high_entropy_token_num_score[i], `row ${i} score`);
  }
}

function rewardSpecial(t: Table, w: Worst): void {
  const exact = (response: string, gold: string) => referenceBoxed(response) === gold;
  for (const row of t.rows) {
    const got = referenceReward(row.input, exact, row.keyword_arguments.alpha_entropy);
    for (const [key, value] of Object.entries<number>(row.output)) {
      w.relative((got as any)[key], value, `${row.note}: ${key}`);
    }
  }
  for (const row of t.format_and_text) {
    const response = tightenTags(row.response);
    w.same(formatReward(response), row.format, `format of ${row.response}`);
    w.same(
      exact(response, row.ground_truth) ? 1 : 0,
      row.accuracy_with_exact_match_grader,
      `grade of ${row.response}`,
    );
  }
}

function rewardPrimitives(t: Table, w: Worst): void {
  for (const [x, kappa, value] of t.huber) w.relative(huberPenalty(x, kappa), value, `huber ${x}`);
  for (const [x, temperature, value] of t.sigmoid) {
    w.relative(saturation(x, temperature), value, `sigmoid ${x}`);
  }
  for (const [target, fraction, value] of t.margin) {
    w.relative(deadBand(target, fraction), value, `margin ${target}`);
  }
}

function entropies(t: Table, decodeOf: string[], w: Worst): void {
  const samples: [number, number][][][] = t.samples_id_logprob_pairs;
  const triggers = new Set<string>(t.trigger_words);
  const plain = samples.map((s) => s.map(topEntropy)), tail = samples.map((s) => s.map(topEntropyWithTail));
  const words = samples.map((s) => s.map((pairs) => decodeOf[topToken(pairs)]));
  tail.forEach((h, i) => {
    w.list(h, t.token_entropy_with_tail[i], `entropies of sample ${i}`);
    const mean = h.reduce((a, b) => a + b, 0) / Math.max(1, h.length);
    w.absolute(mean, t.mean_entropy_per_sample[i], `mean entropy of sample ${i}`);
  });
  for (const { window_size, percentile, thresholds } of t.percentile_thresholds) {
    const got = plain.map((h) => percentileThreshold(h, percentile, window_size));
    w.list(got, thresholds, `thresholds w=${window_size} p=${percentile}`);
  }
  for (const { window_size, threshold, valid_counts, invalid_counts, soft_cost_sums } of t.trigger_counts) {
    tail.forEach((h, i) => {
      const got = countTriggers(h, words[i], triggers, threshold, window_size);
      const where = `sample ${i}, w=${window_size}, threshold ${threshold}`;
      w.same([got.valid, got.invalid], [valid_counts[i], invalid_counts[i]], where);
      // A sum of up to L float32 windows: the noise grows with the number of triggers.
      w.absolute(got.softCost / Math.max(1, got.valid), soft_cost_sums[i] / Math.max(1, got.valid), where);
    });
  }
}

function advantages(c: Table, w: Worst): void {
  const { token_level_rewards: tokens, response_mask: mask, uid } = c;
  const rewards = sequenceRewards(tokens);
  w.rows(spreadOverTokens(referenceGroupAdvantages(rewards, uid), mask), c.grpo, "grpo");
  w.rows(spreadOverTokens(rlooAdvantages(rewards, uid), mask), c.rloo, "rloo");
  w.rows(spreadOverTokens(remaxAdvantages(rewards, c.reward_baselines), mask), c.remax, "remax");
  const both = (got: AdvantagesAndReturns, wanted: Table, name: string) => {
    w.rows(got.advantages, wanted.advantages, `${name} advantages`);
    w.rows(got.returns, wanted.returns, `${name} returns`);
  };
  for (const key of Object.keys(c)) {
    const plus = /^reinforce_plus_plus_gamma([\d.]+)$/.exec(key);
    if (plus) both(reinforcePlusPlus(tokens, mask, Number(plus[1])), c[key], key);
    const g = /^gae_gamma([\d.]+)_lambda([\d.]+)$/.exec(key);
    if (g) both(gae(tokens, c.values, mask, Number(g[1]), Number(g[2])), c[key], key);
    const kl = /^rewards_with_kl_([\d.]+)$/.exec(key);
    if (kl) {
      const got = tokens.map((r: number[], i: number) =>
        rewardsWithKl(r, c.log_probs[i], c.ref_log_probs[i], Number(kl[1]))
      );
      w.rows(got, c[key], key);
    }
  }
  w.rows(maskedWhiten(tokens, mask), c.whitened_rewards, "whitened");
  w.absolute(maskedMean(tokens, mask), c.masked_mean, "masked mean");
  w.absolute(maskedVariance(tokens, mask), c.masked_var_unbiased, "masked variance");
}

/** The positions of a padded [B, T] batch that the mask keeps, and where each sequence starts among them. */
function packed(mask: GoldenTensor): { keep: number[]; offsets: number[] } {
  const keep: number[] = [], offsets = [0];
  for (let i = 0; i < mask.shape[0]; i++) {
    for (let t = 0; t < mask.shape[1]; t++) {
      if (mask.data[i * mask.shape[1] + t]) keep.push(i * mask.shape[1] + t);
    }
    offsets.push(keep.length);
  }
  return { keep, offsets };
}

function losses(t: Table, x: Record<string, GoldenTensor>, w: Worst): void {
  const { keep, offsets } = packed(x.response_mask);
  const pick = (name: string) => Float64Array.from(keep, (k) => x[name].data[k]);
  const batch = {
    offsets,
    logProbs: pick("log_probs"),
    oldLogProbs: pick("old_log_probs"),
    advantages: pick("advantages"),
  };
  t.policy.forEach((row: Table, i: number) => {
    const got = policyLoss(batch, row as any);
    w.absolute(got.loss, row.loss, `policy ${i} loss`);
    for (const [key, value] of Object.entries<number>(row.metrics)) {
      w.absolute((got.metrics as any)[key], value, `policy ${i} ${key}`);
    }
    w.list(got.gradLogProbs, pick(row.gradient_tensor), `policy ${i} gradient`);
  });
  for (const { kind, loss_avg_mode, averaged } of t.kl) {
    const kl = batch.logProbs.map((lp, k) => klPerToken(lp, x.ref_log_probs.data[keep[k]], kind).value);
    w.size(averageOverTokens(kl, offsets, loss_avg_mode), averaged, `kl ${kind} ${loss_avg_mode}`);
  }
  for (const { cliprange_value, loss_avg_mode, loss, clipfrac } of t.value) {
    const values = {
      offsets,
      values: pick("value_predictions"),
      oldValues: pick("value_old"),
      returns: pick("value_returns"),
    };
    const got = valueLoss(values, cliprange_value, loss_avg_mode);
    w.absolute(got.loss, loss, `value ${loss_avg_mode} loss`);
    w.absolute(got.vf_clipfrac, clipfrac, `value ${loss_avg_mode} clipfrac`);
    w.list(got.gradValues, pick(`value_${loss_avg_mode}_grad`), `value ${loss_avg_mode} gradient`);
  }
  for (const { mode, average_of_log_probs } of t.average) {
    w.absolute(averageOverTokens(batch.logProbs, offsets, mode), average_of_log_probs, `average ${mode}`);
    w.absolute(tokenWeights(offsets, mode).reduce((a, b) => a + b, 0), 1, `weights ${mode}`);
  }
}

function klKinds(x: Record<string, GoldenTensor>, w: Worst): void {
  for (const kind of ["kl", "abs", "mse", "low_var_kl"] as SampledKlKind[]) {
    x.log_probs.data.forEach((lp, k) => {
      const got = klPerToken(lp, x.ref_log_probs.data[k], kind);
      w.size(got.value, x[`kl_${kind}`].data[k], `${kind} at ${k}`);
      w.size(got.grad, x[`kl_${kind}_grad_log_probs`].data[k], `${kind} gradient at ${k}`);
    });
  }
  const vocabulary = x.full_log_probs.shape.at(-1)!;
  const flat = (t: GoldenTensor): GoldenTensor => ({
    shape: [t.data.length / vocabulary, vocabulary],
    data: t.data,
  });
  for (let k = 0; k < x.kl_full.data.length; k++) {
    const [lp, ref] = [rowOf(flat(x.full_log_probs), k), rowOf(flat(x.full_ref_log_probs), k)];
    w.size(fullKl(lp, ref), x.kl_full.data[k], `full at ${k}`);
    w.list(fullKlGrad(lp, ref), rowOf(flat(x.kl_full_grad_log_probs), k), `full gradient at ${k}`);
  }
}

function controllers(t: Table, w: Worst): void {
  for (const [name, c] of Object.entries<Table>(t)) {
    if ("horizon" in c) {
      let kl = new AdaptiveKl(c.init_kl_coef, c.target, c.horizon);
      c.current_kl.forEach((value: number, i: number) => {
        kl.update(value, c.n_steps[i]);
        w.relative(kl.coefficient, c.kl_coef_after_each_update[i], `${name} step ${i}`);
        kl = new AdaptiveKl(kl.state(), c.target, c.horizon);
      });
    } else if ("steps" in c) {
      let kl = new TokenLevelAdaptiveKl(c.init_kl_coefs, c.targets);
      c.steps.forEach((step: Table, i: number) => {
        kl.update(step.current_kls);
        for (const d of BUCKETS) {
          w.relative(kl.state().coefficients[d], step.kl_coefs[d], `${name} coefficient, step ${i}`);
          w.relative(kl.state().lambdas[d], step.lambdas[d], `${name} lambda, step ${i}`);
        }
        kl = new TokenLevelAdaptiveKl(kl.state(), c.targets);
      });
    } else {
      const all = (x: number) => ({ easy: x, medium: x, hard: x });
      const kl = new TokenLevelAdaptiveKl(all(c.init), all(c.target));
      for (const [lambda, coefficient] of c.lambda_and_coef) {
        kl.update({ easy: c.current_kl });
        w.same([kl.state().lambdas.easy, kl.state().coefficients.easy], [lambda, coefficient], name);
      }
    }
  }
}

function betaBuckets(run: Table, w: Worst): void {
  const p = run.parameters;
  const options: BetaOptions = {
    ...DEFAULT_BETA,
    kl_beta_init: run.beta_init,
    kl_target: run.targets,
    kl_beta_min: p.beta_min,
    kl_beta_max: p.beta_max,
    kl_ema_decay: p.ema_decay,
    kl_beta_lr: p.kl_lr,
    kl_beta_clip: p.kl_clip,
    kl_update_interval: p.kl_update_interval,
    kl_deadzone: p.kl_deadzone,
  };
  let beta = new BetaBuckets(options);
  run.updates.forEach(([levels, kl]: [string[], number[]], i: number) => {
    beta.update(levels, kl);
    const s = beta.state();
    const [betas, last, error] = run.after_each_update_beta_lastkl_errorema_in_order_easy_medium_hard[i];
    BUCKETS.forEach((d, j) => {
      w.relative(s.beta[d], betas[j], `${run.name} beta ${d}, update ${i}`);
      w.relative(s.errorEma[d], error[j], `${run.name} error ${d}, update ${i}`);
      if (last[j] === null) w.same(s.lastKl[d], null, `${run.name} last KL ${d}, update ${i}`);
      else w.relative(s.lastKl[d]!, last[j], `${run.name} last KL ${d}, update ${i}`);
    });
    beta = new BetaBuckets(options, s);
  });
  const [levels, wanted] = run.beta_for_levels;
  // The release stores these in float32.
  levels.forEach((d: string, j: number) =>
    w.relative(Math.fround(beta.betaFor(d)), wanted[j], `${run.name} beta for ${d}`)
  );
}

function targets(run: Table, w: Worst): void {
  const options = {
    alpha_entropy_lr: run.alpha_lr,
    alpha_entropy_min: run.alpha_min,
    alpha_entropy_max: run.alpha_max,
    alpha_entropy_init: run.alpha_init,
  };
  let t = new ReferenceTargets(options);
  run.steps.forEach((step: Table, i: number) => {
    t.update(step.global_id, step.accuracy, step.high_entropy_token_num);
    const s = t.state();
    w.same(s.difficulty, step.difficulty_after, `difficulty, step ${i}`);
    w.same(s.target, step.target_after, `targets, step ${i}`);
    for (const d of BUCKETS) w.relative(s.alpha[d], step.alpha_after[d], `alpha ${d}, step ${i}`);
    t = new ReferenceTargets(options, s);
  });
}

function lambdaAscent(t: Table, w: Worst): void {
  let ascent = new LambdaDualAscent(t.learning_rate, t.max);
  t.steps.forEach((step: Table, i: number) => {
    const targets = i === 0 ? t.targets_at_first_step : {};
    ascent.update(step.global_id, step.soft_cost, t.difficulty, targets);
    for (const d of BUCKETS as Bucket[]) {
      w.relative(ascent.state().lambda[d], step.lambda_after[d], `lambda ${d}, step ${i}`);
      w.relative(ascent.state().budget![d], t.budget[d], `budget ${d}`);
    }
    ascent = new LambdaDualAscent(t.learning_rate, t.max, ascent.state());
  });
}
