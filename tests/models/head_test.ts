import { assert, assertEquals } from "@std/assert";
import type { Gpu } from "../../gpu/device.ts";
import { Program } from "../../gpu/program.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { Head } from "../../models/head.ts";
import { fullKl, fullKlGradient } from "../reference/full_kl.ts";
import { headForward, headGradient } from "../reference/head.ts";
import { linear, linearBackwardInput, linearBackwardWeight } from "../reference/linear.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { type LaunchMistake, withLaunchMistake } from "./launch_edit.ts";
import {
  difference,
  freshPass,
  passDifference,
  randomSequences,
  randomSlopes,
  randomWeights,
  tinyConfig,
  uniform,
} from "./tiny_model.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };

const ROWS = 7;
const CAPACITY = 10;
const TEMPERATURE = 0.8;

interface HeadOutcome {
  readonly logp: ArrayLike<number>;
  readonly entropy: ArrayLike<number>;
  readonly dhidden: ArrayLike<number>;
  readonly dweight: ArrayLike<number>;
}

/** Random rows, the same for equal sizes; the last columns and those where tiles of 64 meet are among the targets. */
function inputs(vocabulary: number, width: number) {
  const edges = [0, 63, 64, 127, 128, vocabulary - 1, 5].map((v) => Math.min(v, vocabulary - 1));
  return {
    hidden: uniform(ROWS * width, 1, "hidden", vocabulary, width),
    weight: uniform(vocabulary * width, 1, "weight", vocabulary, width),
    targets: Uint32Array.from(edges),
    dlogp: uniform(ROWS, 1, "dlogp"),
    dentropy: uniform(ROWS, 1, "dentropy"),
    dweight: uniform(vocabulary * width, 0.1, "dweight"),
  };
}

/** The head on the GPU with tiles of at most `tileElements`; the weight's gradient does not start from zero. */
async function runHead(vocabulary: number, width: number, tileElements?: number): Promise<HeadOutcome> {
  const gpu = await oneGpu();
  const i = inputs(vocabulary, width);
  const padded = (values: Float32Array, each: number) => {
    const all = new Float32Array(CAPACITY * each).fill(NaN);
    all.set(values);
    return gpu.tensor("head test", [CAPACITY, each], all);
  };
  const table = gpu.tensor("lm_head.weight", [vocabulary, width], i.weight);
  const weight = {
    name: "lm_head.weight",
    weight: table,
    operand: table,
    gradient: gpu.tensor("lm_head.weight.grad", [vocabulary, width], i.dweight),
    slices: [],
  };
  const targets = new Uint32Array(CAPACITY);
  targets.set(i.targets);
  const rows = {
    rows: ROWS,
    hidden: padded(i.hidden, width),
    targets: gpu.tensor("targets", [CAPACITY], targets),
    result: padded(new Float32Array(0), 4),
    temperature: () => TEMPERATURE,
  };
  const [dlogp, dentropy] = [padded(i.dlogp, 1), padded(i.dentropy, 1)];
  const dhidden = padded(new Float32Array(0), width);
  const head = new Head(gpu, weight, CAPACITY, tileElements);
  const forward = new Program(gpu, "forward");
  const backward = new Program(gpu, "backward");
  head.recordForward(forward, rows);
  head.recordBackward(backward, rows, dlogp, dentropy, dhidden);
  await forward.run();
  await backward.run();
  const [result, dh, dw] = await gpu.read(rows.result, dhidden, weight.gradient) as Float32Array[];
  head.free();
  forward.destroy();
  backward.destroy();
  const made = [
    weight.weight,
    weight.gradient,
    rows.hidden,
    rows.targets,
    rows.result,
    dlogp,
    dentropy,
    dhidden,
  ];
  for (const t of made) gpu.pool.free(t);
  const column = (c: number) => Float64Array.from({ length: ROWS }, (_, r) => result[4 * r + c]);
  return { logp: column(0), entropy: column(1), dhidden: dh.subarray(0, ROWS * width), dweight: dw };
}

/** The same by f64 loops, all logits at once. */
function reference(vocabulary: number, width: number): HeadOutcome {
  const i = inputs(vocabulary, width);
  const shape = { tokens: ROWS, inputs: width, outputs: vocabulary, stride: vocabulary };
  const logits = linear(i.hidden, i.weight, new Float64Array(ROWS * vocabulary), shape);
  const { logp, entropy } = headForward(logits, i.targets, ROWS, vocabulary, vocabulary, TEMPERATURE);
  const dz = headGradient(
    logits,
    i.targets,
    i.dlogp,
    i.dentropy,
    ROWS,
    vocabulary,
    vocabulary,
    TEMPERATURE,
  );
  return {
    logp,
    entropy,
    dhidden: linearBackwardInput(dz, i.weight, new Float64Array(ROWS * width), shape, false),
    dweight: linearBackwardWeight(dz, i.hidden, i.dweight, shape),
  };
}

