/**
 * The report's tables: what the run came to, by difficulty and by source.
 * @module
 */
import type { GroupFigures } from "../evaluate.ts";
import type { EvaluationRecord } from "../run_state.ts";
import { html, type Insert, type Markup } from "./html.ts";

const LEVELS = ["easy", "medium", "hard"];

/** Figures by difficulty, and over all. */
interface Row {
  readonly head: string;
  readonly byLevel: Readonly<Record<string, GroupFigures>>;
  readonly all?: GroupFigures;
}

const MEASURES: readonly { readonly name: string; cell(f: GroupFigures): Insert }[] = [
  {
    name: "accuracy %",
    cell: (f) => {
      const [low, high] = f.interval.map((x) => (100 * x).toFixed(1));
      return html`<span title="95 %: ${low} – ${high}; ${f.problems} problems, ${f.samples} samples">${
        (100 * f.accuracy).toFixed(1)
      }</span>`;
    },
  },
  { name: "length, tokens", cell: (f) => f.length.toFixed(1) },
  { name: "N_HE", cell: (f) => f.highEntropy.toFixed(2) },
];

/** Accuracy, length and N_HE by difficulty: a row for each evaluation, then for each source's. */
export function evaluationTable(evaluations: Readonly<Record<string, EvaluationRecord>>): Markup {
  const entries = Object.entries(evaluations);
  const levels = LEVELS.filter((l) => entries.some(([, e]) => e.byLevel[l]));
  const sources = [...new Set(entries.flatMap(([, e]) => Object.keys(e.bySource)))];
  const body = (head: string | undefined, rows: readonly Row[]) =>
    html`<tbody>${
      head !== undefined &&
      html`
        <tr>
          <th scope="rowgroup" colspan="${1 + MEASURES.length * (levels.length + 1)}">${head}</th>
        </tr>
      `
    }${rows.map((row) => tableRow(row, levels))}</tbody>`;
  const [first] = entries;
  const samples = first[1].all.samples / first[1].all.problems;
  return html`<table class="figures">
<caption>${first[1].all.problems} held-out problems, ${
    samples === 1 ? "one sample" : `${samples} samples`
  } each. N_HE: tokens inside windows of entropy above τ = ${first[1].threshold.toFixed(3)} nats${
    entries.length > 1 && `, ${first[0]}’s own for all`
  }.</caption>
<thead><tr><td rowspan="2"></td>${
    MEASURES.map((m) => html`<th scope="colgroup" colspan="${levels.length + 1}">${m.name}</th>`)
  }</tr><tr>${
    MEASURES.map(() => [...levels, "all"].map((l) => html`<th scope="col" class="${l}">${l}</th>`))
  }</tr></thead>
${body(undefined, entries.map(([name, e]) => ({ head: name, byLevel: e.byLevel, all: e.all })))}
${
    sources.length > 1 && sources.map((source) =>
      body(
        source,
        entries.map(([name, e]) => ({
          head: name,
          byLevel: e.bySourceAndLevel[source] ?? {},
          all: e.bySource[source],
        })),
      )
    )
  }</table>`;
}

function tableRow(row: Row, levels: readonly string[]): Markup {
  const cells = [...levels.map((l): GroupFigures | undefined => row.byLevel[l]), row.all];
  return html`
    <tr><th scope="row">${row.head}</th>${MEASURES.map(({ cell }) =>
      cells.map((f, i) => html`<td class="${i === 0 && "first"}">${f ? cell(f) : "–"}</td>`)
    )}</tr>
  `;
}
