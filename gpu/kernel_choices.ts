/**
 * Which kernels a device runs where more than one would do, and whoever decides it.
 * @module
 */
import type { Candidates, KernelSpec } from "./kernel.ts";

/** The fastest kernel of a class. */
export interface Choice {
  /** Name of the kernel. */
  readonly kernel: string;
  /** Fingerprint of the kernels it was measured against: others are measured anew. */
  readonly among: string;
}

/** Choices by class of launches: `linear_tiled.forward tokens=64 inputs=896 …`. */
export type Choices = Record<string, Choice>;

/** Which kernels a device runs where it chose by measuring. */
export interface KernelChoices {
  /** Adapter and driver. */
  readonly adapter: string;
  /** By class of launches. */
  readonly choices: Choices;
}

/** Decides for the programs of a device; see `Tuner`. */
export interface KernelChooser {
  /** What measuring took so far. */
  readonly spent: { readonly classes: number; readonly seconds: number };
  /** The kernel to launch: `rule` or one of the candidates. */
  choose(rule: KernelSpec, candidates: Candidates): Promise<KernelSpec>;
  /** The choices made so far, for a run to keep. */
  choices(): KernelChoices;
  /** Takes an earlier run's choices before all others; false, and nothing is taken, when they are another adapter's. */
  adopt(kept: KernelChoices): boolean;
  /** From now on the rule decides, as for a run that began so. */
  rest(): void;
}