function worst(actual: HeadOutcome, expected: HeadOutcome): number {
  const keys = ["logp", "entropy", "dhidden", "dweight"] as const;
  return Math.max(...keys.map((key) => difference(actual[key], expected[key])));
}

// Measured: 4e-7.
const TOLERANCE = 3e-6;
/** One element forces tiles of the least width, 64 columns. */
const NARROW = 1;

for (const [vocabulary, width] of [[200, 24], [105, 20], [65, 27], [128, 8], [64, 8], [3, 5]]) {
  Deno.test({
    name: `head over vocabulary ${vocabulary}, hidden ${width}: one tile and tiles of 64 equal f64 loops`,
    ...options,
    fn: async () => {
      const expected = reference(vocabulary, width);
      for (const tileElements of [undefined, NARROW, CAPACITY * 128]) {
        const off = worst(await runHead(vocabulary, width, tileElements), expected);
        assert(off <= TOLERANCE, `tile of ${tileElements}: off by ${off}`);
      }
    },
  });
}

Deno.test({
  name: "planted mistakes in the loop over tiles are rejected",
  ...options,
  fn: async () => {
    const expected = reference(200, 24);
    const mistakes: LaunchMistake[] = [
      {
        why: "later tiles overwrite the hidden gradient",
        edit: (l) => l.dims.accumulate === 1 ? { ...l, dims: { ...l.dims, accumulate: 0 } } : l,
      },
      {
        why: "backward reads the last tile's logits for every tile",
        edit: (l) => l.program === "backward" && l.kernel.name.endsWith(".forward") ? undefined : l,
      },
      {
        why: "every tile claims to be the first",
        edit: (l) => Number(l.dims.first) > 0 ? { ...l, dims: { ...l.dims, first: 0 } } : l,
      },
      {
        why: "the result stands after the first tile",
        edit: (l) => {
          if (l.kernel.name !== "head.reduce") return l;
          return l.dims.first === 0 ? { ...l, dims: { ...l.dims, last: 1 } } : undefined;
        },
      },
    ];
    for (const mistake of mistakes) {
      const off = worst(await withLaunchMistake(mistake, () => runHead(200, 24, NARROW)), expected);
      assert(off > 1e-3, `"${mistake.why}" was not noticed: off by ${off}`);
    }
  },
});

