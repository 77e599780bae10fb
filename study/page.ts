/**
 * The study's page: README.md with tables and verdicts, its drawings, and results.json with the numbers behind them.
 * @module
 */
import { join } from "node:path";
import { writeAtomically } from "../trainer/atomic_write.ts";
import { iterationCount } from "../trainer/config.ts";
import type { Config } from "../trainer/config_types.ts";
import { ARMS } from "./arms.ts";
import { type Claim, claimsOf } from "./claims.ts";
import { doneRuns } from "./compare.ts";
import { controllerTable } from "./controller_tables.ts";
import { learningReadings, learningTable } from "./learning.ts";
import { withoutMachinePaths } from "./places.ts";
import { drawings } from "./plots.ts";
import { readStudy, type StudyResults } from "./results.ts";
import { resultsJson } from "./results_file.ts";
import { baseOf, configOf, sharedOverrides, type StudySettings } from "./settings.ts";
import * as tables from "./tables.ts";

/** Writes the page of what has been run so far and returns its path. */
export async function writePage(settings: StudySettings, out: string): Promise<string> {
  const study = await readStudy(settings);
  const claims = claimsOf(study);
  const files = drawings(study);
  await Deno.mkdir(out, { recursive: true });
  for await (const old of Deno.readDir(out)) {
    // Of arms that are no longer there.
    if (old.isFile && old.name.endsWith(".svg") && !files.has(old.name)) {
      await Deno.remove(join(out, old.name));
    }
  }
  for (const [name, svg] of files) await writeAtomically(join(out, name), svg);
  await writeAtomically(join(out, "results.json"), resultsJson(study, claims));
  const page = join(out, "README.md");
  await writeAtomically(page, pageText(study, claims, [...files.keys()]));
  return page;
}

