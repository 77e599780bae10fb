/**
 * Reads what a run's folder tells: configuration, metrics, evaluations and, in two passes that keep only what is shown,
 * generations. A run that is still going, was interrupted or died is read as far as it got.
 * @module
 */
import { join } from "node:path";
import { parse } from "yaml";
import { jsonlRecords } from "../../data/jsonl.ts";
import { UserError } from "../../gpu/errors.ts";
import type { EvaluationRecord, RunState } from "../run_state.ts";
import type { PageData, Place, ShownProblem, ShownRollout } from "./page_data.ts";

type Json = Readonly<Record<string, any>>;

/** What is known of every logged rollout and response. */
export interface LoggedResponse {
  /** Name of its evaluation; undefined for a rollout of training. */
  readonly evaluation?: string;
  readonly step: number;
  readonly id: string;
  /** Bucket or level. */
  readonly difficulty?: string;
  readonly accuracy: number;
  readonly length: number;
  readonly n_he: number;
}

/** A run as its folder tells it. */
export interface RunLog {
  /** The folder. */
  readonly path: string;
  /** The resolved configuration, by section; empty where there is none. */
  readonly config: Json;
  /** The summary; undefined before the run's first end. */
  readonly summary?: Json;
  /** Lines of metrics.jsonl. */
  readonly metrics: readonly Json[];
  /** Evaluations by name, in order. */
  readonly evaluations: Readonly<Record<string, EvaluationRecord>>;
  /** Every line of generations.jsonl, without texts and tokens. */
  readonly responses: readonly LoggedResponse[];
  /** Lines of generations.jsonl with tokens. */
  readonly traced: number;
  /** What the page's script gets. */
  readonly shown: PageData;
}

/**
 * Reads a run's folder.
 * @param mostTokens of the rollouts that are shown; of more, whole groups spread evenly over the run are taken
 * @throws UserError where the folder is no run's
 */
export async function readRun(path: string, mostTokens: number): Promise<RunLog> {
  const metrics = await recordsOf(join(path, "metrics.jsonl"));
  if (!metrics) throw new UserError(`${path} is not a run's folder: it has no metrics.jsonl`);
  const config = await readText(join(path, "config.yaml"));
  const summary = await readJson(join(path, "summary.json"));
  const evaluations = { ...await savedEvaluations(path), ...summary?.evaluations };
  const generations = join(path, "generations.jsonl");
  const { responses, groups, traced } = await survey(generations);
  const shown = new Shown(metrics, evaluations);
  for await (const [record, group] of chosenOf(generations, chosenGroups(groups, mostTokens))) {
    shown.add(record, group);
  }
  return {
    path,
    config: config === undefined ? {} : parse(config) ?? {},
    summary,
    metrics,
    evaluations,
    responses,
    traced,
    shown: await shown.data(join(path, "pictures")),
  };
}

/** Evaluations as the newest checkpoint knows them: all there is of a run that did not come to its summary. */
async function savedEvaluations(path: string): Promise<Record<string, EvaluationRecord>> {
  const checkpoints = join(path, "checkpoints");
  const latest = (await readJson(join(checkpoints, "latest.json")))?.latest;
  if (typeof latest !== "string") return {};
  const state = await readJson(join(checkpoints, latest, "run_state.json")) as RunState | undefined;
  return state?.evaluations ?? {};
}

const evaluationOf = (stage: string): string | undefined => /^evaluate (.*)$/s.exec(stage)?.[1];

/** Rollouts of a prompt in an iteration, or all evaluations' responses to a problem. */
function groupOf(record: Json): string {
  return evaluationOf(record.stage) === undefined
    ? JSON.stringify([record.stage, record.step, record.group])
    : JSON.stringify(["evaluate", record.id]);
}

/** First pass: what every line says in numbers, and the tokens of every group. */
async function survey(path: string) {
  const responses: LoggedResponse[] = [];
  const groups = new Map<string, number>();
  let traced = 0;
  for await (const r of lines(path)) {
    responses.push({
      evaluation: evaluationOf(r.stage),
      step: r.step,
      id: r.id,
      difficulty: r.difficulty ?? r.level,
      accuracy: r.accuracy,
      length: r.length,
      n_he: r.n_he,
    });
    if (!r.tokens) continue;
    traced++;
    const group = groupOf(r);
    groups.set(group, (groups.get(group) ?? 0) + r.length);
  }
  return { responses, groups, traced };
}

/** As many groups as the tokens allow, evenly over their order, numbered. */
function chosenGroups(groups: ReadonlyMap<string, number>, mostTokens: number): Map<string, number> {
  const total = [...groups.values()].reduce((a, b) => a + b, 0);
  const share = Math.min(1, mostTokens / Math.max(1, total));
  const kept = [...groups.keys()].filter((_, i) => Math.floor((i + 1) * share) > Math.floor(i * share));
  return new Map(kept.map((group, i) => [group, i]));
}

