/**
 * The model over packed sequences: forward to log-probabilities and entropies, backward from two scalars a row to the
 * gradient of every parameter. Recorded once for a capacity, replayed for every batch that fits. With a capacity for
 * patches, pictures run through the vision tower and take the places of their image tokens.
 * @module
 */
import { Program } from "../gpu/program.ts";
import { rowWindows, type Tensor } from "../gpu/tensor.ts";
import { addEmbedding, embeddingBackward, embeddingPlan } from "../shaders/embedding.ts";
import { kvWrite, kvWriteHalf } from "../shaders/kv_cache.ts";
import { rmsnormForward } from "../shaders/rmsnorm.ts";
import { gatherRows, NO_ROW, scatterRows } from "../shaders/rows.ts";
import type { CausalLM } from "./causal_lm.ts";
import { Head, type HeadRows } from "./head.ts";
import { ImageStream, textIds } from "./image_stream.ts";
import type { KvCache } from "./kv_cache.ts";
import {
  allocActivations,
  allocScratch,
  type LayerActivations,
  LayerWeights,
  recordLayerBackward,
  recordLayerForward,
  recordNormBackward,
  type SequenceContext,
} from "./layer.ts";
import type { PackedBatch } from "./packed_batch.ts";
import { type ValueHead, valueScratch } from "./value_head.ts";
import type { VisionTower } from "./vision_tower.ts";

/** How large a graph is and what it keeps. */
export interface GraphOptions {
  /** Capacity in tokens. */
  readonly tokens: number;
  /** Capacity in scored rows; `tokens` by default. */
  readonly rows?: number;
  /** Whether a backward pass is recorded; the model must be trainable. */
  readonly train?: boolean;
  /** Keep block inputs only and recompute each block in the backward pass: memory for about a third more time. */
  readonly recompute?: boolean;
  /** Capacity in patches of pictures; 0 by default, which takes text only. */
  readonly patches?: number;
  /** Keys and values of every token go to its row of this cache, see {@link SequenceGraph.cacheRows}. */
  readonly cache?: KvCache;
  /**
   * A frozen model's graph of the same capacity, whose exact KL goes into `result` and whose `dkl` into the gradient. It is
   * given the same batch, and its forward pass goes first.
   */
  readonly reference?: SequenceGraph;
  /** Gives `values`, and takes `dvalues` into the gradient. */
  readonly valueHead?: ValueHead;
}

/** Forward and backward of a model for batches up to a capacity. */
export class SequenceGraph {
  /** The model whose weights and gradients are used. */
  readonly model: CausalLM;
  /** Capacity in tokens. */
  readonly capacity: number;
  /** [rows, 4]: log-probability of the target, exact entropy (nats), log-sum-exp, exact KL to the reference (0 without). */
  readonly result: Tensor;
  /** [rows] ∂L/∂logp, to be set before {@link backward}. */
  readonly dlogp: Tensor;
  /** [rows] ∂L/∂H; zero unless it is set. */
  readonly dentropy: Tensor;
  /** [rows] ∂L/∂KL to the reference; read with one, zero unless it is set. */
  readonly dkl: Tensor;
  /** [rows] the value head's values: what is expected before the row's target is known; there with a value head. */
  readonly values?: Tensor;
  /** [rows] ∂L/∂values, to be set before {@link backward}; there with a value head. */
  readonly dvalues?: Tensor;
  /** [rows, hidden] what the head reads: the scored rows of `normed`. */
  readonly headInput: Tensor;
  /** [tokens, hidden] after the final norm. */
  readonly normed: Tensor;
  /** Logits are divided by this before the softmax. */
  temperature = 1;
  /** [tokens] cache row of every token, to be set after `load`; there with a cache. */
  readonly cacheRows?: Tensor;
  /** The tower, where the graph takes pictures. */
  readonly vision?: VisionTower;
  /** Forward and backward programs without the tower's, for profiling. */
  readonly programs: { readonly forward: Program; readonly backward?: Program };
  #tokens = 0;
  #rows = 0;
  #unique = 0;
  #owned: Tensor[] = [];
  #inputs: Record<
    "ids" | "positions" | "segments" | "rows" | "inverse" | "targets" | "order" | "starts" | "unique",
    Tensor
  >;
  #hidden: Tensor[];
  #dx: Tensor | undefined;
  #head: Head;
  #images: ImageStream | undefined;

