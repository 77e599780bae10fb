/** The whole vision-language model: pictures through the tower into the text, and the gradient back to every parameter. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { packSequences, type Sequence } from "../../models/packed_batch.ts";
import { type ModelPart, partOf } from "../../models/parameters.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { modelForward, type Scores } from "../reference/model.ts";
import { visionForward } from "../reference/vision.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { disagreement, probe } from "./gradient_probe.ts";
import { type LaunchMistake, withLaunchMistake } from "./launch_edit.ts";
import {
  difference,
  freshPass,
  type Pass,
  pass,
  passDifference,
  randomSlopes,
  randomWeights,
  readGradients,
  tinyModel,
  widen,
} from "./tiny_model.ts";
import { IMAGE, randomPictures, tinyVisionConfig, tokensOf } from "./tiny_vision.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
const gpu = await oneGpu();
const config = tinyVisionConfig({}, { num_hidden_layers: 1 });
const weights = randomWeights(config);
const [wide, tall, small] = randomPictures(config, [[4, 6], [6, 2], [2, 2]]);
/** One picture, text alone, two pictures with text before, between and after. */
const SEQUENCES: Sequence[] = [
  { ids: [1, 2, ...tokensOf(wide), 3, 4, 5, 6], scoreFrom: 9, images: [wide] },
  { ids: [7, 8, 9, 10], scoreFrom: 1 },
  { ids: [11, ...tokensOf(tall), 12, 13, ...tokensOf(small), 14, 15], scoreFrom: 5, images: [tall, small] },
];
/** Time, height and width of every token of {@link SEQUENCES}, by hand. */
const POSITIONS = [
  [0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 7, 8, 0, 1, 2, 3, 0, 1, 1, 1, 4, 5, 6, 7, 8],
  [0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7, 8, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8],
  [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 0, 1, 1, 1, 4, 5, 6, 7, 8],
];
const PATCHES = 40;
const TEMPERATURE = 0.8;
const slopes = randomSlopes(SEQUENCES);
const fresh = (recompute = false) =>
  freshPass(gpu, config, weights, SEQUENCES, slopes, {
    patches: PATCHES,
    temperature: TEMPERATURE,
    recompute,
  });

/** What is wrong with a pass over {@link SEQUENCES}, by f64 loops and finite differences; measured: 2e-7 and 8e-6. */
function complaints(): (actual: Pass) => string | undefined {
  const f64 = widen(weights);
  const { images: _, ...packed } = packSequences(SEQUENCES);
  const tokens = [...packed.ids.keys()].filter((t) => packed.ids[t] === IMAGE);
  const forward = (): Scores =>
    modelForward(f64, config, {
      ...packed,
      positions: POSITIONS.flat(),
      sections: config.mrope_section,
      pictured: { tokens, rows: visionForward(f64, config.vision!, [wide, tall, small]) },
    }, TEMPERATURE);
  const scores = forward();
  const loss = (): number => {
    const { logp, entropy } = forward();
    return logp.reduce((sum, x, r) => sum + slopes.dlogp[r] * x + slopes.dentropy[r] * entropy[r], 0);
  };
  const used = new Set([...packed.ids].filter((id) => id !== IMAGE));
  const occurs = (name: string, index: number) =>
    name !== "model.embed_tokens.weight" || used.has(Math.floor(index / config.hidden_size));
  const probes = probe(f64, loss, 8, occurs);
  return (actual) => {
    for (const kind of ["logp", "entropy"] as const) {
      const off = difference(actual[kind], scores[kind]);
      if (!(off <= 3e-6)) return `${kind} is off by ${off}`;
    }
    const { worst, where } = disagreement(probes, actual.gradients);
    return worst <= 5e-5 ? undefined : `off by ${worst}: ${where}`;
  };
}
const complaint = complaints();

