/**
 * The study's page: README.md with tables and verdicts, its drawings, and results.json with every number behind them.
 * @module
 */
import { join } from "node:path";
import { writeAtomically } from "../trainer/atomic_write.ts";
import { iterationCount } from "../trainer/config.ts";
import type { Config } from "../trainer/config_types.ts";
import { ARMS } from "./arms.ts";
import { type Claim, claimsOf } from "./claims.ts";
import { drawings } from "./plots.ts";
import { readStudy, type StudyResults } from "./results.ts";
import { configOf, sharedOverrides, type StudySettings } from "./settings.ts";
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

/** Everything that the tables are made of. */
function resultsJson({ settings, runs, decisions }: StudyResults, claims: readonly Claim[]): string {
  return JSON.stringify(
    {
      arms: settings.arms,
      seeds: settings.seeds,
      smoke: settings.smoke,
      shared: sharedOverrides(settings),
      claims,
      runs: runs.map(({ arm, responses, course, ...run }) => ({
        arm: arm.name,
        ...run,
        responses: responses.length,
        course: course.map(({ metrics: _, ...p }) => p),
      })),
      decisions: Object.fromEntries(decisions),
    },
    (_, x) => typeof x === "number" && !Number.isInteger(x) ? Number(x.toPrecision(6)) : x,
    1,
  );
}

/** The page in Markdown. */
export function pageText(study: StudyResults, claims: readonly Claim[], files: readonly string[]): string {
  const { settings, runs } = study;
  const { seeds, arms } = settings;
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
    section(
      "Claims",
      `Of ${claims.length} claims: ${counted}. *reached*: the whole 95 % interval of the difference, seed by seed, lies ` +
        "on the claimed side of 0; *not reached*: it lies on the other side; *within noise*: it holds 0, so that these " +
        "runs tell neither; *one seed*: there is no interval. Each interval is for its claim alone: of twenty differences " +
        "that are truly 0, about one would leave its interval by chance.",
      tables.claimTable(claims),
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
        "iteration are the presets', and no more than the groups that filtering leaves.",
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
      "λ_d, κ_d, N_HE and its target, τ, and the KL to the cold start inside and outside windows, by difficulty:",
      ...files.filter((f) => f.startsWith("controllers-")).map((f) =>
        picture(f, `controllers of ${f.replace(/^controllers-|\.svg$/g, "")}`)
      ),
    ),
    section(
      "Runs",
      "Accuracy over all held-out problems / mean length, run by run; each run's folder has its own report.html.",
      tables.runTable(study),
      `Settings of all arms alike, over the ${settings.smoke ? "smoke" : "default"} preset:`,
      sharedOverrides(settings).map((o) => `- \`${o}\``).join("\n"),
      "What tells the arms apart:",
      armList(study),
    ),
  ];
  return sections.filter(Boolean).join("\n");
}

/** How the study was made. */
function setup({ settings, runs }: StudyResults): string {
  const { seeds, arms } = settings;
  const adapters = [...new Set(runs.flatMap((r) => r.adapter ?? []))];
  const config = configOf(settings, arms.find((a) => a.kind === "rl") ?? ARMS.at(-1)!, seeds[0]);
  const { data, worker: { rollout } } = config;
  const iterations = iterationsOf(config);
  const val = rollout.val_override_config;
  return `Base: \`${settings.base ?? "models/micro"}\`. ${plural(arms.length, "arm")} × ${
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
    "study, and what was set beside the presets (listed under Runs) goes to all arms alike.";
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
    ].join(", ") || "the preset above alone";
    return `- ${arm.name} (${arm.title}): ${how}`;
  }).join("\n");
}
