/**
 * Linear layer: forward with an optional bias and residual, and the gradients, in the variant that suits sizes and adapter.
 * @module
 */
import { type AdapterTraits, type KernelSpec, measuredRows } from "../gpu/kernel.ts";
import type { Dim, Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import {
  addBias,
  type LinearDims,
  type LinearKernels,
  linearKernels,
  linearRowsKernels,
  type LinearVariant,
  SHARED,
  SUBGROUPS,
} from "./linear_variants.ts";

type Sizes = Readonly<Record<string, unknown>>;
type Elements = Readonly<Record<string, number>>;

/** Tokens of a launch; of one that asks at every run, the most that its tensors hold. */
export function tokensOf({ tokens, inputs }: Sizes, elements: Elements): number {
  return typeof tokens === "number" ? tokens : Math.floor((elements.x ?? elements.dx) / (inputs as number));
}

/** What a launch's tokens are measured as. */
export const measuredTokens = (d: Sizes, elements: Elements): number => measuredRows(tokensOf(d, elements));
/**
 * Rows of output up to which a GPU gets the variants for few rows: those of forward products by rule, for a tile of 64 rows
 * would leave most of its workgroups' threads to rows that are not there. What else is worth measuring then.
 */
export const FEW = 64;
const FEW_ROWS: readonly LinearVariant[] = ["linear_tiled", "linear_tiled_16x64", "linear_tiled_32x32"];
const MANY_ROWS: readonly LinearVariant[] = [
  "linear_tiled_32x32",
  "linear_tiled_128x64",
  "linear_tiled_128x128",
  "linear_tiled_double",
];
/** The same with operands rounded to f16. */
const FEW_ROWS_HALF: readonly LinearVariant[] = ["linear_half", "linear_half_32x32"];
const MANY_ROWS_HALF: readonly LinearVariant[] = [
  "linear_half_32x32",
  "linear_half_128x128",
  "linear_half_double",
];
/** Of gradients only: what forward products round is to be the same in sampling and in training, whatever their sizes. */
const SUMS_HALF: readonly LinearVariant[] = ["linear_half_sums", "linear_half_sums_128x128"];

/** The variants for few rows, the rule's first: with subgroups where the adapter says how large they are. */
export function forFewRows(tokens: number, { subgroup }: AdapterTraits, half: boolean) {
  const rows = `linear_${half ? "half_" as const : "" as const}rows_${tokens <= 4 ? 2 : 8}` as const;
  return SUBGROUPS.includes(subgroup) ? [`${rows}_subgroup` as const, rows] : [rows];
}

/** Whether tiles of 16 rows leave less to waste than tiles of 32 (lavapipe, 16 x 128 x 688: 0.7 of the time). */
export const fewer = (rows: number): boolean => rows <= 16 || (rows > 32 && rows <= 48);

/**
 * A kernel that a program exchanges for the variant of its adapter: by rule, or among what is worth measuring there.
 * @param half of operands rounded to f16, for weights that are stored so
 */
function byAdapter<K extends keyof LinearKernels>(name: K, half = false): LinearKernels[K] {
  const general = linearKernels[half ? "linear_half" : "linear"][name];
  const rowsOf = (d: Sizes, elements: Elements): number =>
    name === "backwardWeight" ? d.outputs as number : tokensOf(d, elements);
  const byRule = (d: Sizes, adapter: AdapterTraits, elements: Elements): Partial<LinearKernels> =>
    !adapter.software && name.startsWith("forward") && tokensOf(d, elements) <= FEW
      ? linearRowsKernels[forFewRows(tokensOf(d, elements), adapter, half)[0]]
      : linearKernels[tile(d, adapter, elements)];
  const tile = (d: Sizes, adapter: AdapterTraits, elements: Elements): LinearVariant =>
    half
      ? "linear_half"
      : !adapter.software
      ? "linear_tiled"
      : (d.outputs as number) % 4 !== 0 || (d.stride as number) % 4 !== 0
      ? "linear"
      : adapter.subgroup !== SHARED
      ? "linear_texture"
      : fewer(rowsOf(d, elements))
      ? "linear_broadcast_16"
      : "linear_broadcast";
  /** Beside the rule's. On software adapters none: the rule was measured there. */
  const others = (d: Sizes, adapter: AdapterTraits, elements: Elements) => {
    if (adapter.software || adapter.portable) return [];
    const few = rowsOf(d, elements) <= FEW;
    const tiles = half ? (few ? FEW_ROWS_HALF : MANY_ROWS_HALF) : few ? FEW_ROWS : MANY_ROWS;
    const list: Partial<LinearKernels>[] = tiles.map((variant) => linearKernels[variant]);
    if (half && !few && name.startsWith("backward")) {
      list.push(...SUMS_HALF.map((variant) => linearKernels[variant]));
    }
    const tokens = tokensOf(d, elements);
    if (tokens <= FEW) list.push(...forFewRows(tokens, adapter, half).map((rows) => linearRowsKernels[rows]));
    return list.filter((family) => name in family);
  };
  return {
    ...general,
    fit: (d: Sizes, adapter: AdapterTraits, elements: Elements) =>
      own(byRule(d, adapter, elements)[name] as unknown as KernelSpec, d, adapter),
    candidates: (d: Sizes, adapter: AdapterTraits, elements: Elements) => ({
      kernels: others(d, adapter, elements)
        .map((family) => own(family[name] as unknown as KernelSpec, d, adapter)),
      dims: { ...d, tokens: measuredTokens(d, elements) },
    }),
  } as unknown as LinearKernels[K];
}

/** A variant's text for the adapter's subgroups. */
export const own = (kernel: KernelSpec, d: Sizes, adapter: AdapterTraits): KernelSpec =>
  kernel.fit?.(d, adapter, {}) ?? kernel;

const products = (half: boolean): LinearKernels => ({
  forward: byAdapter("forward", half),
  forwardBias: byAdapter("forwardBias", half),
  forwardResidual: byAdapter("forwardResidual", half),
  backwardInput: byAdapter("backwardInput", half),
  backwardWeight: byAdapter("backwardWeight", half),
});
/** The products for widths that are multiples of 4; a program takes the variant for its adapter. */
export const linearProducts: LinearKernels = products(false);
/** The same of operands rounded to f16, the weights stored so. */
export const linearHalfProducts: LinearKernels = products(true);

/** Sizes of a linear layer in a program. `stride` defaults to `outputs`. */
export interface LinearShape {
  readonly tokens: Dim;
  readonly inputs: number;
  readonly outputs: number;
  readonly stride?: number;
}

/** Sizes of a launch. */
export const dimsOf = (s: LinearShape, accumulate = 0): Record<LinearDims, Dim> => ({
  tokens: s.tokens,
  inputs: s.inputs,
  outputs: s.outputs,
  stride: s.stride ?? s.outputs,
  accumulate,
});
/** Operands are read in fours where their rows allow it. */
function kernelsFor(half: boolean, inputs: number, stride = 4): LinearKernels {
  if (inputs % 4 !== 0 || stride % 4 !== 0) return linearKernels.linear_any;
  return half ? linearHalfProducts : linearProducts;
}

/** Adds `y [tokens, outputs] = x [tokens, inputs] · weightᵀ (+ bias) (+ residual)`. */
export function addLinear(
  program: Program,
  t: { x: Tensor; weight: Tensor; y: Tensor; bias?: Tensor; residual?: Tensor },
  shape: LinearShape,
): void {
  // The forward products read x and weight in fours, whatever the stride of y.
  const kernels = kernelsFor(t.weight.dtype === "f16", shape.inputs);
  const dims = dimsOf(shape);
  if (t.residual) {
    program.add(kernels.forwardResidual, { x: t.x, weight: t.weight, y: t.y, residual: t.residual }, dims);
    if (t.bias) program.add(addBias, { bias: t.bias, y: t.y }, dims);
  } else if (t.bias) {
    program.add(kernels.forwardBias, { x: t.x, weight: t.weight, y: t.y, bias: t.bias }, dims);
  } else program.add(kernels.forward, { x: t.x, weight: t.weight, y: t.y }, dims);
}

/** Adds `dx [tokens, inputs] = dy · weight`, or `+=` with `accumulate`. */
export function addLinearBackwardInput(
  program: Program,
  t: { dy: Tensor; weight: Tensor; dx: Tensor },
  shape: LinearShape,
  accumulate = false,
): void {
  program.add(
    kernelsFor(t.weight.dtype === "f16", shape.inputs, shape.stride ?? shape.outputs).backwardInput,
    t,
    dimsOf(shape, accumulate ? 1 : 0),
  );
}

/** Adds `dweight [outputs, inputs] += dyᵀ · x`, of operands rounded to f16 where the device's precision says so. */
export function addLinearBackwardWeight(
  program: Program,
  t: { dy: Tensor; x: Tensor; dweight: Tensor },
  shape: LinearShape,
): void {
  const half = program.gpu.traits.precision === "float16";
  program.add(kernelsFor(half, shape.inputs, shape.stride ?? shape.outputs).backwardWeight, t, dimsOf(shape));
}