Deno.test({
  name: "model with pictures equals f64 loops, the gradient of every parameter finite differences",
  ...options,
  fn: async () => {
    const kept = await fresh();
    assertEquals(complaint(kept), undefined);
    assertEquals(await fresh(true), kept, "recomputing blocks changes no bit");
  },
});

const MISTAKES: LaunchMistake[] = [
  {
    why: "image tokens keep the embedding of their id",
    edit: (l) => l.kernel.name === "embedding.forward" && l.tensors.ids.name === "image rows" ? undefined : l,
  },
  {
    why: "the tower gets no gradient from the text",
    edit: (l) => l.program === "backward" && l.kernel.name === "rows.gather" ? undefined : l,
  },
];

Deno.test({
  name:
    "model with pictures: planted mistakes are rejected, 1-D positions and exchanged height and width among them",
  ...options,
  fn: async () => {
    for (const mistake of MISTAKES) {
      assert(complaint(await withLaunchMistake(mistake, () => fresh())) !== undefined, mistake.why);
    }
    const [t, h, w] = config.mrope_section!;
    const sections: [string, [number, number, number]][] = [
      ["1-D positions", [t + h + w, 0, 0]],
      ["sections in reverse order", [w, h, t]],
    ];
    for (const [why, mrope_section] of sections) {
      const wrong = await freshPass(gpu, { ...config, mrope_section }, weights, SEQUENCES, slopes, {
        patches: PATCHES,
        temperature: TEMPERATURE,
      });
      assert(complaint(wrong) !== undefined, why);
    }
    // A turned grid has as many tokens, the same windows here, and other positions.
    const turned = SEQUENCES.map((s) => ({
      ...s,
      images: s.images?.map((p) => ({ ...p, grid: { t: 1, h: p.grid.w, w: p.grid.h } })),
    }));
    const wrong = await freshPass(gpu, config, weights, turned, slopes, {
      patches: PATCHES,
      temperature: TEMPERATURE,
    });
    assert(complaint(wrong) !== undefined, "height and width exchanged");
  },
});

Deno.test({
  name: "text alone: a graph for pictures and one for text give the same bits",
  ...options,
  fn: async () => {
    const text = [{ ids: [1, 2, 3, 4, 5, 6], scoreFrom: 2 }, { ids: [7, 8, 9], scoreFrom: 1 }];
    const own = randomSlopes(text);
    const plain = await freshPass(gpu, config, weights, text, own);
    assertEquals(await freshPass(gpu, config, weights, text, own, { patches: PATCHES }), plain);
    for (const [name, g] of plain.gradients) {
      assertEquals(g.some((x) => x !== 0), partOf(name) === "language_model", name);
    }
  },
});

Deno.test({
  name: "packed equals each sequence alone; the picture of an earlier batch leaves nothing behind",
  ...options,
  fn: async () => {
    const packed = await freshPass(gpu, config, weights, SEQUENCES, slopes, { patches: PATCHES });
    const model = await tinyModel(gpu, config, weights);
    const graph = new SequenceGraph(model, { tokens: 25, train: true, patches: PATCHES });
    await pass(graph, SEQUENCES, slopes);
    const spans = packSequences(SEQUENCES).spans;
    const logp: number[] = [];
    const entropy: number[] = [];
    for (const [i, s] of SEQUENCES.entries()) {
      const [row, rows] = spans.subarray(2 * i, 2 * i + 2);
      const part = {
        dlogp: slopes.dlogp.slice(row, row + rows),
        dentropy: slopes.dentropy.slice(row, row + rows),
      };
      const alone = await pass(graph, [s], part, i > 0);
      logp.push(...alone.logp);
      entropy.push(...alone.entropy);
    }
    const gradients = await readGradients(model);
    const summed = { logp: Float64Array.from(logp), entropy: Float64Array.from(entropy), gradients };
    const off = passDifference(packed, summed);
    assert(off <= 1e-5, `off by ${off}`);
    graph.free();
    model.parameters.free();
  },
});

