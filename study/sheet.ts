/**
 * Drawings as SVG files: charts of Observable Plot side by side under a title and a key, on white, so that they are read
 * in a page of any colour.
 * @module
 */
import * as Plot from "@observablehq/plot";
import * as linkedom from "linkedom";

// The type of linkedom's window names no document.
const { document } = linkedom.parseHTML("<!doctype html><html><body></body></html>") as unknown as {
  document: Plot.PlotOptions["document"];
};

/** What a sheet's key names. */
export interface Key {
  readonly name: string;
  readonly colour: string;
  readonly dashed?: boolean;
}

/** A chart of a sheet. */
export interface Chart {
  readonly title: string;
  readonly options: Plot.PlotOptions;
}

/** Size of a sheet's charts in pixels, and how many stand side by side. */
export interface SheetLayout {
  readonly width: number;
  readonly height: number;
  readonly columns: number;
}

const FONT = 'font-family="system-ui, sans-serif"';
const HEAD = 26;
const LINE = 20;
const GAP = 16;
/** Width of a character at 12 px: text cannot be measured here, and this is wide enough. */
const CHARACTER = 7.2;

/** A whole SVG file. */
export function sheet(
  title: string,
  keys: readonly Key[],
  charts: readonly Chart[],
  { width, height, columns }: SheetLayout,
): string {
  const side = Math.min(columns, charts.length);
  const total = Math.max(GAP + side * (width + GAP), 2 * GAP + CHARACTER * 14 / 12 * title.length);
  const { marks, lines } = keyMarks(keys, total);
  const top = HEAD + lines * LINE + 8;
  const rows = Math.ceil(charts.length / side);
  const cell = height + LINE + GAP;
  const bottom = top + rows * cell;
  const drawn = charts.map(({ title, options }, i) => {
    const [x, y] = [GAP + (i % side) * (width + GAP), top + Math.floor(i / side) * cell];
    return `<text x="${x}" y="${y + 12}" font-size="12" font-weight="600" ${FONT}>${escaped(title)}</text>` +
      placed(svgOf(options, width, height), x, y + LINE);
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${total}" height="${bottom}" viewBox="0 0 ${total} ${bottom}">` +
    `<rect width="100%" height="100%" fill="white"/>` +
    `<text x="${GAP}" y="20" font-size="14" font-weight="700" ${FONT}>${escaped(title)}</text>` +
    `${marks}${drawn.join("\n")}</svg>\n`;
}

/** The key in as many lines as it takes. */
function keyMarks(keys: readonly Key[], width: number): { marks: string; lines: number } {
  let [x, line] = [GAP, 0];
  const marks = keys.map(({ name, colour, dashed }) => {
    const own = 38 + CHARACTER * name.length;
    if (x > GAP && x + own > width) [x, line] = [GAP, line + 1];
    const y = HEAD + line * LINE + 10;
    const dash = dashed ? ` stroke-dasharray="4 3"` : "";
    const mark =
      `<line x1="${x}" x2="${x + 18}" y1="${y}" y2="${y}" stroke="${colour}" stroke-width="3"${dash}/>` +
      `<text x="${x + 23}" y="${y + 4}" font-size="12" ${FONT}>${escaped(name)}</text>`;
    x += own;
    return mark;
  });
  return { marks: marks.join(""), lines: keys.length === 0 ? 0 : line + 1 };
}

/** What an axis is like unless a chart says otherwise; its title names the measure. */
const PLAIN: Plot.ScaleOptions = { label: null, ticks: 5 };

function svgOf(options: Plot.PlotOptions, width: number, height: number): string {
  const chart = Plot.plot({
    document,
    width,
    height,
    marginLeft: 46,
    marginRight: 12,
    marginTop: 10,
    marginBottom: 34,
    style: { background: "white", color: "black", overflow: "visible", fontSize: "11px" },
    ...options,
    x: { ...PLAIN, ...options.x },
    y: { ...PLAIN, ...options.y },
    color: { type: "identity", ...options.color },
  });
  return (chart as unknown as { outerHTML: string }).outerHTML;
}

/** An `<svg>` element at a place within another. */
function placed(svg: string, x: number, y: number): string {
  return svg.replace("<svg ", `<svg x="${x}" y="${y}" `);
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
