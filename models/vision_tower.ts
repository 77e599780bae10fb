/**
 * The vision tower of Qwen2.5-VL and its merger: patches of pictures to image tokens, and the gradient back to every
 * weight. Recorded once for a capacity, replayed for every batch of pictures that fits.
 *
 * Patches run in window order from the first product on, so nothing is reordered on the GPU: `order` says where each
 * image token went. After `Qwen2_5_VisionTransformerPretrainedModel` of transformers.
 * @module
 */
import { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { addLinear, addLinearBackwardWeight } from "../shaders/linear.ts";
import type { CausalLM } from "./causal_lm.ts";
import type { ImagePatches } from "./image_processor.ts";
import {
  allocActivations,
  allocScratch,
  type BlockNames,
  type LayerActivations,
  LayerWeights,
  recordLayerBackward,
  recordLayerForward,
  type SequenceContext,
} from "./layer.ts";
import { patchWidth, visionBlock, type VisionConfig } from "./vision_config.ts";
import { packImages } from "./vision_layout.ts";
import { VisionMerger } from "./vision_merger.ts";

/** How large a tower's graph is and what it keeps. */
export interface VisionOptions {
  /** Capacity in patches. */
  readonly patches: number;
  /** Whether a backward pass is recorded for the parts of the model that have gradients. */
  readonly train?: boolean;
  /** Keep block inputs only and recompute each block in the backward pass. */
  readonly recompute?: boolean;
}

const NAMES: BlockNames = {
  blocks: "visual.blocks",
  norm1: "norm1",
  qkv: "attn.qkv",
  out: "attn.proj",
  norm2: "norm2",
  gateUp: "mlp.gate_up_proj",
  down: "mlp.down_proj",
};

/** Tower and merger for up to a number of patches. P patches, G = P / merge² image tokens, Hv the tower's width. */
export class VisionTower {
  /** The model whose weights and gradients are used. */
  readonly model: CausalLM;
  /** Capacity in patches. */
  readonly capacity: number;
  /** [G, hidden] image tokens in window order. */
  readonly embeddings: Tensor;
  /** [G, hidden] ∂L/∂embeddings, to be set before {@link backward}; there when something in tower or merger is trained. */
  readonly gradient?: Tensor;
  /** Forward and backward programs, for profiling. */
  readonly programs: { readonly forward: Program; readonly backward?: Program };
  #config: VisionConfig;
  #merger: VisionMerger;
  #patches = 0;
  #order: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  #owned: Tensor[] = [];
  #inputs: Record<"pixels" | "windows" | "images" | "cos" | "sin" | "rows", Tensor>;
  #hidden: Tensor[];
  #dx: Tensor | undefined;

  /**
   * Takes the memory and records both passes.
   * @throws Error for a model without a vision tower
   */
  constructor(model: CausalLM, options: VisionOptions) {
    const { gpu, parameters } = model;
    const v = model.config.vision;
    if (!v) throw new Error(`a ${model.config.model_type} model has no vision tower`);
    const block = visionBlock(v);
    const perGroup = v.spatial_merge_size ** 2;
    const P = this.capacity = Math.ceil(options.patches / perGroup) * perGroup;
    this.model = model;
    this.#config = v;
    const own = <A extends object>(set: A): A => {
      this.#owned.push(...Object.values(set) as Tensor[]);
      return set;
    };
    this.#inputs = own({
      pixels: gpu.alloc("vision pixels", [P, patchWidth(v)], "data"),
      windows: gpu.alloc("vision windows", [P, 2], "data", "u32"),
      images: gpu.alloc("vision pictures", [P, 2], "data", "u32"),
      cos: gpu.alloc("vision cos", [P, block.head_dim / 2], "data"),
      sin: gpu.alloc("vision sin", [P, block.head_dim / 2], "data"),
      rows: gpu.tensor("vision table rows", [P], Uint32Array.from({ length: P }, (_, i) => i)),
    });
    const tokens = (): number => this.#patches;
    const context = (index: number): SequenceContext => ({
      config: block,
      tokens,
      positions: this.#inputs.rows,
      segments: v.fullatt_block_indexes.includes(index) ? this.#inputs.images : this.#inputs.windows,
      cos: this.#inputs.cos,
      sin: this.#inputs.sin,
    });
    const trainsTower = options.train === true && parameters.trains("vision_tower");
    const trains = trainsTower || (options.train === true && parameters.trains("merger"));

    const layers = Array.from({ length: v.depth }, (_, i) => new LayerWeights(parameters, i, NAMES));
    const keep = trainsTower && !options.recompute;
    const sets: LayerActivations[] = [own(allocActivations(gpu, block, P))];
    while (keep && sets.length < v.depth) sets.push(own(allocActivations(gpu, block, P)));
    const activations = (i: number): LayerActivations => sets[i % sets.length];
    // Without a backward pass through the blocks two buffers take turns.
    const xs = this.#hidden = own(Array.from(
      { length: trainsTower ? v.depth + 1 : 2 },
      (_, i) => gpu.alloc(`vision block input ${i}`, [P, v.hidden_size], "activation"),
    ));
    const x = (i: number): Tensor => xs[i % xs.length];
    const merger = this.#merger = new VisionMerger(gpu, parameters, v, P, tokens);
    this.embeddings = merger.output;
    const patch = parameters.get("visual.patch_embed.proj.weight");
    const patchShape = { tokens, inputs: patchWidth(v), outputs: v.hidden_size };

    const forward = new Program(gpu, "vision forward", { once: true });
    addLinear(forward, { x: this.#inputs.pixels, weight: patch.operand, y: x(0) }, patchShape);
    layers.forEach((layer, i) =>
      recordLayerForward(forward, context(i), layer, x(i), activations(i), x(i + 1))
    );
    merger.recordForward(forward, x(v.depth));
    this.programs = { forward };
    if (!trains) return;

    const backward = new Program(gpu, "vision backward", { once: true });
    this.programs = { forward, backward };
    const { dout } = own({
      dout: gpu.alloc("scratch dembeddings", [P / perGroup, v.out_hidden_size], "scratch"),
    });
    this.gradient = dout;
    if (!trainsTower) {
      merger.recordBackward(backward, x(v.depth), dout, undefined);
      return;
    }
    const { dx } = own({ dx: gpu.alloc("scratch vision dx", [P, v.hidden_size], "scratch") });
    this.#dx = dx;
    merger.recordBackward(backward, x(v.depth), dout, dx);
    const scratch = own(allocScratch(gpu, block, P));
    for (let i = v.depth - 1; i >= 0; i--) {
      if (!keep) {
        recordLayerForward(backward, context(i), layers[i], x(i), activations(i), undefined);
      }
      recordLayerBackward(backward, context(i), layers[i], x(i), activations(i), scratch, dx);
    }
    if (patch.gradient) {
      const product = { dy: dx, x: this.#inputs.pixels, dweight: patch.gradient };
      addLinearBackwardWeight(backward, product, patchShape);
    }
  }

  /**
   * Sends pictures to the GPU, in the order in which their tokens stand in the text.
   * @throws RangeError for more patches than the capacity or values that do not fit a grid; UserError for a grid that is
   * not supported
   */
  load(images: readonly ImagePatches[]): void {
    const { gpu } = this.model;
    const batch = packImages(images, this.#config);
    if (batch.patches > this.capacity) {
      throw new RangeError(
        `${images.length} pictures of ${batch.patches} patches exceed this graph (${this.capacity} patches)`,
      );
    }
    this.#patches = batch.patches;
    this.#order = batch.order;
    gpu.write(this.#inputs.pixels, batch.pixels);
    gpu.write(this.#inputs.windows, batch.windows);
    gpu.write(this.#inputs.images, batch.images);
    gpu.write(this.#inputs.cos, batch.cos);
    gpu.write(this.#inputs.sin, batch.sin);
  }

  /** Patches and image tokens of the loaded pictures. */
  get size(): { readonly patches: number; readonly tokens: number } {
    return { patches: this.#patches, tokens: this.#order.length };
  }

  /** [G] the row of {@link embeddings} of every image token, in the order of the text. */
  get order(): Uint32Array<ArrayBuffer> {
    return this.#order;
  }

  /** Submits the forward pass of the loaded pictures. */
  forward(): Promise<void> {
    return this.programs.forward.run();
  }

  /** Submits the backward pass from {@link gradient}; gradients accumulate in the parameters. Follows its own forward. */
  backward(): Promise<void> {
    if (!this.programs.backward) throw new Error("nothing in this vision tower is trained");
    // The merger's norm adds to dx: it starts from zero.
    if (this.#dx) this.model.gpu.clear(this.#dx);
    return this.programs.backward.run();
  }

  /** Input of block `index` [P, Hv] of the last forward pass in window order, for checks; all stand when the tower is trained. */
  blockInput(index: number): Tensor {
    return this.#hidden[index];
  }

  /** Gives the memory back; the model stays. */
  free(): void {
    this.programs.forward.destroy();
    this.programs.backward?.destroy();
    this.#merger.free();
    for (const tensor of this.#owned) this.model.gpu.pool.free(tensor);
    this.#owned = [];
  }
}
