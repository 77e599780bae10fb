/**
 * Which siblings of its kernels a device runs, by name: a preset and the precision of products.
 * @module
 */
import { UserError } from "./errors.ts";
import type { AdapterTraits, Precision } from "./kernel.ts";

/** The presets; see {@link KernelOptions.preset}. */
export const KERNEL_PRESETS = ["auto", "portable", "software", "gpu"] as const;
/** One of {@link KERNEL_PRESETS}. */
export type KernelPreset = typeof KERNEL_PRESETS[number];

/** The precisions; see {@link KernelOptions.precision}. */
export const PRECISIONS = ["float32", "float16"] as const satisfies readonly Precision[];

/** What is asked of a device's kernels. All presets compute the same up to the rounding of sums. */
export interface KernelOptions {
  /**
   * `auto` (default): `software` or `gpu`, as the adapter says of itself. `gpu`: what suits GPUs; where there is a tuner, it
   * chooses among what is worth measuring. `software`: what suits adapters that run on the CPU, reading large operands
   * through textures. `portable`: what needs nothing beyond WebGPU's default features and limits (no subgroups, no textures,
   * at most 256 invocations and 16 KiB of memory a workgroup), by rule: the same texts on every adapter.
   */
  readonly preset?: KernelPreset;
  /**
   * `float16`: the linear layers' products, forward and backward, take their operands rounded to f16 and add up in f32
   * (mixed precision; widths that are no multiple of 4 stay in f32). Of gradients' products a tuner may choose ones that add
   * up 16 steps in f16 first. Matrices of weights are read in f16, half the bytes: where a model is trained, from a copy that
   * every update renews; where it is not, that is all that is kept. On GPUs sampling keeps its keys and values in f16 too. It
   * is asked for before a model is loaded. Activations, gradients, trained weights and the optimizer's moments are f32 in
   * memory. Gradients are multiplied by 2^10 before they are rounded and the sums divided by it, as a loss scale of 1,024
   * does: what is below 3e-11 is lost, and a value of 64 (of an activation or a weight: 65,520) overflows. The result is then
   * not finite, and the optimizer does not apply such an update.
   * `float32` (default): all in f32.
   */
  readonly precision?: Precision;
}

/** What is known about an adapter that decides. */
export interface Adapter extends Pick<AdapterTraits, "software" | "subgroup"> {
  readonly name: string;
  readonly features: readonly string[];
}

/**
 * What these options make of an adapter.
 * @throws UserError for `float16` on an adapter without `shader-f16`
 */
export function traitsFor(
  { name, software, subgroup, features }: Adapter,
  { preset = "auto", precision = "float32" }: KernelOptions = {},
): AdapterTraits {
  if (precision === "float16" && !features.includes("shader-f16")) {
    throw new UserError(
      `precision float16 needs the WebGPU feature shader-f16, which ${name} does not have: take float32`,
    );
  }
  const subgroups = features.includes("subgroups");
  switch (preset) {
    case "auto":
      return { software, subgroup, subgroups, precision };
    case "gpu":
    case "software":
      return { software: preset === "software", subgroup, subgroups, precision };
    case "portable":
      return { software: false, subgroup: 0, portable: true, precision };
  }
}
