import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { ImagePatches } from "../../models/image_processor.ts";
import { type ModelPart, partOf } from "../../models/parameters.ts";
import { packImages } from "../../models/vision_layout.ts";
import { VisionTower } from "../../models/vision_tower.ts";
import { ropeTables } from "../../shaders/rope.ts";
import { visionForward } from "../reference/vision.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { disagreement, type ParameterProbes, probe } from "./gradient_probe.ts";
import { type LaunchMistake, type RecordedLaunch, rewrite, withLaunchMistake } from "./launch_edit.ts";
import {
  difference,
  randomWeights,
  readGradients,
  tinyConfig,
  tinyModel,
  uniform,
  widen,
} from "./tiny_model.ts";
import { randomPictures, tinyVisionConfig } from "./tiny_vision.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };
/** Measured: 3e-7 forward, 1e-5 backward (a bias of which a third, the keys', has no influence; else 2e-6). */
const FORWARD = 3e-6;
const BACKWARD = 5e-5;

interface TowerPass {
  /** [image tokens, hidden] in the order of the text. */
  readonly rows: Float32Array;
  readonly gradients: Map<string, Float32Array>;
}

/** Image tokens in the order of the text, and the gradients of Σ slopes · image tokens. */
async function run(
  tower: VisionTower,
  pictures: readonly ImagePatches[],
  slopes: Float32Array,
): Promise<TowerPass> {
  const { gpu, parameters } = tower.model;
  const width = tower.embeddings.shape[1];
  parameters.clearGradients();
  tower.load(pictures);
  await tower.forward();
  if (tower.gradient) {
    const inWindowOrder = new Float32Array(slopes.length);
    tower.order.forEach((at, i) =>
      inWindowOrder.set(slopes.subarray(i * width, (i + 1) * width), at * width)
    );
    gpu.write(tower.gradient, inWindowOrder);
    await tower.backward();
  }
  const all = await gpu.readF32(tower.embeddings);
  const rows = Float32Array.from(
    [...tower.order].flatMap((at) => [...all.subarray(at * width, (at + 1) * width)]),
  );
  return { rows, gradients: await readGradients(tower.model) };
}

/** A tower and pictures whose image tokens and slopes are known from f64 loops. */
class TowerCheck {
  readonly config: ModelConfig;
  readonly weights: Map<string, Float32Array<ArrayBuffer>>;
  readonly pictures: ImagePatches[];
  readonly slopes: Float32Array<ArrayBuffer>;
  readonly #rows: Float64Array;
  readonly #probes: ParameterProbes[];

