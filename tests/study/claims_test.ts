import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ARMS } from "../../study/arms.ts";
import { claimsOf, verdictAtLeast, verdictOf } from "../../study/claims.ts";
import { pairedDifference } from "../../study/compare.ts";
import type { DecisionScores } from "../../study/runs.ts";
import { pageText } from "../../study/page.ts";
import { differenceTable, groupTable } from "../../study/tables.ts";
import { madeStudy, seedOf } from "./made_study.ts";

Deno.test("study: a verdict follows from the interval alone, in both directions", () => {
  const at = (low: number, high: number) => ({ mean: (low + high) / 2, low, high, n: 3 });
  assertEquals(verdictOf(at(0.1, 0.2), 1), "reached");
  assertEquals(verdictOf(at(-0.2, -0.1), 1), "not reached");
  assertEquals(verdictOf(at(-0.1, 0.2), 1), "within noise");
  assertEquals(verdictOf(at(0, 0.2), 1), "within noise");
  assertEquals(verdictOf(at(-0.2, -0.1), -1), "reached");
  assertEquals(verdictOf(at(0.1, 0.2), -1), "not reached");
  assertEquals(verdictOf(at(-0.1, 0.2), -1), "within noise");
  assertEquals(verdictOf({ mean: 5, n: 1 }, 1), "one seed");
  assertEquals(verdictOf(undefined, 1), "no data");
});

Deno.test("study: at least as good is not above: 0 suffices, a point below is told, and below 0 is not reached", () => {
  const at = (low: number, high: number) => ({ mean: (low + high) / 2, low, high, n: 3 });
  assertEquals(verdictAtLeast(at(0, 0.02)), "reached");
  assertEquals(verdictAtLeast(at(0, 0)), "reached");
  assertEquals(verdictAtLeast(at(-0.01, 0.02)), "not worse by more than 1 point");
  assertEquals(verdictAtLeast(at(-0.0101, 0.02)), "within noise");
  assertEquals(verdictAtLeast(at(-0.008, -0.002)), "not reached");
  assertEquals(verdictAtLeast(at(-0.05, -0.02)), "not reached");
  assertEquals(verdictAtLeast({ mean: 0.1, n: 1 }), "one seed");
  assertEquals(verdictAtLeast(undefined), "no data");
  const made = (...dapo: number[]) =>
    madeStudy({ aepo: [seedOf(50), seedOf(60)], dapo: dapo.map((x) => seedOf(x)) });
  // The same to the digit: at least as accurate, and not more accurate.
  assertEquals(verdict(made(50, 60), "at least as accurate as DAPO"), "reached");
  assertEquals(verdict(made(50.05, 59.95), "at least as accurate as DAPO"), "not worse by more than 1 point");
  assertEquals(verdict(made(52, 58), "at least as accurate as DAPO"), "within noise");
});

Deno.test("study: every ablation is held against GRPO and against AEPO, each claim once", () => {
  const study = madeStudy(Object.fromEntries(ARMS.map(({ name }) => {
    // Each pair of arms differs by another amount, so that a claim's difference tells its arms.
    const own = ARMS.findIndex((a) => a.name === name);
    return [name, [seedOf(2 ** own / 10), seedOf(2 ** own / 10)]];
  })));
  const claims = claimsOf(study);
  assertEquals(new Set(claims.map((c) => c.claim)).size, claims.length);
  const points = (arm: string) => 2 ** ARMS.findIndex((a) => a.name === arm) / 10;
  for (const ablation of ["aepo-no-kl", "aepo-no-entropy", "aepo-no-branch"]) {
    for (const [arm, other] of [[ablation, "grpo"], ["aepo", ablation]]) {
      const difference = points(arm) - points(other);
      const found = claims.filter((c) => Math.abs(100 * (c.found?.mean ?? NaN) - difference) < 1e-9);
      assertEquals(found.length, 1, `${arm} against ${other}`);
    }
  }
});

