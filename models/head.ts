/**
 * The language-model head over tiles of the vocabulary: log-probabilities, exact entropies and gradients without ever
 * holding all logits. Cross-entropy is the case where ∂L/∂logp is −1/N.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import type { Dim, Program } from "../gpu/program.ts";
import { type RowWindow, rowWindows, type Tensor } from "../gpu/tensor.ts";
import { fullKlDivergence, fullKlGradient } from "../shaders/full_kl.ts";
import { headGradient, headReduce } from "../shaders/head.ts";
import { addLinear, addLinearBackwardInput, addLinearBackwardWeight } from "../shaders/linear.ts";
import type { Parameter } from "./parameters.ts";

/** Most elements of the logits tile unless a caller says otherwise: 16 MiB. */
const TILE_ELEMENTS = 4 * 1024 * 1024;

/** A frozen model's head over the same rows: what the exact KL is taken to. */
export interface HeadReference {
  /** Its head's weight [vocabulary, hidden]. */
  readonly weight: Parameter;
  /** [R, hidden] its normed hidden states. */
  readonly hidden: Tensor;
  /** [R, 4] its result: the log-sum-exp is read. */
  readonly result: Tensor;
  /** [R] ∂L/∂KL. */
  readonly dkl: Tensor;
}

/** Tensors of the rows at hand; R = capacity in rows. */
export interface HeadRows {
  readonly rows: Dim;
  /** [R, hidden] normed hidden states. */
  readonly hidden: Tensor;
  /** [R] next tokens. */
  readonly targets: Tensor;
  /** [R, 4]: log-probability of the target, entropy, log-sum-exp, KL to the reference (0 without). */
  readonly result: Tensor;
  /** Logits are divided by this before the softmax. */
  readonly temperature: () => number;
  /** Where the exact KL is wanted; its own forward pass goes first. */
  readonly reference?: HeadReference;
}

/** The head of a model for up to `capacity` rows at a time. */
export class Head {
  #gpu: Gpu;
  #weight: Parameter;
  #windows: RowWindow[];
  #gradients: RowWindow[];
  #tile: Tensor;
  #running: Tensor;
  #referenceTile: Tensor | undefined;
  #width: number;
  #stride: number;

  /**
   * @param weight [vocabulary, hidden]: the head's, or the embedding's when tied
   * @param tileElements most elements of the logits tile [capacity, columns], though never fewer than 64 columns
   */
  constructor(gpu: Gpu, weight: Parameter, capacity: number, tileElements = TILE_ELEMENTS) {
    const [vocabulary, width] = weight.weight.shape;
    const limit = gpu.device.limits.maxStorageBufferBindingSize;
    const columns = Math.max(64, Math.floor(tileElements / capacity / 64) * 64);
    this.#gpu = gpu;
    this.#weight = weight;
    this.#width = width;
    this.#gradients = weight.gradient ? rowWindows(weight.gradient, limit, columns) : [];
    // Where the weight stands in f16, more of its rows would fit a window than of its gradient's.
    this.#windows = rowWindows(weight.operand, limit, this.#gradients[0]?.rows ?? columns);
    this.#stride = Math.ceil(Math.min(this.#windows[0].rows, vocabulary) / 4) * 4;
    this.#tile = gpu.alloc("scratch logits tile", [capacity, this.#stride], "scratch");
    this.#running = gpu.alloc("scratch head state", [capacity, 4], "scratch");
  }

  /** Records `result` of every row. */
  recordForward(program: Program, r: HeadRows): void {
    this.#windows.forEach((window, i) => {
      this.#recordTile(program, r, window);
      program.add(
        headReduce,
        { logits: this.#tile, targets: r.targets, running: this.#running, result: r.result },
        this.#dims(r, window, i),
      );
    });
    const { reference } = r;
    if (!reference) return;
    // A second round: the divergence needs the whole log-sum-exp of both.
    this.#windows.forEach((window, i) => {
      if (this.#windows.length > 1) this.#recordTile(program, r, window);
      program.add(fullKlDivergence, {
        logits: this.#tile,
        reference_logits: this.#recordReferenceTile(program, r, reference, i),
        reference_result: reference.result,
        result: r.result,
      }, this.#tileDims(r, window));
    });
  }

  /**
   * Records the gradients from `dlogp` and `dentropy` [R], ∂L/∂logp and ∂L/∂H: overwrites `dhidden` [R, hidden], accumulates the
   * weight's gradient. It follows the forward of the same rows: with one tile the logits still stand in scratch.
   */
  recordBackward(program: Program, r: HeadRows, dlogp: Tensor, dentropy: Tensor, dhidden: Tensor): void {
    this.#windows.forEach((window, i) => {
      if (this.#windows.length > 1) this.#recordTile(program, r, window);
      const tensors = { tile: this.#tile, targets: r.targets, result: r.result, dlogp, dentropy };
      const { reference } = r;
      if (reference) {
        program.add(fullKlGradient, {
          ...tensors,
          reference_logits: this.#windows.length > 1
            ? this.#recordReferenceTile(program, r, reference, i)
            : this.#referenceTile!,
          reference_result: reference.result,
          dkl: reference.dkl,
        }, this.#tileDims(r, window));
      } else program.add(headGradient, tensors, this.#dims(r, window, i));
      const shape = this.#shape(r, window);
      addLinearBackwardInput(program, { dy: this.#tile, weight: window.tensor, dx: dhidden }, shape, i > 0);
      if (this.#weight.gradient) {
        addLinearBackwardWeight(
          program,
          { dy: this.#tile, x: r.hidden, dweight: this.#gradients[i].tensor },
          shape,
        );
      }
    });
  }

  /** Gives the scratch back. */
  free(): void {
    this.#gpu.pool.free(this.#tile);
    this.#gpu.pool.free(this.#running);
    if (this.#referenceTile) this.#gpu.pool.free(this.#referenceTile);
  }

  #shape(r: HeadRows, window: RowWindow) {
    return { tokens: r.rows, inputs: this.#width, outputs: window.rows, stride: this.#stride };
  }

  #recordTile(program: Program, r: HeadRows, window: RowWindow): void {
    addLinear(program, { x: r.hidden, weight: window.tensor, y: this.#tile }, this.#shape(r, window));
  }

  /** Records the reference's logits of the same columns; both tables have the same shape, so the windows are alike. */
  #recordReferenceTile(program: Program, r: HeadRows, reference: HeadReference, index: number): Tensor {
    const tile = this.#referenceTile ??= this.#gpu.alloc(
      "scratch reference logits tile",
      this.#tile.shape,
      "scratch",
    );
    const limit = this.#gpu.device.limits.maxStorageBufferBindingSize;
    const weight = rowWindows(reference.weight.operand, limit, this.#windows[0].rows)[index].tensor;
    addLinear(program, { x: reference.hidden, weight, y: tile }, this.#shape(r, this.#windows[index]));
    return tile;
  }

  #tileDims(r: HeadRows, window: RowWindow) {
    return {
      rows: r.rows,
      stride: this.#stride,
      first: window.first,
      columns: window.rows,
      inverse_temperature: () => 1 / r.temperature(),
    };
  }

  #dims(r: HeadRows, window: RowWindow, index: number) {
    return { ...this.#tileDims(r, window), last: index === this.#windows.length - 1 ? 1 : 0 };
  }
}
