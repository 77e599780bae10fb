/** One training step and one decode under every preset of kernels: the same numbers, from the kernels that were asked for. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Gpu } from "../../gpu/device.ts";
import { UserError } from "../../gpu/errors.ts";
import { KernelCache, type KernelSpec, kernelText } from "../../gpu/kernel.ts";
import { KERNEL_PRESETS, type KernelOptions, traitsFor } from "../../gpu/kernel_options.ts";
import { scoreTokens } from "../../models/scoring.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { SUBGROUPS } from "../../shaders/linear_variants.ts";
import { AdamW } from "../../trainer/optimizer.ts";
import { RolloutEngine } from "../../trainer/rollout.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { pass, randomSequences, randomSlopes, randomWeights, tinyConfig, tinyModel } from "./tiny_model.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
const config = tinyConfig({ num_hidden_layers: 2 });
const sequences = randomSequences(config, [[9, 2], [14, 1], [30, 4]]);
const slopes = randomSlopes(sequences);
const times = (factor: number) => ({
  dlogp: slopes.dlogp.map((v) => v * factor),
  dentropy: slopes.dentropy.map((v) => v * factor),
});
const prompts = sequences.map((s) => ({ ids: Array.from(s.ids) }));
const ADAMW = { lr: 1e-2, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01, max_grad_norm: 1 } as const;

interface Outcome {
  readonly before: number[];
  readonly gradNorm: number;
  readonly applied: boolean;
  readonly after: number[];
  /** Largest difference of what the model reads to its weights rounded to f16, after the step; 0 where it reads the weights. */
  readonly stale: number;
  readonly tokens: number[][];
  readonly logps: number[];
  /** The same log-probabilities by the kernels that train. */
  readonly scored: number[];
  readonly kernels: KernelSpec[];
}

/** A step and a greedy decode of the same model on the device as `asked` has it; the loss is multiplied by `factor`. */
async function run(asked: KernelOptions, factor = 1): Promise<Outcome> {
  const gpu = await oneGpu();
  const kernels = new Map<string, KernelSpec>();
  const compile = gpu.kernels.pipeline;
  gpu.kernels.pipeline = (spec) => {
    kernels.set(spec.name, spec);
    return compile.call(gpu.kernels, spec);
  };
  gpu.prefer(asked);
  try {
    const model = await tinyModel(gpu, config, randomWeights(config));
    const scores = async () => (await scoreTokens(model, sequences)).flatMap(({ logp }) => [...logp]);
    const before = await scores();
    const graph = new SequenceGraph(model, { tokens: 53, train: true });
    const adamw = new AdamW(gpu, model.parameters, { ...ADAMW, betas: [...ADAMW.betas] });
    await pass(graph, sequences, times(factor));
    const { gradNorm, applied } = await adamw.update();
    const after = await scores();
    let stale = 0;
    for (const { weight, operand } of model.parameters.list) {
      if (weight === operand) continue;
      const [values, read] = await gpu.read(weight, operand);
      stale = Math.max(stale, apart([...values].map(Math.f16round), [...read]));
    }
    const engine = new RolloutEngine(model, { slots: 3, blockSize: 4, chunk: 8, maxLength: 64 });
    const rollouts = await engine.generate(prompts, {
      temperature: 0,
      top_p: 1,
      top_k: 0,
      min_p: 0,
      repetition_penalty: 1,
      max_tokens: 12,
      stop: [],
      seed: 1,
      n: 1,
    });
    const whole = rollouts.map((r, i) => ({
      ids: [...prompts[i].ids, ...r.tokens],
      scoreFrom: prompts[i].ids.length,
    }));
    const scored = (await scoreTokens(model, whole)).flatMap(({ logp }) => [...logp]);
    for (const owner of [engine, adamw, graph, model.parameters]) owner.free();
    return {
      before,
      gradNorm,
      applied,
      after,
      stale,
      tokens: rollouts.map((r) => [...r.tokens]),
      scored,
      logps: rollouts.flatMap((r) => [...r.logps]),
      kernels: [...kernels.values()],
    };
  } finally {
    gpu.prefer();
    gpu.kernels.pipeline = compile;
  }
}