/** Verdict of the first claim that says this. */
function verdict(study: ReturnType<typeof madeStudy>, words: string): string {
  const claim = claimsOf(study).find((c) => c.claim.includes(words));
  assert(claim, `no claim says ${words}`);
  return claim.verdict;
}

Deno.test("study: claims are held against differences under the same seed; each verdict occurs", () => {
  // Seeds lie far apart, which the difference of arms under one seed does not see.
  const study = madeStudy({
    adacs: [seedOf(40, [80, 20], [20, 30]), seedOf(50, [81, 22], [21, 33]), seedOf(60, [79, 24], [20, 36])],
    grpo: [seedOf(45), seedOf(55), seedOf(65)],
    dapo: [seedOf(49), seedOf(59.6), seedOf(69.2)],
    aepo: [
      seedOf(48, [80, 18], [20, 31]),
      seedOf(58.5, [82, 20.1], [22, 31]),
      seedOf(68, [79, 22], [21, 38]),
    ],
    "aepo-no-kl": [seedOf(44), seedOf(57), seedOf(64)],
    "aepo-no-entropy": [null, null, null],
  }, { slopes: [1.5, 1.6, 1.4] });
  assertEquals(verdict(study, "AEPO is more accurate than GRPO"), "reached");
  assertEquals(verdict(study, "at least as accurate as DAPO"), "not reached");
  assertEquals(verdict(study, "fewer tokens on easy"), "reached");
  assertEquals(verdict(study, "more tokens on hard"), "within noise");
  assertEquals(verdict(study, "without KL shaping) is above GRPO"), "within noise");
  assertEquals(verdict(study, "without entropy shaping) is above GRPO"), "no data");
  assertEquals(verdict(study, "Length grows with N_HE"), "reached");
  const { mean } = pairedDifference(study, "aepo", "grpo", "all", "accuracy")!;
  assert(Math.abs(mean - (0.03 + 0.035 + 0.03) / 3) < 1e-12);
  assert(
    !claimsOf(study).some((c) => /Branching|released/.test(c.claim)),
    "arms that are not there claim nothing",
  );

  const one = madeStudy({ grpo: [seedOf(45)], aepo: [seedOf(48)] });
  assertEquals(verdict(one, "AEPO is more accurate than GRPO"), "one seed");
});

Deno.test("study: the claim on windows compares F1 of w = 4 with that of w = 1, seed by seed", () => {
  const scores = (one: number, four: number): DecisionScores => {
    const of = (window: number, f1: number) => ({ window, f1, precision: f1, recall: f1, threshold: 1 });
    return { base: [of(1, one), of(4, four)], adacs: [of(1, four), of(4, one)], everyToken: 0.3 };
  };
  const study = madeStudy({ grpo: [seedOf(1), seedOf(1)] }, {
    decisions: new Map([[0, scores(0.5, 0.6)], [1, scores(0.7, 0.81)]]),
  });
  const [base, adacs] = claimsOf(study).filter((c) => c.unit === "F1");
  assertEquals([base.verdict, adacs.verdict], ["reached", "not reached"]);
});

Deno.test("study: tables have means with intervals; a failed run is told, and its seed stays for the others", () => {
  const study = madeStudy({
    grpo: [seedOf(40), seedOf(44), seedOf(48)],
    aepo: [seedOf(50), null, seedOf(56)],
  });
  // s = 4, half = 4.3027 · 4 / √3 = 9.9; of two values, 12.706 · 3 = 38.1.
  assertStringIncludes(groupTable(study, "accuracy"), "44.0 ± 9.9");
  assertStringIncludes(groupTable(study, "accuracy"), "53.0 ± 38.1");
  // 10 and 8 points: 9 ± 12.706.
  assertStringIncludes(differenceTable(study, "grpo", "accuracy"), "+9.0 ± 12.7");
  const page = pageText(study, claimsOf(study), []);
  assertStringIncludes(page, "Of 6 runs 1 are not done");
  assertStringIncludes(page, "aepo under seed 1 failed");
  assertStringIncludes(page, "**failed**: it fell over");
  assertStringIncludes(page, "| AEPO is more accurate than GRPO | **within noise** | +9.0 points |");
});
