/**
 * A study's settings and the configuration of each of its runs: all arms share everything but what names them.
 * @module
 */
import { join } from "node:path";
import { UserError } from "../gpu/errors.ts";
import { loadConfig } from "../trainer/config.ts";
import type { Config } from "../trainer/config_types.ts";
import { type Arm, armsNamed } from "./arms.ts";

/** What a study is made of. */
export interface StudySettings {
  /** What is compared. */
  readonly arms: readonly Arm[];
  /** Each gives its own training problems, their order, the sampling and the held-out problems. */
  readonly seeds: readonly number[];
  /** Iterations of the reinforcement arms; undefined: the scale's own. */
  readonly iterations?: number;
  /** Folder of the base model; undefined: the shipped one. */
  readonly base?: string;
  /** `a.b=c`, for all arms alike. */
  readonly overrides: readonly string[];
  /** As little of everything as shows that it works. */
  readonly smoke: boolean;
  /** Folder of the runs. */
  readonly runs: string;
}

/** What all arms get beside the scale's preset, under the user's overrides. */
const SHARED: Readonly<Record<"whole" | "smoke", readonly string[]>> = {
  whole: [
    "data.micro.val_count=576",
    "trainer.val_freq=20",
    "trainer.rollouts_to_log=32",
  ],
  smoke: ["trainer.val_freq=1"],
};
/** What makes arms comparable: refills count, so that every arm samples the same number of rollouts. */
const ALWAYS = ["algorithm.refill_within_budget=true", "trainer.val_blind=false", "trainer.save_limit=1"];

/** Keys that the study sets itself. */
const OWN = [
  "adacs.enabled",
  "aepo.enabled",
  "adacs.selection",
  "algorithm.refill_within_budget",
  "data.seed",
  "trainer.seed",
  "trainer.max_steps",
  "trainer.experiment_name",
  "trainer.save_checkpoint_path",
  "worker.actor.model.model_path",
];

/** Folder of a run; the base's is that of the AdaCS run, which evaluates it. */
export function runFolder(runs: string, seed: number, arm: string): string {
  return join(runs, `seed-${seed}`, arm === "base" ? "adacs" : arm);
}

/** What was given beside preset and arm, for the record; of two values of a key the later. */
export function sharedOverrides({ smoke, iterations, overrides }: StudySettings): string[] {
  const all = [
    ...SHARED[smoke ? "smoke" : "whole"],
    ...ALWAYS,
    ...(iterations === undefined ? [] : [`trainer.max_steps=${iterations}`]),
    ...overrides,
  ];
  return [...new Map(all.map((override) => [override.split("=")[0].trim(), override])).values()];
}

/**
 * The configuration of one run.
 * @throws UserError for mistakes in the overrides, and for keys that the study sets itself
 */
export function configOf(settings: StudySettings, arm: Arm, seed: number): Config {
  for (const override of settings.overrides) {
    const key = override.split("=")[0].trim();
    if (OWN.includes(key)) {
      throw new UserError(
        `override ${key}: the study sets it itself (see --seeds, --iterations, --base and --runs)`,
      );
    }
  }
  const { base, runs, smoke } = settings;
  const set = (key: string, value: unknown) => `${key}=${JSON.stringify(value)}`;
  const model = arm.kind === "rl" ? join(runFolder(runs, seed, "adacs"), "adacs") : base;
  return loadConfig({
    preset: [smoke ? "smoke" : "default", ...(arm.preset ? [arm.preset] : [])].join(","),
    overrides: [
      ...sharedOverrides(settings),
      ...(arm.overrides ?? []),
      set("trainer.project_name", "study"),
      set("trainer.experiment_name", `${arm.name}, seed ${seed}`),
      set("trainer.save_checkpoint_path", runFolder(runs, seed, arm.name)),
      set("trainer.seed", seed),
      set("data.seed", seed + 1),
      set("adacs.enabled", arm.kind === "cold"),
      set("aepo.enabled", arm.kind === "rl"),
      ...(model === undefined ? [] : [set("worker.actor.model.model_path", model)]),
    ],
  }).config;
}

/** Folder of a study's base model. */
export function baseOf(settings: StudySettings): string {
  const [adacs] = armsNamed(["adacs"]);
  return configOf(settings, adacs, settings.seeds[0]).worker.actor.model.model_path;
}

/** What a run's own configuration has other than the study's; where it lies does not count, for it may have been moved. */
export function differencesThatMatter(arm: Arm, own: Config, planned: Config): string[] {
  return differences(own, planned).filter((d) =>
    !d.startsWith("trainer.save_checkpoint_path") &&
    !(arm.kind === "rl" && d.startsWith("worker.actor.model.model_path"))
  );
}

/** Dotted keys in which two configurations differ, with both values. */
export function differences(a: Config, b: Config): string[] {
  const [left, right] = [flat(a), flat(b)];
  return [...new Set([...left.keys(), ...right.keys()])]
    .filter((key) => left.get(key) !== right.get(key))
    .map((key) => `${key} = ${left.get(key)}, not ${right.get(key)}`);
}

/** A configuration's fields by dotted key, as JSON. */
export function flat(tree: object, prefix = ""): Map<string, string> {
  return new Map(
    Object.entries(tree).flatMap(([name, value]): [string, string][] =>
      value !== null && typeof value === "object" && !Array.isArray(value)
        ? [...flat(value, `${prefix}${name}.`)]
        : [[prefix + name, JSON.stringify(value)]]
    ),
  );
}