/** Largest difference of log-probabilities, infinite where a value is no number. */
function apart(a: readonly number[], b: readonly number[]): number {
  assertEquals(a.length, b.length);
  return a.reduce((most, x, i) => {
    const off = Math.abs(x - b[i]);
    return off <= most ? most : Number.isNaN(off) ? Infinity : off;
  }, 0);
}

const texturesOf = (kernels: readonly KernelSpec[]): string[] =>
  kernels.filter((k) => Object.values(k.bindings).some((a) => /texture|kept/.test(a))).map((k) => k.name);
/** What the variants for few rows are called after where a GPU of these subgroups takes its own. */
const ownRows = (gpu: Gpu): string => SUBGROUPS.includes(gpu.facts.subgroup) ? "_subgroup" : "";
const products = (kernels: readonly KernelSpec[]): string[] =>
  [...new Set(kernels.map((k) => k.name.split(".")[0]).filter((name) => name.startsWith("linear")))].sort();

Deno.test({
  name: "a training step and a decode give the same under every preset",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const outcomes = new Map<string, Outcome>();
    for (const preset of KERNEL_PRESETS) outcomes.set(preset, await run({ preset }));
    const auto = outcomes.get("auto")!;
    assert(apart(auto.before, auto.after) > 1e-2, "the step changes nothing");
    for (const [preset, o] of outcomes) {
      assert(Math.abs(o.gradNorm / auto.gradNorm - 1) < 1e-4, `${preset}: gradient norm ${o.gradNorm}`);
      for (const key of ["before", "after", "logps"] as const) {
        const off = apart(o[key], auto[key]);
        assert(off < 1e-4, `${preset}: ${key} off by ${off}`);
      }
      assertEquals(o.tokens, auto.tokens, preset);
    }
    // 53 tokens and 3 slots are few rows; gradients have no variants for these.
    assertEquals(products(outcomes.get("gpu")!.kernels), [
      `linear_rows_2${ownRows(gpu)}`,
      `linear_rows_8${ownRows(gpu)}`,
      "linear_tiled",
    ]);
    assertEquals(products(outcomes.get("portable")!.kernels), [
      "linear_rows_2",
      "linear_rows_8",
      "linear_tiled",
    ]);
    for (const [preset, family] of [["gpu", "tiled"], ["portable", "tiled"], ["software", "texture"]]) {
      const names = outcomes.get(preset)!.kernels.map((k) => k.name);
      for (const entry of ["forward", "backward_query", "backward_key_value"]) {
        const own = names.filter((name) => new RegExp(`^attention(_[a-z]+)?\\.${entry}\\.`).test(name));
        assertEquals(own.map((name) => name.split(".")[0]), [`attention_${family}`], `${preset}: ${entry}`);
      }
    }
    assertEquals(texturesOf(outcomes.get("portable")!.kernels), []);
    assert(texturesOf(outcomes.get("software")!.kernels).length > 0);
    const same = outcomes.get(gpu.facts.software ? "software" : "gpu")!;
    assertEquals(products(auto.kernels), products(same.kernels));
    // What "portable" promises: a device with WebGPU's default limits and none of its features compiles every text.
    const device = await (await navigator.gpu.requestAdapter())!.requestDevice();
    const cache = new KernelCache(device);
    for (const kernel of outcomes.get("portable")!.kernels) {
      assert(!kernelText(kernel).replace(/\/\/.*/g, "").includes("subgroup"), kernel.name);
      await cache.pipeline(kernel);
    }
    device.destroy();
  },
});

