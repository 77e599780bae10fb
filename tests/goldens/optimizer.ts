/**
 * `optimizer/` of a goldens folder: AdamW with and without clipping, and in bf16 with Kahan summation, on given gradients,
 * against torch. Settings, parameters and steps are read from the files.
 * @module
 */
import type { Gpu, HostArray } from "../../gpu/device.ts";
import { Program } from "../../gpu/program.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { openSafetensors, type SafetensorsFile } from "../../models/safetensors.ts";
import { adamw, adamwBf16Kahan } from "../../shaders/adamw.ts";
import { gradNormFinish, partialsOf, sumOfSquares } from "../../shaders/grad_norm.ts";
import { maxDifference, type Report } from "./report.ts";

interface Settings {
  lr: number;
  weight_decay: number;
  betas: [number, number];
  eps: number;
  max_grad_norm?: number | null;
  grad_norms_before_clipping?: number[];
  state_dtype?: string;
}

/** What the kernels made of the file's gradients. */
interface Outcome {
  /** Parameter i after step k: `after[k][i]`. */
  after: Float32Array[][];
  /** Gradient norm of every step; empty in bf16, which is not clipped. */
  norms: number[];
  /** Moments and compensation of parameter i after the last step. */
  last: Record<"m" | "v" | "c", Float32Array>[];
}

/** Runs every update rule of the folder's `optimizer/` and reports its worst differences against the README's limits. */
export async function checkOptimizer(gpu: Gpu, goldensFolder: string, report: Report): Promise<void> {
  const folder = `${goldensFolder}/optimizer`;
  const rules: Record<string, Settings> = JSON.parse(await Deno.readTextFile(`${folder}/optimizer.json`));
  const file = await openSafetensors(`${folder}/optimizer.safetensors`);
  for (const [name, settings] of Object.entries(rules)) {
    const bf16 = settings.state_dtype === "bfloat16";
    const outcome = await follow(gpu, file, settings, bf16);
    if (bf16) await reportBf16(file, name, outcome, report);
    else await reportF32(file, name, settings, outcome, report);
  }
}

function count(file: SafetensorsFile, name: (i: number) => string): number {
  let n = 0;
  while (file.tensors.has(name(n))) n++;
  if (n === 0) throw new Error(`${file.path} has no tensor ${name(0)}`);
  return n;
}

async function follow(gpu: Gpu, file: SafetensorsFile, settings: Settings, bf16: boolean): Promise<Outcome> {
  const parameters = count(file, (i) => `p${i}_start`);
  const steps = count(file, (k) => `p0_grad_step${k}`);
  const { lr, weight_decay, betas, eps } = settings;
  const stored = (values: Float32Array): HostArray => bf16 ? pack(values) : values;
  let step = 1;
  const scalars = {
    lr,
    one_minus_beta1: 1 - betas[0],
    one_minus_beta2: 1 - betas[1],
    eps,
    weight_decay,
    correction1: () => 1 - betas[0] ** step,
    correction2: () => 1 - betas[1] ** step,
  };
  const program = new Program(gpu, "update rule");
  const norm = gpu.tensor("norm", [4], Float32Array.of(0, 1, 1, 0));
  const scratch = [norm];
  const sizes: number[] = [];
  const sets: Record<"p" | "g" | "m" | "v" | "c", Tensor>[] = [];
  for (let i = 0; i < parameters; i++) {
    const start = await file.readF32(`p${i}_start`);
    const [p, g, m, v, c] = [start, ...Array.from({ length: 4 }, () => new Float32Array(start.length))]
      .map((values) => gpu.tensor(`p${i}`, [stored(values).length], stored(values)));
    sizes.push(start.length);
    sets.push({ p, g, m, v, c });
  }
  if (!bf16) {
    const parts = sizes.reduce((sum, n) => sum + partialsOf(n), 0);
    const partial = gpu.alloc("partial", [parts], "scratch");
    scratch.push(partial);
    let slot = 0;
    sets.forEach(({ g }, i) => {
      program.add(sumOfSquares, { g, partial }, { n: sizes[i], slot });
      slot += partialsOf(sizes[i]);
    });
    const max_norm = settings.max_grad_norm ?? 0;
    program.add(gradNormFinish, { partial, result: norm }, { parts, max_norm });
  }
  sets.forEach(({ p, g, m, v, c }, i) => {
    if (bf16) program.add(adamwBf16Kahan, { p, g, m, v, c, norm }, { n: sizes[i], ...scalars });
    else program.add(adamw, { p, g, m, v, norm }, { n: sizes[i], ...scalars });
  });

  const outcome: Outcome = { after: [], norms: [], last: [] };
  const values = (data: HostArray, i: number): Float32Array =>
    bf16 ? unpack(data, sizes[i]) : data as Float32Array;
  for (; step <= steps; step++) {
    for (let i = 0; i < parameters; i++) {
      gpu.write(sets[i].g, stored(await file.readF32(`p${i}_grad_step${step - 1}`)));
    }
    await program.run();
    const [result, ...after] = await gpu.read(norm, ...sets.map(({ p }) => p));
    outcome.after.push(after.map(values));
    if (!bf16) outcome.norms.push(result[0]);
  }
  for (let i = 0; i < parameters; i++) {
    const [m, v, c] = (await gpu.read(sets[i].m, sets[i].v, sets[i].c)).map((data) => values(data, i));
    outcome.last.push({ m, v, c });
  }
  program.destroy();
  for (const tensor of [...scratch, ...sets.flatMap((set) => Object.values(set))]) gpu.pool.free(tensor);
  return outcome;
}

