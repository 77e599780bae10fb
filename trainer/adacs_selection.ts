/**
 * AdaCS: which candidate response each problem is taught with, so that harder problems get longer reasoning
 * (section 3.1; ARES.md section 2). Pure: pass rates and lengths in, choices and notes out.
 * @module
 */
import { UserError } from "../gpu/errors.ts";

/** One problem with what the current model made of it and what there is to teach. */
export interface AdacsProblem {
  /** target lengths are kept per source */
  source: string;
  /** right answers among `samples` */
  correct: number;
  /** K responses sampled from the current model */
  samples: number;
  /** token length of each candidate (teacher) response */
  candidateLengths: readonly number[];
}

/** How much to choose. At least one of `count` and `maxTokens` is needed; what is reached first ends the choice. */
export interface AdacsOptions {
  /** number of examples */
  count?: number;
  /** candidate tokens in all; the choice ends with the example that reaches it */
  maxTokens?: number;
  /** a source with fewer problems at an end of the pass rates widens to the nearest brackets; default 8 */
  minBracket?: number;
  /** how many of a problem's candidates, nearest first, take part; default 1 */
  perProblem?: number;
  /**
   * default `adaptive`; `uniform` draws problems uniformly, whatever their pass rate, and of each one of its candidates
   * uniformly, whatever its length: the ablation "cold start with uniform sampling"
   */
  selection?: "adaptive" | "uniform";
}

/** One example to fine-tune on. */
export interface AdacsChoice {
  /** index into the problems */
  problem: number;
  /** index into its candidates */
  candidate: number;
  /** pass-rate bracket, 0 … K */
  bracket: number;
  /** L_target(p) in tokens */
  target: number;
}

/** Ends of a source's target lengths, in tokens. */
export interface TargetEnds {
  /** L(0), the length for p = 0 */
  hard: number;
  /** L(1), the length for p = 1 */
  easy: number;
}

