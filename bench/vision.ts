/**
 * The vision tower's kernels: at the shape of a micro model's tower on a batch of pictures, and the merger's activation
 * at the shape of the released 7B model for a 448 x 448 picture. The 7B model's products take seconds on a CPU: they are
 * timed where the whole block is (`vision_tower.7b`).
 * @module
 */
import { qkvWidth, ropeDims } from "../models/layer.ts";
import { patchWidth, visionBlock } from "../models/vision_config.ts";
import { packImages } from "../models/vision_layout.ts";
import { attentionBackwardKeyValue, attentionBackwardQuery, attentionForward } from "../shaders/attention.ts";
import { geluBackward, geluForward } from "../shaders/gelu.ts";
import { linearKernels } from "../shaders/linear.ts";
import { rope } from "../shaders/rope.ts";
import { fitted } from "../shaders/values.ts";
import { attentionProduct, patchesIn, picturesOf, TINY_VISION } from "./vision_shapes.ts";
import { type Workload, workload } from "./workload.ts";

/** 32 x 32 patches make 256 merged tokens of four patches, 1280 wide each. */
const MERGED = { tokens: 256, width: 5120 };

/** Patch embedding, rotation, attention in windows and over whole pictures, and the merger's activation. */
export function visionWorkloads(software: boolean): Workload[] {
  return [...towerWorkloads(software), ...mergerWorkloads(software)];
}

function towerWorkloads(software: boolean): Workload[] {
  const s = TINY_VISION;
  const vision = s.config.vision!;
  const block = visionBlock(vision);
  const tokens = patchesIn(s);
  const { cos, sin, windows, images } = packImages(picturesOf(s), vision);
  const products = linearKernels[software ? "linear" : "linear_tiled"];
  const embed = {
    tokens,
    inputs: patchWidth(vision),
    outputs: block.hidden_size,
    stride: block.hidden_size,
    accumulate: 0,
  };
  const name = (what: string) => `tower ${s.pictures} x ${s.side ** 2} patches, ${what}`;
  const label = name(`${embed.inputs} x ${embed.outputs}`);
  const positions = Uint32Array.from({ length: tokens }, (_, i) => i);
  const rotation = { ...ropeDims(block, tokens, 1), tokens };
  const rotate = fitted(rope, block.head_dim / 2, software);
  const attention = (kind: "windows" | "images") => {
    const dims = {
      tokens,
      heads: block.num_attention_heads,
      kv_heads: block.num_key_value_heads,
      causal: 0,
      scale: block.head_dim ** -0.5,
    };
    const data = { segments: kind === "windows" ? windows : images };
    const product = attentionProduct(s, kind);
    const shape = name(kind === "windows" ? "in windows" : "whole pictures");
    return [
      workload(attentionForward(block.head_dim), shape, dims, data, { flops: 2 * product }),
      workload(attentionBackwardQuery(block.head_dim), shape, dims, data, { flops: 3 * product }),
      workload(attentionBackwardKeyValue(block.head_dim), shape, dims, data, { flops: 4 * product }),
    ];
  };
  return [
    workload(products.forward, label, embed),
    workload(products.backwardWeight, label, embed),
    workload(rotate, name(`${qkvWidth(block)}`), rotation, { positions, cos, sin }),
    ...attention("windows"),
    ...attention("images"),
  ];
}

function mergerWorkloads(software: boolean): Workload[] {
  return [geluForward, geluBackward].map((kernel) =>
    workload(fitted<string, "tokens" | "width">(kernel, MERGED.width, software), "merger 256 x 5120", MERGED)
  );
}