async function reportF32(
  file: SafetensorsFile,
  name: string,
  settings: Settings,
  { after, norms, last }: Outcome,
  report: Report,
): Promise<void> {
  let [worst, worstMean, worstSquare, worstNorm] = [0, 0, 0, 0];
  for (let i = 0; i < last.length; i++) {
    for (let k = 0; k < after.length; k++) {
      worst = Math.max(worst, maxDifference(after[k][i], await file.readF32(`${name}.p${i}_after_step${k}`)));
    }
    worstMean = Math.max(worstMean, maxDifference(last[i].m, await file.readF32(`${name}.p${i}_exp_avg`)));
    worstSquare = Math.max(
      worstSquare,
      maxDifference(last[i].v, await file.readF32(`${name}.p${i}_exp_avg_sq`)),
    );
  }
  settings.grad_norms_before_clipping?.forEach((golden, k) => {
    worstNorm = Math.max(worstNorm, Math.abs(norms[k] - golden) / Math.max(golden, 1e-6));
  });
  report(`${name}: parameters`, worst, 1e-6, `${last.length} parameters after each of ${after.length} steps`);
  report(`${name}: exp_avg`, worstMean, 1e-6);
  report(`${name}: exp_avg_sq`, worstSquare, 1e-6);
  report(`${name}: gradient norm, relative`, worstNorm, 1e-3);
}

async function reportBf16(
  file: SafetensorsFile,
  name: string,
  { after, last }: Outcome,
  report: Report,
): Promise<void> {
  let [worstSteps, worstSum, worstSquare] = [0, 0, 0];
  for (let i = 0; i < last.length; i++) {
    for (let k = 0; k < after.length; k++) {
      const golden = await file.readF32(`${name}.p${i}_after_step${k}`);
      worstSteps = Math.max(worstSteps, bf16Steps(after[k][i], golden));
    }
    const p = await file.readF32(`${name}.p${i}_after_step${after.length - 1}`);
    const c = await file.readF32(`${name}.p${i}_compensation`);
    const sum = (x: Float32Array, y: Float32Array): Float64Array =>
      Float64Array.from(x, (value, j) => value + y[j]);
    worstSum = Math.max(worstSum, maxDifference(sum(after.at(-1)![i], last[i].c), sum(p, c)));
    worstSquare = Math.max(
      worstSquare,
      maxDifference(last[i].v, await file.readF32(`${name}.p${i}_exp_avg_sq`)),
    );
  }
  report(`${name}: p + c`, worstSum, 1e-4, `${last.length} parameters after ${after.length} steps`);
  report(`${name}: p, bf16 steps`, worstSteps, 1, "after each step");
  report(`${name}: exp_avg_sq`, worstSquare, 0);
}

/** Largest distance of two lists of bf16 values, in representable values. */
function bf16Steps(a: Float32Array, b: Float32Array): number {
  const place = (x: number): number => {
    const half = new Int32Array(Float32Array.of(x).buffer)[0] >> 16;
    return half < 0 ? -(half & 0x7fff) : half;
  };
  return maxDifference(Array.from(a, place), Array.from(b, place));
}

/** f32 values rounded to bf16 (nearest, ties to even), two to a word. */
function pack(values: Float32Array): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Float32Array.from(values).buffer);
  const halves = new Uint16Array(Math.ceil(words.length / 2) * 2);
  words.forEach((word, i) => halves[i] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16);
  return new Uint32Array(halves.buffer);
}

/** The first `n` bf16 values of `words`, as f32. */
function unpack(words: HostArray, n: number): Float32Array {
  return Float32Array.from(
    { length: n },
    (_, i) => new Float32Array(Uint32Array.of((words[i >> 1] >>> (16 * (i & 1))) << 16).buffer)[0],
  );
}
