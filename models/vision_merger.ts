/**
 * The merger between vision tower and language model: RMSNorm of every patch, the patches of a merge group side by side,
 * two products with an exact GELU between them; forward and its hand-written backward. After `Qwen2_5_VLPatchMerger`.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import type { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { geluBackward, geluForward } from "../shaders/gelu.ts";
import { addLinear, addLinearBackwardInput, addLinearBackwardWeight } from "../shaders/linear.ts";
import { rmsnormForward } from "../shaders/rmsnorm.ts";
import { PARTIAL_TOKENS, recordBias, recordNormBackward } from "./layer.ts";
import type { Parameter, Parameters } from "./parameters.ts";
import { visionBlock, type VisionConfig } from "./vision_config.ts";

/** The merger for up to `patches` patches: P patches, G = P / merge² groups, Hv the tower's width, W = merge² · Hv. */
export class VisionMerger {
  /** [G, hidden] */
  readonly output: Tensor;
  #gpu: Gpu;
  #config: VisionConfig;
  #patches: () => number;
  #capacity: number;
  #norm: Parameter;
  #up: { weight: Parameter; bias: Parameter };
  #down: { weight: Parameter; bias: Parameter };
  /** [P, Hv], read as [G, W]. */
  #normed: Tensor;
  /** [P] */
  #rstd: Tensor;
  /** [G, W] before GELU. */
  #inner: Tensor;
  /** [G, W] after GELU. */
  #active: Tensor;
  #owned: Tensor[] = [];

  /** @param capacity Most patches, a multiple of merge². @param patches Those of the batch at hand. */
  constructor(gpu: Gpu, parameters: Parameters, v: VisionConfig, capacity: number, patches: () => number) {
    const linear = (index: number): { weight: Parameter; bias: Parameter } => ({
      weight: parameters.get(`visual.merger.mlp.${index}.weight`),
      bias: parameters.get(`visual.merger.mlp.${index}.bias`),
    });
    this.#gpu = gpu;
    this.#config = v;
    this.#patches = patches;
    this.#capacity = capacity;
    this.#norm = parameters.get("visual.merger.ln_q.weight");
    this.#up = linear(0);
    this.#down = linear(2);
    this.#normed = this.#alloc("normed", capacity, v.hidden_size, "activation");
    this.#rstd = this.#alloc("rstd", capacity, 1, "activation");
    this.#inner = this.#alloc("inner", this.#groups(capacity), this.#wide, "activation");
    this.#active = this.#alloc("active", this.#groups(capacity), this.#wide, "activation");
    this.output = this.#alloc("output", this.#groups(capacity), v.out_hidden_size, "activation");
  }

  /** Records `output` from the last block's output `x` [P, Hv]. */
  recordForward(program: Program, x: Tensor): void {
    const { up, down, groups } = this.#shapes();
    program.add(
      rmsnormForward,
      { x, weight: this.#norm.weight, y: this.#normed, rstd: this.#rstd },
      {
        tokens: this.#patches,
        width: this.#config.hidden_size,
        eps: visionBlock(this.#config).rms_norm_eps,
      },
    );
    addLinear(
      program,
      { x: this.#normed, weight: this.#up.weight.operand, bias: this.#up.bias.weight, y: this.#inner },
      up,
    );
    program.add(geluForward, { x: this.#inner, y: this.#active }, { tokens: groups, width: this.#wide });
    addLinear(
      program,
      { x: this.#active, weight: this.#down.weight.operand, bias: this.#down.bias.weight, y: this.output },
      down,
    );
  }

  /**
   * Records the gradients from `dout` [G, hidden], ∂L/∂output: parameter gradients accumulate.
   * @param x What {@link recordForward} read.
   * @param dx [P, Hv], added to; left out when the tower is frozen.
   */
  recordBackward(program: Program, x: Tensor, dout: Tensor, dx: Tensor | undefined): void {
    const { up, down, groups } = this.#shapes();
    const capacity = this.#groups(this.#capacity);
    const dactive = this.#alloc("dactive", capacity, this.#wide, "scratch");
    const dinner = this.#alloc("dinner", capacity, this.#wide, "scratch");
    const dnormed = this.#alloc("dnormed", this.#capacity, this.#config.hidden_size, "scratch");
    const partial = this.#alloc(
      "partial sums",
      Math.ceil(this.#capacity / PARTIAL_TOKENS),
      Math.max(this.#wide, this.#config.out_hidden_size),
      "scratch",
    );
    const weightGradient = (dy: Tensor, input: Tensor, p: Parameter, shape: typeof up): void => {
      if (p.gradient) addLinearBackwardWeight(program, { dy, x: input, dweight: p.gradient }, shape);
    };
    weightGradient(dout, this.#active, this.#down.weight, down);
    recordBias(program, groups, dout, this.#down.bias, partial);
    addLinearBackwardInput(program, { dy: dout, weight: this.#down.weight.operand, dx: dactive }, down);
    program.add(geluBackward, { x: this.#inner, dy: dactive, dx: dinner }, {
      tokens: groups,
      width: this.#wide,
    });
    weightGradient(dinner, this.#normed, this.#up.weight, up);
    recordBias(program, groups, dinner, this.#up.bias, partial);
    addLinearBackwardInput(program, { dy: dinner, weight: this.#up.weight.operand, dx: dnormed }, up);
    recordNormBackward(
      program,
      { config: visionBlock(this.#config), tokens: this.#patches },
      { dy: dnormed, x, rstd: this.#rstd, dx, partial },
      this.#norm,
    );
  }

  /** Gives the memory back. */
  free(): void {
    for (const tensor of this.#owned) this.#gpu.pool.free(tensor);
    this.#owned = [];
  }

  get #wide(): number {
    return this.#config.hidden_size * this.#config.spatial_merge_size ** 2;
  }

  #groups(patches: number): number {
    return patches / this.#config.spatial_merge_size ** 2;
  }

  #shapes() {
    const groups = (): number => this.#groups(this.#patches());
    return {
      groups,
      up: { tokens: groups, inputs: this.#wide, outputs: this.#wide },
      down: { tokens: groups, inputs: this.#wide, outputs: this.#config.out_hidden_size },
    };
  }

  #alloc(name: string, rows: number, width: number, memory: "activation" | "scratch"): Tensor {
    const tensor = this.#gpu.alloc(`merger ${name}`, [rows, width], memory);
    this.#owned.push(tensor);
    return tensor;
  }
}