  constructor(config: ModelConfig, sides: readonly [number, number][]) {
    this.config = config;
    this.weights = randomWeights(config);
    this.pictures = randomPictures(config, sides);
    const wide = new Map([...widen(this.weights)].filter(([name]) => name.startsWith("visual.")));
    const forward = () => visionForward(wide, config.vision!, this.pictures);
    this.#rows = forward();
    this.slopes = uniform(this.#rows.length, 1, "slopes of image tokens");
    const loss = () => forward().reduce((sum, x, i) => sum + this.slopes[i] * x, 0);
    this.#probes = probe(wide, loss, 6);
  }

  async fresh(recompute = false, config = this.config): Promise<TowerPass> {
    const model = await tinyModel(await oneGpu(), config, this.weights);
    const patches = this.pictures.reduce((n, { grid }) => n + grid.h * grid.w, 0);
    const tower = new VisionTower(model, { patches, train: true, recompute });
    const result = await run(tower, this.pictures, this.slopes);
    tower.free();
    model.parameters.free();
    return result;
  }

  complaint({ rows, gradients }: TowerPass): string | undefined {
    const off = difference(rows, this.#rows);
    if (!(off <= FORWARD)) return `image tokens are off by ${off}`;
    const vision = new Map([...gradients].filter(([name]) => partOf(name) !== "language_model"));
    const { worst, where } = disagreement(this.#probes, vision);
    return worst <= BACKWARD ? undefined : `off by ${worst}: ${where}`;
  }
}

const CHECKS: [string, () => TowerCheck][] = [
  [
    "a windowed and a full block, three pictures with cut windows",
    () => new TowerCheck(tinyVisionConfig(), [[6, 10], [2, 2], [4, 6]]),
  ],
  ["three heads of 8, inner width 14, one full block, over 64 patches", () =>
    new TowerCheck(
      tinyVisionConfig({
        depth: 1,
        hidden_size: 24,
        num_heads: 3,
        intermediate_size: 14,
        fullatt_block_indexes: [0],
      }),
      [[8, 10]],
    )],
];

for (const [name, check] of CHECKS) {
  Deno.test({
    name: `tower equals f64 loops, the gradient of every parameter finite differences: ${name}`,
    ...options,
    fn: async () => {
      const c = check();
      const kept = await c.fresh();
      assertEquals(c.complaint(kept), undefined);
      assertEquals(await c.fresh(true), kept, "recomputing blocks changes no bit");
    },
  });
}

const rotation = (l: RecordedLaunch): boolean => l.kernel.name === "rope";
const written = (l: RecordedLaunch): string | undefined =>
  Object.entries(l.kernel.bindings).map(([b, access]) => access === "read" ? "" : l.tensors[b].name)
    .find((name) => name.endsWith(".grad"));

Deno.test({
  name: "tower: planted mistakes are rejected, and so is the lost gradient of any parameter",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const check = new TowerCheck(tinyVisionConfig(), [[6, 10], [4, 6]]);
    const v = check.config.vision!;
    const withBlocks = (full: number[]) => ({
      ...check.config,
      vision: { ...v, fullatt_block_indexes: full },
    });
    assert(check.complaint(await check.fresh(false, withBlocks([0, 1]))), "no windows");
    assert(check.complaint(await check.fresh(false, withBlocks([]))), "windows in every block");

    const { cos, sin, patches } = packImages(check.pictures, v);
    const half = v.hidden_size / v.num_heads / 2;
    const table = (values: Float32Array) => gpu.tensor("planted table", [patches, half], values);
    const exchanged = (values: Float32Array) =>
      table(values.map((_, i) => values[i - i % half + (i + half / 2) % half]));
    const flat = ropeTables(patches, 2 * half, v.rope_theta);
    const planted = {
      exchanged: { cos: exchanged(cos), sin: exchanged(sin) },
      flat: { cos: table(flat.cos), sin: table(flat.sin) },
    };
    const mistakes: LaunchMistake[] = [
      {
        why: "height and width exchanged",
        edit: (l) => rotation(l) ? { ...l, tensors: { ...l.tensors, ...planted.exchanged } } : l,
      },
      {
        why: "1-D positions",
        edit: (l) => rotation(l) ? { ...l, tensors: { ...l.tensors, ...planted.flat } } : l,
      },
      {
        why: "a causal mask",
        edit: (l) => "causal" in l.kernel.dims ? { ...l, dims: { ...l.dims, causal: 1 } } : l,
      },
      {
        why: "the text's epsilon in the norms",
        edit: (l) =>
          "eps" in l.kernel.dims ? { ...l, dims: { ...l.dims, eps: check.config.rms_norm_eps } } : l,
      },
      {
        why: "GELU taken for linear in the backward pass",
        edit: (l) => l.kernel.name === "gelu.backward" ? rewrite(l, " + v * 0.39894228 * bell(v)", "") : l,
      },
      {
        why: "the gradient is rotated forward again, not back",
        edit: (l) =>
          l.program === "vision backward" && rotation(l) ? { ...l, dims: { ...l.dims, sign: 1 } } : l,
      },
    ];
    const model = await tinyModel(gpu, check.config, check.weights);
    const vision = model.parameters.list.filter((p) => partOf(p.name) !== "language_model");
    model.parameters.free();
    // Patch embedding, merger's norm and two products with biases; per block two norms and four products with biases.
    assertEquals(vision.length, 1 + 5 + 2 * 10);
    const lost = vision.map((p): LaunchMistake => ({
      why: `${p.name} gets no gradient`,
      edit: (l) => written(l) === `${p.name}.grad` ? undefined : l,
    }));
    for (const mistake of [...mistakes, ...lost]) {
      const complaint = check.complaint(await withLaunchMistake(mistake, () => check.fresh()));
      assert(complaint !== undefined, `"${mistake.why}" was not noticed`);
    }
    for (const tensor of Object.values(planted).flatMap((t) => [t.cos, t.sin])) gpu.pool.free(tensor);
  },
});

Deno.test({
  name: "tower: a picture's tokens do not depend on its company, nor on larger batches before it",
  ...options,
  fn: async () => {
    const config = tinyVisionConfig();
    const model = await tinyModel(await oneGpu(), config, randomWeights(config));
    const tower = new VisionTower(model, { patches: 130 });
    const pictures = randomPictures(config, [[6, 10], [2, 4], [8, 6]]);
    const none = new Float32Array(0);
    const together = await run(tower, pictures, none);
    const turned = await run(tower, pictures.toReversed(), none);
    let first = 0;
    for (const picture of pictures) {
      const { rows } = await run(tower, [picture], none);
      const own = together.rows.subarray(first, first + rows.length);
      assert(difference(rows, own) <= 1e-6, "alone");
      const last = turned.rows.length - first;
      assert(difference(turned.rows.subarray(last - rows.length, last), own) <= 1e-6, "in reverse");
      first += rows.length;
    }
    assertEquals(first, together.rows.length);
    tower.free();
    model.parameters.free();
  },
});

Deno.test({
  name: "tower: frozen parts have no gradient memory and no launch of theirs runs backward",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const config = tinyVisionConfig();
    const weights = randomWeights(config);
    const pictures = randomPictures(config, [[6, 10]]);
    const slopes = uniform(15 * 16, 1, "slopes of image tokens");
    const full = await tinyModel(gpu, config, weights);
    const whole = new VisionTower(full, { patches: 60, train: true });
    const all = await run(whole, pictures, slopes);
    const steps = whole.programs.backward!.length;
    whole.free();
    full.parameters.free();
    const after = async (freeze: ModelPart[]) => {
      const before = gpu.pool.report().bytes;
      const model = await CausalLM.create(gpu, config, (name) => weights.get(name)!, {
        trainable: true,
        freeze,
      });
      for (const p of model.parameters.list) {
        assertEquals(p.gradient === undefined, freeze.includes(partOf(p.name)), p.name);
      }
      const tower = new VisionTower(model, { patches: 60, train: true });
      const bytes = gpu.pool.report().bytes - before;
      const { gradients } = await run(tower, pictures, slopes);
      for (const [name, g] of gradients) assertEquals(g, all.gradients.get(name), `${freeze}: ${name}`);
      const launches = tower.programs.backward?.length ?? 0;
      tower.free();
      model.parameters.free();
      return { launches, bytes };
    };
    const none = await after([]);
    assertEquals(none.launches, steps);
    const merger = await after(["merger"]);
    const tower = await after(["vision_tower"]);
    const both = await after(["vision_tower", "merger"]);
    // The merger's products, biases and norm have 2 + 4 + 2 launches; its inputs' gradients still pass through.
    assertEquals(merger.launches, steps - 8);
    // Left of the merger's backward: two weights, two biases of two launches, the norm's weight of two, GELU, and two inputs.
    assertEquals(tower.launches, 11);
    assertEquals(both.launches, 0);
    assert(both.bytes < tower.bytes && tower.bytes < none.bytes && merger.bytes < none.bytes, "memory");
  },
});

Deno.test({
  name: "tower: refused are a model without one, too many patches, odd grids, videos and wrong values",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const text = await tinyModel(gpu, tinyConfig(), randomWeights(tinyConfig()));
    assertThrows(() => new VisionTower(text, { patches: 4 }), Error, "qwen2 model has no vision tower");
    text.parameters.free();
    const config = tinyVisionConfig();
    const model = await tinyModel(gpu, config, randomWeights(config));
    const tower = new VisionTower(model, { patches: 59 });
    assertEquals(tower.capacity, 60);
    const [picture] = randomPictures(config, [[6, 12]]);
    assertThrows(() => tower.load([picture]), RangeError, "72 patches exceed this graph (60 patches)");
    const refused = (grid: { t: number; h: number; w: number }, why: string) =>
      assertThrows(() => tower.load([{ ...picture, grid }]), UserError, why);
    refused({ t: 2, h: 6, w: 12 }, "videos");
    refused({ t: 1, h: 3, w: 24 }, "multiples of 2");
    assertThrows(
      () => tower.load([{ grid: { t: 1, h: 2, w: 4 }, pixelValues: picture.pixelValues }]),
      RangeError,
      "picture 0 of 2 x 4 patches takes 192 values, got 1728",
    );
    assertThrows(() => tower.backward(), Error, "nothing in this vision tower is trained");
    tower.free();
    model.parameters.free();
  },
});
