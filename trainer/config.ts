/**
 * Loads, checks and prints a run's configuration: defaults ← presets ← one YAML file ← `a.b=c` overrides.
 * Files of EasyR1 and ARES are accepted as they are; keys without meaning here are named, not silently dropped.
 * @module
 */
import { parse, stringify } from "yaml";
import { UserError } from "../gpu/errors.ts";
import { ALIASES, ignoredBecause, nearestKey } from "./config_aliases.ts";
import { FIELDS, type Fields, isGroup, LEAVES } from "./config_fields.ts";
import type { Config } from "./config_types.ts";
import { PRESETS } from "./presets.ts";
import { rulesOf } from "./rules.ts";

export type {
  ActorConfig,
  AdacsConfig,
  AepoConfig,
  AlgorithmConfig,
  BranchingConfig,
  Config,
  CriticConfig,
  DataConfig,
  LrScheduler,
  MicroConfig,
  ReferenceConfig,
  RewardConfig,
  RolloutConfig,
  RulesConfig,
  TrainerConfig,
} from "./config_types.ts";

/** What a configuration is made from. */
export interface ConfigSources {
  /** YAML file of the user (ours, EasyR1's or ARES's). */
  file?: string;
  /** Name of a preset, or several with commas, laid over one another in that order. */
  preset?: string;
  /** `a.b=c`, the value read as YAML; later ones win. */
  overrides?: readonly string[];
}

/** A checked configuration, and what of the sources had no effect. */
export interface LoadedConfig {
  /** The resolved configuration, every field set. */
  config: Config;
  /** `key (reason)` for each known key of EasyR1 or ARES without meaning here, each once. */
  ignored: string[];
}

/**
 * Resolves the sources into a configuration.
 * @throws UserError naming every unknown key (with the nearest known one), every value out of range (with the
 * range and the field's sentence) and every contradiction between fields.
 */
export function loadConfig(sources: ConfigSources = {}): LoadedConfig {
  const values = new Map<string, unknown>();
  const ignored = new Map<string, string>();
  const problems: string[] = [];
  const layer = (entries: Iterable<[string, unknown]>, origin: string): void => {
    for (const [given, value] of entries) {
      const key = ALIASES.get(given) ?? given;
      const reason = LEAVES.has(key) ? undefined : ignoredBecause(key);
      if (LEAVES.has(key)) values.set(key, value);
      else if (reason !== undefined) ignored.set(key, reason);
      else problems.push(`${origin}: ${unknownKey(given)}`);
    }
  };
  for (const name of (sources.preset ?? "default").split(",")) {
    if (!Object.hasOwn(PRESETS, name)) {
      throw new UserError(`there is no preset "${name}"; there are ${Object.keys(PRESETS).join(", ")}`);
    }
    layer(Object.entries(PRESETS[name]), `preset ${name}`);
  }
  if (sources.file !== undefined) layer(readYaml(sources.file), sources.file);
  layer((sources.overrides ?? []).map(parseOverride), "override");
  const config = build(FIELDS, values, problems) as Config;
  if (problems.length === 0) problems.push(...contradictions(config));
  if (problems.length > 0) throw new UserError(`the configuration has mistakes\n  ${problems.join("\n  ")}`);
  return { config, ignored: [...ignored].map(([key, reason]) => `${key} (${reason})`) };
}

/** The configuration as a YAML file that {@link loadConfig} reads back to the same configuration. */
export function toYaml(config: Config): string {
  return stringify(config);
}

/** A Markdown table of every field: key, default, range, sentence. */
export function configTable(): string {
  const rows = [...LEAVES].map(([key, field]) =>
    `| \`${key}\` | \`${JSON.stringify(field.default)}\` | ${field.range} | ${
      field.doc.replaceAll("|", "\\|")
    } |`
  );
  return ["| key | default | accepted | meaning |", "| --- | --- | --- | --- |", ...rows, ""].join("\n");
}

/** Optimizer steps of one iteration and epoch: prompts over prompts per step, or the number asked for. */
export function miniBatchCount(config: Config): number {
  const { global_batch_size, mini_batches } = config.worker.actor;
  return global_batch_size === null ? mini_batches : config.data.rollout_batch_size / global_batch_size;
}