Deno.test({
  name: "freezing by part: the other gradients stay as they are, bit for bit, and cost less time and memory",
  ...options,
  fn: async () => {
    const all = await fresh();
    const run = async (freeze: ModelPart[]) => {
      const before = gpu.pool.report().bytes;
      const model = await CausalLM.create(gpu, config, (name) => weights.get(name)!, {
        trainable: true,
        freeze,
      });
      const graph = new SequenceGraph(model, { tokens: 25, train: true, patches: PATCHES });
      const bytes = gpu.pool.report().bytes - before;
      graph.temperature = TEMPERATURE;
      const { gradients } = await pass(graph, SEQUENCES, slopes);
      const launches = graph.programs.backward!.length + (graph.vision!.programs.backward?.length ?? 0);
      for (const [name, g] of all.gradients) {
        assertEquals(
          gradients.get(name),
          freeze.includes(partOf(name)) ? undefined : g,
          `${freeze}: ${name}`,
        );
      }
      graph.free();
      model.parameters.free();
      return { launches, bytes };
    };
    const none = await run([]);
    for (const part of ["vision_tower", "merger", "language_model"] as const) {
      const frozen = await run([part]);
      assert(frozen.launches < none.launches && frozen.bytes < none.bytes, part);
    }
    const both = await run(["vision_tower", "merger"]);
    const text = await tinyModel(gpu, config, weights);
    const plain = new SequenceGraph(text, { tokens: 25, train: true });
    assertEquals(both.launches, plain.programs.backward!.length);
    plain.free();
    text.parameters.free();
  },
});

Deno.test({
  name: "with the language model frozen, text alone runs nothing backward",
  ...options,
  fn: async () => {
    const freeze: ModelPart[] = ["language_model"];
    const model = await CausalLM.create(gpu, config, (name) => weights.get(name)!, {
      trainable: true,
      freeze,
    });
    const graph = new SequenceGraph(model, { tokens: 25, train: true, patches: PATCHES });
    let runs = 0;
    for (const program of [graph.programs.backward!, graph.vision!.programs.backward!]) {
      const run = program.run.bind(program);
      program.run = (times) => {
        runs++;
        return run(times);
      };
    }
    const text = [SEQUENCES[1]];
    const { gradients } = await pass(graph, text, randomSlopes(text));
    assertEquals(runs, 0);
    for (const [name, g] of gradients) assert(g.every((x) => x === 0), name);
    await pass(graph, SEQUENCES, slopes);
    assertEquals(runs, 2);
    graph.free();
    model.parameters.free();
  },
});

Deno.test({
  name: "refused: pictures and texts that do not belong together, and pictures without room for them",
  ...options,
  fn: async () => {
    const model = await tinyModel(gpu, config, weights);
    const graph = new SequenceGraph(model, { tokens: 40, patches: 24 });
    const refused = (s: Partial<Sequence>, why: string) =>
      assertThrows(() => graph.load(packSequences([{ ids: [1], scoreFrom: 1, ...s }])), UserError, why);
    refused({ ids: [1, IMAGE] }, "token 1 is an image token");
    refused({ images: [small] }, "1 pictures, its texts have image tokens for 0");
    refused({ ids: tokensOf(small), images: [wide] }, "has 6 image tokens, the text has 1");
    assertThrows(
      () =>
        graph.load(
          packSequences([{
            ids: [...tokensOf(wide), ...tokensOf(small)],
            scoreFrom: 7,
            images: [wide, small],
          }]),
        ),
      RangeError,
      "2 pictures of 28 patches exceed this graph (24 patches)",
    );
    const text = new SequenceGraph(model, { tokens: 40 });
    for (const images of [[small], undefined]) {
      assertThrows(
        () => text.load(packSequences([{ ids: [1, ...tokensOf(small)], scoreFrom: 2, images }])),
        UserError,
        "this graph takes text only",
      );
    }
    graph.free();
    text.free();
    model.parameters.free();
  },
});