/** Second pass: the lines of the chosen groups. */
async function* chosenOf(path: string, chosen: ReadonlyMap<string, number>): AsyncGenerator<[Json, number]> {
  for await (const r of lines(path)) {
    const group = r.tokens && chosen.get(groupOf(r));
    if (group !== undefined) yield [r, group];
  }
}

/** Gathers what the page's script gets. */
class Shown {
  #places = new Map<string, Place & { index: number }>();
  #problems = new Map<string, ShownProblem & { index: number }>();
  #rollouts: ShownRollout[] = [];
  #metrics: Map<number, Json>;
  #evaluations: Readonly<Record<string, EvaluationRecord>>;

  constructor(metrics: readonly Json[], evaluations: Readonly<Record<string, EvaluationRecord>>) {
    const iterations = metrics.filter((m) => m.stage === "aepo" && "entropy/threshold" in m);
    this.#metrics = new Map(iterations.map((m) => [m.step, m]));
    this.#evaluations = evaluations;
  }

  add(r: Json, group: number): void {
    this.#rollouts.push({
      place: this.#placeOf(r),
      problem: this.#problemOf(r),
      group,
      sample: r.sample,
      parent: r.parent ?? undefined,
      branch_step: r.branch_step ?? undefined,
      branch_entropy: r.branch_entropy ?? undefined,
      accuracy: r.accuracy,
      difficulty: r.difficulty ?? r.level,
      n_he: r.n_he,
      finish: r.finish,
      reward: r.reward,
      advantage: r.advantage,
      learned: r.learned,
      kl_weight: r.kl_weight,
      tokens: r.tokens,
      logps: r.logps,
      entropies: r.entropies,
      windows: r.windows,
      high_entropy: r.high_entropy,
      advantages: r.advantages,
    });
  }

  async data(pictures: string): Promise<PageData> {
    const without = <T extends { index: number }>(all: Map<string, T>) =>
      [...all.values()].map(({ index: _, ...rest }) => rest);
    const problems = without(this.#problems);
    const names = new Set(problems.flatMap((p) => p.images ?? []));
    return {
      places: without(this.#places),
      problems,
      rollouts: this.#rollouts,
      pictures: await picturesOf(pictures, names),
    };
  }

  #placeOf({ stage, step }: Json): number {
    const evaluation = evaluationOf(stage);
    const name = evaluation ?? `iteration ${step}`;
    const known = this.#places.get(name);
    if (known) return known.index;
    const index = this.#places.size;
    const m = this.#metrics.get(step) ?? {};
    const shaped = ["easy", "medium", "hard"].filter((b) => `train/${b}/lambda` in m);
    this.#places.set(name, {
      index,
      name,
      evaluation: evaluation !== undefined,
      blind: / blind$/.test(evaluation ?? ""),
      threshold: evaluation === undefined
        ? m["entropy/threshold"]
        : this.#evaluations[evaluation.replace(/ blind$/, "")]?.threshold,
      shaping: evaluation !== undefined || shaped.length === 0 ? undefined : Object.fromEntries(
        shaped.map((b) => [b, { target: m[`train/${b}/n_target`], lambda: m[`train/${b}/lambda`] }]),
      ),
    });
    return index;
  }

  #problemOf({ id, source, problem, answer, images }: Json): number {
    const key = JSON.stringify([id, problem]);
    const known = this.#problems.get(key);
    if (known) return known.index;
    const index = this.#problems.size;
    this.#problems.set(key, { index, id, source, text: problem, answer, images });
    return index;
  }
}

/** The pictures that are there, as data: URLs. */
async function picturesOf(folder: string, names: ReadonlySet<string>): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of names) {
    // The name comes from a log: it must not lead out of the folder.
    if (!/^[\w-]+\.png$/.test(name)) continue;
    const bytes = await Deno.readFile(join(folder, name)).catch(ifMissing);
    if (bytes) found[name] = `data:image/png;base64,${bytes.toBase64()}`;
  }
  return found;
}

async function recordsOf(path: string): Promise<Json[] | undefined> {
  if (!await Deno.stat(path).catch(ifMissing)) return undefined;
  return await Array.fromAsync(lines(path));
}

/** The records of a log; a line that a kill has torn is left out, a missing file has none. */
async function* lines(path: string): AsyncGenerator<Json> {
  if (!await Deno.stat(path).catch(ifMissing)) return;
  for await (const line of jsonlRecords(path)) if ("record" in line) yield line.record;
}

async function readText(path: string): Promise<string | undefined> {
  return await Deno.readTextFile(path).catch(ifMissing);
}

async function readJson(path: string): Promise<Json | undefined> {
  const text = await readText(path);
  return text === undefined ? undefined : JSON.parse(text);
}

function ifMissing(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
