/**
 * Recipe `paper` against its double-precision tables, from logits to the gradient of every loss, in f64 on the CPU.
 * @module
 */
import {
  batchThreshold,
  type Bucket,
  bucketOf,
  BUCKETS,
  countHighEntropy,
  entropyOf,
  fullKl,
  groupAdvantages,
  type GroupScale,
  KappaController,
  kappaStep,
  klPerToken,
  klWeights,
  lambdaClosedForm,
  logitGradient,
  logSoftmax,
  moments,
  paperReward,
  policyObjective,
  quantile,
  shapingDistance,
  spreadOverTokens,
  windowEntropy,
  windowMask,
} from "../../mod.ts";
import { type GoldenTensor, readSafetensors } from "./read_safetensors.ts";
import type { Report } from "./report.ts";
import { Worst } from "./worst.ts";

const SCALARS = 1e-9, LOG_PROBS = 5e-4, LOSS = 1e-5, GRADIENT = 1e-4;

type Table = Record<string, any>;

/** The small formulas alone: `ares-paper/scalars.json`. */
export function checkAresPaperScalars(goldensFolder: string, report: Report): void {
  const t: Table = JSON.parse(Deno.readTextFileSync(`${goldensFolder}/ares-paper/scalars.json`));
  const check = (name: string, limit: number, body: (worst: Worst) => void) => {
    const worst = new Worst();
    body(worst);
    worst.report(`ares-paper/scalars/${name}`, limit, report);
  };
  check("window_and_percentile", SCALARS, (w) => {
    for (const row of t.window_and_percentile) {
      const windows = windowEntropy(row.entropies, row.window);
      w.list(windows, row.window_means, `w=${row.window}`);
      w.relative(quantile(windows, 0.95), row.p95, `p95, w=${row.window}`);
      w.relative(quantile(windows, 0.9), row.p90, `p90, w=${row.window}`);
    }
  });
  check("lambda", SCALARS, (w) => {
    for (const row of t.lambda_closed_form) {
      const m = moments(row.counts)!;
      w.relative(m.mean, row.mean, "mean");
      w.relative(m.variance, row.population_variance, "variance");
      w.relative(lambdaClosedForm(m, row.target, row.eps), row.lambda, `lambda of ${row.counts}`);
    }
  });
  check("shaping", SCALARS, (w) => {
    for (const [bucket, delta, g] of t.shaping) {
      w.relative(shapingDistance(bucket, delta), g, `${bucket} ${delta}`);
    }
  });
  check("bucket", 0, (w) => {
    for (const [correct, bucket] of t.bucket) w.same(bucketOf(correct, 8), bucket, `${correct} of 8`);
  });
  check("kappa", SCALARS, (w) => {
    for (const row of t.kappa) {
      const delta: Record<Bucket, number> = { easy: 1, medium: row.delta, hard: 1 };
      const options = {
        init: row.kappa_init,
        alpha: row.alpha,
        delta,
        min: row.kappa_min,
        max: row.kappa_max,
      };
      let kappa = new KappaController(options);
      row.steps_kl_and_kappa_after.forEach(([kl, wanted]: [number, number], i: number) => {
        kappa.update({ medium: kl });
        w.relative(kappa.kappa("medium"), wanted, `step ${i}`);
        w.same(kappa.kappa("hard"), row.kappa_init, "a bucket without KL keeps its kappa");
        kappa = new KappaController(options, kappa.state());
      });
    }
  });
}

/** Every `<name>.json` with `<name>.safetensors` in `ares-paper/`: the whole objective from logits. */
export function checkAresPaperTables(goldensFolder: string, report: Report): void {
  const folder = `${goldensFolder}/ares-paper`;
  const names = [...Deno.readDirSync(folder)].filter((f) => f.name.endsWith(".safetensors"))
    .map((f) => f.name.replace(/\.safetensors$/, "")).sort();
  if (names.length === 0) throw new Error(`${folder} holds no table`);
  for (const name of names) {
    const t: Table = JSON.parse(Deno.readTextFileSync(`${folder}/${name}.json`));
    checkTable(`ares-paper/${name}`, t, readSafetensors(`${folder}/${name}.safetensors`), report);
  }
}

/** What the logits give per token of the padded batch; rows outside the response stay empty. */
interface PolicyRows {
  logProbs: Float64Array[];
  refLogProbs: Float64Array[];
  oldLogProbs: Float64Array[];
  /** places of the response tokens in the padded [B, T], and each sequence's start among them */
  keep: number[];
  offsets: number[];
}

