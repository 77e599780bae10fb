/**
 * Choosing tokens: filters, the draw, the values of the token, and the slot's next state, all in one kernel.
 * @module
 */
import {
  type Access,
  type AdapterTraits,
  defineKernel,
  type DimValues,
  type Grid,
  type KernelSpec,
} from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { SLOT_WORDS } from "./slots.ts";

/** Token written for a dead slot, and for a row of logits that is not finite. */
export const NO_TOKEN = 0xffffffff;

/** `finish` of a slot. */
export const FINISH = { running: 0, stop: 1, length: 2, notFinite: 3 } as const;

/** Sizes and settings of {@link sample}; meaning and order of the filters stand in sample.wgsl. */
export type SampleDim =
  | "slots"
  | "vocab"
  | "stride"
  | "stop_count"
  | "temperature"
  | "top_p"
  | "top_k"
  | "min_p"
  | "repetition_penalty";

const VARIANTS = ["sample", "sample_subgroup", "sample_texture"] as const;
type Variant = typeof VARIANTS[number];
const SOURCES: Readonly<Record<Variant, string>> = {
  sample: SHADERS.philox + SHADERS.sample_slot + SHADERS.sample_lanes + SHADERS.sample_filter +
    SHADERS.sample,
  sample_subgroup: SHADERS.philox + SHADERS.sample_slot + SHADERS.sample_lanes_subgroup +
    SHADERS.sample_filter +
    SHADERS.sample,
  sample_texture: SHADERS.philox + SHADERS.texel + SHADERS.sample_slot + SHADERS.sample_texture,
};
/** Widest row of the texture variant: its passes stay below the iterations that a software adapter allows. */
const TEXTURE_VOCAB = 16384;

const DIMS = {
  slots: "u32",
  vocab: "u32",
  stride: "u32",
  stop_count: "u32",
  temperature: "f32",
  top_p: "f32",
  top_k: "u32",
  min_p: "f32",
  repetition_penalty: "f32",
} as const;

const rowSizes = (d: DimValues<SampleDim>) => ({
  logits: d.slots * d.stride,
  slots: d.slots * SLOT_WORDS,
  seen: d.slots * Math.ceil(d.vocab / 32),
  banned: Math.ceil(d.vocab / 32),
});

/** Passes over a row: two for maxima and sums, eight per threshold search, one sum after top-k, the draw. */
function cost(d: DimValues<SampleDim>): { flops: number; bytes: number } {
  const passes = d.temperature === 0 ? 2 : 3 + (d.top_k > 0 ? 9 : 0) + (d.top_p < 1 ? 8 : 0);
  return { flops: passes * 20 * d.slots * d.vocab, bytes: 4 * d.slots * d.vocab };
}

/** What the kernels of a variant have in common. */
const common = (variant: Variant) => ({
  source: SOURCES[variant],
  ...variant === "sample_subgroup" && { needs: "subgroups" as const },
  ...variant === "sample_texture" && { consts: { TEXELS: 4 } },
  dims: DIMS,
  // A slot is a workgroup's or an invocation's.
  grid: (
    d: DimValues<SampleDim>,
  ): Grid => [variant === "sample_texture" ? Math.ceil(d.slots / 16) : d.slots, 1, 1],
  cost,
});
const logitsOf = (variant: Variant): Access => variant === "sample_texture" ? "texture" : "read";

type SampleBinding = "logits" | "slots" | "seen" | "banned" | "stops" | "out_tokens" | "out_values" | "tick";
const makeSample = (variant: Variant): KernelSpec<SampleBinding, SampleDim> =>
  defineKernel({
    ...common(variant),
    name: `${variant}.sample`,
    entry: "sample",
    bindings: {
      logits: logitsOf(variant),
      slots: "inout",
      seen: "inout",
      banned: "read",
      stops: "read",
      out_tokens: "write",
      out_values: "write",
      tick: "inout",
    },
    sizes: (d) => ({
      ...rowSizes(d),
      stops: d.stop_count,
      out_tokens: d.slots,
      out_values: 2 * d.slots,
      tick: 1,
    }),
  });

type FilteredBinding = "logits" | "slots" | "seen" | "banned" | "probabilities";
const makeFiltered = (variant: Variant): KernelSpec<FilteredBinding, SampleDim> =>
  defineKernel({
    ...common(variant),
    name: `${variant}.filtered`,
    entry: "filtered",
    bindings: {
      logits: logitsOf(variant),
      slots: "inout",
      seen: "inout",
      banned: "read",
      probabilities: "write",
    },
    sizes: (d) => ({ ...rowSizes(d), probabilities: d.slots * d.vocab }),
  });

const kernelsOf = (variant: Variant) => ({
  sample: makeSample(variant),
  filteredProbabilities: makeFiltered(variant),
});
type Kernels = ReturnType<typeof kernelsOf>;

/**
 * Both kernels by variant; the tests and the benchmark go through them. `sample_subgroup` adds up within subgroups (GPUs
 * that have them), `sample_texture` reads the logits through a texture
 * (software adapters) where `stride` is a multiple of 4 and the vocabulary is not too wide for one invocation a row.
 */
export const sampleKernels: Readonly<Record<Variant, Kernels>> = {
  sample: kernelsOf("sample"),
  sample_subgroup: kernelsOf("sample_subgroup"),
  sample_texture: kernelsOf("sample_texture"),
};

/** A kernel that a program exchanges for the variant of its adapter. */
function byAdapter<K extends keyof Kernels>(name: K): Kernels[K] {
  const general = sampleKernels.sample[name];
  return {
    ...general,
    fit: ({ vocab, stride }: Readonly<Record<string, unknown>>, { software, subgroups }: AdapterTraits) =>
      !software
        ? subgroups ? sampleKernels.sample_subgroup[name] : general
        : (stride as number) % 4 === 0 && (vocab as number) <= TEXTURE_VOCAB
        ? sampleKernels.sample_texture[name]
        : general,
  } as Kernels[K];
}

/**
 * One token for every live slot. `temperature` 0 is greedy, `top_k` 0, `min_p` 0, `top_p` 1 and `repetition_penalty` 1
 * turn a filter off. Writes row tick / slots of `out_tokens` [ticks, slots] and `out_values` [ticks, slots, 2]
 * (log-probability and entropy in nats) and carries `slots` and `seen` on. `tick` [1] starts at 0 and grows by `slots` a
 * launch, so the rows follow one another as long as `slots` stays the same; rows past the end are not written.
 * A stop token is recorded and ends the slot with finish 1, the length with 2, logits that are not finite (or nothing left
 * to choose from) with 3 and {@link NO_TOKEN}. The choice depends on the logits, the settings and the slot's key and
 * position, not on the other slots.
 */
export const sample: KernelSpec<SampleBinding, SampleDim> = byAdapter("sample");

/** What {@link sample} draws from: probabilities [slots, vocab] after all filters; the other bindings stay as they are. */
export const filteredProbabilities: KernelSpec<FilteredBinding, SampleDim> = byAdapter(
  "filteredProbabilities",
);
