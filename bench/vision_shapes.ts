/** The vision towers and pictures that are timed: a micro model's, and one block of the released 7B model's. @module */
import type { ImagePatches } from "../models/image_processor.ts";
import { type ModelConfig, parseModelConfig } from "../models/config.ts";
import { patchWidth, visionBlock } from "../models/vision_config.ts";
import { packImages } from "../models/vision_layout.ts";
import { spread } from "./workload.ts";

/** A model with the pictures it is given at once. */
export interface VisionShape {
  /** `tiny` or `7b`. */
  readonly name: string;
  /** The model; its `vision` is there. */
  readonly config: ModelConfig;
  /** Pictures at once. */
  readonly pictures: number;
  /** Patches along each side of a picture. */
  readonly side: number;
  /** Text tokens behind each picture. */
  readonly text: number;
}

function shape(
  name: string,
  text: readonly [width: number, layers: number, heads: number, inner: number, section: readonly number[]],
  tower: Record<string, unknown>,
  batch: Pick<VisionShape, "pictures" | "side" | "text">,
): VisionShape {
  const [hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, mrope_section] = text;
  const config = parseModelConfig({
    model_type: "qwen2_5_vl",
    vocab_size: 448,
    hidden_size,
    num_hidden_layers,
    num_attention_heads,
    num_key_value_heads: 2,
    intermediate_size,
    max_position_embeddings: 512,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    rope_scaling: { type: "mrope", mrope_section },
    tie_word_embeddings: true,
    image_token_id: 261,
    vision_config: {
      out_hidden_size: hidden_size,
      patch_size: 14,
      spatial_merge_size: 2,
      temporal_patch_size: 2,
      window_size: 112,
      ...tower,
    },
  }, `bench: vision ${name}`);
  return { name, config, ...batch };
}

/** A micro model on 32 pictures of 84 x 84 pixels, each with 40 tokens of text. */
export const TINY_VISION: VisionShape = shape("tiny", [128, 4, 4, 344, [4, 6, 6]], {
  depth: 2,
  hidden_size: 64,
  num_heads: 2,
  intermediate_size: 160,
  fullatt_block_indexes: [1],
}, { pictures: 32, side: 6, text: 40 });

/**
 * A picture of 448 x 448 pixels through the 7B model's tower with one of its 32 blocks, a windowed one as 28 of them
 * are. The merger leads to a narrow model: the language model is not timed here.
 */
export const TOWER_7B: VisionShape = shape("7b", [128, 1, 4, 128, [4, 6, 6]], {
  depth: 1,
  hidden_size: 1280,
  num_heads: 16,
  intermediate_size: 3420,
  fullatt_block_indexes: [],
}, { pictures: 1, side: 32, text: 0 });

/** The shape's pictures: evenly spread values. */
export function picturesOf({ config, pictures, side }: VisionShape): ImagePatches[] {
  const pixelValues = spread(side * side * patchWidth(config.vision!));
  return Array.from({ length: pictures }, () => ({ pixelValues, grid: { t: 1, h: side, w: side } }));
}

/** Patches of all pictures. */
export function patchesIn({ pictures, side }: VisionShape): number {
  return pictures * side * side;
}

/** First and last row of each row's segment, [patches, 2]: the windows, or whole pictures. */
export function segmentsOf(s: VisionShape, kind: "windows" | "images"): Uint32Array<ArrayBuffer> {
  return packImages(picturesOf(s), s.config.vision!)[kind];
}

/** Operations of one product of attention in a block: every row with every row of its segment, over all heads. */
export function attentionProduct(s: VisionShape, kind: "windows" | "images"): number {
  const { hidden_size } = visionBlock(s.config.vision!);
  const table = segmentsOf(s, kind);
  let pairs = 0;
  for (let row = 0; row < table.length; row += 2) pairs += table[row + 1] - table[row];
  return 2 * hidden_size * pairs;
}
