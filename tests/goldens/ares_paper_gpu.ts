/**
 * The AEPO kernels against the tables of recipe `paper`: windows, quantiles, threshold, masks, counts, and the gradient of
 * every loss, with the KL from the sampled tokens or exact.
 * @module
 */
import { type Gpu, Program, type Tensor } from "../../mod.ts";
// The kernels behind the public functions, which a trainer meets through `train` and `scoreTokens`: their records and
// bindings are made for each other and change with them.
import { hweMask, meanThreshold, spanQuantile, windowMean } from "../../shaders/entropy_window.ts";
import { fullKlDivergence, fullKlGradient } from "../../shaders/full_kl.ts";
import { headReduce } from "../../shaders/head.ts";
import { KL_KINDS, policyLoss, STAT_COLUMNS, tokenAdvantage } from "../../shaders/policy_loss.ts";
import { type GoldenTensor, readSafetensors } from "./read_safetensors.ts";
import type { Report } from "./report.ts";
import { Worst } from "./worst.ts";

const ENTROPY = 5e-4, SCALARS = 1e-5, GRADIENT = 1e-4;
const BUCKETS = ["easy", "medium", "hard"];

type Table = Record<string, any>;

/** The response tokens of a padded batch, packed. */
interface Packed {
  /** place of every token in [B, T] */
  readonly places: readonly number[];
  /** [B, 2] */
  readonly spans: Uint32Array;
  readonly sequenceOf: Uint32Array;
  pick(tensor: GoldenTensor): Float32Array;
}

function pack(mask: GoldenTensor): Packed {
  const [sequences, length] = mask.shape;
  const places: number[] = [], spans: number[] = [], sequenceOf: number[] = [];
  for (let i = 0; i < sequences; i++) {
    const first = places.length;
    for (let k = i * length; k < (i + 1) * length; k++) {
      if (!mask.data[k]) continue;
      places.push(k);
      sequenceOf.push(i);
    }
    spans.push(first, places.length - first);
  }
  return {
    places,
    spans: Uint32Array.from(spans),
    sequenceOf: Uint32Array.from(sequenceOf),
    pick: (tensor) => Float32Array.from(places, (k) => tensor.data[k]),
  };
}

/** Every `<name>.json` with `<name>.safetensors` in `ares-paper/`. */
export async function checkAresPaperGpu(gpu: Gpu, goldensFolder: string, report: Report): Promise<void> {
  const folder = `${goldensFolder}/ares-paper`;
  const names = [...Deno.readDirSync(folder)].map((f) => f.name).filter((f) => f.endsWith(".safetensors"))
    .map((f) => f.replace(/\.safetensors$/, "")).sort();
  if (names.length === 0) throw new Error(`${folder} holds no table`);
  for (const name of names) {
    const t: Table = JSON.parse(await Deno.readTextFile(`${folder}/${name}.json`));
    const x = readSafetensors(`${folder}/${name}.safetensors`);
    const packed = pack(x.response_mask);
    await checkWindows(gpu, `ares-paper/${name} on the GPU`, t, x, packed, report);
    await checkLosses(gpu, `ares-paper/${name} on the GPU`, t, x, packed, report);
    await checkFullKl(gpu, `ares-paper/${name} on the GPU`, t, x, packed, report);
  }
}

/** Tensors that are given back after `body`. */
async function withTensors<R>(
  gpu: Gpu,
  body: (make: (data: Float32Array | Uint32Array) => Tensor, empty: (size: number) => Tensor) => Promise<R>,
): Promise<R> {
  const held: Tensor[] = [];
  const keep = (tensor: Tensor) => {
    held.push(tensor);
    return tensor;
  };
  try {
    return await body(
      (data) => keep(gpu.tensor("golden", [data.length], data)),
      (size) => keep(gpu.alloc("result", [size], "data")),
    );
  } finally {
    for (const tensor of held) gpu.pool.free(tensor);
  }
}

