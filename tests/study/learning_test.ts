/** The page's tables on what steered and what held learning, by hand. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { armsNamed } from "../../study/arms.ts";
import { claimsOf } from "../../study/claims.ts";
import { controllerTable } from "../../study/controller_tables.ts";
import { type LoggedRollouts, readGenerations } from "../../study/generations.ts";
import { learningTable } from "../../study/learning.ts";
import { pageText } from "../../study/page.ts";
import { drawings } from "../../study/plots.ts";
import type { StudyResults } from "../../study/results.ts";
import { STRETCHES, stretchOf } from "../../study/stretches.ts";
import { costTable } from "../../study/tables.ts";
import { madeStudy, seedOf } from "./made_study.ts";

const [AEPO, DAPO] = ["aepo", "dapo"].map((name) => armsNamed([name])[0]);

/** Cells of the row that begins with `name`. */
function row(table: string | undefined, name: string): string[] {
  const line = table?.split("\n").find((l) => l.startsWith(`| ${name} |`));
  assert(line, `no row ${name} in\n${table}`);
  return line.split(" | ").slice(1).map((c) => c.replace(/ \|$/, ""));
}

Deno.test("study: start, middle and end are a tenth each, of few iterations one, of none nothing", () => {
  const of = (n: number) => STRETCHES.map((s) => stretchOf(Array.from({ length: n }, (_, i) => i), s));
  assertEquals(of(30), [[0, 1, 2], [13, 14, 15], [27, 28, 29]]);
  assertEquals(of(3), [[0], [1], [2]]);
  assertEquals(of(1), [[0], [0], [0]]);
  assertEquals(of(0), [[], [], []]);
});

/** Thirty iterations of an arm with a controller, and of one without KL, under two seeds. */
function steered(): StudyResults {
  return madeStudy({ aepo: [seedOf(50), seedOf(60)], dapo: [seedOf(50), seedOf(60)] }, {
    metrics: (arm, seed) =>
      Array.from({ length: 30 }, (_, i) => ({
        step: i + 1,
        "entropy/threshold": 0.5,
        "entropy/mean": i < 3 ? 0.2 : 0.1 + seed / 10,
        "batch/shared_tokens": arm === "aepo" ? 10 * (1 + seed) : 0,
        "batch/trained_tokens": 100,
        // Of 6 groups of 4.
        "batch/sampled_trajectories": 24,
        "batch/groups": i < 3 ? 6 : 3,
        "actor/updates": 2,
        "reward/accuracy": 0.5,
        "actor/lr": 1e-5,
        // As a run without a reference logs it too.
        "actor/kl": arm === "aepo" ? 0.01 : 0,
        ...(arm === "aepo" && {
          "train/easy/lambda": i < 3 ? 0.1 : i < 20 ? 0.2 : 0.3 + seed / 10,
          "train/easy/n_target": i < 20 ? 2 : 4,
          "train/easy/kl_inside": 0.25,
          "train/easy/kl_outside": 0.125,
          // A difficulty that many iterations do not have: the two of the last tenth that do count alone.
          ...(i > 27 && { "train/hard/lambda": 0.5 }),
        }),
      })),
    logged: () =>
      Array.from({ length: 30 }, (_, i): LoggedRollouts => ({
        step: i + 1,
        groups: 2,
        allRight: i < 3 ? 1 : 2,
        allWrong: 0,
        rollouts: 8,
        windows: i === 0 ? 12 : 0,
        withWindow: i === 0 ? 6 : 0,
      })),
  });
}

Deno.test("study: controllers in numbers, start, middle and end over seeds; what an arm has not is said", () => {
  const study = steered();
  const table = controllerTable(study, AEPO);
  // Ends: 0.3 and 0.4.
  assertEquals(row(table, "easy"), [
    "0.1 → 0.2 → 0.35",
    "2 → 2 → 4",
    "0.125 → 0.125 → 0.125",
    "0.25 → 0.25 → 0.25",
  ]);
  assertEquals(row(table, "hard"), ["– → – → 0.5", "–", "–", "–"]);
  assertStringIncludes(table!, "| λ_d | its target | KL outside windows | KL inside windows |");
  assertStringIncludes(table!, "τ 0.5 → 0.5 → 0.5 nats.\n");
  assert(!table!.includes("no KL"));
  const page = pageText(study, claimsOf(study), []);
  assertStringIncludes(page, "**AdaCS + DAPO**: τ 0.5 → 0.5 → 0.5 nats; no KL: this arm has no reference");
  // Only where the configuration says so.
  assertStringIncludes(controllerTable(madeStudy({ aepo: [seedOf(1)] }), AEPO)!, "no τ; no KL was measured");
  assertEquals(controllerTable(madeStudy({ dapo: [null] }), DAPO), undefined);
});

