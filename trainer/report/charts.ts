/**
 * The report's drawings, made by Observable Plot on a document in memory: SVG that needs no script. Colours are the
 * page's own variables, so that they follow its light or dark scheme.
 * @module
 */
import * as Plot from "@observablehq/plot";
import * as linkedom from "linkedom";
import { html, type Insert, Markup, scriptJson } from "./html.ts";

/** A line of a chart; points without a finite value are left out. */
export interface Series {
  readonly name: string;
  /** What the chart's key calls it and others like it; its name by default. */
  readonly label?: string;
  /** A CSS colour. */
  readonly colour: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly dashed?: boolean;
  /** Points alone, without a line. */
  readonly dots?: boolean;
}

/** A dot of a scatter. */
export interface Dot {
  readonly x: number;
  readonly y: number;
  /** A CSS colour. */
  readonly colour: string;
  readonly title?: string;
  /** Its facet. */
  readonly facet?: string;
}

/** A chain of points, each an arrow's end: the same problems under one model after another. */
export interface Chain {
  readonly colour: string;
  readonly facet?: string;
  readonly points: readonly { readonly x: number; readonly y: number; readonly title: string }[];
}

/** Colours of the difficulties; anything else is drawn as text is. */
export function colourOf(difficulty: string | undefined): string {
  return ["easy", "medium", "hard"].includes(difficulty ?? "") ? `var(--${difficulty})` : "currentColor";
}

// The type of linkedom's window names no document.
const { document } = linkedom.parseHTML("<!doctype html><html><body></body></html>") as unknown as {
  document: Plot.PlotOptions["document"];
};

/** Above so many points a line is drawn as their running mean, and the points behind it faintly. */
const SMOOTH_FROM = 30;

/** Lines over steps, with a caption that names them; its data lie beside it for the page's script. */
export function lineChart(title: string, series: readonly Series[], x: string): Markup {
  const drawn = series.map((s) => ({ ...s, points: s.points.filter(([, y]) => Number.isFinite(y)) }))
    .filter((s) => s.points.length > 0);
  const longest = Math.max(0, ...drawn.map((s) => s.points.length));
  const k = Math.ceil(longest / 12);
  const marks = drawn.flatMap(({ points, colour, dashed, dots }) => {
    const channels = { x: "0", y: "1", stroke: colour };
    const smooth = !dots && points.length > SMOOTH_FROM;
    const dash = dashed ? { strokeDasharray: "3 2" } : {};
    if (dots || points.length === 1) {
      return [Plot.dot(points, { x: "0", y: "1", fill: colour, r: 2.5 })];
    }
    return [
      Plot.line(points, {
        ...channels,
        ...dash,
        strokeWidth: smooth ? 0.75 : 1.5,
        strokeOpacity: smooth ? 0.35 : 1,
      }),
      ...(smooth
        ? [
          Plot.line(
            points,
            Plot.windowY({ k, anchor: "middle" }, { ...channels, ...dash, strokeWidth: 1.75 }),
          ),
        ]
        : []),
      ...(points.length <= SMOOTH_FROM ? [Plot.dot(points, { x: "0", y: "1", fill: colour, r: 1.75 })] : []),
    ];
  });
  const counts = drawn.every((s) => s.points.every(([, y]) => Number.isInteger(y)));
  const steps = [...new Set(drawn.flatMap((s) => s.points.map(([step]) => step)))].sort((a, b) => a - b);
  const chart = plot({
    width: 330,
    height: 170,
    marginLeft: 44,
    marginRight: 10,
    marginTop: 8,
    // Numbers, and below them the axis' name.
    marginBottom: 33,
    x: {
      label: x,
      ticks: Math.min(6, steps.length),
      tickFormat: (v: number) => Number.isInteger(v) ? String(v) : "",
    },
    y: {
      grid: true,
      ticks: 4,
      label: null,
      nice: true,
      tickFormat: (v: number) => counts && !Number.isInteger(v) ? "" : tickOf(v),
    },
    marks,
  });
  const { range, domain } = chart.scale("x")!;
  const data = {
    domain,
    range,
    steps,
    series: drawn.map(({ name, points }) => ({
      name,
      values: steps.map((step) => points.find(([p]) => p === step)?.[1] ?? null),
    })),
  };
  return html`
    <figure class="curve" tabindex="0" role="group"
      aria-label="${title}"><figcaption><b>${title}</b> ${drawn.length > 1 &&
        keys(drawn)}</figcaption>${svgOf(
          chart,
        )}<output></output><script type="application/json">${scriptJson(data)}</script></figure>
  `;
}

/** A number beside an axis, short enough for its margin. */
function tickOf(v: number): string {
  const short = Number(v.toPrecision(3));
  return short !== 0 && Math.abs(short) < 1e-3 ? short.toExponential().replace("e-", "e−") : String(short);
}

