import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { packSequences } from "../../models/packed_batch.ts";
import { lossAndGradients, scoreTokens } from "../../models/scoring.ts";
import { modelForward } from "../reference/model.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { difference, randomSequences, randomWeights, tinyConfig, tinyModel, widen } from "./tiny_model.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
const config = tinyConfig({ num_hidden_layers: 2 });
const weights = randomWeights(config);
const sequences = randomSequences(config, [[9, 3], [1, 1], [12, 1], [5, 4]]);
/** Worst difference over the largest value in f32; measured: 2.2e-6 (entropies at temperature 0.6). */
const F32 = 1e-5;

Deno.test({
  name: "scores agree with f64 loops at any temperature, in one pass and in several",
  ...options,
  fn: async () => {
    const model = await tinyModel(await oneGpu(), config, weights);
    const packed = packSequences(sequences);
    for (const temperature of [1, 0.6]) {
      const expected = modelForward(widen(weights), config, packed, temperature);
      for (const tokensPerPass of [undefined, 13]) {
        const scores = await scoreTokens(model, sequences, { temperature, tokensPerPass });
        assertEquals(scores.map((s) => s.logp.length), [6, 0, 11, 1]);
        const logp = difference(scores.flatMap((s) => [...s.logp]), expected.logp);
        const entropy = difference(scores.flatMap((s) => [...s.entropy]), expected.entropy);
        assert(logp <= F32 && entropy <= F32, `temperature ${temperature}: off by ${logp} and ${entropy}`);
      }
    }
    assertEquals(await scoreTokens(model, []), []);
    model.parameters.free();
  },
});

Deno.test({
  name: "the loss is the mean of −log π; a step against its gradient lowers it as much as the gradient says",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const model = await tinyModel(gpu, config, weights);
    const scores = await scoreTokens(model, sequences);
    const all = scores.flatMap((s) => [...s.logp]);
    const { loss, gradients } = await lossAndGradients(model, sequences);
    assert(Math.abs(loss + all.reduce((a, b) => a + b, 0) / all.length) < 1e-6, `loss ${loss}`);
    assertEquals([...gradients.keys()].sort(), [...weights.keys()].sort());
    const split = await lossAndGradients(model, sequences, { tokensPerPass: 13 });
    for (const [name, { data }] of gradients) {
      const off = difference(split.gradients.get(name)!.data, data);
      assert(off <= F32, `${name}: in several passes off by ${off}`);
    }
    let squares = 0;
    for (const { data } of gradients.values()) for (const g of data) squares += g * g;
    const rate = 1e-3 / Math.sqrt(squares);
    const lossAt = async (sign: 1 | -1) => {
      const moved = new Map([...weights].map(([name, w]) => {
        const { data } = gradients.get(name)!;
        return [name, w.map((x, i) => x + sign * rate * data[i])] as const;
      }));
      const { logp } = modelForward(widen(moved), config, packSequences(sequences), 1);
      return -logp.reduce((a, b) => a + b, 0) / logp.length;
    };
    const slope = (await lossAt(1) - await lossAt(-1)) / (2 * rate);
    // Measured: 3e-6.
    assert(Math.abs(slope / squares - 1) < 1e-4, `slope ${slope}, gradient says ${squares}`);
    model.parameters.free();
  },
});

Deno.test({
  name: "scoring gives its memory back, and refuses bad sequences and models without gradients",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const model = await tinyModel(gpu, config, weights);
    const before = gpu.pool.report().bytes;
    await lossAndGradients(model, sequences);
    assertEquals(gpu.pool.report().bytes, before);
    const score = (ids: number[], scoreFrom: number) =>
      scoreTokens(model, [{ ids: [1, 2], scoreFrom: 1 }, { ids, scoreFrom }]);
    await assertRejects(
      () => score([1, 105], 1),
      UserError,
      "sequence 1: token 1 is 105, the model's vocabulary has 105",
    );
    await assertRejects(() => score([1, 2], 0), UserError, "scoreFrom = 0");
    await assertRejects(
      () => score(Array(65).fill(1), 1),
      UserError,
      "65 tokens, the model's max_position_embeddings is 64",
    );
    await assertRejects(
      () => lossAndGradients(model, [{ ids: [1], scoreFrom: 1 }]),
      UserError,
      "no token is scored",
    );
    const frozen = model.frozenCopy();
    await assertRejects(() => lossAndGradients(frozen, sequences), UserError, "trainable");
    frozen.parameters.free();
    model.parameters.free();
  },
});
