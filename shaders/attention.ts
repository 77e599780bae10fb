/**
 * Packed attention with grouped queries, in the variant of the adapter at hand: the kernels of attention_variants.ts.
 * @module
 */
import type { AdapterTraits, Candidates, KernelSpec } from "../gpu/kernel.ts";
import {
  type AttentionDims,
  type AttentionKernels,
  attentionPlain,
  attentionTexture,
  attentionTiled,
  perHeadDim,
} from "./attention_variants.ts";

type Sizes = Readonly<Record<string, unknown>>;
type Elements = Readonly<Record<string, number>>;

/** Tokens that are measured: powers of two, up to where nothing changes any more. */
const MOST_TOKENS = 1024;
/** Tokens of a segment that is measured. */
const SEGMENT = 128;

/** Segments of {@link SEGMENT} of as many tokens, [tokens, 2]. */
function measuredSegments(tokens: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from({ length: 2 * tokens }, (_, i) => {
    const first = (i >> 1) - (i >> 1) % SEGMENT;
    return i % 2 === 0 ? first : Math.min(first + SEGMENT, tokens);
  });
}

/**
 * What a GPU may measure beside its tiles: threads that know nothing of each other, which need no barrier; for segments far
 * shorter than a tile that may be what counts. Of a launch that asks for its tokens at every run, the most that its tensors
 * hold count.
 */
function rivals<B extends string>(
  plain: KernelSpec<B, AttentionDims>,
): (d: Sizes, adapter: AdapterTraits, elements: Elements) => Candidates<B, AttentionDims> {
  return (d, { software, portable }, elements) => {
    const most = typeof d.tokens === "number" ? d.tokens : elements.segments / 2;
    const tokens = Math.min(MOST_TOKENS, 2 ** Math.ceil(Math.log2(Math.max(1, most))));
    return {
      kernels: software || portable ? [] : [plain],
      dims: { ...d as Record<AttentionDims, number>, tokens },
      contents: { segments: measuredSegments(tokens) },
    };
  };
}

/** Kernels that a program exchanges for those of its adapter: by rule, or among what is worth measuring there. */
const attentionKernels = perHeadDim((headDim): AttentionKernels => {
  const plain = attentionPlain(headDim);
  const of = ({ software }: AdapterTraits): AttentionKernels =>
    software ? attentionTexture(headDim) ?? plain : attentionTiled(headDim);
  const fitOf = <K extends keyof AttentionKernels>(name: K) => (d: Sizes, adapter: AdapterTraits, elements: Elements) => {
    const kernel = of(adapter)[name] as unknown as KernelSpec;
    return (kernel.fit?.(d, adapter, elements) ?? kernel) as unknown as AttentionKernels[K];
  };
  return {
    forward: { ...plain.forward, fit: fitOf("forward"), candidates: rivals(plain.forward) },
    delta: { ...plain.delta, fit: fitOf("delta") },
    backwardQuery: {
      ...plain.backwardQuery,
      fit: fitOf("backwardQuery"),
      candidates: rivals(plain.backwardQuery),
    },
    backwardKeyValue: {
      ...plain.backwardKeyValue,
      fit: fitOf("backwardKeyValue"),
      candidates: rivals(plain.backwardKeyValue),
    },
  };
});

/** {@link AttentionKernels.forward}, exchanged for the adapter's by a program; so are the ones below. */
export const attentionForward = (headDim: number): AttentionKernels["forward"] =>
  attentionKernels(headDim).forward;
/** {@link AttentionKernels.delta}. */
export const attentionDelta = (headDim: number): AttentionKernels["delta"] => attentionKernels(headDim).delta;
/** {@link AttentionKernels.backwardQuery}. */
export const attentionBackwardQuery = (headDim: number): AttentionKernels["backwardQuery"] =>
  attentionKernels(headDim).backwardQuery;
/** {@link AttentionKernels.backwardKeyValue}. */
export const attentionBackwardKeyValue = (headDim: number): AttentionKernels["backwardKeyValue"] =>
  attentionKernels(headDim).backwardKeyValue;
