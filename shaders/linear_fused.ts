/**
 * Linear layers of inference with what stands before and after them in the same launch: the product of rows that are
 * normalised as they are loaded, and the gated product of a feed-forward block. Training keeps what these leave out.
 * @module
 */
import type { AdapterTraits, KernelSpec } from "../gpu/kernel.ts";
import { fitsTexture } from "../gpu/mirrors.ts";
import type { Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import {
  addLinear,
  dimsOf,
  FEW,
  fewer,
  forFewRows,
  type LinearShape,
  measuredTokens,
  own,
  tokensOf,
} from "./linear.ts";
import { type FusedKernels, fusedKernels, type FusedVariant } from "./linear_fused_variants.ts";
import { SHARED } from "./linear_variants.ts";
import { rmsnormForward } from "./rmsnorm.ts";
import { swigluForward } from "./swiglu.ts";

type Sizes = Readonly<Record<string, unknown>>;
type Elements = Readonly<Record<string, number>>;

/** Beside the rule's, what is worth measuring on a GPU for up to FEW rows and for more. */
const FEW_ROWS: readonly FusedVariant[] = ["linear_tiled", "linear_tiled_16x64", "linear_tiled_32x32"];
const MANY_ROWS: readonly FusedVariant[] = [
  "linear_tiled_32x32",
  "linear_tiled_128x64",
  "linear_tiled_128x128",
];
const FEW_ROWS_HALF: readonly FusedVariant[] = ["linear_half", "linear_half_32x32"];
const MANY_ROWS_HALF: readonly FusedVariant[] = ["linear_half_32x32", "linear_half_128x128"];

function ruled(d: Sizes, adapter: AdapterTraits, elements: Elements, half: boolean): FusedVariant {
  const tokens = tokensOf(d, elements);
  if (!adapter.software && tokens <= FEW) return forFewRows(tokens, adapter, half)[0];
  if (half) return "linear_half";
  if (!adapter.software) return "linear_tiled";
  if (adapter.subgroup !== SHARED) return "linear_texture";
  return fewer(tokens) ? "linear_broadcast_16" : "linear_broadcast";
}

function rivals(
  d: Sizes,
  adapter: AdapterTraits,
  elements: Elements,
  half: boolean,
): readonly FusedVariant[] {
  if (adapter.software || adapter.portable) return [];
  const tokens = tokensOf(d, elements);
  if (tokens > FEW) return half ? MANY_ROWS_HALF : MANY_ROWS;
  return [...half ? FEW_ROWS_HALF : FEW_ROWS, ...forFewRows(tokens, adapter, half)];
}

/**
 * A kernel that a program exchanges for the variant of its adapter: by rule, or among what is worth measuring there.
 * @param half for weights of f16
 */
function byAdapter<K extends keyof FusedKernels>(name: K, half = false): Required<FusedKernels>[K] {
  const variant = (v: FusedVariant) => fusedKernels[v][name] as unknown as KernelSpec;
  return {
    ...variant(half ? "linear_half" : "linear_tiled"),
    fit: (d: Sizes, adapter: AdapterTraits, elements: Elements) =>
      own(variant(ruled(d, adapter, elements, half)), d, adapter),
    candidates: (d: Sizes, adapter: AdapterTraits, elements: Elements) => ({
      kernels: rivals(d, adapter, elements, half).map((v) => own(variant(v), d, adapter)),
      dims: { ...d, tokens: measuredTokens(d, elements) },
    }),
  } as unknown as Required<FusedKernels>[K];
}

/** The fused products; a program takes the variant for its adapter. */
export const fusedProducts: Required<FusedKernels> = {
  norm: byAdapter("norm"),
  normBias: byAdapter("normBias"),
  gated: byAdapter("gated"),
  gatedNorm: byAdapter("gatedNorm"),
};
/** {@link FusedKernels.gated} for weights of f16. */
export const gatedHalfProduct: FusedKernels["gated"] = byAdapter("gated", true);

const isHalf = ({ dtype }: Tensor): boolean => dtype === "f16";

/** Whether the products can be made of such tensors, in the variants that were worth it where they were measured. */
function fuses({ gpu }: Program, { inputs, outputs }: LinearShape, operands: readonly Tensor[]): boolean {
  if (inputs % 4 !== 0) return false;
  return !gpu.traits.software || operands.some(isHalf) ||
    outputs % 4 === 0 && operands.every((t) => fitsTexture(gpu.device, t));
}

/** How rows are normalised before a product. */
export interface Norms {
  readonly eps: number;
  /** Whether what stands between the launches is read later, by a backward pass: then nothing is fused. */
  readonly kept?: boolean;
}

/** What a normalised product reads, and what stands between the launches where they are not fused. */
export interface NormLinear {
  /** [T, K] */ readonly x: Tensor;
  /** [K] weight of the norm */ readonly norm: Tensor;
  readonly weight: Tensor;
  readonly bias?: Tensor;
  readonly y: Tensor;
  /** [T, K] */ readonly normed: Tensor;
  /** [T] 1 / √(mean x² + eps) */ readonly rstd: Tensor;
}

function addNorm(program: Program, t: NormLinear, { tokens, inputs }: LinearShape, eps: number): void {
  program.add(rmsnormForward, { x: t.x, weight: t.norm, y: t.normed, rstd: t.rstd }, {
    tokens,
    width: inputs,
    eps,
  });
}

/**
 * Adds `y [T, N] = norm(x) · weightᵀ (+ bias)`, norm(x) [T, K] = x / √(mean x² + eps) · norm. Rows are normalised within a
 * product that takes them as they are only: where it rounds them to f16 they must be normalised before, since values of the
 * residual stream may lie beyond f16's range, and since training rounds the normalised ones.
 */
export function addNormLinear(
  program: Program,
  t: NormLinear,
  shape: LinearShape,
  { eps, kept }: Norms,
): void {
  const { x, norm, weight, bias, y } = t;
  const dims = { ...dimsOf(shape), eps };
  if (kept || isHalf(weight) || !fuses(program, shape, [x, norm, weight])) {
    addNorm(program, t, shape, eps);
    addLinear(program, { x: t.normed, weight, bias, y }, shape);
  } else if (bias) program.add(fusedProducts.normBias, { x, weight, y, norm, bias }, dims);
  else program.add(fusedProducts.norm, { x, weight, y, norm }, dims);
}

/**
 * Adds `y [T, I] = silu(norm(x) · gateᵀ (+ bias)) · (norm(x) · upᵀ (+ bias))` with weight [2 I, K] = (gate | up).
 * @param t also gateUp [T, 2 I], (norm(x) · gateᵀ | norm(x) · upᵀ) where it is not fused
 * @param shape outputs: 2 I
 */
export function addNormGated(
  program: Program,
  t: NormLinear & { readonly gateUp: Tensor },
  shape: LinearShape,
  { eps, kept }: Norms,
): void {
  const { x, norm, normed, weight, bias, y } = t;
  const width = shape.outputs / 2;
  const half = { ...shape, outputs: width };
  const fused = !kept && !bias && fuses(program, half, [x, weight, norm]);
  const dims = dimsOf(half);
  if (fused && !isHalf(weight)) {
    program.add(fusedProducts.gatedNorm, { x, weight, y, norm }, { ...dims, eps });
    return;
  }
  addNorm(program, t, shape, eps);
  if (fused) {
    program.add(isHalf(weight) ? gatedHalfProduct : fusedProducts.gated, { x: normed, weight, y }, dims);
  } else {
    addLinear(program, { x: normed, weight, bias, y: t.gateUp }, shape);
    program.add(swigluForward, { gate_up: t.gateUp, y }, { tokens: shape.tokens, width });
  }
}
