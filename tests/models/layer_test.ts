import { assert, assertEquals } from "@std/assert";
import { Program } from "../../gpu/program.ts";
import type { ModelConfig } from "../../models/config.ts";
import {
  allocActivations,
  allocScratch,
  LayerWeights,
  recordLayerBackward,
  recordLayerForward,
  type SequenceContext,
} from "../../models/layer.ts";
import { packSequences } from "../../models/packed_batch.ts";
import { layerForward } from "../reference/layer.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { disagreement, probe } from "./gradient_probe.ts";
import {
  difference,
  randomSequences,
  randomWeights,
  readGradients,
  tinyConfig,
  tinyModel,
  uniform,
  widen,
} from "./tiny_model.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };

/** One block run forward and backward on the GPU from random x and ∂L/∂y, and the same by f64 loops. */
async function runBlock(config: ModelConfig, lengths: [number, number][], capacity: number) {
  const gpu = await oneGpu();
  const weights = randomWeights(config);
  const model = await tinyModel(gpu, config, weights);
  const batch = packSequences(randomSequences(config, lengths));
  const tokens = batch.ids.length;
  const index = config.num_hidden_layers - 1;
  const prefix = `model.layers.${index}`;
  const x = uniform(tokens * config.hidden_size, 2, "x");
  const dy = uniform(tokens * config.hidden_size, 1, "dy");

  const padded = (values: Float32Array<ArrayBuffer>) => {
    const all = new Float32Array(capacity * config.hidden_size).fill(NaN);
    all.set(values);
    return gpu.tensor("block test", [capacity, config.hidden_size], all);
  };
  const ctx: SequenceContext = {
    config,
    tokens: () => tokens,
    positions: gpu.tensor("positions", [tokens], batch.positions),
    segments: gpu.tensor("segments", [tokens, 2], batch.segments),
    cos: model.cos,
    sin: model.sin,
  };
  const layer = new LayerWeights(model.parameters, index);
  const [input, y, dx] = [padded(x), padded(uniform(0, 0)), padded(dy)];
  const activations = allocActivations(gpu, config, capacity);
  const scratch = allocScratch(gpu, config, capacity);
  const program = new Program(gpu, "block");
  recordLayerForward(program, ctx, layer, input, activations, y);
  recordLayerBackward(program, ctx, layer, input, activations, scratch, dx);
  await program.run();
  const used = tokens * config.hidden_size;
  const result = {
    y: (await gpu.readF32(y)).subarray(0, used),
    gradients: new Map([...await readGradients(model)].filter(([name]) => name.startsWith(prefix))),
  };
  result.gradients.set("x", (await gpu.readF32(dx)).subarray(0, used));
  program.destroy();
  const made = [input, y, dx, ctx.positions, ctx.segments];
  for (const t of [...made, ...Object.values(activations), ...Object.values(scratch)]) gpu.pool.free(t);
  model.parameters.free();

  const wide = new Map([...widen(weights)].filter(([name]) => name.startsWith(prefix)));
  const wideX = Float64Array.from(x);
  const forward = () => layerForward(wideX, wide, prefix, config, batch);
  const reference = forward();
  const loss = (): number => forward().reduce((sum, value, i) => sum + dy[i] * value, 0);
  const probes = probe(new Map([...wide, ["x", wideX]]), loss, 24);
  return { ...result, reference, probes };
}

const BLOCKS: { name: string; config: ModelConfig; lengths: [number, number][]; capacity: number }[] = [
  {
    name: "qwen2, 4 query heads to 2 key heads, second block, two chunks of 64 tokens",
    config: tinyConfig({ num_hidden_layers: 2, num_key_value_heads: 2 }),
    lengths: [[40, 1], [1, 1], [30, 1]],
    capacity: 140,
  },
  {
    name: "llama with all biases, hidden 22, intermediate 27, no spare capacity",
    config: tinyConfig({
      model_type: "llama",
      attention_bias: true,
      mlp_bias: true,
      hidden_size: 22,
      intermediate_size: 27,
      num_key_value_heads: 4,
    }),
    lengths: [[5, 1], [11, 1]],
    capacity: 16,
  },
];

for (const { name, config, lengths, capacity } of BLOCKS) {
  Deno.test({
    name: `block equals f64 loops; dx and every parameter's gradient equal finite differences: ${name}`,
    ...options,
    fn: async () => {
      const { y, reference, gradients, probes } = await runBlock(config, lengths, capacity);
      const biases = probes.filter((p) => p.name.endsWith(".bias")).length;
      assertEquals(biases, config.mlp_bias ? 7 : 3);
      const forward = difference(y, reference);
      // Measured: 3e-7 forward, 2e-6 backward.
      assert(forward <= 3e-6, `y is off by ${forward}`);
      const { worst, where } = disagreement(probes, gradients);
      assert(worst <= 3e-5, `off by ${worst}: ${where}`);
    },
  });
}