async function checkWindows(
  gpu: Gpu,
  name: string,
  t: Table,
  x: Record<string, GoldenTensor>,
  packed: Packed,
  report: Report,
): Promise<void> {
  const n = packed.places.length, sequences = packed.spans.length / 2;
  await withTensors(gpu, async (make, empty) => {
    const [entropy, spans] = [make(packed.pick(x.entropy)), make(packed.spans)];
    const [windows, quantiles, threshold] = [empty(n), empty(sequences), empty(1)];
    const [mask, counts] = [empty(n), empty(sequences)];
    const dims = { sequences, window: t.window, kind: 0, q: 0.95 };
    const program = new Program(gpu, "golden windows")
      .add(windowMean, { entropy, spans, out: windows }, dims)
      .add(spanQuantile, { values: windows, spans, out: quantiles }, dims)
      .add(meanThreshold, { values: quantiles, out: threshold }, dims)
      .add(hweMask, { window_mean: windows, spans, threshold, mask, counts }, dims);
    await program.run();
    const [w, q, tau, m, c] = await gpu.read(windows, quantiles, threshold, mask, counts);
    program.destroy();
    const means = new Worst(), scalars = new Worst(), exact = new Worst();
    means.list(w, packed.pick(x.window_entropy), "window_entropy");
    scalars.list(q, t.p95_per_trajectory, "p95");
    scalars.absolute(tau[0], t.threshold, "threshold");
    exact.list(m, packed.pick(x.window_mask), "window_mask");
    exact.list(c, t.n_high_entropy, "n_high_entropy");
    means.report(`${name}/window means`, ENTROPY, report);
    scalars.report(`${name}/quantiles, threshold`, SCALARS, report);
    exact.report(`${name}/masks, counts`, 0, report);
  });
}

/** ∂ loss / ∂ logits [B, T, V] from ∂ loss / ∂ log π of the response tokens: g (onehot − softmax(logits / T)) / T. */
function expand(
  dlogp: ArrayLike<number>,
  packed: Packed,
  logits: GoldenTensor,
  actions: GoldenTensor,
  temperature: number,
): Float64Array {
  const vocabulary = logits.shape[2];
  const out = new Float64Array(logits.data.length);
  packed.places.forEach((place, k) => {
    const row = logits.data.subarray(place * vocabulary, (place + 1) * vocabulary).map((z) =>
      z / temperature
    );
    const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = row.reduce((sum, z) => sum + Math.exp(z - top), 0);
    row.forEach((z, v) => {
      const hot = v === actions.data[place] ? 1 : 0;
      out[place * vocabulary + v] = dlogp[k] * (hot - Math.exp(z - top) / total) / temperature;
    });
  });
  return out;
}

/** Columns side by side: [N, columns]. */
function interleaved(...columns: Float32Array[]): Float32Array<ArrayBuffer> {
  const n = columns.length;
  return Float32Array.from({ length: n * columns[0].length }, (_, i) => columns[i % n][Math.floor(i / n)]);
}

/** Loss weights, KL weights and threshold of every sequence, [B, 8]. */
function sequenceRecords(t: Table, packed: Packed, bySequence: boolean): Float32Array<ArrayBuffer> {
  const sequences = packed.spans.length / 2, tokens = packed.places.length;
  return Float32Array.from({ length: 8 * sequences }, (_, k) => {
    const i = k >> 3, bucket: string = t.bucket_per_prompt[Math.floor(i / t.rollouts_per_prompt)];
    const beta = t.bucket_statistics[bucket].beta;
    const weight = bySequence ? 1 / (sequences * packed.spans[2 * i + 1]) : 1 / tokens;
    return [0, weight, beta, beta * t.rho, 0, t.threshold, BUCKETS.indexOf(bucket), 0][k % 8];
  });
}