  /** Takes the memory and records both passes. */
  constructor(model: CausalLM, options: GraphOptions) {
    const { gpu, config: c } = model;
    const T = options.tokens;
    const R = options.rows ?? T;
    this.model = model;
    this.capacity = T;
    const data = (name: string, shape: number[]) => this.#own(gpu.alloc(name, shape, "data", "u32"));
    const activation = (name: string, shape: number[]) => this.#own(gpu.alloc(name, shape, "activation"));
    this.#inputs = {
      ids: data("ids", [T]),
      positions: data("positions", [T]),
      segments: data("segments", [T, 2]),
      rows: data("rows", [R]),
      inverse: data("inverse rows", [T]),
      targets: data("targets", [R]),
      order: data("embedding order", [T]),
      starts: data("embedding starts", [T + 1]),
      unique: data("embedding ids", [T]),
    };
    const images = options.patches
      ? new ImageStream(model, T, { ...options, patches: options.patches })
      : undefined;
    this.#images = images;
    this.vision = images?.tower;
    this.result = activation("head result", [R, 4]);
    this.dlogp = activation("dlogp", [R]);
    this.dentropy = activation("dentropy", [R]);
    this.dkl = activation("dkl", [R]);
    gpu.clear(this.dentropy, this.dkl);
    const { valueHead } = options;
    if (valueHead) {
      this.values = activation("values", [R]);
      this.dvalues = activation("dvalues", [R]);
    }
    const ctx: SequenceContext = {
      config: c,
      tokens: () => this.#tokens,
      positions: this.#inputs.positions,
      segments: this.#inputs.segments,
      cos: images?.cos ?? model.cos,
      sin: images?.sin ?? model.sin,
    };
    const layers = Array.from(
      { length: c.num_hidden_layers },
      (_, i) => new LayerWeights(model.parameters, i),
    );
    const own = <A extends object>(set: A): A => {
      for (const tensor of Object.values(set)) this.#own(tensor as Tensor);
      return set;
    };
    const perLayer = options.train === true && !options.recompute;
    const sets: LayerActivations[] = [own(allocActivations(gpu, c, T))];
    while (perLayer && sets.length < layers.length) sets.push(own(allocActivations(gpu, c, T)));
    const activations = (i: number) => sets[i % sets.length];
    // Without a backward pass two buffers take turns.
    const streams = options.train ? layers.length + 1 : 2;
    const xs = Array.from({ length: streams }, (_, i) => activation(`block input ${i}`, [T, c.hidden_size]));
    const x = (i: number) => xs[i % xs.length];
    this.#hidden = xs;
    const normed = activation("final normed", [T, c.hidden_size]);
    const rstd = activation("final rstd", [T]);
    const picked = activation("head input", [R, c.hidden_size]);
    this.headInput = picked;
    const { reference } = options;
    if (reference && reference.dlogp.size < R) {
      throw new RangeError(`the reference's graph takes ${reference.dlogp.size} rows, this one ${R}`);
    }
    const head = this.#head = new Head(gpu, model.headWeight, R);
    this.normed = normed;
    const rows: HeadRows = {
      rows: () => this.#rows,
      hidden: picked,
      targets: this.#inputs.targets,
      result: this.result,
      temperature: () => this.temperature,
      reference: reference && {
        weight: reference.model.headWeight,
        hidden: reference.headInput,
        result: reference.result,
        dkl: this.dkl,
      },
    };