Deno.test({
  name: "float16: the same within its rounding, from kernels that round; an overflow is not applied",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    if (!gpu.facts.features.includes("shader-f16")) {
      return console.log("left out: this adapter has no shader-f16");
    }
    const full = await run({});
    const half = await run({ precision: "float16" });
    assertEquals(products(half.kernels), ["linear_half"]);
    for (const { kernels, stale } of [half, full]) {
      const weighted = kernels.filter(({ bindings, name }) =>
        name.startsWith("linear") && "weight" in bindings
      );
      assert(
        weighted.length > 0 &&
          weighted.every(({ halves }) => (kernels === half.kernels) === (halves !== undefined)),
      );
      assertEquals(stale, 0);
    }
    const off = apart(half.before, full.before);
    // 2^-11 in each operand, through two blocks; exact agreement would mean that nothing was rounded. Measured: 9e-3.
    assert(off > 1e-5 && off < 2e-2, `log-probabilities off by ${off}`);
    const onGpu = await run({ precision: "float16", preset: "gpu" });
    assertEquals(products(onGpu.kernels), [
      "linear_half",
      `linear_half_rows_2${ownRows(gpu)}`,
      `linear_half_rows_8${ownRows(gpu)}`,
    ]);
    const gaps = ({ logps, scored }: Outcome): number[] =>
      logps.map((logp, i) => Math.abs(logp - scored[i])).sort((a, b) => a - b);
    // Both round the same operands: measured 4e-7. A value half way between two of f16 may go either way: 4e-4.
    const same = gaps(half);
    assert(same[Math.floor(same.length / 2)] < 1e-5, `sampling and training differ by ${same}`);
    assert(same.at(-1)! < 2e-3, `sampling and training differ by ${same.at(-1)}`);
    // On a GPU sampling reads rounded keys and values too. Measured: 2.5e-3.
    const cached = ({ kernels }: Outcome): boolean =>
      ["attention_decode_group_half.8.4", "rope_cache_half.write", "kv_cache_half.write"]
        .every((name) => kernels.some((kernel) => kernel.name === name));
    assertEquals([cached(half), cached(onGpu)], [false, true]);
    const rounded = gaps(onGpu);
    assert(
      rounded.at(-1)! > 1e-5 && rounded.at(-1)! < 2e-2,
      `sampling and training differ by ${rounded.at(-1)}`,
    );
    assert(Math.abs(half.gradNorm / full.gradNorm - 1) < 1e-2, `${half.gradNorm}, not ${full.gradNorm}`);
    assert(half.applied && full.applied);
    // Gradients that f32 holds and f16 does not: refused as a whole, not clipped; the weights stay.
    assertEquals((await run({}, 1e6)).applied, true);
    const refused = await run({ precision: "float16" }, 1e6);
    assertEquals(refused.applied, false);
    assertEquals(refused.after, half.before);
  },
});

Deno.test("an adapter without shader-f16 is told so; presets decide whatever the adapter says of itself", () => {
  const adapter = { name: "Some GPU", software: false, subgroup: 32, features: ["subgroups"] };
  assertThrows(
    () => traitsFor(adapter, { precision: "float16" }),
    UserError,
    "float16 needs the WebGPU feature shader-f16, which Some GPU does not have",
  );
  const precision = "float32";
  const subgroups = true;
  assertEquals(traitsFor(adapter), { software: false, subgroup: 32, subgroups, precision });
  assertEquals(traitsFor(adapter, { preset: "software" }), {
    software: true,
    subgroup: 32,
    subgroups,
    precision,
  });
  assertEquals(traitsFor({ ...adapter, software: true }, { preset: "gpu" }), {
    software: false,
    subgroup: 32,
    subgroups,
    precision,
  });
  assertEquals(traitsFor({ ...adapter, software: true }, { preset: "portable" }), {
    software: false,
    subgroup: 0,
    portable: true,
    precision,
  });
  assertEquals(
    traitsFor({ ...adapter, features: ["shader-f16"] }, { precision: "float16" }).precision,
    "float16",
  );
});
