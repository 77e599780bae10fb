/** What this project's speed is measured against: ratios to its peers, by kind of adapter and work. @module */
import { STEERING_NAMES } from "../../trainer/phase_times.ts";
import type { AdapterKind } from "./adapter_kind.ts";
import type { ComparedRow } from "./comparison.ts";
import { BEST_PRODUCT, PASSES } from "./peers.ts";

/** Ratios (this project's speed over the peer's); null: none is set. */
export interface Target {
  /** Below it something is wrong. */
  readonly floor: number | null;
  /** Where work on speed is headed. */
  readonly goal: number | null;
}

/** Largest share of an iteration that reward, filtering, advantages and controllers may take. */
export const MOST_STEERING = 0.02;

/** What steering takes of a work's iterations, beside what it may; undefined where nothing is steered. */
export function steeringOf({ work, steering }: Pick<ComparedRow, "work" | "steering">):
  | { readonly text: string; readonly tooMuch: boolean }
  | undefined {
  if (steering === null) return undefined;
  const percent = (x: number) => `${(100 * x).toFixed(1)} %`;
  // A share that is not a number is too much.
  const tooMuch = !(steering <= MOST_STEERING);
  const text = `${work}: ${STEERING_NAMES} take ${percent(steering)} of it, ${
    tooMuch ? "more than" : "of"
  } the ${percent(MOST_STEERING)} that they may`;
  return { text, tooMuch };
}
type Targets = Readonly<Record<string, Readonly<Record<string, Target>>>>;

const NONE: Target = { floor: null, goal: null };

/** By work and peer; other pairs are compared without a target. Changed here and nowhere else. */
const SOFTWARE: Targets = {
  "W1 512x512x512": { "jax-js webgpu": { floor: 4, goal: 8 }, "tf.js webgpu": { floor: 4, goal: 8 } },
  "W1 8x1024x4096": { "jax-js webgpu": { floor: 4, goal: 10 }, "tf.js webgpu": { floor: 4, goal: 10 } },
  "W2 tiny": {
    "jax-js webgpu": { floor: 4, goal: 8 },
    "tf.js webgpu": { floor: 6, goal: 12 },
    "jax-js wasm": { floor: 0.8, goal: 1.5 },
    [BEST_PRODUCT]: { floor: 0.45, goal: 0.7 },
  },
  "W2 small": { "jax-js webgpu": { floor: 5, goal: 10 } },
  "W3 tiny": { "jax-js webgpu": { floor: 6, goal: 12 }, "HF generate": { floor: 0.4, goal: 1 } },
  // At most 4 times, better 2 times, its time.
  "W4 tiny": { TRL: { floor: 0.25, goal: 0.5 } },
  // Scheduler, host and waits: at most 15 %, better 5 %, of an iteration.
  "AEPO iteration": { [PASSES]: { floor: 0.85, goal: 0.95 } },
};

const goal = (ratio: number): Target => ({ floor: null, goal: ratio });

/** Against PyTorch on the same card, in float32 without TF32: its products are cuBLAS's. */
const DISCRETE: Targets = {
  "W1 4096x4096x4096": { PyTorch: goal(0.5) },
  "W2 small": { PyTorch: goal(0.6) },
  "W3 tiny": { PyTorch: goal(1), "HF generate": goal(1) },
  "W4 tiny": { PyTorch: goal(1), TRL: goal(1) },
};

/** Nobody has measured anything on the rest. */
const TARGETS: Readonly<Record<AdapterKind, Targets>> = { software: SOFTWARE, discrete: DISCRETE, other: {} };

/** Works and peers that have a target on this kind of adapter, to hold against the ones that there are. */
export function targeted(kind: AdapterKind): (readonly [work: string, peer: string])[] {
  return Object.entries(TARGETS[kind]).flatMap(([work, peers]) =>
    Object.keys(peers).map((peer) => [work, peer] as const)
  );
}

/** The targets of a row on this kind of adapter. */
export function targetOf({ work, peer }: Pick<ComparedRow, "work" | "peer">, kind: AdapterKind): Target {
  return TARGETS[kind][work]?.[peer] ?? NONE;
}

/** What a ratio is beside its targets, in words. */
export function verdict(ratio: number | null, { floor, goal }: Target): string {
  if (ratio === null) return "";
  if (floor !== null && ratio < floor) return "below the floor";
  if (goal !== null) return ratio >= goal ? "goal reached" : "below the goal";
  return floor === null ? "" : "above the floor";
}
