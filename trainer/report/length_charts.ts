/**
 * Accuracy against length: where each difficulty went from model to model, every held-out problem, and how the length
 * of rollouts goes with N_HE (the paper's appendix J).
 * @module
 */
import { arrows, type Chain, colourOf, type Dot, keyOf, scatter } from "./charts.ts";
import { html, type Markup } from "./html.ts";
import type { LoggedResponse, RunLog } from "./run_log.ts";

const LEVELS = ["easy", "medium", "hard"];
/** Dots of one drawing; of more, every so manieth is drawn. */
const MOST_DOTS = 1500;
/** More sources than this do not fit side by side. */
const MOST_SOURCES = 8;

/** The drawings that the run has data for. */
export function lengthCharts(run: RunLog): Markup {
  const levels = LEVELS.filter((l) => Object.values(run.evaluations).some((e) => e.byLevel[l]));
  const keys = levels.map((l) => keyOf(l, colourOf(l)));
  const drawings = [
    movement(run, levels, keys),
    problems(run, keys) ?? prompts(run),
    lengthAndWindows(run),
  ];
  return html`<div class="wide">${drawings.filter((d) => d !== undefined)}</div>`;
}

/** From evaluation to evaluation, by difficulty, and by source where there are several. */
function movement(
  { evaluations }: RunLog,
  levels: readonly string[],
  keys: readonly Markup[],
): Markup | undefined {
  const entries = Object.entries(evaluations);
  if (entries.length === 0) return undefined;
  const chain = (
    difficulty: string | undefined,
    facet: string,
    figuresOf: (e: typeof entries[0][1]) => { accuracy: number; length: number } | undefined,
  ): Chain => ({
    colour: colourOf(difficulty),
    facet,
    points: entries.flatMap(([name, e]) => {
      const f = figuresOf(e);
      const title = `${facet}${difficulty === undefined ? "" : `, ${difficulty}`}, ${name}: `;
      return f
        ? [{
          x: f.length,
          y: 100 * f.accuracy,
          title: `${title}${(100 * f.accuracy).toFixed(1)} %, ${f.length.toFixed(1)} tokens`,
        }]
        : [];
    }),
  });
  const sources = [...new Set(entries.flatMap(([, e]) => Object.keys(e.bySource)))];
  const chains = levels.length > 0
    ? levels.map((l) => chain(l, "all", (e) => e.byLevel[l]))
    : [chain(undefined, "all", (e) => e.all)];
  if (sources.length > 1 && sources.length <= MOST_SOURCES) {
    for (const source of sources) {
      chains.push(
        ...levels.length > 0
          ? levels.map((l) => chain(l, source, (e) => e.bySourceAndLevel[source]?.[l]))
          : [chain(undefined, source, (e) => e.bySource[source])],
      );
    }
  }
  const facets = new Set(chains.map((c) => c.facet)).size;
  return arrows(
    html`<b>From ${
      entries.map(([name], i) => html`${i > 0 && " → "}${name}`)
    }</b> ${keys} held-out problems; a hollow dot is the first model`,
    chains,
    {
      x: "mean length, tokens",
      y: "accuracy, %",
      width: Math.min(1320, 120 + 220 * facets),
      percent: true,
    },
  );
}

/** Every held-out problem under every model. */
function problems({ responses, evaluations }: RunLog, keys: readonly Markup[]): Markup | undefined {
  const dots = Object.keys(evaluations).flatMap((evaluation): Dot[] => {
    const byProblem = Map.groupBy(responses.filter((r) => r.evaluation === evaluation), (r) => r.id);
    return thinned([...byProblem.values()], MOST_DOTS / Object.keys(evaluations).length).map((list, i) => {
      const accuracy = mean(list, (r) => r.accuracy);
      const length = mean(list, (r) => r.length);
      return {
        x: length,
        y: 100 * accuracy + spread(i, 7),
        facet: evaluation,
        colour: colourOf(list[0].difficulty),
        title: `${list[0].id}, ${evaluation}: ${(100 * accuracy).toFixed(0)} %, ${length.toFixed(1)} tokens`,
      };
    });
  });
  if (dots.length === 0) return undefined;
  const facets = new Set(dots.map((d) => d.facet)).size;
  return scatter(
    html`<b>Every held-out problem</b> ${keys} mean over its samples; dots are moved up or down by up to 3.5 % to lie apart`,
    dots,
    {
      x: "length, tokens",
      y: "accuracy, %",
      width: Math.min(1320, 100 + 290 * facets),
      percent: true,
    },
  );
}

/** Every prompt of training, in place of held-out problems where the run has none. */
function prompts({ responses }: RunLog): Markup | undefined {
  const rollouts = responses.filter((r) => r.evaluation === undefined);
  if (rollouts.length === 0) return undefined;
  const groups = [...Map.groupBy(rollouts, (r) => JSON.stringify([r.step, r.id])).values()];
  const dots = thinned(groups, MOST_DOTS).map((list, i): Dot => {
    const { accuracy, length } = {
      accuracy: mean(list, (r) => r.accuracy),
      length: mean(list, (r) => r.length),
    };
    return {
      x: length,
      y: 100 * accuracy + spread(i, 7),
      colour: colourOf(list[0].difficulty),
      title: `${list[0].id}, iteration ${list[0].step}: ${(100 * accuracy).toFixed(0)} %, ${
        length.toFixed(1)
      } tokens`,
    };
  });
  return scatter(
    html`<b>Every prompt of training</b> ${
      LEVELS.map((l) => keyOf(l, colourOf(l)))
    } mean over its rollouts; dots are moved up or down by up to 3.5 % to lie apart`,
    dots,
    { x: "length, tokens", y: "accuracy, %", width: 440, percent: true },
  );
}

/** Rollouts of training. */
function lengthAndWindows({ responses }: RunLog): Markup | undefined {
  const rollouts = responses.filter((r) => r.evaluation === undefined);
  if (rollouts.length < 2) return undefined;
  const dots = thinned(rollouts, MOST_DOTS).map((r, i): Dot => ({
    x: r.n_he + spread(i, 0.6),
    y: r.length,
    colour: colourOf(r.difficulty),
  }));
  const r = correlation(rollouts);
  return scatter(
    html`<b>Length and N_HE of rollouts</b> ${
      LEVELS.map((l) => keyOf(l, colourOf(l)))
    } ${dots.length} of ${rollouts.length} drawn${
      Number.isFinite(r) && `; correlation of all: ${r.toFixed(2).replace("-", "−")}`
    }`,
    dots,
    { x: "N_HE", y: "length, tokens", width: 440, count: true, regression: true },
  );
}

/** A number from −width/2 to width/2, evenly over its calls: the golden ratio's multiples. */
function spread(i: number, width: number): number {
  return (i * 0.6180339887 % 1 - 0.5) * width;
}

function thinned<T>(all: readonly T[], most: number): readonly T[] {
  const every = Math.ceil(all.length / most);
  return all.filter((_, i) => i % every === 0);
}

function mean<T>(all: readonly T[], of: (x: T) => number): number {
  return all.reduce((sum, x) => sum + of(x), 0) / all.length;
}

/** Pearson's r of N_HE and length; NaN where one of them does not vary. */
function correlation(all: readonly LoggedResponse[]): number {
  const [x, y] = [mean(all, (r) => r.n_he), mean(all, (r) => r.length)];
  const cross = mean(all, (r) => (r.n_he - x) * (r.length - y));
  return cross / Math.sqrt(mean(all, (r) => (r.n_he - x) ** 2) * mean(all, (r) => (r.length - y) ** 2));
}