    const width = c.hidden_size;
    const embedding = model.parameters.get("model.embed_tokens.weight");
    const forward = new Program(gpu, "forward", { once: true });
    addEmbedding(forward, { ids: this.#inputs.ids, weight: embedding.operand, y: x(0) }, ctx.tokens);
    images?.recordForward(forward, x(0), ctx.tokens);
    const { cache } = options;
    if (cache) this.cacheRows = data("cache rows", [T]);
    layers.forEach((layer, i) => {
      // What fills a cache has no backward pass. Other graphs score what is trained on: by the products that train.
      const fused = cache !== undefined && !options.train;
      recordLayerForward(forward, ctx, layer, x(i), activations(i), x(i + 1), fused);
      if (!cache) return;
      const { keys, values } = cache.layers[i];
      const tensors = { qkv: activations(i).qkv, rows: this.cacheRows!, k_cache: keys, v_cache: values };
      forward.add(cache.half ? kvWriteHalf : kvWrite, tensors, {
        tokens: ctx.tokens,
        heads: c.num_attention_heads,
        kv_heads: c.num_key_value_heads,
        head_dim: c.head_dim,
      });
    });
    const last = x(layers.length);
    const norm = model.parameters.get("model.norm.weight");
    forward.add(rmsnormForward, { x: last, weight: norm.weight, y: normed, rstd }, {
      tokens: ctx.tokens,
      width,
      eps: c.rms_norm_eps,
    });
    forward.add(gatherRows, { x: normed, index: this.#inputs.rows, y: picked }, { rows: rows.rows, width });
    head.recordForward(forward, rows);
    valueHead?.recordForward(forward, { hidden: picked, values: this.values! }, rows.rows);

    let backward: Program | undefined;
    if (options.train) {
      backward = new Program(gpu, "backward", { once: true });
      const scratch = own(allocScratch(gpu, c, T));
      const dpicked = this.#own(gpu.alloc("scratch dhead", [R, width], "scratch"));
      const dnormed = scratch.dnormed;
      const dx = this.#own(gpu.alloc("scratch dx", [T, width], "scratch"));
      this.#dx = dx;
      head.recordBackward(backward, rows, this.dlogp, this.dentropy, dpicked);
      valueHead?.recordBackward(backward, {
        hidden: picked,
        dvalues: this.dvalues!,
        dhidden: dpicked,
        partial: this.#own(gpu.alloc("scratch value partial", [valueScratch(R)], "scratch")),
      }, () => this.#rows);
      backward.add(scatterRows, { dy: dpicked, inverse: this.#inputs.inverse, dx: dnormed }, {
        rows: ctx.tokens,
        width,
      });
      recordNormBackward(backward, ctx, { dy: dnormed, x: last, rstd, dx, partial: scratch.partial }, norm);
      for (let i = layers.length - 1; i >= 0; i--) {
        if (!perLayer) recordLayerForward(backward, ctx, layers[i], x(i), activations(i), undefined);
        recordLayerBackward(backward, ctx, layers[i], x(i), activations(i), scratch, dx);
      }
      images?.recordBackward(backward, dx);
      if (embedding.gradient) {
        for (const w of rowWindows(embedding.gradient, gpu.device.limits.maxStorageBufferBindingSize)) {
          backward.add(embeddingBackward, {
            order: this.#inputs.order,
            starts: this.#inputs.starts,
            unique: this.#inputs.unique,
            dy: dx,
            dweight: w.tensor,
          }, { unique: () => this.#unique, width, first_row: w.first, rows: w.rows });
        }
      }
    }
    this.programs = { forward, backward };
  }

  /**
   * Sends a batch to the GPU.
   * @throws RangeError for a batch beyond the capacity, an id outside the vocabulary, a position beyond the context;
   * UserError when the image tokens in the text are not those of the pictures
   */
  load(batch: PackedBatch): void {
    const { gpu, config } = this.model;
    const T = batch.ids.length;
    if (T > this.capacity || batch.rows.length > this.dlogp.size) {
      throw new RangeError(
        `a batch of ${T} tokens and ${batch.rows.length} rows exceeds this graph (${this.capacity} tokens, ${this.dlogp.size} rows)`,
      );
    }
    // The kernels read past their tables without an error: a foreign id would keep what an earlier batch left behind.
    const foreign = batch.ids.findIndex((id) => id >= config.vocab_size);
    if (foreign >= 0) {
      throw new RangeError(
        `token ${foreign}: id ${batch.ids[foreign]} is outside the vocabulary of ${config.vocab_size}`,
      );
    }
    const far = batch.positions.find((position) => position >= config.max_position_embeddings);
    if (far !== undefined) {
      throw new RangeError(
        `position ${far} is beyond max_position_embeddings = ${config.max_position_embeddings}: shorten the sequence`,
      );
    }
    const embedded = this.#images?.load(batch) ?? textIds(this.model, batch);
    this.#tokens = T;
    this.#rows = batch.rows.length;
    const inverse = new Uint32Array(T).fill(NO_ROW);
    batch.rows.forEach((token, row) => inverse[token] = row);
    gpu.write(this.#inputs.ids, embedded);
    gpu.write(
      this.#inputs.positions,
      this.#images ? Uint32Array.from({ length: T }, (_, t) => t) : batch.positions,
    );
    gpu.write(this.#inputs.segments, batch.segments);
    gpu.write(this.#inputs.rows, batch.rows);
    gpu.write(this.#inputs.targets, batch.targets);
    if (!this.programs.backward) return;
    const plan = embeddingPlan(embedded);
    this.#unique = plan.unique.length;
    gpu.write(this.#inputs.inverse, inverse);
    gpu.write(this.#inputs.order, plan.order);
    gpu.write(this.#inputs.starts, plan.starts);
    gpu.write(this.#inputs.unique, plan.unique);
  }

  /** Tokens and scored rows of the loaded batch. */
  get size(): { readonly tokens: number; readonly rows: number } {
    return { tokens: this.#tokens, rows: this.#rows };
  }

  /** Submits the forward pass of the loaded batch; `result` holds it once the GPU is done. */
  async forward(): Promise<void> {
    if (this.vision && this.vision.size.patches > 0) await this.vision.forward();
    await this.programs.forward.run();
  }

  /** Submits the backward pass from `dlogp` and `dentropy`; gradients accumulate in the parameters. Follows its own forward. */
  backward(): Promise<void> {
    const { backward } = this.programs;
    if (!backward || !this.#dx) throw new Error("this graph was made without `train`");
    return this.#backward(backward, this.#dx);
  }

  async #backward(program: Program, dx: Tensor): Promise<void> {
    const pictures = this.vision?.gradient !== undefined && this.vision.size.patches > 0;
    // With the language model frozen a batch of text alone has nothing to give.
    if (!pictures && !this.model.parameters.trains("language_model")) return;
    // The final norm's backward adds to dx: it starts from zero.
    this.model.gpu.clear(dx);
    await program.run();
    if (pictures) await this.vision!.backward();
  }

  /** Input of block `index` [tokens, hidden] of the last forward pass, for checks; every one stands only with `train`. */
  blockInput(index: number): Tensor {
    return this.#hidden[index];
  }

  /** Gives the memory back; the model stays. */
  free(): void {
    this.programs.forward.destroy();
    this.programs.backward?.destroy();
    this.#images?.free();
    this.#head.free();
    for (const tensor of this.#owned) this.model.gpu.pool.free(tensor);
    this.#owned = [];
  }

  #own(tensor: Tensor): Tensor {
    this.#owned.push(tensor);
    return tensor;
  }
}
