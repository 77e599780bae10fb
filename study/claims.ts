/**
 * The paper's claims, each held against the study's numbers: the sentence follows from an interval, never the other way.
 * @module
 */
import { doneRuns, type Measure, pairedDifference } from "./compare.ts";
import type { Group, StudyResults } from "./results.ts";
import { type Interval, tInterval } from "./statistics.ts";

/**
 * `reached`: the whole 95 % interval lies on the claimed side of 0; for "at least", none of it lies below 0. `not reached`:
 * all of it lies on the other side. `within noise`: it holds 0; for "at least", `not worse by more than 1 point` where it
 * also stays above −1 point. `one seed`: a difference without an interval. `no data`: the arms have no seed in common.
 */
export type Verdict =
  | "reached"
  | "not worse by more than 1 point"
  | "not reached"
  | "within noise"
  | "one seed"
  | "no data";

/** What "at least" allows to be below before it is within noise: a point of accuracy. */
const MARGIN = 0.01;

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

/**
 * The verdict on "at least 0". An interval wholly below 0 is not reached, however near: what is known to be worse is not
 * called as good.
 */
export function verdictAtLeast(found: Interval | undefined, margin = MARGIN): Verdict {
  const { low, high } = found ?? {};
  if (low === undefined || high === undefined) return verdictOf(found, 1);
  if (low >= 0) return "reached";
  if (high < 0) return "not reached";
  return low >= -margin ? "not worse by more than 1 point" : "within noise";
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
    verdict: (found: Interval | undefined) => Verdict,
  ) => {
    if (!has(arm, other)) return;
    const found = pairedDifference(study, arm, other, group, measure);
    const unit = measure === "accuracy" ? "points" : "tokens";
    claims.push({ claim, verdict: verdict(found), found, unit });
  };
  const above = (found: Interval | undefined) => verdictOf(found, 1);
  const below = (found: Interval | undefined) => verdictOf(found, -1);
  const accuracy = (claim: string, arm: string, other: string, group: Group = "all") =>
    compare(claim, arm, other, group, "accuracy", above);

  accuracy("AEPO is more accurate than GRPO", "aepo", "grpo");
  compare("AEPO is at least as accurate as DAPO", "aepo", "dapo", "all", "accuracy", verdictAtLeast);
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
    below,
  );
  compare(
    "AEPO takes more tokens on hard problems than the cold start",
    "aepo",
    "adacs",
    "hard",
    "length",
    above,
  );
  compare(
    "AdaCS is shorter on easy problems than uniform sampling",
    "adacs",
    "uniform",
    "easy",
    "length",
    below,
  );
  compare(
    "AdaCS is longer on hard problems than uniform sampling",
    "adacs",
    "uniform",
    "hard",
    "length",
    above,
  );
  accuracy("Entropy shaping and branching (AEPO without KL shaping) is above GRPO", "aepo-no-kl", "grpo");
  accuracy(
    "KL shaping and branching (AEPO without entropy shaping) is above GRPO",
    "aepo-no-entropy",
    "grpo",
  );
  accuracy("Entropy and KL shaping (AEPO without branching) is above GRPO", "aepo-no-branch", "grpo");
  accuracy("KL shaping adds: AEPO is above AEPO without KL shaping", "aepo", "aepo-no-kl");
  accuracy("Entropy shaping adds: AEPO is above AEPO without entropy shaping", "aepo", "aepo-no-entropy");
  accuracy("Branching adds: AEPO is above AEPO without branching", "aepo", "aepo-no-branch");
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
