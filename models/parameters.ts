/**
 * The weights on the GPU. Projections that read the same input are stored as one matrix (q, k and v; gate and up), so
 * that one product serves them; their Hugging Face names are slices of it.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import { elements, type Tensor } from "../gpu/tensor.ts";
import { type ModelConfig, parameterShapes } from "./config.ts";

/** A Hugging Face parameter inside a stored tensor. */
export interface Slice {
  /** Hugging Face name. */
  readonly name: string;
  /** Shape in the Hugging Face folder. */
  readonly shape: readonly number[];
  /** First element within the stored tensor. */
  readonly start: number;
}

/** One tensor of weights, with its gradient when it is trained. */
export interface Parameter {
  /** The Hugging Face name, or that of the fused projection (`…qkv_proj…`, `…gate_up_proj…`). */
  readonly name: string;
  /** The values. */
  readonly weight: Tensor;
  /** What the model reads: `weight`, or its copy in f16, which an update renews. */
  readonly operand: Tensor;
  /** Same shape as `weight`; accumulated into by the backward pass. */
  readonly gradient?: Tensor;
  /** The Hugging Face parameters in it, in order. */
  readonly slices: readonly Slice[];
}

/** A named array in the host's memory. */
export interface NamedArray {
  /** Hugging Face name. */
  readonly name: string;
  /** Row-major shape. */
  readonly shape: number[];
  /** The values. */
  readonly data: Float32Array;
}

/** Projections that are stored together, in the order in which the kernels expect them. */
const FUSED: readonly { readonly parts: readonly string[]; readonly stored: string }[] = [
  { parts: ["q_proj", "k_proj", "v_proj"], stored: "qkv_proj" },
  { parts: ["gate_proj", "up_proj"], stored: "gate_up_proj" },
];

/** A part of a model that is trained or frozen as a whole. */
export type ModelPart = "vision_tower" | "merger" | "language_model";

/** The part that a parameter belongs to; a text model is all `language_model`. */
export function partOf(name: string): ModelPart {
  if (name.startsWith("visual.merger.")) return "merger";
  return name.startsWith("visual.") ? "vision_tower" : "language_model";
}

/** A stored tensor and the Hugging Face parameters in it. */
export interface Stored {
  /** See {@link Parameter.name}. */
  readonly name: string;
  /** Shape of the stored tensor. */
  readonly shape: number[];
  /** In order, without gaps. */
  readonly slices: readonly Slice[];
}

/** Which parameters are stored together, and where each lies within. */
export function storagePlan(config: ModelConfig): Stored[] {
  const shapes = parameterShapes(config);
  const plan: (Stored & { slices: Slice[] })[] = [];
  for (const [name, shape] of shapes) {
    const fused = FUSED.find(({ parts }) => parts.some((part) => name.includes(`.${part}.`)));
    if (!fused) {
      plan.push({ name, shape: [...shape], slices: [{ name, shape, start: 0 }] });
      continue;
    }
    const [first, ...rest] = fused.parts;
    if (!name.includes(`.${first}.`)) continue;
    const entry = {
      name: name.replace(first, fused.stored),
      shape: [...shape],
      slices: [{ name, shape: [...shape], start: 0 }],
    };
    for (const part of rest) {
      const slice = { name: name.replace(first, part), shape: shapes.get(name.replace(first, part))! };
      entry.slices.push({ ...slice, start: elements(entry.shape) });
      entry.shape[0] += slice.shape[0];
    }
    plan.push(entry);
  }
  return plan;
}

/** Tables of the vocabulary: their products have logits on one side, whose rows are padded to fours. */
const PADDED = /(embed_tokens|lm_head)\.weight$/;

/** Whether the model reads a tensor in f16 where products take rounded operands: matrices whose products go by fours. */
function halves({ traits }: Gpu, { name, shape }: Stored): boolean {
  const [rows] = shape;
  const fours = elements(shape) / rows % 4 === 0 && (rows % 4 === 0 || PADDED.test(name));
  return traits.precision === "float16" && shape.length > 1 && fours;
}

/** All weights of one model. */
export class Parameters {
  /** Every stored tensor, in the order of the model. */
  readonly list: readonly Parameter[];
  #gpu: Gpu;
  #byName: Map<string, Parameter>;

  private constructor(gpu: Gpu, list: Parameter[]) {
    this.#gpu = gpu;
    this.list = list;
    this.#byName = new Map(list.map((p) => [p.name, p]));
  }

  /**
   * Allocates the weights and fills them, one Hugging Face tensor at a time. In precision `float16` the model reads
   * its matrices in f16; where nothing is trained they stand in memory only so, which is then what {@link weights} gives.
   * @param read gives the values of a parameter, row-major
   * @param trainable the parts that get gradients; true for all, false for none
   * @throws RangeError when `read` gives too few or too many values
   */
  static async load(
    gpu: Gpu,
    config: ModelConfig,
    read: (name: string, shape: readonly number[]) => Promise<Float32Array> | Float32Array,
    trainable: boolean | readonly ModelPart[],
  ): Promise<Parameters> {
    const trained = (name: string): boolean =>
      typeof trainable === "boolean" ? trainable : trainable.includes(partOf(name));
    return await Parameters.fill(gpu, storagePlan(config), read, trained);
  }

