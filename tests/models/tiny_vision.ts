/**
 * Vision-language models small enough for f64 loops, and pictures of random patches.
 * @module
 */
import type { ImagePatches } from "../../models/image_processor.ts";
import type { ModelConfig } from "../../models/config.ts";
import { patchWidth } from "../../models/vision_config.ts";
import { tinyConfig, uniform } from "./tiny_model.ts";

/** The id that stands for a picture's tokens. */
export const IMAGE = 60;

/** A Qwen2.5-VL with a windowed and a full block; a window is 2 x 2 merge groups, of 2 x 2 patches of 2 x 2 pixels. */
export function tinyVisionConfig(
  vision: Record<string, unknown> = {},
  changes: Record<string, unknown> = {},
): ModelConfig {
  return tinyConfig({
    model_type: "qwen2_5_vl",
    vocab_size: 64,
    hidden_size: 16,
    intermediate_size: 20,
    num_attention_heads: 2,
    rope_scaling: { type: "mrope", mrope_section: [1, 1, 2] },
    image_token_id: IMAGE,
    video_token_id: 61,
    vision_config: {
      depth: 2,
      hidden_size: 16,
      intermediate_size: 12,
      num_heads: 2,
      patch_size: 2,
      window_size: 8,
      fullatt_block_indexes: [1],
      out_hidden_size: 16,
      ...vision,
    },
    ...changes,
  });
}

/** Pictures of random patches: `[height, width]` in patches each. */
export function randomPictures(
  config: ModelConfig,
  sides: readonly [number, number][],
  seed = 1,
): ImagePatches[] {
  return sides.map(([h, w], i) => ({
    grid: { t: 1, h, w },
    pixelValues: uniform(h * w * patchWidth(config.vision!), 1, seed, "picture", i),
  }));
}

/** The image tokens that a picture takes in the text. */
export function tokensOf({ grid }: ImagePatches): number[] {
  return Array(grid.h * grid.w / 4).fill(IMAGE);
}
