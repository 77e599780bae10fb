/**
 * AdamW with decoupled weight decay over the parameters of a model, behind a global gradient norm that is clipped and
 * checked: an update whose gradient is not finite never reaches the weights.
 * @module
 */
import type { Gpu, HostArray } from "../gpu/device.ts";
import { Program } from "../gpu/program.ts";
import { type Tensor, view } from "../gpu/tensor.ts";
import type { NamedArray, Parameter, Parameters } from "../models/parameters.ts";
import { adamw, adamwHalf } from "../shaders/adamw.ts";
import { gradNormFinish, partialsOf, sumOfSquares } from "../shaders/grad_norm.ts";

/** AdamW's settings; `lr` may change at every step. */
export interface AdamWOptions {
  /** Learning rate of the next update. */
  lr: number;
  /** Decay of the first and second moment. */
  readonly betas: readonly [number, number];
  /** Added to the root of the second moment. */
  readonly eps: number;
  /** Decoupled decay: weights shrink by lr · weight_decay at each update. */
  readonly weight_decay: number;
  /** Gradients are scaled by min(1, max_grad_norm / (norm + 1e-6)); 0 turns clipping off. */
  readonly max_grad_norm: number;
  /** Parameters among the others that have a learning rate of their own, which may change at every step too. */
  readonly own?: { readonly parameters: Parameters; lr: number };
}

/** What one optimizer step did. */
export interface StepResult {
  /** Global gradient norm before clipping; NaN when it was not finite. */
  readonly gradNorm: number;
  /** False when the gradient was not finite: nothing was changed then. */
  readonly applied: boolean;
  /** Hugging Face names of parameters whose gradient is not finite (at most five), only when not applied. */
  readonly offenders: readonly string[];
  /** Contents of the tensors that were asked for along with the update. */
  readonly read: readonly HostArray[];
}

/** First and second moments of every parameter and the update that uses them. */
export class AdamW {
  /** The settings; `lr` is read at each update. */
  readonly options: AdamWOptions;
  /** Updates applied so far; enters the bias corrections. */
  step = 0;
  #gpu: Gpu;
  #parameters: Parameters;
  #moments: { parameter: Parameter; m: Tensor; v: Tensor; slot: number; parts: number }[] = [];
  #partial: Tensor;
  #norm: Tensor;
  #program: Program;

  /** Moments start at zero. Parameters without a gradient are left alone. */
  constructor(gpu: Gpu, parameters: Parameters, options: AdamWOptions) {
    this.#gpu = gpu;
    this.#parameters = parameters;
    this.options = options;
    let slots = 0;
    for (const parameter of parameters.list) {
      if (!parameter.gradient) continue;
      const { shape, size } = parameter.weight;
      const m = gpu.alloc(`${parameter.name}.exp_avg`, shape, "moment");
      const v = gpu.alloc(`${parameter.name}.exp_avg_sq`, shape, "moment");
      gpu.clear(m, v);
      const parts = this.#windows(size).reduce((n, [, length]) => n + partialsOf(length), 0);
      this.#moments.push({ parameter, m, v, slot: slots, parts });
      slots += parts;
    }
    this.#partial = gpu.alloc("gradient norm partials", [Math.max(1, slots)], "scratch");
    this.#norm = gpu.alloc("gradient norm", [4], "scratch");
    this.#program = this.#record(slots);
  }

  /** The recorded update, for profiling. */
  get program(): Program {
    return this.#program;
  }

  /**
   * The gradient norm and the update; gradients are cleared afterwards. One read-back.
   * @param also tensors to read in the same wait
   * @throws RangeError for a learning rate that is not finite: the gradient's check would not see it, and it would reach
   * every weight
   */
  async update(...also: Tensor[]): Promise<StepResult> {
    const { lr, own } = this.options;
    for (const rate of [lr, own?.lr ?? 0]) {
      if (!Number.isFinite(rate)) throw new RangeError(`step ${this.step + 1}: the learning rate is ${rate}`);
    }
    this.step++;
    await this.#program.run();
    const [norm, ...read] = await this.#gpu.read(this.#norm, ...also);
    const applied = norm[2] === 1;
    let offenders: string[] = [];
    if (!applied) {
      this.step--;
      offenders = await this.#offenders();
    }
    this.#parameters.clearGradients();
    return { gradNorm: applied ? norm[0] : NaN, applied, offenders, read };
  }