/** The losses with the exact KL, from both policies' logits to the gradient of the policy's. */
async function checkFullKl(
  gpu: Gpu,
  name: string,
  t: Table,
  x: Record<string, GoldenTensor>,
  packed: Packed,
  report: Report,
): Promise<void> {
  const rows = packed.places.length, sequences = packed.spans.length / 2, vocabulary = x.logits.shape[2];
  const stride = Math.ceil(vocabulary / 4) * 4;
  const tileOf = ({ data }: GoldenTensor) => {
    const tile = new Float32Array(rows * stride);
    packed.places.forEach((place, k) =>
      tile.set(data.subarray(place * vocabulary, (place + 1) * vocabulary), k * stride)
    );
    return tile;
  };
  const [windows, mask, old, ref] = [x.window_entropy, x.window_mask, x.old_log_probs, x.ref_log_probs]
    .map(packed.pick);
  const losses = new Worst(), gradients = new Worst(), kls = new Worst();
  for (const row of t.losses.filter((r: Table) => r.kl === "full")) {
    const advantage: number[] = t[`advantage_${row.advantage}_std`] ?? t[`advantage_${row.advantage}`];
    const tileDims = { rows, stride, first: 0, columns: vocabulary, inverse_temperature: 1 / t.temperature };
    const settings = {
      tokens: rows,
      sequences,
      length_normalise: 0,
      clip_low: t.clip_low,
      clip_high: t.clip_high,
      clip_dual: 0,
      kl_kind: KL_KINDS.full,
    };
    const columns = STAT_COLUMNS.length;
    const [result, stats, dz] = await withTensors(gpu, async (make, empty) => {
      const [tile, reference_logits] = [make(tileOf(x.logits)), make(tileOf(x.ref_logits))];
      const targets = make(Uint32Array.from(packed.places, (place) => x.actions.data[place]));
      const [result, reference_result, running] = [empty(4 * rows), empty(4 * rows), empty(4 * rows)];
      const [dlogp, dkl, stats] = [empty(rows), empty(rows), empty(columns * rows)];
      const reduce = { ...tileDims, last: 1 };
      const program = new Program(gpu, "golden exact KL")
        .add(headReduce, { logits: reference_logits, targets, running, result: reference_result }, reduce)
        .add(headReduce, { logits: tile, targets, running, result }, reduce)
        .add(fullKlDivergence, { logits: tile, reference_logits, reference_result, result }, tileDims)
        .add(policyLoss, {
          behaviour: make(interleaved(old, ref, windows, mask)),
          sequence: make(sequenceRecords(t, packed, /sequences/.test(row.average))),
          result,
          sequence_of: make(packed.sequenceOf),
          advantages: make(Float32Array.from(packed.sequenceOf, (i) => advantage[i])),
          dlogp,
          stats,
          dkl,
        }, settings)
        .add(fullKlGradient, {
          tile,
          reference_logits,
          reference_result,
          result,
          targets,
          dlogp,
          dentropy: make(new Float32Array(rows)),
          dkl,
        }, tileDims);
      await program.run();
      const read = await gpu.read(result, stats, tile);
      program.destroy();
      return read;
    });
    const sum = (column: number) =>
      Array.from({ length: rows }, (_, k) => stats[columns * k + column]).reduce((a, b) => a + b, 0);
    losses.absolute(sum(0) + sum(1), row.loss, row.name);
    const gradient = new Float64Array(x.logits.data.length);
    packed.places.forEach((place, k) =>
      gradient.set(dz.subarray(k * stride, k * stride + vocabulary), place * vocabulary)
    );
    gradients.gradient(gradient, x[row.gradient_tensor].data, row.gradient_tensor);
    if (`kl_per_token.${row.name}` in x) {
      const kl = Float32Array.from({ length: rows }, (_, k) => result[4 * k + 3]);
      kls.list(kl, packed.pick(x[`kl_per_token.${row.name}`]), `kl_per_token.${row.name}`);
    }
  }
  losses.report(`${name}/losses, exact KL`, SCALARS, report);
  gradients.report(`${name}/gradients, exact KL`, GRADIENT, report);
  if (kls.count > 0) kls.report(`${name}/exact KL per token`, ENTROPY, report);
}

