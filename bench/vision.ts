/**
 * The vision kernels: at the shape of a micro model's tower on a batch of pictures, and at the shape of the released 7B
 * model's tower on a picture of 448 x 448 pixels. What of the latter takes seconds a launch on a CPU is timed alone on a
 * GPU only; a CPU times it once, where the whole block is (`vision_tower.7b`).
 * @module
 */
import { qkvWidth, ropeDims } from "../models/layer.ts";
import { patchWidth, visionBlock } from "../models/vision_config.ts";
import { packImages } from "../models/vision_layout.ts";
import { embeddingForward } from "../shaders/embedding.ts";
import { geluBackward, geluForward } from "../shaders/gelu.ts";
import { rope } from "../shaders/rope.ts";
import { gatherRows, NO_ROW } from "../shaders/rows.ts";
import { attentionCosts, attentionOf } from "./attention.ts";
import {
  attentionProduct,
  patchesIn,
  picturesOf,
  segmentsOf,
  TINY_VISION,
  TOWER_7B,
  type VisionShape,
} from "./vision_shapes.ts";
import { linearOf, type Traits } from "./linear.ts";
import { spread, type Workload, workload } from "./workload.ts";

/** Width of the 7B model's image tokens; {@link TOWER_7B} leads to a narrower model. */
const TOKEN_WIDTH_7B = 3584;

/** Kernels of tower, merger and the image tokens' way into the text, in the variants that suit the adapter. */
export function visionWorkloads(traits: Traits): Workload[] {
  const { software } = traits;
  const tiny = TINY_VISION.config.hidden_size;
  return [
    ...patchWorkloads(TINY_VISION, traits),
    ...attentionWorkloads(TINY_VISION, "windows", software),
    ...attentionWorkloads(TINY_VISION, "images", software),
    ...mergerWorkloads(TINY_VISION, tiny, traits),
    ...geluWorkloads(TINY_VISION),
    ...imageTokenWorkloads(TINY_VISION, tiny),
    ...patchWorkloads(TOWER_7B, traits),
    ...attentionWorkloads(TOWER_7B, "windows", software),
    ...(software ? [] : attentionWorkloads(TOWER_7B, "images", software)),
    ...(software ? [] : mergerWorkloads(TOWER_7B, TOKEN_WIDTH_7B, traits)),
    ...geluWorkloads(TOWER_7B),
    ...imageTokenWorkloads(TOWER_7B, TOKEN_WIDTH_7B),
  ];
}

function label(s: VisionShape, what: string): string {
  return `${s.name} tower ${s.pictures} x ${s.side ** 2} patches, ${what}`;
}

/** Merged tokens of all pictures, and the width of the patches that one is made of. */
function merged(s: VisionShape): { tokens: number; width: number } {
  const { spatial_merge_size, hidden_size } = s.config.vision!;
  const patches = spatial_merge_size ** 2;
  return { tokens: patchesIn(s) / patches, width: patches * hidden_size };
}

/** The patch embedding, whose input needs no gradient, and the rotation. */
function patchWorkloads(s: VisionShape, traits: Traits): Workload[] {
  const vision = s.config.vision!;
  const block = visionBlock(vision);
  const tokens = patchesIn(s);
  const { forward, backwardWeight } = linearOf(traits);
  const outputs = block.hidden_size;
  const embed = { tokens, inputs: patchWidth(vision), outputs, stride: outputs, accumulate: 0 };
  const name = label(s, `embedding ${embed.inputs} x ${outputs}`);
  const { cos, sin } = packImages(picturesOf(s), vision);
  const positions = Uint32Array.from({ length: tokens }, (_, i) => i);
  const rotation = { ...ropeDims(block, tokens, 1), tokens };
  return [
    workload(forward, name, embed),
    workload(backwardWeight, name, embed),
    workload(rope, label(s, `${qkvWidth(block)}`), rotation, { positions, cos, sin }),
  ];
}

/** Attention without a mask, in windows or over whole pictures. */
function attentionWorkloads(s: VisionShape, kind: "windows" | "images", software: boolean): Workload[] {
  const { num_attention_heads: heads, head_dim } = visionBlock(s.config.vision!);
  const tokens = patchesIn(s);
  const dims = { tokens, heads, kv_heads: heads, causal: 0, scale: head_dim ** -0.5 };
  const data = { segments: segmentsOf(s, kind) };
  const flops = attentionCosts(head_dim, attentionProduct(s, kind));
  const name = label(s, kind === "windows" ? "in windows" : "whole pictures");
  const { forward, delta, backwardQuery, backwardKeyValue } = attentionOf(head_dim, software);
  return [
    workload(forward, name, dims, data, { flops: flops[forward.name] }),
    workload(delta, name, { tokens, heads }),
    ...[backwardQuery, backwardKeyValue].map((kernel) =>
      workload(kernel, name, dims, data, { flops: flops[kernel.name] })
    ),
  ];
}

/** The merger's two products with their gradients. */
function mergerWorkloads(s: VisionShape, tokenWidth: number, traits: Traits): Workload[] {
  const { forwardBias, backwardInput, backwardWeight } = linearOf(traits);
  const { tokens, width: inputs } = merged(s);
  return [inputs, tokenWidth].flatMap((outputs) => {
    const name = `${s.name} merger ${tokens} x ${inputs} x ${outputs}`;
    const dims = { tokens, inputs, outputs, stride: outputs, accumulate: 0 };
    return [
      workload(forwardBias, name, dims),
      workload(backwardInput, name, dims),
      workload(backwardWeight, name, dims),
    ];
  });
}

/** The activation between them. */
function geluWorkloads(s: VisionShape): Workload[] {
  const dims = merged(s);
  const name = `${s.name} merger ${dims.tokens} x ${dims.width}`;
  return [workload(geluForward, name, dims), workload(geluBackward, name, dims)];
}

/** Image tokens to their rows between those of text, and the gradient of these rows back. */
function imageTokenWorkloads(s: VisionShape, width: number): Workload[] {
  const rows = merged(s).tokens;
  const places = rows / s.pictures;
  const length = places + s.text;
  const tokens = s.pictures * length;
  const index = Uint32Array.from(
    { length: rows },
    (_, i) => Math.floor(i / places) * length + i % places,
  );
  const ids = new Uint32Array(tokens).fill(NO_ROW);
  index.forEach((token, row) => ids[token] = row);
  const name = `${s.name} ${rows} image tokens of ${tokens} x ${width}`;
  return [
    workload(
      embeddingForward,
      name,
      { tokens, width, first_row: 0, rows },
      { ids, weight: spread(rows * width) },
      // Rows of text are left as they are.
      { bytes: 4 * (tokens + 2 * rows * width) },
    ),
    workload(gatherRows, name, { rows, width }, { index, x: spread(tokens * width) }),
  ];
}