/**
 * Iterations of the AEPO stage over `trainRows` usable training problems.
 * @throws UserError if the problems do not fill one batch and `trainer.max_steps` does not say otherwise.
 */
export function iterationCount(config: Config, trainRows: number): number {
  const { max_steps, total_epochs } = config.trainer;
  if (max_steps !== null) return max_steps;
  const perEpoch = Math.floor(trainRows / config.data.rollout_batch_size);
  if (perEpoch === 0) {
    throw new UserError(
      `${trainRows} training problems do not fill one batch of data.rollout_batch_size = ` +
        `${config.data.rollout_batch_size}: lower it, or set trainer.max_steps to take problems more than once`,
    );
  }
  return perEpoch * total_epochs;
}

/** One line for the start of a run: prompts × rollouts → mini-batches × micro-batches → optimizer steps. */
export function batchArithmetic(config: Config, trainRows: number): string {
  const { data, worker: { actor, rollout } } = config;
  const rollouts = data.rollout_batch_size * rollout.n;
  const steps = miniBatchCount(config);
  const each = rollouts % steps === 0
    ? `${rollouts / steps}`
    : `${Math.floor(rollouts / steps)}–${Math.ceil(rollouts / steps)}`;
  const sequences = actor.micro_batch_size_per_device_for_update;
  const micro = sequences === null ? "" : `at most ${sequences} rollouts and `;
  const iterations = iterationCount(config, trainRows);
  const perIteration = steps * actor.ppo_epochs;
  return `${data.rollout_batch_size} prompts × ${rollout.n} rollouts = ${rollouts} → ` +
    `${steps} mini-batches of ${each} × micro-batches of ${micro}at most ${actor.micro_batch_tokens} tokens` +
    `${
      actor.ppo_epochs > 1 ? ` × ${actor.ppo_epochs} epochs` : ""
    } → ${perIteration} optimizer steps an iteration, ` +
    `${perIteration * iterations} in ${iterations} iterations` +
    (config.algorithm.online_filtering ? " (filtering makes them smaller, not fewer)" : "");
}

function readYaml(file: string): [string, unknown][] {
  let text: string;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    throw new UserError(`cannot read the configuration ${file}: ${(error as Error).message}`);
  }
  let tree: unknown;
  try {
    tree = parse(text);
  } catch (error) {
    throw new UserError(`${file} is not YAML: ${(error as Error).message}`);
  }
  if (tree === null) return [];
  if (typeof tree !== "object" || Array.isArray(tree)) {
    throw new UserError(`${file}: expected groups such as \`trainer:\` with fields below them`);
  }
  return [...flatten(tree as Record<string, unknown>, "")];
}

/** Leaves of a YAML tree by dotted key; a group without a value (`ref:` alone) has none. */
function* flatten(tree: Record<string, unknown>, prefix: string): Generator<[string, unknown]> {
  for (const [name, value] of Object.entries(tree)) {
    const key = prefix + name;
    const group = value !== null && typeof value === "object" && !Array.isArray(value);
    if (group) yield* flatten(value as Record<string, unknown>, `${key}.`);
    else if (value !== null || !isGroup(key)) yield [key, value];
  }
}

function parseOverride(text: string): [string, unknown] {
  const at = text.indexOf("=");
  if (at <= 0) throw new UserError(`override "${text}": write key=value, for example trainer.max_steps=10`);
  const value = text.slice(at + 1);
  try {
    return [text.slice(0, at).trim(), parse(value)];
  } catch (error) {
    throw new UserError(`override "${text}": the value is not YAML: ${(error as Error).message}`);
  }
}

function unknownKey(key: string): string {
  if (isGroup(key)) return `${key} is a group of fields, not a field; give one of its fields`;
  return `there is no key ${key}; did you mean ${nearestKey(key, [...LEAVES.keys(), ...ALIASES.keys()])}?`;
}

