/**
 * The configurations of a study's runs, every field once: what all share, what tells arms apart, what tells seeds apart,
 * and what is a run's own.
 * @module
 */
import type { Config } from "../trainer/config_types.ts";
import { flat } from "./settings.ts";

/** Fields by dotted key. */
export type FieldValues = Readonly<Record<string, unknown>>;

/** A run and its configuration. */
export interface ConfiguredRun {
  readonly arm: string;
  readonly seed: number;
  readonly config: Config;
}

/** A run's configuration is `shared` with its arm's, its seed's and its own fields. */
export interface SharedConfiguration {
  readonly shared: FieldValues;
  readonly arms: Readonly<Record<string, FieldValues>>;
  readonly seeds: Readonly<Record<string, FieldValues>>;
  /** By position in what was given. */
  readonly runs: readonly FieldValues[];
}

/** Puts each field where it has one value: with all, with the arm, with the seed, or with the run. */
export function sharedConfiguration(given: readonly ConfiguredRun[]): SharedConfiguration {
  const values = given.map(({ config }) => flat(config));
  const keys = [...new Set(values.flatMap((v) => [...v.keys()]))];
  const shared: Record<string, unknown> = {};
  const arms = Object.fromEntries(given.map((r) => [r.arm, {} as Record<string, unknown>]));
  const seeds = Object.fromEntries(given.map((r) => [`${r.seed}`, {} as Record<string, unknown>]));
  const runs = given.map((): Record<string, unknown> => ({}));
  for (const key of keys) {
    /** Whether runs of one name have one value; a run without the field counts as one with another value. */
    const oneBy = (name: (r: ConfiguredRun) => string) =>
      [...Map.groupBy(given.keys(), (i) => name(given[i])).values()]
        .every((is) => is.every((i) => values[i].get(key) === values[is[0]].get(key)));
    const homes = oneBy(() => "")
      ? given.map(() => shared)
      : oneBy((r) => r.arm)
      ? given.map((r) => arms[r.arm])
      : oneBy((r) => `${r.seed}`)
      ? given.map((r) => seeds[r.seed])
      : runs;
    homes.forEach((home, i) => {
      const json = values[i].get(key);
      if (json !== undefined) home[key] = JSON.parse(json);
    });
  }
  return { shared, arms, seeds, runs };
}