Deno.test("study: the cost table has tokens saved by shared prefixes and trained tokens; the claims point to it", () => {
  const study = steered();
  // 300 and 600: mean 450, half 12.706 · 212.13 / √2.
  const aepo = row(costTable(study), "AdaCS + AEPO");
  assertEquals([aepo[2], aepo[4], aepo[5]], ["450 ± 1906", "60.0 ± 0.0", "3000 ± 0"]);
  assertEquals(row(costTable(study), "AdaCS + DAPO")[2], "0 ± 0");
  const claims = pageText(study, claimsOf(study), []).split("## ").find((s) => s.startsWith("Claims"))!;
  assertStringIncludes(claims, "aepo 60 ± 0 and 3000 ± 0; dapo 60 ± 0 and 3000 ± 0");
  assertStringIncludes(claims, "[What it took](#what-it-took)");
});

Deno.test("study: what held learning is told by numbers of both ends, from all groups that were logged", () => {
  const table = learningTable(steered());
  const of = (name: string) => row(table, name);
  assertEquals(of("entropy collapsed: token entropy of rollouts, nats"), ["0.2 → 0.15", "0.2 → 0.15"]);
  assertEquals(of("task too easy (or too hard): groups all right, %"), ["50 → 100", "50 → 100"]);
  assertEquals(of("task too easy (or too hard): groups not trained on, %"), ["0 → 50", "0 → 50"]);
  // 12 windows, in 6 of 24 rollouts.
  assertEquals(of("windows never fire: windows a response"), ["0.5 → 0", "0.5 → 0"]);
  assertEquals(of("windows never fire: responses with a window, %"), ["25 → 0", "25 → 0"]);
  assertEquals(of("targets drift: target of N_HE, easy"), ["2 → 4", "–"]);
  assertEquals(of("learning rate: KL to the reference a token, nats"), ["0.01 → 0.01", "–"]);
  assertEquals(learningTable(madeStudy({ adacs: [seedOf(1)], aepo: [null] })), undefined);
});

Deno.test("study: logged rollouts are summed by iteration and group; those of evaluations are responses", async () => {
  const folder = await Deno.makeTempDir();
  const rollout = (step: number, group: number, accuracy: number, high_entropy: number[][]) => ({
    stage: "aepo",
    step,
    group,
    accuracy,
    high_entropy,
  });
  const response = { step: 2, n_he: 3, length: 20 };
  const lines = [
    rollout(1, 0, 1, [[0, 4], [6, 8]]),
    rollout(1, 0, 1, []),
    rollout(1, 1, 0, []),
    rollout(1, 1, 0, [[1, 2]]),
    // The same group number in another iteration is another group; this one is of both kinds.
    rollout(2, 0, 1, []),
    rollout(2, 0, 0, []),
    { ...response, stage: "evaluate aepo", accuracy: 1 },
    { ...response, stage: "evaluate adacs", accuracy: 0 },
  ];
  await Deno.writeTextFile(
    `${folder}/generations.jsonl`,
    lines.map((l) => JSON.stringify(l) + "\n").join(""),
  );
  assertEquals(await readGenerations(folder, "aepo"), {
    responses: [{ highEntropy: 3, length: 20, correct: true }],
    logged: [
      { step: 1, groups: 2, allRight: 1, allWrong: 1, rollouts: 4, windows: 3, withWindow: 2 },
      { step: 2, groups: 1, allRight: 0, allWrong: 0, rollouts: 2, windows: 0, withWindow: 0 },
    ],
  });
  await Deno.remove(folder, { recursive: true });
});

Deno.test("study: length against N_HE is drawn for every arm that is there, correct and wrong apart", () => {
  const study = madeStudy({
    uniform: [seedOf(1)],
    dapo: [seedOf(2)],
    "aepo-no-kl": [seedOf(3)],
    aepo: [null],
  });
  const svg = drawings(study).get("length-n-he.svg")!;
  for (const arm of ["uniform", "dapo", "aepo-no-kl"]) {
    for (const kind of ["correct", "wrong"]) assertStringIncludes(svg, `>${arm}, ${kind}<`);
  }
  assert(!svg.includes(">aepo, "), "an arm without runs is drawn");
});

Deno.test("study: the page says which preset is meant and what its constants have seen, and names the base", () => {
  const study = (smoke: boolean) =>
    madeStudy({ grpo: [seedOf(1)], aepo: [seedOf(1)] }, { settings: { smoke } });
  const page = pageText(study(false), [], []);
  assertStringIncludes(page, "The arm `aepo` is the preset `default`");
  assertStringIncludes(page, "AEPO's constants have seen two tries and GRPO's two");
  assertStringIncludes(page, "model.safetensors: SHA-256 `0123abcd`, taken before the first run");
  assert(!pageText(study(true), [], []).includes("is the preset `default`"));
  const gone = { ...study(false), base: { sha256: {}, recorded: false } };
  assertStringIncludes(pageText(gone, [], []), "its weights are there no more");
  const [grpo, aepo] = study(false).runs;
  const other = { ...study(false), runs: [grpo, { ...aepo, otherSettings: ["adacs.lr = 1, not 2"] }] };
  assertStringIncludes(
    pageText(other, [], []),
    "**1 run of other settings than this page tells**: aepo under seed 0 (adacs.lr = 1, not 2)",
  );
  assert(!page.includes("of other settings"));
});
