/**
 * The paper's claims, each held against the study's numbers: the sentence follows from an interval, never the other way.
 * @module
 */
import { doneRuns, type Measure, pairedDifference } from "./compare.ts";
import type { Group, StudyResults } from "./results.ts";
import { type Interval, tInterval } from "./statistics.ts";

/**
 * `reached`: the whole 95 % interval lies on the claimed side of 0. `not reached`: all of it lies on the other side.
 * `within noise`: it holds 0. `one seed`: a difference without an interval. `no data`: the arms have no seed in common.
 */
export type Verdict = "reached" | "not reached" | "within noise" | "one seed" | "no data";

/** One claim and what became of it. */
export interface Claim {
  /** What the paper claims, in the study's terms. */
  readonly claim: string;
  /** What was found. */
  readonly verdict: Verdict;
  /** The difference (or value) that was held against 0. */
  readonly found?: Interval;
  /** How it is written: points of accuracy, tokens, tokens per high-entropy token, F1. */
  readonly unit: "points" | "tokens" | "tokens per N_HE" | "F1";
}

/** The verdict on "above 0" (`sign` 1) or "below 0" (−1). */
export function verdictOf(found: Interval | undefined, sign: 1 | -1): Verdict {
  if (!found) return "no data";
  if (found.low === undefined || found.high === undefined) return "one seed";
  const [low, high] = sign === 1 ? [found.low, found.high] : [-found.high, -found.low];
  return low > 0 ? "reached" : high < 0 ? "not reached" : "within noise";
}

/** All claims that the study's arms can speak to. */
export function claimsOf(study: StudyResults): Claim[] {
  const has = (...arms: string[]) => arms.every((a) => study.settings.arms.some((arm) => arm.name === a));
  const claims: Claim[] = [];
  const compare = (
    claim: string,
    arm: string,
    other: string,
    group: Group,
    measure: Measure,
    sign: 1 | -1,
  ) => {
    if (!has(arm, other)) return;
    const found = pairedDifference(study, arm, other, group, measure);
    const unit = measure === "accuracy" ? "points" : "tokens";
    claims.push({ claim, verdict: verdictOf(found, sign), found, unit });
  };
  const accuracy = (claim: string, arm: string, other: string, group: Group = "all") =>
    compare(claim, arm, other, group, "accuracy", 1);

  accuracy("AEPO is more accurate than GRPO", "aepo", "grpo");
  accuracy("AEPO is at least as accurate as DAPO", "aepo", "dapo");
  accuracy("AEPO is more accurate than the cold start it begins with", "aepo", "adacs");
  for (const level of ["easy", "medium", "hard"] as const) {
    accuracy(`… on ${level} problems`, "aepo", "adacs", level);
  }
  compare(
    "AEPO takes fewer tokens on easy problems than the cold start",
    "aepo",
    "adacs",
    "easy",
    "length",
    -1,
  );
  compare(
    "AEPO takes more tokens on hard problems than the cold start",
    "aepo",
    "adacs",
    "hard",
    "length",
    1,
  );
  compare(
    "AdaCS is shorter on easy problems than uniform sampling",
    "adacs",
    "uniform",
    "easy",
    "length",
    -1,
  );
  compare("AdaCS is longer on hard problems than uniform sampling", "adacs", "uniform", "hard", "length", 1);
  accuracy("Entropy shaping alone (AEPO without KL shaping) is above GRPO", "aepo-no-kl", "grpo");
  accuracy("KL shaping alone (AEPO without entropy shaping) is above GRPO", "aepo-no-entropy", "grpo");
  accuracy("Both together are above entropy shaping alone", "aepo", "aepo-no-kl");
  accuracy("Both together are above KL shaping alone", "aepo", "aepo-no-entropy");
  accuracy("Branching helps: AEPO is above AEPO without branching", "aepo", "aepo-no-branch");
  accuracy("AEPO as released is above GRPO", "aepo-reference", "grpo");

  if (has("aepo")) {
    for (const kind of ["correct", "wrong"] as const) {
      const found = tInterval(doneRuns(study, "aepo").flatMap((r) => r.lines[kind]?.slope ?? []));
      claims.push({
        claim: `Length grows with N_HE (slope of the fitted line, ${kind} responses of AEPO)`,
        verdict: verdictOf(found, 1),
        found,
        unit: "tokens per N_HE",
      });
    }
  }
  for (const model of ["base", "adacs"] as const) {
    const found = tInterval([...study.decisions.values()].flatMap((scores) => {
      const f1 = (window: number) => scores[model].find((s) => s.window === window)?.f1;
      const [four, one] = [f1(4), f1(1)];
      return four === undefined || one === undefined ? [] : [four - one];
    }));
    claims.push({
      claim: `Window entropy (w = 4) finds decision tokens better than single-token entropy, under ${
        model === "base" ? "the base" : "AdaCS"
      }`,
      verdict: verdictOf(found, 1),
      found,
      unit: "F1",
    });
  }
  return claims;
}
