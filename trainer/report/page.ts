/**
 * The report of a run as one HTML page that needs nothing beside it: no server, no network, no other file. Its policy
 * lets it run its own script and show its own pictures only.
 * @module
 */
import { createHash } from "node:crypto";
import { stringify } from "yaml";
import { blindLine } from "../run_report.ts";
import { PAGE_PARTS } from "./bundle.ts";
import { memoryLine } from "../../gpu/pool.ts";
import { phaseLine } from "../phase_times.ts";
import { sampledLine, sampledTotals } from "../sampled_totals.ts";
import { curves } from "./curves.ts";
import { html, type Insert, Markup, scriptJson } from "./html.ts";
import { lengthCharts } from "./length_charts.ts";
import type { RunLog } from "./run_log.ts";
import { evaluationTable } from "./tables.ts";

/** The page of a run. */
export function reportPage(run: RunLog): string {
  const { config, evaluations, shown } = run;
  const name = config.trainer?.experiment_name ?? "run";
  const policy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-${
    createHash("sha256").update(PAGE_PARTS.script).digest("base64")
  }'`;
  const hasTable = Object.keys(evaluations).length > 0;
  const sections: readonly { readonly id: string; readonly title: string; readonly body: Insert }[] = [
    {
      id: "table",
      title: "Evaluations",
      body: hasTable
        ? html`<div class="scrolls">${evaluationTable(evaluations)}</div>${
          run.summary?.blind && html`<p>${blindLine(run.summary.blind)}</p>`
        }`
        : html`<p class="note">No model of this run was evaluated on held-out problems${
          run.summary ? "" : " so far"
        }.</p>`,
    },
    { id: "curves", title: "Training curves", body: curves(run) },
    { id: "lengths", title: "Accuracy and length", body: lengthCharts(run) },
    { id: "traces", title: "Traces", body: shown.rollouts.length > 0 && traces(run) },
    {
      id: "config",
      title: "Configuration",
      body: html`
        <details>
          <summary>config.yaml</summary>
          <pre>${stringify(config)}</pre>
        </details>
      `,
    },
  ];
  const filled = sections.filter(({ body }) => body instanceof Markup && body.text.trim() !== "");
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta http-equiv="Content-Security-Policy" content="${policy}">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>${name} – ARES run</title>
        <style>${new Markup(PAGE_PARTS.style)}</style>
      </head>
      <body>
        <header>
          <h1>${name}</h1>
          <nav aria-label="Sections">${filled.map(({ id, title }) =>
            html`<a href="#${id}">${title}</a>`
          )}</nav>
          <dl class="facts">${facts(run).map(([term, value]) =>
            html`
              <div>
                <dt>${term}</dt>
                <dd>${value}</dd>
              </div>
            `
          )}</dl>
        </header>
        <main>
    ${filled.map(({ id, title, body }) =>
      html`
        <section id="${id}"><h2>${title}</h2>${body}</section>
      `
    )}</main>
        <script type="application/json" id="data">${scriptJson(shown)}</script>
        <script>${new Markup(PAGE_PARTS.script)}</script>
      </body>
    </html>
  `.text;
}

/** What a reader wants to know first. */
function facts({ config, summary, metrics, path }: RunLog): [string, string][] {
  const iterations = metrics.filter((m) => m.stage === "aepo" && "actor/lr" in m).length;
  const seconds = metrics.reduce((sum, m) => sum + (m["timing_s/step"] ?? m["timing_s/val"] ?? 0), 0);
  const curriculum = summary?.adacs;
  const sampled = sampledTotals(metrics);
  const all: [string, string | undefined][] = [
    ["state", summary === undefined ? "not finished" : summary.interrupted ? "interrupted" : "finished"],
    ["model", config.worker?.actor?.model?.model_path],
    ["adapter", summary?.adapter],
    ["problems", config.data?.train_files ?? "micro-world"],
    ["iterations", iterations > 0 ? String(iterations) : undefined],
    ["rollouts of a prompt", iterations > 0 ? String(config.worker?.rollout?.n) : undefined],
    ["sampling", sampled && sampledLine(sampled)],
    [
      "AdaCS",
      curriculum && `${curriculum.examples} examples, by pass rate 0 … 1: ${curriculum.brackets.join(" ")}`,
    ],
    ["steps and evaluations", seconds > 0 ? `${seconds.toFixed(0)} s` : undefined],
    ["phases", phaseLine(summary?.timing ?? {})],
    [
      "peak GPU memory",
      summary?.memory &&
      `${(summary.memory.peak_bytes / 2 ** 20).toFixed(0)} MiB: ${memoryLine(summary.memory.by_class)}`,
    ],
    ["folder", path],
  ];
  return all.filter((fact): fact is [string, string] => fact[1] !== undefined);
}

/** The frame that the page's script fills. */
function traces({ shown, traced }: RunLog): Markup {
  return html`<p class="note">${shown.rollouts.length} rollouts${
    traced > shown.rollouts.length &&
    ` of ${traced} logged with their tokens, in whole groups spread evenly over the run`
  }; generations.jsonl has all.</p>
<noscript><p>The traces need JavaScript.</p></noscript>
<div id="viewer"></div>`;
}