  /** The moments under Hugging Face names with the suffixes `.exp_avg` and `.exp_avg_sq`, for a checkpoint. */
  async *state(): AsyncGenerator<NamedArray> {
    for (const { parameter, m, v } of this.#moments) {
      for (const [suffix, tensor] of [[".exp_avg", m], [".exp_avg_sq", v]] as const) {
        const data = await this.#gpu.readF32(tensor);
        for (const s of parameter.slices) {
          const size = s.shape.reduce((a, b) => a * b, 1);
          yield { name: s.name + suffix, shape: [...s.shape], data: data.subarray(s.start, s.start + size) };
        }
      }
    }
  }

  /** Puts back what {@link state} gave. */
  async restore(step: number, read: (name: string) => Promise<Float32Array>): Promise<void> {
    this.step = step;
    for (const { parameter, m, v } of this.#moments) {
      for (const s of parameter.slices) {
        this.#gpu.write(m, await read(`${s.name}.exp_avg`), s.start);
        this.#gpu.write(v, await read(`${s.name}.exp_avg_sq`), s.start);
      }
    }
  }

  /** Gives the memory back. */
  free(): void {
    this.#program.destroy();
    for (const { m, v } of this.#moments) {
      this.#gpu.pool.free(m);
      this.#gpu.pool.free(v);
    }
    this.#gpu.pool.free(this.#partial);
    this.#gpu.pool.free(this.#norm);
    this.#moments = [];
  }

  /** [start, length] of pieces that fit one storage binding. */
  #windows(size: number): [number, number][] {
    // Pieces start where a binding may, of f16 values too.
    const most = Math.floor(this.#gpu.device.limits.maxStorageBufferBindingSize / 512) * 128;
    const list: [number, number][] = [];
    for (let start = 0; start < size; start += most) list.push([start, Math.min(most, size - start)]);
    return list;
  }

  #record(slots: number): Program {
    const program = new Program(this.#gpu, "optimizer", { once: true });
    const { options } = this;
    const piece = (t: Tensor, [start, length]: [number, number]) => view(t, start, [length]);
    for (const { parameter, slot } of this.#moments) {
      let at = slot;
      for (const window of this.#windows(parameter.weight.size)) {
        program.add(sumOfSquares, { g: piece(parameter.gradient!, window), partial: this.#partial }, {
          n: window[1],
          slot: at,
        });
        at += partialsOf(window[1]);
      }
    }
    program.add(gradNormFinish, { partial: this.#partial, result: this.#norm }, {
      parts: slots,
      max_norm: () => options.max_grad_norm,
    });
    const { own } = options;
    for (const { parameter, m, v } of this.#moments) {
      const lr = own?.parameters.find(parameter.name) ? () => own.lr : () => options.lr;
      for (const window of this.#windows(parameter.weight.size)) {
        const tensors = {
          p: piece(parameter.weight, window),
          g: piece(parameter.gradient!, window),
          m: piece(m, window),
          v: piece(v, window),
          norm: this.#norm,
        };
        const dims = {
          n: window[1],
          lr,
          one_minus_beta1: 1 - options.betas[0],
          one_minus_beta2: 1 - options.betas[1],
          eps: options.eps,
          weight_decay: options.weight_decay,
          correction1: () => 1 - options.betas[0] ** this.step,
          correction2: () => 1 - options.betas[1] ** this.step,
        };
        const { weight, operand } = parameter;
        if (operand === weight) program.add(adamw, tensors, dims);
        else program.add(adamwHalf, { ...tensors, half: piece(operand, window) }, dims);
      }
    }
    return program;
  }

  async #offenders(): Promise<string[]> {
    const found: string[] = [];
    for await (const g of this.#parameters.gradients()) {
      if (g.data.some((x) => !Number.isFinite(x))) found.push(g.name);
      if (found.length === 5) break;
    }
    return found;
  }
}