/** The page in Markdown. */
export function pageText(study: StudyResults, claims: readonly Claim[], files: readonly string[]): string {
  const { settings, runs } = study;
  const { seeds, arms } = settings;
  const learning = learningTable(study);
  const notDone = runs.filter((r) => r.status !== "done");
  const picture = (name: string, alt: string) => files.includes(name) ? `![${alt}](${name})` : "";
  const section = (title: string, ...parts: string[]) =>
    `## ${title}\n\n${parts.filter(Boolean).join("\n\n")}\n`;
  const counted = Object.entries(Object.groupBy(claims, (c) => c.verdict))
    .map(([verdict, list]) => `${list!.length} ${verdict}`).join(", ");
  const sections = [
    "# Study: AEPO, its components and its baselines on the micro-world\n",
    `Written by \`./ares study\` from its runs; nothing here is edited by hand. ${setup(study)}\n`,
    notDone.length === 0
      ? `All ${runs.length} runs are done; none was left out.\n`
      : `**Of ${runs.length} runs ${notDone.length} are not done** (see the table of runs): ${
        notDone.map((r) => `${r.arm.name} under seed ${r.seed} ${r.status}`).join("; ")
      }.\n`,
    otherSettings(study),
    section(
      "Claims",
      `Of ${claims.length} claims: ${counted}. *reached*: the whole 95 % interval of the difference, seed by seed, lies ` +
        "on the claimed side of 0; *not reached*: it lies on the other side; *within noise*: it holds 0, so that these " +
        'runs tell neither; *one seed*: there is no interval. "At least" (AEPO ≥ DAPO) is reached where the interval\'s ' +
        "lower end is 0 or above; where it holds 0 and the lower end is −1 point or above, the verdict is *not worse by " +
        "more than 1 point*; where all of it lies below 0, it is not reached, however small the difference. Each " +
        "interval is for its claim alone: of twenty differences that are truly 0, about one would leave its interval by chance.",
      tables.claimTable(claims),
      trainingNote(study),
    ),
    section(
      "Accuracy and length",
      `Accuracy in %, mean over ${plural(seeds.length, "seed")} ± half of the 95 % t-interval over seeds:`,
      tables.groupTable(study, "accuracy"),
      "Mean response length, tokens:",
      tables.groupTable(study, "length"),
      "Mean N_HE, tokens inside windows of entropy above the base's τ:",
      tables.groupTable(study, "highEntropy"),
      picture("accuracy.svg", "accuracy by arm and difficulty"),
      picture("length.svg", "length by arm and difficulty"),
      "Accuracy in % by family of problems:",
      tables.familyTable(study),
    ),
    arms.some((a) => a.name === "grpo")
      ? section(
        "Against GRPO",
        "Difference to GRPO under the same seed: accuracy in points, then length in tokens.",
        tables.differenceTable(study, "grpo", "accuracy"),
        tables.differenceTable(study, "grpo", "length"),
      )
      : "",
    section(
      "What it took",
      "Every arm samples the same number of rollouts: branches are among them, and refills (DAPO) count as " +
        "iterations. Tokens differ, since a branch's prefix is generated once and lengths differ. Minutes are those " +
        "of the iterations on this adapter, evaluations left out. Optimizer steps an " +
        "iteration are the presets', and no more than the groups that filtering leaves; trained tokens are the response " +
        "tokens that the loss was over, those of dropped groups left out.",
      tables.costTable(study),
      picture("course-held-out.svg", "held-out accuracy against tokens, rollouts and time"),
      picture("course-rollouts.svg", "accuracy of training rollouts against tokens, rollouts and time"),
      "Rollouts of an arm that branches are not independent samples of its policy: the held-out curves compare arms.",
    ),
    section(
      "Length and N_HE",
      "length = intercept + slope · N_HE over the held-out responses (the paper's appendix J), correct and wrong " +
        "ones apart (Figure 4); lines are fitted run by run.",
      tables.lineTable(study),
      picture("length-n-he.svg", "length against N_HE"),
    ),
    study.decisions.size > 0
      ? section(
        "Finding decision tokens",
        "The generator of the micro-world knows which tokens of a trace decide content: how to work, what was read, " +
          "the outcome of a step, a verdict, the answer. A token is found where the mean entropy of its window, from " +
          "the token on, reaches a threshold (the paper's Figure 2a). Entropies are teacher-forced over the teacher's " +
          "traces of held-out problems; for each w the threshold is the one of the highest F1 on half of the " +
          "problems, and F1 is counted on the other half. The last row calls every token a decision.",
        tables.decisionTable(study),
        picture("decisions.svg", "F1 by window size"),
      )
      : "",
    section(
      "Controllers",
      "λ_d, κ_d, N_HE and its target, τ, and the KL to the cold start inside and outside windows (nats a token), by " +
        "difficulty. Numbers are start → middle → end: means over the first, the middle and the last tenth of the " +
        "iterations, then over seeds.",
      ...arms.filter((a) => a.kind === "rl").flatMap((arm) => [
        controllerTable(study, arm) ?? "",
        picture(`controllers-${arm.name}.svg`, `controllers of ${arm.name}`),
      ]),
    ),
    learning
      ? section(
        "What held learning",
        "Five suspects for arms that do not part, by what the runs logged: start → end, means over the first and the " +
          "last tenth of the iterations, then over seeds. Groups all right or wrong and responses with windows are " +
          "counted on the logged rollouts (the first groups of each iteration, dropped or not); windows are runs of " +
          "neighbouring tokens above the iteration's τ. Groups not trained on are those that filtering dropped, and in an " +
          "arm with refills the surplus of the last one; an arm without filtering trains on decided groups at " +
          "advantage 0. – stands where an arm has no such thing.",
        learning,
        learningReadings(),
      )
      : "",
    section(
      "Runs",
      "Accuracy over all held-out problems / mean length, run by run; each run's folder has its own report.html.",
      tables.runTable(study),
      `Settings of all arms alike, over the ${settings.smoke ? "smoke" : "default"} preset:`,
      sharedOverrides(settings).map((o) => `- \`${o}\``).join("\n"),
      "What tells the arms apart:",
      armList(study),
      "Every field of every run's configuration stands in [results.json](results.json), once where runs share it, with " +
        "the metrics of each iteration.",
    ),
  ];
  return withoutMachinePaths(sections.filter(Boolean).join("\n"), [settings.runs, baseOf(settings)]);
}

