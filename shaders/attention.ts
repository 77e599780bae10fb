/**
 * Packed attention with grouped queries, in the variant of the adapter at hand: the kernels of attention_variants.ts.
 * @module
 */
import { type AdapterTraits, type KernelSpec, measuredRows } from "../gpu/kernel.ts";
import {
  type AttentionKernels,
  attentionPlain,
  attentionTexture,
  attentionTiled,
  attentionTiledSmall,
  perHeadDim,
} from "./attention_variants.ts";

type Sizes = Readonly<Record<string, unknown>>;
type Elements = Readonly<Record<string, number>>;

/** Tokens of a segment that is measured. */
const SEGMENT = 128;

/** Segments of {@link SEGMENT} of as many tokens, [tokens, 2]. */
function measuredSegments(tokens: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from({ length: 2 * tokens }, (_, i) => {
    const first = (i >> 1) - (i >> 1) % SEGMENT;
    return i % 2 === 0 ? first : Math.min(first + SEGMENT, tokens);
  });
}

/** A kernel that a program exchanges for the variant of its adapter: by rule, or among what is worth measuring there. */
function byAdapter<K extends keyof AttentionKernels>(headDim: number, name: K): AttentionKernels[K] {
  const plain = attentionPlain(headDim);
  const rule = ({ software }: AdapterTraits): AttentionKernels =>
    software ? attentionTexture(headDim) ?? plain : attentionTiled(headDim);
  const fit = (d: Sizes, adapter: AdapterTraits, elements: Elements) => {
    const kernel = rule(adapter)[name] as unknown as KernelSpec;
    return kernel.fit?.(d, adapter, elements) ?? kernel;
  };
  // Beside a GPU's tiles: smaller ones, and threads that know nothing of each other, which wait for no barrier; where segments
  // are far shorter than a tile, that may be what counts. On software adapters none: the rule was measured there.
  const candidates = (d: Sizes, { software, portable }: AdapterTraits, elements: Elements) => {
    // Of a launch that asks at every run, the most that its tensors hold.
    const most = typeof d.tokens === "number" ? d.tokens : elements.segments / 2;
    const tokens = measuredRows(most);
    return {
      kernels: software || portable ? [] : [attentionTiledSmall(headDim)[name], plain[name]],
      dims: { ...d, tokens },
      contents: { segments: measuredSegments(tokens) },
    };
  };
  return { ...plain[name], fit, ...name !== "delta" && { candidates } } as unknown as AttentionKernels[K];
}

const attentionKernels = perHeadDim((headDim): AttentionKernels => ({
  forward: byAdapter(headDim, "forward"),
  delta: byAdapter(headDim, "delta"),
  backwardQuery: byAdapter(headDim, "backwardQuery"),
  backwardKeyValue: byAdapter(headDim, "backwardKeyValue"),
}));

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