function readRows(t: Table, x: Record<string, GoldenTensor>): PolicyRows {
  const [batch, length, vocabulary] = x.logits.shape;
  const rows: PolicyRows = { logProbs: [], refLogProbs: [], oldLogProbs: [], keep: [], offsets: [0] };
  const logits = (tensor: GoldenTensor, k: number) =>
    logSoftmax(tensor.data.subarray(k * vocabulary, (k + 1) * vocabulary), t.temperature);
  for (let i = 0; i < batch; i++) {
    for (let k = i * length; k < (i + 1) * length; k++) {
      if (!x.response_mask.data[k]) continue;
      rows.keep.push(k);
      rows.logProbs.push(logits(x.logits, k));
      rows.oldLogProbs.push(logits(x.old_logits, k));
      rows.refLogProbs.push(logits(x.ref_logits, k));
    }
    rows.offsets.push(rows.keep.length);
  }
  return rows;
}

const LIMITS: Record<string, number> = {
  "masks, counts, buckets": 0,
  "log-probabilities, entropies": LOG_PROBS,
  "scalars": LOSS,
  "losses": LOSS,
  "gradients": GRADIENT,
};

function checkTable(name: string, t: Table, x: Record<string, GoldenTensor>, report: Report): void {
  const worst = Object.fromEntries(Object.keys(LIMITS).map((key) => [key, new Worst()]));
  const [exact, close, scalars] = [
    worst["masks, counts, buckets"],
    worst["log-probabilities, entropies"],
    worst.scalars,
  ];
  const rows = readRows(t, x);
  const { keep, offsets } = rows;
  const pick = (key: string) => Float64Array.from(keep, (k) => x[key].data[k]);
  const action = (k: number) => x.actions.data[keep[k]];
  const sampled = (list: Float64Array[]) => Float64Array.from(list, (row, k) => row[action(k)]);
  const split = <T extends Float64Array | Uint8Array>(flat: T) =>
    offsets.slice(1).map((to, i) => flat.subarray(offsets[i], to) as T);

  const logProbs = sampled(rows.logProbs),
    oldLogProbs = sampled(rows.oldLogProbs),
    refLogProbs = sampled(rows.refLogProbs);
  close.list(logProbs, pick("log_probs"), "log_probs");
  close.list(oldLogProbs, pick("old_log_probs"), "old_log_probs");
  close.list(refLogProbs, pick("ref_log_probs"), "ref_log_probs");
  close.list(logProbs.map((lp, k) => Math.exp(lp - oldLogProbs[k])), pick("ratio"), "ratio");

  const entropies = Float64Array.from(rows.oldLogProbs, entropyOf);
  close.list(entropies, pick("entropy"), "entropy");
  const windows = split(entropies).map((h) => windowEntropy(h, t.window));
  split(pick("window_entropy")).forEach((wanted, i) => close.list(windows[i], wanted, `window_entropy ${i}`));
  windows.forEach((h, i) => scalars.absolute(quantile(h, 0.95), t.p95_per_trajectory[i], `p95 of ${i}`));
  const threshold = batchThreshold(windows);
  scalars.absolute(threshold, t.threshold, "threshold");
  const masks = windows.map((h) => windowMask(h, threshold));
  split(pick("window_mask")).forEach((wanted, i) =>
    exact.same([...masks[i]], [...wanted], `window_mask ${i}`)
  );
  const counts = masks.map(countHighEntropy);
  exact.same(counts, t.n_high_entropy, "n_high_entropy");

  const groups = t.accuracy.map((_: number, i: number) => Math.floor(i / t.rollouts_per_prompt));
  const correctOf = (g: number) =>
    t.accuracy.filter((a: number, i: number) => groups[i] === g && a === 1).length;
  const bucketOfGroup = Array.from(
    { length: t.prompts },
    (_, g) => bucketOf(correctOf(g), t.rollouts_per_prompt),
  );
  exact.same(bucketOfGroup, t.bucket_per_prompt, "bucket_per_prompt");
  const buckets: Bucket[] = groups.map((g: number) => bucketOfGroup[g]);
  const lambda: Partial<Record<Bucket, number>> = {};
  for (const d of BUCKETS) {
    const m = moments(counts.filter((_, i) => buckets[i] === d));
    const wanted = t.bucket_statistics[d];
    exact.same(m === undefined, wanted === undefined, `bucket ${d} is there`);
    if (!m) continue;
    lambda[d] = lambdaClosedForm(m, wanted.target, t.lambda_eps);
    scalars.absolute(m.mean, wanted.mean, `mean ${d}`);
    scalars.absolute(m.variance, wanted.population_variance, `variance ${d}`);
    scalars.absolute(lambda[d]!, wanted.lambda, `lambda ${d}`);
  }
  const target = (i: number) => t.bucket_statistics[buckets[i]].target;
  const rewards = counts.map((n, i) =>
    paperReward(t.accuracy[i], buckets[i], n, { target: target(i), lambda: lambda[buckets[i]]! }, Infinity)
  );
  scalars.list(counts.map((n, i) => shapingDistance(buckets[i], n - target(i))), t.shaping_g, "shaping_g");
  scalars.list(rewards, t.reward, "reward");
  const scales: Record<string, GroupScale> = {
    sample: "sample",
    population: "population",
    mean_only: "none",
  };
  const advantage = Object.fromEntries(
    Object.entries(scales).map((
      [key, scale],
    ) => [key, groupAdvantages(rewards, groups, scale, t.advantage_eps)]),
  );
  scalars.list(advantage.sample, t.advantage_sample_std, "advantage_sample_std");
  scalars.list(advantage.population, t.advantage_population_std, "advantage_population_std");
  scalars.list(advantage.mean_only, t.advantage_mean_only, "advantage_mean_only");

  const flat = (list: ArrayLike<number>[]) => Float64Array.from(list.flatMap((row) => Array.from(row)));
  const weights = flat(masks.map((m, i) => klWeights(t.bucket_statistics[buckets[i]].beta, t.rho, m)));
  close.list(weights, pick("kl_weight"), "kl_weight");
  const full = Float64Array.from(rows.logProbs, (row, k) => fullKl(row, rows.refLogProbs[k]));
  for (const row of t.losses) {
    const spread = spreadOverTokens(
      advantage[row.advantage],
      masks.map((m) => new Uint8Array(m.length).fill(1)),
    );
    const loss_avg_mode = /sequences/.test(row.average) ? "seq" as const : "token" as const;
    const options = { clip_ratio_low: t.clip_low, clip_ratio_high: t.clip_high, loss_avg_mode };
    const kind = row.kl === "full" ? "full" as const : "low_var_kl" as const;
    const term = row.kl === null ? undefined : { refLogProbs, kind, weights, fullKl: full };
    const got = policyObjective({ offsets, logProbs, oldLogProbs, advantages: flat(spread) }, options, term);
    worst.losses.absolute(got.loss, row.loss, row.name);
    if (`kl_per_token.${row.name}` in x) {
      close.list(got.kl, pick(`kl_per_token.${row.name}`), `kl_per_token.${row.name}`);
    }
    const grad = gradOfLogits(got, rows, action, t.temperature, x[row.gradient_tensor].data.length);
    worst.gradients.gradient(grad, x[row.gradient_tensor].data, row.gradient_tensor);
    worst.gradients.absolute(
      Math.sqrt(grad.reduce((sum, g) => sum + g * g, 0)),
      row.gradient_norm,
      `${row.name} norm`,
    );
    if (row.name === "main") {
      scalars.absolute(got.metrics.pg_clipfrac_higher, t.clip_fraction, "clip_fraction");
    }
  }
  const k3 = logProbs.map((lp, k) => klPerToken(lp, refLogProbs[k], "low_var_kl").value);
  const inside = flat(masks);
  const outside = moments(k3.filter((_, k) => !inside[k]))!.mean;
  scalars.absolute(outside, t.mean_kl_outside_windows, "mean_kl_outside_windows");
  scalars.absolute(
    moments(k3.filter((_, k) => inside[k]))!.mean,
    t.mean_kl_inside_windows,
    "mean_kl_inside_windows",
  );
  const u = t.kappa_update;
  const kappa = kappaStep(u.kappa, outside, {
    alpha: u.alpha,
    delta: u.delta,
    min: u.kappa_min,
    max: u.kappa_max,
  });
  scalars.absolute(kappa, u.kappa_after, "kappa_after");
  for (const [key, w] of Object.entries(worst)) w.report(`${name}/${key}`, LIMITS[key], report);
}

function gradOfLogits(
  objective: ReturnType<typeof policyObjective>,
  rows: PolicyRows,
  action: (k: number) => number,
  temperature: number,
  size: number,
): Float64Array {
  const grad = new Float64Array(size);
  rows.keep.forEach((place, k) => {
    const scalars = {
      action: action(k),
      gradLogProb: objective.gradLogProbs[k],
      gradFullKl: objective.gradFullKl[k],
      refLogProbs: rows.refLogProbs[k],
    };
    grad.set(logitGradient(rows.logProbs[k], scalars, temperature), place * rows.logProbs[k].length);
  });
  return grad;
}