/** How the study was made. */
function setup(study: StudyResults): string {
  const { settings, runs } = study;
  const { seeds, arms } = settings;
  const adapters = [...new Set(runs.flatMap((r) => r.adapter ?? []))];
  const config = configOf(settings, arms.find((a) => a.kind === "rl") ?? ARMS.at(-1)!, seeds[0]);
  const { data, worker: { rollout } } = config;
  const iterations = iterationsOf(config);
  const val = rollout.val_override_config;
  return `Base: \`${baseOf(settings)}\` (${weightsOf(study)}). ${plural(arms.length, "arm")} × ${
    plural(seeds.length, "seed")
  } (${seeds.join(", ")}) on ${
    adapters.join(", ") || "no adapter yet"
  }. A seed gives the training problems, their order, all sampling and ` +
    `the ${data.micro.val_count} held-out problems (${
      plural(val.n, "sample")
    } each, temperature ${val.temperature}); within a ` +
    "seed all arms share these. All reinforcement arms start from the seed's one AdaCS checkpoint and sample " +
    `${iterations} × ${data.rollout_batch_size} × ${rollout.n} = ${
      iterations * data.rollout_batch_size * rollout.n
    } rollouts. Each arm is run in one configuration, its preset: no arm was searched for better settings in this ` +
    "study, and what was set beside the presets (listed under Runs) goes to all arms alike. " +
    provenance(settings);
}

/** What the arms' constants saw before the study. */
function provenance({ arms, smoke }: StudySettings): string {
  const demo = smoke
    ? ""
    : "The arm `aepo` is the preset `default`, the built-in demo's; the preset that is called `aepo` has the paper's " +
      "scale and rates, for pretrained models on real data, and is not run here. ";
  return (arms.some((a) => a.name === "aepo") ? demo : "") +
    "The defaults' constants descend from a prototype outside this project, in which, before the study, two variants of " +
    "AEPO's constants (division by the standard deviation, mini-batches, cap of λ_d) and two numbers of mini-batches of " +
    "GRPO (2 and 3) were tried: AEPO's constants have seen two tries and GRPO's two, apart from single runs of other " +
    "learning rates, KL weights and δ that failed.";
}

/** The base by its weights. */
function weightsOf({ base }: StudyResults): string {
  const files = Object.entries(base.sha256).map(([name, hash]) => `${name}: SHA-256 \`${hash}\``);
  if (files.length === 0) return "its weights are there no more";
  return files.join(", ") +
    (base.recorded ? ", taken before the first run" : ", as it was when this was written");
}

/** Runs that were made with other settings than the page tells. */
function otherSettings({ runs }: StudyResults): string {
  const other = runs.filter((r) => r.otherSettings && r.otherSettings.length > 0);
  if (other.length === 0) return "";
  return `**${plural(other.length, "run")} of other settings than this page tells**: ${
    other.map((r) =>
      `${r.arm.name} under seed ${r.seed} (${r.otherSettings!.slice(0, 3).join("; ")}${
        r.otherSettings!.length > 3 ? "; …" : ""
      })`
    ).join("; ")
  }.\n`;
}

/** Equal rollouts are not equal training. */
function trainingNote(study: StudyResults): string {
  const arms = study.settings.arms.filter((a) => a.kind === "rl" && doneRuns(study, a.name).length > 0);
  if (arms.length === 0) return "";
  const took = arms.map(({ name }) =>
    `${name} ${tables.perRun(study, name, tables.optimizerSteps, 0)} and ${
      tables.perRun(study, name, tables.trainedTokens, 0)
    }`
  );
  return "Arms are equal in sampled rollouts, not in training: refills are rollouts too, so that an arm that refills " +
    "(DAPO) has fewer iterations and takes fewer optimizer steps, and arms that drop decided groups train on fewer " +
    `tokens. Optimizer steps and trained tokens: ${took.join("; ")} (see [What it took](#what-it-took)).`;
}

function plural(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? "" : "s"}`;
}

function iterationsOf(config: Config): number {
  return iterationCount(config, config.data.micro.train_count);
}

function armList({ settings }: StudyResults): string {
  return settings.arms.map((arm) => {
    const how = arm.kind === "base" ? "nothing is trained" : [
      ...(arm.preset ? [`preset \`${arm.preset}\``] : []),
      ...(arm.overrides ?? []).map((o) => `\`${o}\``),
    ].join(", ") || `the preset \`${settings.smoke ? "smoke" : "default"}\` alone`;
    return `- ${arm.name} (${arm.title}): ${how}`;
  }).join("\n");
}
