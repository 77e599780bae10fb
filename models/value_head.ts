/**
 * A value head on a model's final hidden states: V = h · wᵀ + b, one number a scored row, for GAE. The name and the shape
 * of its parameters are TRL's (`AutoModelForCausalLMWithValueHead`); it starts at zero, so that the first advantages are
 * those without a baseline.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import type { Dim, Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { addLinear, addLinearBackwardInput, addLinearBackwardWeight } from "../shaders/linear.ts";
import { PARTIAL_TOKENS, recordBias } from "./layer.ts";
import { type Parameter, Parameters } from "./parameters.ts";

const WEIGHT = "v_head.summary.weight";
const BIAS = "v_head.summary.bias";

/** Weights of a value head; the graph that runs it holds its values. */
export class ValueHead {
  /** `v_head.summary.weight` [1, hidden] and `v_head.summary.bias` [1], both trained. */
  readonly parameters: Parameters;
  #weight: Parameter;
  #bias: Parameter;
  #width: number;

  private constructor(parameters: Parameters) {
    this.parameters = parameters;
    this.#weight = parameters.get(WEIGHT);
    this.#bias = parameters.get(BIAS);
    this.#width = this.#weight.weight.shape[1];
  }

  /**
   * A head for hidden states of `width` values.
   * @param read gives the values of a parameter; zeros without
   * @throws RangeError when `read` gives too few or too many values
   */
  static async create(
    gpu: Gpu,
    width: number,
    read: (name: string) => Promise<Float32Array> | Float32Array = (name) =>
      new Float32Array(name === WEIGHT ? width : 1),
  ): Promise<ValueHead> {
    const plan = [{ name: WEIGHT, shape: [1, width] }, { name: BIAS, shape: [1] }]
      .map((p) => ({ ...p, slices: [{ ...p, start: 0 }] }));
    return new ValueHead(await Parameters.fill(gpu, plan, read, () => true));
  }

  /** Adds `values [rows] = hidden [rows, width] · wᵀ + b`. */
  recordForward(program: Program, t: { hidden: Tensor; values: Tensor }, rows: Dim): void {
    addLinear(program, {
      x: t.hidden,
      weight: this.#weight.operand,
      bias: this.#bias.weight,
      y: t.values,
    }, this.#shape(rows));
  }

  /**
   * Adds the gradients of both parameters from `dvalues` [rows], and `dhidden [rows, width] += dvalues · w`.
   * @param t `partial` is scratch of [⌈rows / {@link PARTIAL_TOKENS}⌉]
   */
  recordBackward(
    program: Program,
    t: { hidden: Tensor; dvalues: Tensor; dhidden: Tensor; partial: Tensor },
    rows: () => number,
  ): void {
    const { hidden: x, dvalues: dy, dhidden: dx, partial } = t;
    const shape = this.#shape(rows);
    addLinearBackwardInput(program, { dy, weight: this.#weight.operand, dx }, shape, true);
    addLinearBackwardWeight(program, { dy, x, dweight: this.#weight.gradient! }, shape);
    recordBias(program, rows, dy, this.#bias, partial);
  }

  #shape(rows: Dim) {
    return { tokens: rows, inputs: this.#width, outputs: 1 };
  }
}

/** Elements of the scratch that {@link ValueHead.recordBackward} takes for up to `rows` rows. */
export function valueScratch(rows: number): number {
  return Math.ceil(rows / PARTIAL_TOKENS);
}