/** One key for all lines of one label; without a colour where theirs differ. */
function keys(drawn: readonly Series[]): Markup[] {
  return [...Map.groupBy(drawn, (s) => s.label ?? s.name)].map(([label, same]) =>
    keyOf(label, same.length > 1 ? "currentColor" : same[0].colour, same[0].dashed)
  );
}

/** Names of two measures, and the drawing's width in pixels. */
export interface Axes {
  readonly x: string;
  readonly y: string;
  readonly width: number;
  /** y goes from 0 to 100. */
  readonly percent?: boolean;
  /** x is a count, moved by less than a half: its axis begins at 0. */
  readonly count?: boolean;
}

/** Dots over two measures, in facets side by side, with a line through them if wanted. */
export function scatter(
  caption: Insert,
  dots: readonly Dot[],
  options: Axes & { readonly regression?: boolean },
): Markup {
  const faceted = dots.some((d) => d.facet !== undefined);
  const fx = faceted ? { fx: "facet" } : {};
  const drawing = plot({
    ...frame(options, Math.max(1, ...dots.map((d) => d.x))),
    fx: { label: null, domain: faceted ? [...new Set(dots.map((d) => d.facet))] : undefined },
    marks: [
      Plot.frame({ strokeOpacity: 0.2 }),
      Plot.dot(dots, { x: "x", y: "y", fill: "colour", title: "title", ...dotSize(dots.length), ...fx }),
      ...(options.regression
        ? [Plot.linearRegressionY(dots, { x: "x", y: "y", stroke: "currentColor", fillOpacity: 0.08 })]
        : []),
    ],
  });
  return figure(caption, options.width, svgOf(drawing));
}

/** Many dots are small and faint, so that heaps show; few are seen each. */
function dotSize(dots: number): { r: number; fillOpacity: number } {
  return dots > 200 ? { r: 2.25, fillOpacity: 0.45 } : { r: 3, fillOpacity: 0.7 };
}

/** Arrows from model to model over two measures, in facets side by side. */
export function arrows(caption: Insert, chains: readonly Chain[], options: Axes): Markup {
  const faceted = chains.some((c) => c.facet !== undefined);
  const facets = faceted ? [...new Set(chains.map((c) => c.facet))] : undefined;
  const fx = faceted ? { fx: "facet" } : {};
  const points = chains.flatMap(({ points, colour, facet }) =>
    points.map((p, i) => ({ ...p, colour, facet, first: i === 0 }))
  );
  const steps = chains.flatMap(({ points, colour, facet }) =>
    points.slice(1).map((to, i) => ({ x1: points[i].x, y1: points[i].y, x2: to.x, y2: to.y, colour, facet }))
  );
  const drawing = plot({
    ...frame(options),
    fx: { label: null, domain: facets },
    marks: [
      Plot.frame({ strokeOpacity: 0.2 }),
      Plot.arrow(steps, {
        x1: "x1",
        y1: "y1",
        x2: "x2",
        y2: "y2",
        stroke: "colour",
        strokeWidth: 1.5,
        insetEnd: 3,
        headLength: 6,
        ...fx,
      }),
      Plot.dot(points, {
        x: "x",
        y: "y",
        stroke: "colour",
        fill: (p: { first: boolean; colour: string }) => p.first ? "var(--page)" : p.colour,
        r: 3,
        title: "title",
        ...fx,
      }),
    ],
  });
  return figure(caption, options.width, svgOf(drawing));
}

/** A colour and its name. */
export function keyOf(name: string, colour: string, dashed = false): Markup {
  return html`
    <span class="key"><i style="${`border-top:2px ${
      dashed ? "dashed" : "solid"
    } ${colour}`}"></i>${name}</span>
  `;
}

/** A drawing of so many pixels' width under its caption. */
function figure(caption: Insert, width: number, drawing: Markup): Markup {
  return html`
    <figure style="width:${width}px">
      <figcaption>${caption}</figcaption>
      <div class="scrolls">${drawing}</div>
    </figure>
  `;
}

function frame({ x, y, width, percent, count }: Axes, most = 0): Plot.PlotOptions {
  return {
    width,
    height: 240,
    marginLeft: 44,
    marginBottom: 34,
    x: { label: x, ticks: 5, ...(count ? { domain: [-0.5, most + 0.5] } : { nice: true }) },
    y: { label: y, grid: true, ticks: 5, ...(percent ? { domain: [-4, 104] } : { nice: true }) },
  };
}

function plot(options: Plot.PlotOptions): Plot.Plot & { readonly outerHTML: string } {
  return Plot.plot({
    document,
    style: { background: "none", overflow: "visible", fontSize: "11px" },
    ...options,
    color: { type: "identity" },
  });
}

function svgOf(chart: { readonly outerHTML: string }): Markup {
  return new Markup(chart.outerHTML);
}
