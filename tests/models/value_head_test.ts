import { assert, assertEquals } from "@std/assert";
import { packSequences } from "../../models/packed_batch.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { ValueHead } from "../../models/value_head.ts";
import { modelForward } from "../reference/model.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { disagreement, probe } from "./gradient_probe.ts";
import { type LaunchMistake, withLaunchMistake } from "./launch_edit.ts";
import {
  difference,
  randomSequences,
  randomSlopes,
  randomWeights,
  readGradients,
  tinyConfig,
  tinyModel,
  uniform,
  widen,
} from "./tiny_model.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
const WEIGHT = "v_head.summary.weight", BIAS = "v_head.summary.bias";

/** A model of `hidden` wide states whose loss is random in log-probabilities, entropies and values. */
function setUp(hidden: number) {
  const config = tinyConfig({ hidden_size: hidden });
  const weights = new Map<string, Float32Array<ArrayBuffer>>([
    ...randomWeights(config),
    [WEIGHT, uniform(hidden, 0.5, "value weight")],
    [BIAS, uniform(1, 1, "value bias")],
  ]);
  const sequences = randomSequences(config, [[40, 3], [1, 1], [44, 9]]);
  const batch = packSequences(sequences);
  const slopes = { ...randomSlopes(sequences), dvalues: uniform(batch.rows.length, 1, "dvalues") };
  const wide = widen(weights);
  const forward = () => {
    const { logp, entropy, hidden: h } = modelForward(wide, config, batch, 1);
    const w = wide.get(WEIGHT)!, [b] = wide.get(BIAS)!;
    const values = Float64Array.from(
      batch.rows,
      (t) => w.reduce((sum, x, j) => sum + x * h[t * hidden + j], b),
    );
    return { logp, entropy, values };
  };
  const loss = () => {
    const { logp, entropy, values } = forward();
    return logp.reduce(
      (sum, x, r) =>
        sum + slopes.dlogp[r] * x + slopes.dentropy[r] * entropy[r] + slopes.dvalues[r] * values[r],
      0,
    );
  };
  return {
    config,
    weights,
    sequences,
    batch,
    slopes,
    values: forward().values,
    probes: probe(wide, loss, 8),
  };
}

/** Values of a pass, and the gradients of the model and of its value head. */
async function run(c: ReturnType<typeof setUp>, trainable = {}) {
  const gpu = await oneGpu();
  const model = await tinyModel(gpu, c.config, c.weights);
  const valueHead = await ValueHead.create(gpu, c.config.hidden_size, (name) => c.weights.get(name)!);
  const graph = new SequenceGraph(model, {
    tokens: c.batch.ids.length + 5,
    train: true,
    valueHead,
    ...trainable,
  });
  graph.load(c.batch);
  await graph.forward();
  const values = (await gpu.readF32(graph.values!)).slice(0, c.values.length);
  gpu.write(graph.dlogp, c.slopes.dlogp);
  gpu.write(graph.dentropy, c.slopes.dentropy);
  gpu.write(graph.dvalues!, c.slopes.dvalues);
  await graph.backward();
  const gradients: Map<string, Float32Array> = await readGradients(model);
  for await (const g of valueHead.parameters.gradients()) gradients.set(g.name, g.data);
  graph.free();
  valueHead.parameters.free();
  model.parameters.free();
  return { values, gradients };
}

/** What is wrong with a pass; undefined when nothing is. */
function complaint(c: ReturnType<typeof setUp>, { values, gradients }: Awaited<ReturnType<typeof run>>) {
  const off = difference(values, c.values);
  if (!(off <= 1e-5)) return `values are off by ${off}`;
  const { worst, where } = disagreement(c.probes, gradients);
  return worst <= 3e-5 ? undefined : `off by ${worst}: ${where}`;
}

for (const hidden of [24, 27]) {
  Deno.test({
    name:
      `value head on hidden states of ${hidden}: values equal f64 loops, all gradients finite differences`,
    ...options,
    fn: async () => {
      const c = setUp(hidden);
      assertEquals(complaint(c, await run(c)), undefined);
      assertEquals(complaint(c, await run(c, { recompute: true })), undefined);
    },
  });
}

Deno.test({
  name: "value head: mistakes planted in its launches are noticed",
  ...options,
  fn: async () => {
    const c = setUp(24);
    const of = (name: string, binding: string): LaunchMistake => ({
      why: `without the launch that writes ${name}`,
      edit: (l) => l.tensors[binding]?.name === name ? undefined : l,
    });
    const mistakes: LaunchMistake[] = [
      of("v_head.summary.weight.grad", "dweight"),
      of("v_head.summary.bias.grad", "out"),
      {
        why: "the trunk does not hear of the value's gradient",
        edit: (l) => l.tensors.dy?.name === "dvalues" && l.tensors.dx ? undefined : l,
      },
      {
        why: "the value's gradient takes the place of the head's",
        edit: (l) =>
          l.tensors.dy?.name === "dvalues" && l.tensors.dx ? { ...l, dims: { ...l.dims, accumulate: 0 } } : l,
      },
    ];
    for (const mistake of mistakes) {
      const found = complaint(c, await withLaunchMistake(mistake, () => run(c)));
      assert(found !== undefined, `"${mistake.why}" was not noticed`);
    }
  },
});

Deno.test({
  name: "value head: starts at zero, and refuses weights of another size",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const head = await ValueHead.create(gpu, 6);
    const found: [string, number[], number[]][] = [];
    for await (const { name, shape, data } of head.parameters.weights()) found.push([name, shape, [...data]]);
    assertEquals(found, [[WEIGHT, [1, 6], [0, 0, 0, 0, 0, 0]], [BIAS, [1], [0]]]);
    head.parameters.free();
    const error = await ValueHead.create(gpu, 6, () => new Float32Array(5)).then(() => undefined, (e) => e);
    assert(error instanceof RangeError && /v_head\.summary\.weight \[1 x 6\]/.test(error.message));
  },
});
