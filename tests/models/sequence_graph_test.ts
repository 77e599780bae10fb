import { assert, assertEquals, assertThrows } from "@std/assert";
import { packSequences, type Sequence } from "../../models/packed_batch.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { ModelCheck } from "./model_check.ts";
import {
  difference,
  freshPass,
  pass,
  passDifference,
  randomSequences,
  randomSlopes,
  randomWeights,
  readGradients,
  type Slopes,
  tinyConfig,
  tinyModel,
} from "./tiny_model.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
const SHORT: [number, number][] = [[9, 3], [1, 1], [6, 1], [2, 2]];

const MODELS: { name: string; check: () => ModelCheck }[] = [
  {
    name: "qwen2, tied, 4 query heads to 1 key head of 8, over two chunks of 64 tokens",
    check: () => new ModelCheck(tinyConfig(), [[33, 5], [1, 1], [30, 1], [7, 6]], 1),
  },
  {
    name:
      "llama with biases everywhere, untied, 3 blocks, intermediate 27, 2 heads to 2 of 16, temperature 0.7",
    check: () =>
      new ModelCheck(
        tinyConfig({
          model_type: "llama",
          attention_bias: true,
          mlp_bias: true,
          tie_word_embeddings: false,
          num_hidden_layers: 3,
          hidden_size: 20,
          intermediate_size: 27,
          num_attention_heads: 2,
          num_key_value_heads: 2,
          head_dim: 16,
        }),
        SHORT,
        0.7,
      ),
  },
  {
    name: "qwen2, untied, hidden 27, vocabulary 65, heads of 24, temperature 1.5",
    check: () =>
      new ModelCheck(
        tinyConfig({
          tie_word_embeddings: false,
          vocab_size: 65,
          hidden_size: 27,
          intermediate_size: 30,
          num_attention_heads: 2,
          head_dim: 24,
        }),
        SHORT,
        1.5,
      ),
  },
  {
    name: "llama without biases, tied, 2 blocks, heads of 64",
    check: () =>
      new ModelCheck(
        tinyConfig({
          model_type: "llama",
          vocab_size: 130,
          num_hidden_layers: 2,
          hidden_size: 16,
          intermediate_size: 12,
          num_attention_heads: 2,
          head_dim: 64,
        }),
        SHORT,
        1,
      ),
  },
];

for (const { name, check } of MODELS) {
  Deno.test({
    name: `model equals f64 loops, the gradient of every parameter finite differences: ${name}`,
    ...options,
    fn: async () => {
      const c = check();
      const actual = await freshPass(await oneGpu(), c.config, c.weights, c.sequences, c.slopes, {
        temperature: c.temperature,
      });
      assertEquals(c.complaint(actual), undefined);
    },
  });
}

// Two runs of one kernel on equal numbers in another order of addition; measured: 1e-6.
const REORDERED = 1e-5;
const config = tinyConfig({ num_hidden_layers: 2, num_key_value_heads: 2 });
const weights = randomWeights(config);
const sequences = randomSequences(config, [[20, 4], [1, 1], [45, 10], [9, 1]]);
const slopes = randomSlopes(sequences);
const tokens = packSequences(sequences).ids.length;

/** The part of `slopes` that belongs to the rows of sequence `i`. */
function slopesOf(i: number): Slopes {
  const [row, rows] = packSequences(sequences).spans.subarray(2 * i, 2 * i + 2);
  return {
    dlogp: slopes.dlogp.slice(row, row + rows),
    dentropy: slopes.dentropy.slice(row, row + rows),
  };
}

function concatenated(order: readonly number[]): { sequences: Sequence[]; slopes: Slopes } {
  const parts = order.map(slopesOf);
  return {
    sequences: order.map((i) => sequences[i]),
    slopes: {
      dlogp: Float32Array.from(parts.flatMap((p) => [...p.dlogp])),
      dentropy: Float32Array.from(parts.flatMap((p) => [...p.dentropy])),
    },
  };
}

Deno.test({
  name: "packed equals each sequence alone, gradients summed",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const packed = await freshPass(gpu, config, weights, sequences, slopes);
    const model = await tinyModel(gpu, config, weights);
    const graph = new SequenceGraph(model, { tokens: 45, train: true });
    const logp: number[] = [];
    const entropy: number[] = [];
    for (let i = 0; i < sequences.length; i++) {
      const alone = await pass(graph, [sequences[i]], slopesOf(i), i > 0);
      logp.push(...alone.logp);
      entropy.push(...alone.entropy);
    }
    const summed = {
      logp: Float64Array.from(logp),
      entropy: Float64Array.from(entropy),
      gradients: await readGradients(model),
    };
    const off = passDifference(packed, summed);
    assert(off <= REORDERED, `off by ${off}`);
    graph.free();
    model.parameters.free();
  },
});

