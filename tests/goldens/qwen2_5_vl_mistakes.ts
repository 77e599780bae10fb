/**
 * Mistakes planted in a Qwen2.5-VL: the golden logits must be far from what each of them gives.
 * @module
 */
import type { Tensor } from "../../gpu/tensor.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import type { ModelConfig } from "../../models/config.ts";
import { mropePositions, MropeTables } from "../../models/mrope.ts";
import { packSequences, type Sequence } from "../../models/packed_batch.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { packImages } from "../../models/vision_layout.ts";
import { ropeTables } from "../../shaders/rope.ts";
import { type LaunchMistake, type RecordedLaunch, withLaunchMistake } from "../models/launch_edit.ts";
import { logitsOf } from "./logits.ts";
import { maxDifference, type Report } from "./report.ts";

/** A sequence with pictures and its logits. */
export interface PictureCase {
  readonly sequence: Sequence;
  readonly logits: Float32Array;
}

/** Fair limit of the logits; a mistake must move them by ten times as much. */
const LIMIT = 1e-3;

async function run(model: CausalLM, sequence: Sequence): Promise<Float32Array> {
  const patches = sequence.images!.reduce((n, { grid }) => n + grid.h * grid.w, 0);
  const graph = new SequenceGraph(model, { tokens: sequence.ids.length, patches });
  graph.load(packSequences([sequence]));
  await graph.forward();
  const logits = await logitsOf(graph);
  graph.free();
  return logits;
}

/** Mistakes in what the config says. */
const CONFIGS: readonly (readonly [why: string, change: (c: ModelConfig) => ModelConfig])[] = [
  ["no windows", (c) => ({
    ...c,
    vision: { ...c.vision!, fullatt_block_indexes: Array.from({ length: c.vision!.depth }, (_, i) => i) },
  })],
  ["windows in every block", (c) => ({ ...c, vision: { ...c.vision!, fullatt_block_indexes: [] } })],
  ["M-RoPE sections in reverse order", (c) => {
    const [t, h, w] = c.mrope_section!;
    return { ...c, mrope_section: [w, h, t] };
  }],
];

/** A launch of the tower's or the language model's rotation. */
const rotates = (l: RecordedLaunch, program: string): boolean =>
  l.kernel.name === "rope" && l.program === program;

/** Mistakes in the recorded launches; `table` makes a tensor that lives as long as the check. */
function launchMistakes(
  model: CausalLM,
  { ids, images }: Sequence,
  table: (values: Float32Array | Uint32Array) => Tensor,
): LaunchMistake[] {
  const { config } = model;
  const v = config.vision!;
  const rotated = (why: string, program: string, tables: { cos: Tensor; sin: Tensor }): LaunchMistake => ({
    why,
    edit: (l) => rotates(l, program) ? { ...l, tensors: { ...l.tensors, ...tables } } : l,
  });
  const packed = packImages(images!, v);
  const half = v.hidden_size / v.num_heads / 2;
  const halvesExchanged = (values: Float32Array) =>
    table(values.map((_, i) => values[i - i % half + (i + half / 2) % half]));
  const oneDimensional = ropeTables(packed.patches, 2 * half, v.rope_theta);

  const T = ids.length;
  const { positions } = mropePositions(ids, images!.map(({ grid }) => grid), v);
  const exchanged = positions.slice();
  exchanged.set(positions.subarray(T, 2 * T), 2 * T);
  exchanged.set(positions.subarray(2 * T), T);
  const cos = new Float32Array(T * config.head_dim / 2);
  const sin = new Float32Array(cos.length);
  new MropeTables(config.head_dim, config.rope_theta, config.mrope_section!).fill(exchanged, cos, sin, 0);

  let next = 0;
  const inWindowOrder = table(Uint32Array.from(ids, (id) => id === v.image_token_id ? next++ : 0xffffffff));
  return [
    rotated("height and width exchanged in the tower", "vision forward", {
      cos: halvesExchanged(packed.cos),
      sin: halvesExchanged(packed.sin),
    }),
    rotated("1-D positions in the tower", "vision forward", {
      cos: table(oneDimensional.cos),
      sin: table(oneDimensional.sin),
    }),
    rotated("height and width exchanged in M-RoPE", "forward", { cos: table(cos), sin: table(sin) }),
    rotated("1-D positions in the language model", "forward", { cos: model.cos, sin: model.sin }),
    {
      why: "image tokens left in window order",
      edit: (l) =>
        l.kernel.name === "embedding.forward" && l.tensors.ids.name === "image rows"
          ? { ...l, tensors: { ...l.tensors, ids: inWindowOrder } }
          : l,
    },
    {
      why: "the tower sees no later patches",
      edit: (l) =>
        l.kernel.name.startsWith("attention.forward") && l.program === "vision forward"
          ? { ...l, dims: { ...l.dims, causal: 1 } }
          : l,
    },
  ];
}

/** Every mistake must move the logits of some case by ten times the fair limit. */
export async function checkMistakes(
  model: CausalLM,
  cases: readonly PictureCase[],
  name: string,
  report: Report,
): Promise<void> {
  const { gpu } = model;
  const moved = new Map<string, number>();
  const note = (why: string, got: Float32Array, wanted: Float32Array): void => {
    moved.set(why, Math.max(moved.get(why) ?? 0, maxDifference(got, wanted)));
  };
  const weights = new Map<string, Float32Array>();
  for await (const { name, data } of model.parameters.weights()) weights.set(name, data);
  for (const { sequence, logits } of cases) {
    for (const [why, change] of CONFIGS) {
      const wrong = await CausalLM.create(gpu, change(model.config), (name) => weights.get(name)!);
      note(why, await run(wrong, sequence), logits);
      wrong.parameters.free();
    }
    const tables: Tensor[] = [];
    const table = (values: Float32Array | Uint32Array): Tensor => {
      tables.push(gpu.tensor("planted table", [values.length], values));
      return tables[tables.length - 1];
    };
    for (const mistake of launchMistakes(model, sequence, table)) {
      note(mistake.why, await withLaunchMistake(mistake, () => run(model, sequence)), logits);
    }
    for (const tensor of tables) gpu.pool.free(tensor);
  }
  for (const [why, by] of moved) {
    report(`${name} rejects ${why}`, 10 * LIMIT / by, 1, `logits move by ${by.toPrecision(3)}`);
  }
  if (moved.size === 0) report(`${name} rejects mistakes`, Infinity, 0, "no case with pictures");
}