/** The curated set and how it came about. */
export interface AdacsSelection {
  /** examples in the order they were drawn */
  chosen: AdacsChoice[];
  /** L(0) and L(1) per source */
  ends: Record<string, TargetEnds>;
  /** problems with candidates per bracket 0 … K */
  available: number[];
  /** chosen examples per bracket 0 … K */
  taken: number[];
  /** what had to be done differently, in sentences */
  notes: string[];
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** L_target(p) = (1 − p) L(0) + p L(1), tokens. */
export function targetLength(passRate: number, ends: TargetEnds): number {
  return (1 - passRate) * ends.hard + passRate * ends.easy;
}

/** Bracket of a pass rate among 0 … K: the nearest multiple of 1/K. */
export function bracketOf(correct: number, samples: number, brackets: number): number {
  return Math.round(correct / samples * brackets);
}

/**
 * Median candidate length at one end of a source's problems: bracket `end` (0 or K), widened bracket by bracket until
 * `minimum` problems are in it or the source is used up.
 */
function endLength(
  source: string,
  members: readonly { problem: AdacsProblem; bracket: number }[],
  end: number,
  brackets: number,
  minimum: number,
  notes: string[],
): number {
  const within = (reach: number) => members.filter((m) => Math.abs(m.bracket - end) <= reach);
  let reach = 0;
  while (within(reach).length < minimum && reach < brackets) reach++;
  const used = within(reach);
  if (reach > 0) {
    const at = end === 0 ? "p = 0" : "p = 1";
    const enough = used.length < minimum ? `, fewer than ${minimum} in all` : "";
    const range = end === 0 ? `p <= ${reach}/${brackets}` : `p >= ${brackets - reach}/${brackets}`;
    notes.push(
      `source ${source}: ${
        within(0).length
      } problems at ${at}; its length is the median over ${used.length} problems with ${range}${enough}`,
    );
  }
  return median(used.flatMap((m) => m.problem.candidateLengths));
}

function shuffle<T>(items: T[], rand: () => number): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(rand() * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}

/**
 * Chooses examples uniformly over the pass-rate brackets that have any: each round draws one from every bracket, in
 * random order; a bracket's pool (each problem's candidates nearest to its target length) is gone through in random
 * order and again from the start when it is used up. Problems with p = 1 stay in. `rand` gives numbers in [0, 1) and
 * decides everything. No problem with a candidate gives an empty choice and a note.
 *
 * @throws UserError on counts that are none, or when neither `count` nor `maxTokens` is given.
 */
export function selectAdacs(
  problems: readonly AdacsProblem[],
  options: AdacsOptions,
  rand: () => number,
): AdacsSelection {
  const { count = Infinity, maxTokens = Infinity, minBracket = 8, perProblem = 1, selection = "adaptive" } =
    options;
  if (count === Infinity && maxTokens === Infinity) {
    throw new UserError("AdaCS needs a count or max_tokens to stop at");
  }
  if (!(minBracket >= 1) || !(perProblem >= 1)) {
    throw new UserError("AdaCS: min_bracket and perProblem must be >= 1");
  }
  problems.forEach(({ correct, samples, candidateLengths }, i) => {
    if (candidateLengths.some((n) => !(n >= 1))) {
      throw new UserError(`AdaCS problem ${i}: an empty candidate`);
    }
    if (!(samples >= 1) || !(correct >= 0) || correct > samples) {
      throw new UserError(`AdaCS problem ${i}: ${correct} right of ${samples} samples`);
    }
  });
  const brackets = problems.reduce((k, p) => Math.max(k, p.samples), 1);
  const notes: string[] = [];
  const members = problems.map((problem, index) => ({
    problem,
    index,
    bracket: bracketOf(problem.correct, problem.samples, brackets),
  })).filter((m) => m.problem.candidateLengths.length > 0);
  const bare = problems.length - members.length;
  if (bare > 0) {
    notes.push(`${bare} of ${problems.length} problems have no candidate response and are left out`);
  }

  const ends: Record<string, TargetEnds> = {};
  for (const source of new Set(members.map((m) => m.problem.source))) {
    const own = members.filter((m) => m.problem.source === source);
    ends[source] = {
      hard: endLength(source, own, 0, brackets, minBracket, notes),
      easy: endLength(source, own, brackets, brackets, minBracket, notes),
    };
  }

  const pools: AdacsChoice[][] = Array.from({ length: brackets + 1 }, () => []);
  const available = new Array<number>(brackets + 1).fill(0), taken = new Array<number>(brackets + 1).fill(0);
  for (const { problem, index, bracket } of members) {
    const target = targetLength(problem.correct / problem.samples, ends[problem.source]);
    const distance = (c: number) => Math.abs(problem.candidateLengths[c] - target);
    const nearest = problem.candidateLengths.map((_, c) => c).sort((a, b) =>
      distance(a) - distance(b) || a - b
    );
    available[bracket]++;
    for (const candidate of nearest.slice(0, perProblem)) {
      pools[bracket].push({ problem: index, candidate, bracket, target });
    }
  }
  const empty = available.flatMap((n, k) => n === 0 ? [`${k}/${brackets}`] : []);
  if (members.length === 0) notes.push("no problem has a candidate response: nothing to fine-tune on");
  else if (selection === "uniform") notes.push("problems and their responses were drawn uniformly");
  else if (empty.length > 0) {
    notes.push(`no problem at p = ${empty.join(", ")}: sampling is uniform over the other brackets`);
  }

  const chosen: AdacsChoice[] = [];
  const left: AdacsChoice[][] = pools.map(() => []);
  const filled = pools.flatMap((pool, k) => pool.length > 0 ? [k] : []);
  let tokens = 0;
  const take = (choice: AdacsChoice) => {
    chosen.push(choice);
    taken[choice.bracket]++;
    tokens += problems[choice.problem].candidateLengths[choice.candidate];
  };
  if (selection === "uniform") {
    while (members.length > 0 && chosen.length < count && tokens < maxTokens) {
      for (const { problem, index, bracket } of shuffle([...members], rand)) {
        if (chosen.length >= count || tokens >= maxTokens) break;
        const candidate = Math.floor(rand() * problem.candidateLengths.length);
        const target = targetLength(problem.correct / problem.samples, ends[problem.source]);
        take({ problem: index, candidate, bracket, target });
      }
    }
    return { chosen, ends, available, taken, notes };
  }
  while (filled.length > 0 && chosen.length < count && tokens < maxTokens) {
    for (const k of shuffle([...filled], rand)) {
      if (chosen.length >= count || tokens >= maxTokens) break;
      if (left[k].length === 0) left[k] = shuffle([...pools[k]], rand);
      take(left[k].pop()!);
    }
  }
  return { chosen, ends, available, taken, notes };
}