Deno.test({
  name: "two micro-batches accumulated equal one batch; the order of sequences does not matter",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const model = await tinyModel(gpu, config, weights);
    const graph = new SequenceGraph(model, { tokens, train: true });
    const whole = await pass(graph, sequences, slopes);
    const first = concatenated([0, 1]);
    const second = concatenated([2, 3]);
    await pass(graph, first.sequences, first.slopes);
    const { gradients } = await pass(graph, second.sequences, second.slopes, true);
    const accumulated = passDifference({ ...whole, gradients }, whole);
    assert(accumulated <= REORDERED, `accumulated: off by ${accumulated}`);

    const turned = concatenated([2, 0, 3, 1]);
    const reordered = await pass(graph, turned.sequences, turned.slopes);
    for (const [name, g] of whole.gradients) {
      const off = difference(reordered.gradients.get(name)!, g);
      assert(off <= REORDERED, `reordered: ${name} is off by ${off}`);
    }
    // Sequence 2 came third and comes first now.
    const [row, rows] = packSequences(sequences).spans.subarray(4, 6);
    const moved = difference(reordered.logp.slice(0, rows), whole.logp.slice(row, row + rows));
    assert(moved <= REORDERED, `reordered: log-probabilities are off by ${moved}`);
    graph.free();
    model.parameters.free();
  },
});

Deno.test({
  name: "recomputing blocks, a larger capacity and fewer rows change no bit",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const plain = await freshPass(gpu, config, weights, sequences, slopes);
    const rows = slopes.dlogp.length;
    for (const variant of [{ recompute: true }, { tokens: tokens + 200 }, { rows }]) {
      assertEquals(await freshPass(gpu, config, weights, sequences, slopes, variant), plain);
    }
  },
});

Deno.test({
  name: "nothing of an earlier, larger batch or of freed buffers full of NaN leaks into the next",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const small = randomSequences(config, [[5, 2], [3, 1]], 7);
    const smallSlopes = randomSlopes(small, 7);
    gpu.pool.trim();
    const clean = await freshPass(gpu, config, weights, small, smallSlopes, { tokens });

    const model = await tinyModel(gpu, config, weights);
    const poisoned = await tinyModel(
      gpu,
      config,
      new Map([...weights].map(([name, values]) => [name, values.map(() => NaN)])),
    );
    for (const recompute of [false, true]) {
      const first = new SequenceGraph(poisoned, { tokens, train: true, recompute });
      const { logp } = await pass(first, sequences, slopes);
      assert(logp.every(Number.isNaN), "NaN weights must give NaN");
      first.free();
      const graph = new SequenceGraph(model, { tokens, train: true, recompute });
      assertEquals(await pass(graph, small, smallSlopes), clean, "after buffers full of NaN");
      await pass(graph, sequences, slopes);
      assertEquals(await pass(graph, small, smallSlopes), clean, "after a larger batch");
      graph.free();
    }
    model.parameters.free();
    poisoned.parameters.free();
  },
});

Deno.test({
  name: "unscored tokens get no gradient; a batch without scored rows and an empty one give none at all",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const untied = tinyConfig({ tie_word_embeddings: false });
    const model = await tinyModel(gpu, untied, randomWeights(untied));
    const graph = new SequenceGraph(model, { tokens: 16, train: true });
    // 3 predicts 4 and comes after 1 and 2; the last 5, all of 6, 7 and the lone 8 predict nothing that is scored.
    const batch = [{ ids: [1, 2, 3, 4], scoreFrom: 3 }, { ids: [6, 7], scoreFrom: 2 }, {
      ids: [8],
      scoreFrom: 1,
    }];
    const { gradients } = await pass(graph, batch, {
      dlogp: Float32Array.of(1),
      dentropy: Float32Array.of(1),
    });
    const embedding = gradients.get("model.embed_tokens.weight")!;
    const touched = [...Array(untied.vocab_size).keys()].filter((id) =>
      embedding.subarray(id * untied.hidden_size, (id + 1) * untied.hidden_size).some((g) => g !== 0)
    );
    assertEquals(touched, [1, 2, 3]);

    for (const none of [batch.slice(1), []]) {
      const nothing = await pass(graph, none, { dlogp: new Float32Array(0), dentropy: new Float32Array(0) });
      assertEquals([nothing.logp.length, nothing.entropy.length], [0, 0]);
      for (const [name, g] of nothing.gradients) assert(g.every((x) => x === 0), `${name} has a gradient`);
    }
    graph.free();
    model.parameters.free();
  },
});

Deno.test({
  name: "refused: what exceeds capacity, vocabulary or context; backward without train",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const model = await tinyModel(gpu, config, weights);
    const graph = new SequenceGraph(model, { tokens: 80, rows: 70 });
    const refuses = (ids: number[], scoreFrom: number, why: string) =>
      assertThrows(() => graph.load(packSequences([{ ids, scoreFrom }])), RangeError, why);
    refuses(Array(81).fill(1), 80, "81 tokens");
    refuses(Array(80).fill(1), 1, "79 rows");
    refuses([1, 2, 105], 1, "token 2: id 105 is outside the vocabulary of 105");
    refuses([1, -1], 1, "outside the vocabulary of 105");
    refuses(Array(65).fill(1), 1, "position 64 is beyond max_position_embeddings = 64");
    graph.load(packSequences([{ ids: Array(64).fill(104), scoreFrom: 1 }]));
    assertThrows(() => graph.backward(), Error, "train");
    graph.free();
    model.parameters.free();
  },
});