  /**
   * As {@link load}, for a plan of one's own.
   * @param trained whether a stored tensor gets a gradient
   * @throws RangeError when `read` gives too few or too many values
   */
  static async fill(
    gpu: Gpu,
    plan: readonly Stored[],
    read: (name: string, shape: readonly number[]) => Promise<Float32Array> | Float32Array,
    trained: (name: string) => boolean,
  ): Promise<Parameters> {
    const list: Parameter[] = [];
    // Of a model that is trained in part all weights are saved, as they were read.
    const exact = plan.some(({ name }) => trained(name));
    for (const stored of plan) {
      const { name, shape, slices } = stored;
      const half = halves(gpu, stored);
      const weight = gpu.alloc(name, shape, "parameter", half && !exact ? "f16" : "f32");
      const operand = half && exact ? gpu.alloc(`${name} (f16)`, shape, "parameter", "f16") : weight;
      for (const slice of slices) {
        const values = await read(slice.name, slice.shape);
        // A short or long array would pass unseen inside a fused tensor.
        if (values.length !== elements(slice.shape)) {
          throw new RangeError(
            `${slice.name} [${slice.shape.join(" x ")}] cannot hold ${values.length} values`,
          );
        }
        gpu.write(weight, values, slice.start);
        if (operand !== weight) gpu.write(operand, values, slice.start);
      }
      const gradient = trained(name) ? gpu.alloc(`${name}.grad`, shape, "gradient") : undefined;
      if (gradient) gpu.clear(gradient);
      list.push({ name, weight, operand, gradient, slices });
    }
    return new Parameters(gpu, list);
  }

  /** These and those of `other` as one set; the tensors are shared, and either set gives its own back. */
  with(other: Parameters): Parameters {
    return new Parameters(this.#gpu, [...this.list, ...other.list]);
  }

  /** A copy of what the model reads, without gradients. */
  frozenCopy(): Parameters {
    const list = this.list.map(({ name, operand, slices }) => {
      const weight = this.#gpu.alloc(`${name} (frozen)`, operand.shape, "parameter", operand.dtype);
      return { name, weight, operand: weight, slices };
    });
    const copy = new Parameters(this.#gpu, list);
    copy.copyFrom(this);
    return copy;
  }

  /**
   * Overwrites a frozen copy's weights with those of a model of the same config.
   * @throws GpuError where one of the two stands in f16 and the other does not
   */
  copyFrom(other: Parameters): void {
    this.#gpu.copy(...this.list.map((p, i): [Tensor, Tensor] => [other.list[i].operand, p.weight]));
  }

  /** The stored parameter of that name, or undefined (a bias that the architecture does not have). */
  find(name: string): Parameter | undefined {
    return this.#byName.get(name);
  }

  /** The stored parameter of that name. */
  get(name: string): Parameter {
    const p = this.#byName.get(name);
    if (!p) throw new Error(`no parameter ${name}`);
    return p;
  }

  /** Whether any parameter of the part has a gradient. */
  trains(part: ModelPart): boolean {
    return this.list.some((p) => p.gradient !== undefined && partOf(p.name) === part);
  }

  /** Number of weights. */
  get count(): number {
    return this.list.reduce((n, p) => n + p.weight.size, 0);
  }

  /** The weights under their Hugging Face names, read back one stored tensor at a time. */
  weights(): AsyncGenerator<NamedArray> {
    return this.#slices((p) => p.weight);
  }

  /** The accumulated gradients under their Hugging Face names. */
  gradients(): AsyncGenerator<NamedArray> {
    return this.#slices((p) => p.gradient);
  }

  /** Zeroes the gradients. */
  clearGradients(): void {
    this.#gpu.clear(...this.list.flatMap((p) => p.gradient ? [p.gradient] : []));
  }

  /** Gives the memory back. */
  free(): void {
    for (const p of this.list) {
      this.#gpu.pool.free(p.weight);
      if (p.operand !== p.weight) this.#gpu.pool.free(p.operand);
      if (p.gradient) this.#gpu.pool.free(p.gradient);
    }
  }

  async *#slices(pick: (p: Parameter) => Tensor | undefined): AsyncGenerator<NamedArray> {
    for (const p of this.list) {
      const tensor = pick(p);
      if (!tensor) continue;
      const all = await this.#gpu.readF32(tensor);
      for (const s of p.slices) {
        yield { name: s.name, shape: [...s.shape], data: all.subarray(s.start, s.start + elements(s.shape)) };
      }
    }
  }
}
