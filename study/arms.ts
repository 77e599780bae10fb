/**
 * The arms of a study: what is compared, each by a preset and settings alone, from one cold start per seed.
 * @module
 */
import { UserError } from "../gpu/errors.ts";

/** One way of training. */
export interface Arm {
  /** Names its run folder. */
  readonly name: string;
  /** Names it in tables. */
  readonly title: string;
  /** `base`: nothing is trained; `cold`: fine-tuning from the base; `rl`: reinforcement from the AdaCS checkpoint. */
  readonly kind: "base" | "cold" | "rl";
  /** Laid over the study's scale. */
  readonly preset?: string;
  /** What no preset says. */
  readonly overrides?: readonly string[];
}

/** All arms, in the order in which they run and are shown. */
export const ARMS: readonly Arm[] = [
  { name: "base", title: "base", kind: "base" },
  {
    name: "uniform",
    title: "cold start, uniform sampling",
    kind: "cold",
    overrides: ["adacs.selection=uniform"],
  },
  { name: "adacs", title: "AdaCS", kind: "cold" },
  { name: "grpo", title: "AdaCS + GRPO", kind: "rl", preset: "grpo" },
  { name: "aepo", title: "AdaCS + AEPO", kind: "rl" },
  { name: "dapo", title: "AdaCS + DAPO", kind: "rl", preset: "dapo" },
  { name: "aepo-no-kl", title: "AEPO without KL shaping", kind: "rl", preset: "aepo-no-kl" },
  { name: "aepo-no-entropy", title: "AEPO without entropy shaping", kind: "rl", preset: "aepo-no-entropy" },
  { name: "aepo-no-branch", title: "AEPO without branching", kind: "rl", preset: "aepo-no-branch" },
  { name: "aepo-reference", title: "AEPO as released", kind: "rl", preset: "aepo-reference" },
];

/**
 * The arms of these names, in the order of {@link ARMS}; all where none is given.
 * @throws UserError for an unknown name
 */
export function armsNamed(names?: readonly string[]): readonly Arm[] {
  const unknown = names?.find((name) => !ARMS.some((a) => a.name === name));
  if (unknown !== undefined) {
    throw new UserError(`there is no arm "${unknown}"; there are ${ARMS.map((a) => a.name).join(", ")}`);
  }
  return ARMS.filter((a) => names === undefined || names.includes(a.name));
}