function build(
  tree: Fields<unknown> | object,
  values: Map<string, unknown>,
  problems: string[],
  prefix = "",
): unknown {
  const built: Record<string, unknown> = {};
  for (const [name, node] of Object.entries(tree)) {
    const key = prefix + name;
    const field = LEAVES.get(key);
    if (field === undefined) {
      built[name] = build(node, values, problems, `${key}.`);
      continue;
    }
    const value = values.has(key) ? values.get(key) : structuredClone(field.default);
    const parsed = field.schema.safeParse(value);
    if (parsed.success) built[name] = parsed.data;
    else {problems.push(
        `${key} = ${JSON.stringify(value)} is not accepted: give ${field.range}. ${field.doc}`,
      );}
  }
  return built;
}

function contradictions(config: Config): string[] {
  const { data, algorithm, worker: { actor, rollout, reward }, aepo, reference } = config;
  const found: string[] = [];
  const demand = (holds: boolean, message: string): void => void (holds || found.push(message));
  const prompts = actor.global_batch_size;
  const micro = actor.micro_batch_size_per_device_for_update;
  demand(
    prompts === null || data.rollout_batch_size % prompts === 0,
    `data.rollout_batch_size = ${data.rollout_batch_size} prompts cannot be split into optimizer steps of ` +
      `worker.actor.global_batch_size = ${prompts}: the first must be a multiple of the second`,
  );
  demand(
    prompts === null || micro === null || (prompts * rollout.n) % micro === 0,
    `worker.actor.global_batch_size × worker.rollout.n = ${prompts} × ${rollout.n} rollouts is no multiple of ` +
      `worker.actor.micro_batch_size_per_device_for_update = ${micro}`,
  );
  demand(
    prompts !== null || actor.mini_batches <= data.rollout_batch_size * rollout.n,
    `worker.actor.mini_batches = ${actor.mini_batches} is more than the ${data.rollout_batch_size} × ${rollout.n} ` +
      `rollouts of an iteration`,
  );
  demand(
    rollout.n >= 2 || !["grpo", "rloo"].includes(algorithm.adv_estimator),
    `worker.rollout.n = 1 leaves algorithm.adv_estimator = ${algorithm.adv_estimator} nothing to compare: give at least 2`,
  );
  demand(
    algorithm.disable_kl || algorithm.use_kl_loss,
    "algorithm.use_kl_loss = false asks for the KL in the reward, which is not offered because it inflates the " +
      "advantage's variance: set it to true, or algorithm.disable_kl to true",
  );
  demand(
    algorithm.filter_low < algorithm.filter_high,
    `algorithm.filter_low = ${algorithm.filter_low} must be below algorithm.filter_high = ${algorithm.filter_high}`,
  );
  demand(
    reward.overlong_buffer_length <= data.max_response_length,
    `worker.reward.overlong_buffer_length = ${reward.overlong_buffer_length} is longer than ` +
      `data.max_response_length = ${data.max_response_length}`,
  );
  demand(
    aepo.kappa.min <= aepo.kappa.init && aepo.kappa.init <= aepo.kappa.max,
    `aepo.kappa.init = ${aepo.kappa.init} must lie within aepo.kappa.min = ${aepo.kappa.min} and ` +
      `aepo.kappa.max = ${aepo.kappa.max}`,
  );
  demand(
    aepo.kappa.min > 0 || !aepo.kl_shaping || algorithm.disable_kl || rulesOf(config).kl === "reference",
    "aepo.kappa.min = 0 would hold a κ_d that once fell to 0 there for ever: give a number above 0",
  );
  const within = (name: string, min: number, init: number, max: number): void =>
    demand(
      min <= init && init <= max,
      `reference.${name} = ${init} must lie within the bounds beside it, ${min} and ${max}`,
    );
  within("kl_beta_init", reference.kl_beta_min, reference.kl_beta_init, reference.kl_beta_max);
  for (const [d, init] of Object.entries(reference.alpha_entropy_init)) {
    within(`alpha_entropy_init.${d}`, reference.alpha_entropy_min, init, reference.alpha_entropy_max);
  }
  demand(
    !reference.filter_first || algorithm.online_filtering && rulesOf(config).reward === "reference",
    "reference.filter_first = true repeats what the release does with online filtering: set algorithm.online_filtering " +
      "to true and aepo.rules.reward (or algorithm.recipe) to reference, or filter_first to false",
  );
  return found;
}
