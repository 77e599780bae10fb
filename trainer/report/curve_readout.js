// @ts-check
/**
 * The numbers of a training curve under the pointer, or under a cursor that the arrow keys move.
 * @module
 */
import { svg } from "./dom.js";

/** @typedef {{ domain: [number, number], range: [number, number], steps: number[], series: { name: string, values: (number | null)[] }[] }} Curve */

/** Makes every curve of the page tell its numbers. */
export function curveReadouts() {
  for (const figure of document.querySelectorAll("figure.curve")) {
    const drawing = /** @type {SVGSVGElement | null} */ (figure.querySelector("svg"));
    const output = figure.querySelector("output");
    const text = figure.querySelector("script")?.textContent;
    if (drawing && output && text) {
      readout(/** @type {HTMLElement} */ (figure), drawing, output, JSON.parse(text));
    }
  }
}

/** @param {HTMLElement} figure @param {SVGSVGElement} drawing @param {HTMLOutputElement} output @param {Curve} curve */
function readout(figure, drawing, output, { domain, range, steps, series }) {
  const cursor = svg("line", { y1: 8, y2: 137, class: "cursor", visibility: "hidden" });
  drawing.append(cursor);
  let at = -1;
  /** @param {number} to */
  const show = (to) => {
    at = Math.max(0, Math.min(steps.length - 1, to));
    const span = domain[1] - domain[0] || 1;
    const x = range[0] + (steps[at] - domain[0]) / span * (range[1] - range[0]);
    cursor.setAttribute("x1", String(x));
    cursor.setAttribute("x2", String(x));
    cursor.setAttribute("visibility", "visible");
    const values = series.map(({ name, values }) => {
      const value = values[at];
      return value === null
        ? undefined
        : `${series.length > 1 ? `${name} ` : ""}${Number(value.toPrecision(3))}`;
    });
    output.textContent = `${steps[at]}: ${values.filter((v) => v !== undefined).join(" · ")}`;
  };
  const hide = () => {
    cursor.setAttribute("visibility", "hidden");
    output.textContent = "";
    at = -1;
  };
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * drawing.viewBox.baseVal.width;
    const step = domain[0] + (x - range[0]) / (range[1] - range[0]) * (domain[1] - domain[0]);
    show(steps.reduce((best, s, i) => Math.abs(s - step) < Math.abs(steps[best] - step) ? i : best, 0));
  });
  drawing.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    event.preventDefault();
    show(event.key === "ArrowRight" ? at + 1 : at < 0 ? steps.length - 1 : at - 1);
  });
}