/** The same device, saying that one binding holds `bytes` at most. */
function withBindingLimit(gpu: Gpu, bytes: number): Gpu {
  const over = <T extends object>(target: T, changed: Record<string, unknown>): T =>
    new Proxy(target, {
      get(_, key) {
        if (typeof key === "string" && key in changed) return changed[key];
        const value = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  const limits = over(gpu.device.limits, { maxStorageBufferBindingSize: bytes });
  return over(gpu, { device: over(gpu.device, { limits }) });
}

Deno.test({
  name: "a vocabulary larger than one binding is used in windows, tied and untied, with the same numbers",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    // 150 rows of 96 bytes in windows of 64: the table needs three bindings.
    const small = withBindingLimit(gpu, 8192);
    for (const tied of [true, false]) {
      const config = tinyConfig({ vocab_size: 150, tie_word_embeddings: tied });
      const weights = randomWeights(config);
      const sequences = randomSequences(config, [[9, 2], [6, 1]]);
      const slopes = randomSlopes(sequences);
      const whole = await freshPass(gpu, config, weights, sequences, slopes);
      const windows = await freshPass(small, config, weights, sequences, slopes);
      const off = passDifference(windows, whole);
      assert(off <= 1e-5, `tied = ${tied}: off by ${off}`);
      assertEquals(windows.logp.length, 12);
    }
  },
});

interface KlOutcome {
  readonly kl: ArrayLike<number>;
  readonly dhidden: ArrayLike<number>;
  readonly dweight: ArrayLike<number>;
}

/** What the exact KL adds: another model's rows and table over the same vocabulary. */
function klInputs(vocabulary: number, width: number) {
  return {
    hidden: uniform(ROWS * width, 1, "reference hidden", vocabulary, width),
    weight: uniform(vocabulary * width, 1, "reference weight", vocabulary, width),
    dkl: uniform(ROWS, 1, "dkl"),
  };
}

/** The head with a reference on the GPU, both heads in tiles of at most `tileElements`. */
async function runKl(vocabulary: number, width: number, tileElements?: number): Promise<KlOutcome> {
  const gpu = await oneGpu();
  const [i, k] = [inputs(vocabulary, width), klInputs(vocabulary, width)];
  const made: Tensor[] = [];
  const make = (values: ArrayLike<number>, each: number, total = CAPACITY) => {
    const all = new Float32Array(total * each).fill(NaN);
    all.set(values);
    const tensor = gpu.tensor("head test", [total, each], all);
    made.push(tensor);
    return tensor;
  };
  const targets = gpu.tensor("targets", [CAPACITY], new Uint32Array(CAPACITY));
  gpu.write(targets, i.targets);
  made.push(targets);
  const table = (values: Float32Array, gradient?: Float32Array) => {
    const weight = make(values, width, vocabulary);
    return {
      name: "lm_head.weight",
      weight,
      operand: weight,
      gradient: gradient && make(gradient, width, vocabulary),
      slices: [],
    };
  };
  const own = table(i.weight, i.dweight), frozen = table(k.weight);
  const rows = { rows: ROWS, targets, temperature: () => TEMPERATURE };
  const theirs = { ...rows, hidden: make(k.hidden, width), result: make([], 4) };
  const [dlogp, dentropy, dkl] = [make(i.dlogp, 1), make(i.dentropy, 1), make(k.dkl, 1)];
  const ours = {
    ...rows,
    hidden: make(i.hidden, width),
    result: make([], 4),
    reference: { weight: frozen, hidden: theirs.hidden, result: theirs.result, dkl },
  };
  const dhidden = make([], width);
  const head = new Head(gpu, own, CAPACITY, tileElements);
  const reference = new Head(gpu, frozen, CAPACITY, tileElements);
  const forward = new Program(gpu, "forward"), backward = new Program(gpu, "backward");
  reference.recordForward(forward, theirs);
  head.recordForward(forward, ours);
  head.recordBackward(backward, ours, dlogp, dentropy, dhidden);
  await forward.run();
  await backward.run();
  const [result, dh, dw] = await gpu.read(ours.result, dhidden, own.gradient!) as Float32Array[];
  for (const part of [head, reference]) part.free();
  for (const program of [forward, backward]) program.destroy();
  for (const tensor of made) gpu.pool.free(tensor);
  return {
    kl: Float64Array.from({ length: ROWS }, (_, r) => result[4 * r + 3]),
    dhidden: dh.subarray(0, ROWS * width),
    dweight: dw,
  };
}

/** The same by f64 loops. */
function klReference(vocabulary: number, width: number): KlOutcome {
  const [i, k] = [inputs(vocabulary, width), klInputs(vocabulary, width)];
  const shape = { tokens: ROWS, inputs: width, outputs: vocabulary, stride: vocabulary };
  const logitsOf = (x: { hidden: Float32Array; weight: Float32Array }) =>
    linear(x.hidden, x.weight, new Float64Array(ROWS * vocabulary), shape);
  const two = {
    logits: logitsOf(i),
    reference: logitsOf(k),
    rows: ROWS,
    vocabulary,
    stride: vocabulary,
    temperature: TEMPERATURE,
  };
  const dz = fullKlGradient(two, i.targets, { ...i, dkl: k.dkl });
  return {
    kl: fullKl(two),
    dhidden: linearBackwardInput(dz, i.weight, new Float64Array(ROWS * width), shape, false),
    dweight: linearBackwardWeight(dz, i.hidden, i.dweight, shape),
  };
}

function worstKl(actual: KlOutcome, expected: KlOutcome): number {
  const keys = ["kl", "dhidden", "dweight"] as const;
  return Math.max(...keys.map((key) => difference(actual[key], expected[key])));
}

for (const [vocabulary, width] of [[200, 24], [65, 27], [3, 5]]) {
  Deno.test({
    name: `exact KL over vocabulary ${vocabulary}, hidden ${width}: one tile and tiles of 64 equal f64 loops`,
    ...options,
    fn: async () => {
      const expected = klReference(vocabulary, width);
      for (const tileElements of [undefined, NARROW]) {
        const off = worstKl(await runKl(vocabulary, width, tileElements), expected);
        assert(off <= TOLERANCE, `tile of ${tileElements}: off by ${off}`);
      }
    },
  });
}

Deno.test({
  name: "planted mistakes in the exact KL's loop over tiles are rejected",
  ...options,
  fn: async () => {
    const expected = klReference(200, 24);
    const mistakes: LaunchMistake[] = [
      {
        why: "every tile starts the KL anew",
        edit: (l) => l.kernel.name === "full_kl.divergence" ? { ...l, dims: { ...l.dims, first: 0 } } : l,
      },
      {
        why: "the gradient of the head without the KL's tiles",
        edit: (l) => l.program === "backward" && l.kernel.name.endsWith(".forward") ? undefined : l,
      },
    ];
    for (const mistake of mistakes) {
      const off = worstKl(await withLaunchMistake(mistake, () => runKl(200, 24, NARROW)), expected);
      assert(off > 1e-3, `"${mistake.why}" was not noticed: off by ${off}`);
    }
  },
});
