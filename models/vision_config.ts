/**
 * The vision part of a Qwen2.5-VL `config.json`: sizes of the tower and its merger, and the token ids that stand for
 * pictures in a text.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import type { BlockConfig } from "./block_config.ts";
import type { Fields } from "./json_fields.ts";

/** Sizes of the vision tower, under Hugging Face's names. */
export interface VisionConfig {
  /** Number of blocks. */
  readonly depth: number;
  /** Width of the tower's residual stream. */
  readonly hidden_size: number;
  /** Width inside the SwiGLU. */
  readonly intermediate_size: number;
  /** Heads of queries, keys and values alike; each `hidden_size / num_heads` wide, a multiple of 8. */
  readonly num_heads: number;
  /** Colours of a pixel. */
  readonly in_channels: number;
  /** Side of a patch in pixels. */
  readonly patch_size: number;
  /** Frames of a patch; a still picture is repeated. */
  readonly temporal_patch_size: number;
  /** Patches along each side of the square that becomes one token. */
  readonly spatial_merge_size: number;
  /** Side of an attention window in pixels, a whole number of merged squares. */
  readonly window_size: number;
  /** Blocks that see the whole picture instead of a window. */
  readonly fullatt_block_indexes: readonly number[];
  /** Width of an image token: the language model's. */
  readonly out_hidden_size: number;
  /** Base of the tower's rotary frequencies. */
  readonly rope_theta: number;
  /** Stands in the text once for every image token. */
  readonly image_token_id: number;
  /** Would stand for a video's tokens, which are not supported. */
  readonly video_token_id?: number;
  /** Opens a picture in the text. */
  readonly vision_start_token_id?: number;
  /** Closes a picture in the text. */
  readonly vision_end_token_id?: number;
}

/** Epsilon of every norm in the tower; transformers fixes it, whatever `rms_norm_eps` says. */
const VISION_NORM_EPS = 1e-6;

/**
 * Reads `vision_config` and the token ids that stand beside it.
 * @throws UserError naming file, key and value of what is missing or not supported
 */
export function readVisionConfig(top: Fields, textWidth: number): VisionConfig {
  const fields = top.child("vision_config");
  if (!fields) throw new UserError(`${top.where}: the key vision_config is missing`);
  if ((fields.get("hidden_act") ?? "silu") !== "silu") {
    fields.refuse("hidden_act", 'only "silu" is supported');
  }
  const rope = fields.child("rope_parameters");
  if (rope && !["axial", "default"].includes(String(rope.get("rope_type") ?? "axial"))) {
    rope.refuse("rope_type", 'only "axial" is supported');
  }
  const depth = fields.count("depth");
  const full = fields.need("fullatt_block_indexes");
  if (!Array.isArray(full) || !full.every((i) => Number.isSafeInteger(i) && i >= 0 && i < depth)) {
    fields.refuse("fullatt_block_indexes", `must be a list of block numbers below depth = ${depth}`);
  }
  const hidden_size = fields.count("hidden_size");
  const num_heads = fields.count("num_heads");
  if (hidden_size % (8 * num_heads) !== 0) {
    fields.refuse("hidden_size", `must give each of num_heads = ${num_heads} heads a multiple of 8`);
  }
  const patch_size = fields.count("patch_size");
  const spatial_merge_size = fields.count("spatial_merge_size", 2);
  const window_size = fields.count("window_size");
  if (window_size % (patch_size * spatial_merge_size) !== 0) {
    fields.refuse(
      "window_size",
      `must be a multiple of patch_size · spatial_merge_size = ${patch_size * spatial_merge_size}`,
    );
  }
  const out_hidden_size = fields.count("out_hidden_size");
  if (out_hidden_size !== textWidth) {
    fields.refuse("out_hidden_size", `must be the language model's hidden_size = ${textWidth}`);
  }
  const [image_token_id] = top.ids("image_token_id");
  if (image_token_id === undefined) throw new UserError(`${top.where}: the key image_token_id is missing`);
  const [video_token_id] = top.ids("video_token_id");
  const [vision_start_token_id] = top.ids("vision_start_token_id");
  const [vision_end_token_id] = top.ids("vision_end_token_id");
  return {
    depth,
    hidden_size,
    intermediate_size: fields.count("intermediate_size"),
    num_heads,
    in_channels: fields.count("in_channels", fields.count("in_chans", 3)),
    patch_size,
    temporal_patch_size: fields.count("temporal_patch_size", 2),
    spatial_merge_size,
    window_size,
    fullatt_block_indexes: full as number[],
    out_hidden_size,
    rope_theta: rope?.get("rope_theta") === undefined ? 10000 : rope.positive("rope_theta"),
    image_token_id,
    video_token_id,
    vision_start_token_id,
    vision_end_token_id,
  };
}

/** Values of one patch: colours · frames · side². */
export function patchWidth(v: VisionConfig): number {
  return v.in_channels * v.temporal_patch_size * v.patch_size ** 2;
}

/** What the tower's blocks compute, for models/layer.ts. */
export function visionBlock(v: VisionConfig): BlockConfig {
  return {
    hidden_size: v.hidden_size,
    intermediate_size: v.intermediate_size,
    num_attention_heads: v.num_heads,
    num_key_value_heads: v.num_heads,
    head_dim: v.hidden_size / v.num_heads,
    rms_norm_eps: VISION_NORM_EPS,
    causal: false,
  };
}

/** Every tensor of tower and merger by its name in released folders, with its shape. */
export function visionShapes(v: VisionConfig): [string, number[]][] {
  const { hidden_size: hidden, intermediate_size: ffn, patch_size: side } = v;
  const merged = hidden * v.spatial_merge_size ** 2;
  const shapes: [string, number[]][] = [
    ["visual.patch_embed.proj.weight", [hidden, v.in_channels, v.temporal_patch_size, side, side]],
    ["visual.merger.ln_q.weight", [hidden]],
  ];
  const linear = (name: string, out: number, width: number): void => {
    shapes.push([`${name}.weight`, [out, width]], [`${name}.bias`, [out]]);
  };
  linear("visual.merger.mlp.0", merged, merged);
  linear("visual.merger.mlp.2", v.out_hidden_size, merged);
  for (let i = 0; i < v.depth; i++) {
    const block = `visual.blocks.${i}`;
    shapes.push([`${block}.norm1.weight`, [hidden]], [`${block}.norm2.weight`, [hidden]]);
    linear(`${block}.attn.qkv`, 3 * hidden, hidden);
    linear(`${block}.attn.proj`, hidden, hidden);
    linear(`${block}.mlp.gate_proj`, ffn, hidden);
    linear(`${block}.mlp.up_proj`, ffn, hidden);
    linear(`${block}.mlp.down_proj`, hidden, ffn);
  }
  return shapes;
}