async function checkLosses(
  gpu: Gpu,
  name: string,
  t: Table,
  x: Record<string, GoldenTensor>,
  packed: Packed,
  report: Report,
): Promise<void> {
  const tokens = packed.places.length, sequences = packed.spans.length / 2;
  const [old, ref, logp] = [x.old_log_probs, x.ref_log_probs, x.log_probs].map(packed.pick);
  const [windows, mask] = [x.window_entropy, x.window_mask].map(packed.pick);
  const behaviour = interleaved(old, ref, windows, mask);
  const result = Float32Array.from({ length: 4 * tokens }, (_, i) => i % 4 === 0 ? logp[i >> 2] : 0);
  const losses = new Worst(), gradients = new Worst(), kls = new Worst(), means = new Worst();
  for (const row of t.losses.filter((r: Table) => r.kl !== "full")) {
    const bySequence = /sequences/.test(row.average);
    const advantage: number[] = t[`advantage_${row.advantage}_std`] ?? t[`advantage_${row.advantage}`];
    const records = sequenceRecords(t, packed, bySequence);
    const dims = {
      tokens,
      sequences,
      length_normalise: 0,
      clip_low: t.clip_low,
      clip_high: t.clip_high,
      clip_dual: 0,
      kl_kind: row.kl === null ? KL_KINDS.none : KL_KINDS.k3,
    };
    const columns = STAT_COLUMNS.length;
    const [dlogp, stats] = await withTensors(gpu, async (make, empty) => {
      const shared = { behaviour: make(behaviour), sequence: make(records) };
      const base = make(Float32Array.from(packed.sequenceOf, (i) => advantage[i]));
      const advantages = empty(tokens),
        dlogp = empty(tokens),
        dkl = empty(tokens),
        stats = empty(tokens * columns);
      const program = new Program(gpu, "golden losses")
        .add(tokenAdvantage, { ...shared, spans: make(packed.spans), base, out: advantages }, dims)
        .add(
          policyLoss,
          {
            ...shared,
            result: make(result),
            sequence_of: make(packed.sequenceOf),
            advantages,
            dlogp,
            stats,
            dkl,
          },
          dims,
        );
      await program.run();
      const read = await gpu.read(dlogp, stats);
      program.destroy();
      return read;
    });
    const column = (key: typeof STAT_COLUMNS[number]) =>
      Array.from({ length: tokens }, (_, k) => stats[columns * k + STAT_COLUMNS.indexOf(key)]);
    const sum = (key: typeof STAT_COLUMNS[number]) => column(key).reduce((a, b) => a + b, 0);
    losses.absolute(sum("pg_loss") + sum("kl_loss"), row.loss, row.name);
    const gradient = expand(dlogp, packed, x.logits, x.actions, t.temperature);
    gradients.gradient(gradient, x[row.gradient_tensor].data, row.gradient_tensor);
    if (`kl_per_token.${row.name}` in x) {
      kls.list(column("kl"), packed.pick(x[`kl_per_token.${row.name}`]), `kl_per_token.${row.name}`);
    }
    if (row.name !== "main") continue;
    means.absolute(sum("clipped") / tokens, t.clip_fraction, "clip_fraction");
    const outside = (what: "kl" | "tokens") =>
      (["easy", "medium", "hard"] as const).reduce((a, b) => a + sum(`${what}_outside_${b}`), 0);
    means.absolute(outside("kl") / outside("tokens"), t.mean_kl_outside_windows, "mean_kl_outside_windows");
  }
  losses.report(`${name}/losses`, SCALARS, report);
  gradients.report(`${name}/gradients`, GRADIENT, report);
  // A table need not list every loss.
  if (kls.count > 0) kls.report(`${name}/KL per token`, ENTROPY, report);
  if (means.count > 0) means.report(`${name}/clip fraction, KL outside windows`, SCALARS, report);
}
