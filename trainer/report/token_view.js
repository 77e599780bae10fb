// @ts-check
/**
 * A rollout's tokens: shaded by a measure, high-entropy windows marked, everything about a token in a card beside it,
 * and the window entropies as a strip above.
 * @module
 */
import { el, figure, signed, svg, visible } from "./dom.js";
import { rewardTerms } from "./reward_terms.js";

/** @typedef {import("./page_data.ts").ShownRollout} ShownRollout */
/** @typedef {import("./page_data.ts").PageData} PageData */

/**
 * What tokens are shaded by.
 * @type {Record<string, { name: string, of: (r: ShownRollout, t: number) => number | undefined, diverging?: boolean, unit: string }>}
 */
export const MEASURES = {
  window: { name: "window entropy", of: (r, t) => Math.max(0, r.windows[t]), unit: "nats" },
  entropy: { name: "token entropy", of: (r, t) => r.entropies[t], unit: "nats" },
  advantage: { name: "advantage", of: (r, t) => r.advantages?.[t], diverging: true, unit: "" },
  kl: { name: "KL weight", of: (r, t) => klWeight(r, t), unit: "" },
  surprise: { name: "surprise, −log π", of: (r, t) => r.logps && -r.logps[t], unit: "nats" },
};

/** @param {ShownRollout} r @param {number} t */
export function inWindow(r, t) {
  return r.high_entropy.some(([first, end]) => first <= t && t < end);
}

/** @param {ShownRollout} r @param {number} t */
function klWeight(r, t) {
  return r.kl_weight && (inWindow(r, t) ? r.kl_weight.inside : r.kl_weight.outside);
}

/**
 * Where a measure's shade is full: the 99th percentile of all tokens shown, so that one odd token does not bleach the
 * rest.
 * @param {PageData} data
 */
export function shadeScales(data) {
  /** @type {Record<string, number>} */
  const scales = {};
  const tokens = data.rollouts.reduce((n, r) => n + r.tokens.length, 0);
  const every = Math.ceil(tokens / 50_000);
  for (const [key, { of }] of Object.entries(MEASURES)) {
    /** @type {number[]} */
    const values = [];
    let i = 0;
    for (const r of data.rollouts) {
      for (let t = 0; t < r.tokens.length; t++) {
        if (i++ % every !== 0) continue;
        const value = of(r, t);
        if (value !== undefined) values.push(Math.abs(value));
      }
    }
    values.sort((a, b) => a - b);
    scales[key] = values[Math.floor(0.99 * (values.length - 1))] || 1;
  }
  return scales;
}

/**
 * Tokens first … end − 1 as spans; `marks` are put in front of the token of their index.
 * @param {ShownRollout} r
 * @param {{ first: number, end: number, measure: string, scale: number, shared?: number, marks?: Map<number, Node[]> }} options
 */
export function tokenSpans(r, { first, end, measure, scale, shared = 0, marks }) {
  const fragment = document.createDocumentFragment();
  const { of, diverging } = MEASURES[measure];
  const starts = new Set(r.high_entropy.map(([start]) => start));
  const ends = new Set(r.high_entropy.map(([, stop]) => stop - 1));
  const inside = new Set(
    r.high_entropy.flatMap(([start, stop]) => Array.from({ length: stop - start }, (_, i) => start + i)),
  );
  for (let t = first; t < end; t++) {
    for (const mark of marks?.get(t) ?? []) fragment.append(mark);
    const value = of(r, t) ?? 0;
    const kind = ["t"];
    if (t < shared) kind.push("shared");
    if (inside.has(t)) kind.push("hwe");
    if (starts.has(t)) kind.push("start");
    if (ends.has(t)) kind.push("end");
    if (diverging) kind.push(value < 0 ? "minus" : "plus");
    const strength = Math.min(1, Math.abs(value) / scale);
    fragment.append(
      el("span", { class: kind.join(" "), "data-t": t, style: `--v:${strength.toFixed(3)}` }, r.tokens[t]),
    );
  }
  return fragment;
}

/** A card that follows the token under the pointer or the keyboard's cursor. One for the whole page. */
export class TokenCard {
  constructor() {
    this.element = el("div", { id: "card", role: "tooltip", hidden: true });
    document.body.append(this.element);
  }

  hide() {
    this.element.hidden = true;
  }

  /**
   * @param {ShownRollout} r
   * @param {number} t
   * @param {number | undefined} threshold
   * @param {DOMRect | { left: number, right: number, top: number, bottom: number }} at
   */
  show(r, t, threshold, at) {
    this.element.replaceChildren(...describe(r, t, threshold));
    this.element.hidden = false;
    const { offsetWidth, offsetHeight } = this.element;
    const left = Math.max(4, Math.min(at.left, innerWidth - offsetWidth - 12));
    const below = at.bottom + 6;
    const top = below + offsetHeight > innerHeight ? at.top - offsetHeight - 6 : below;
    this.element.style.left = `${left}px`;
    this.element.style.top = `${Math.max(4, top)}px`;
  }
}

/**
 * @param {ShownRollout} r
 * @param {number} t
 * @param {number | undefined} threshold
 */
function describe(r, t, threshold) {
  const inside = inWindow(r, t);
  /** @type {[string, string][]} */
  const rows = [["entropy H", `${figure(r.entropies[t], 3)} nats`]];
  const window = r.windows[t];
  // Inside, H̄ may lie below τ: one of the mask rules does not look at windows. Both are rounded.
  const reaches = inside && threshold !== undefined && window > threshold - 1e-3;
  const bar = threshold === undefined ? "" : `${reaches ? " ≥" : ","} τ ${figure(threshold, 3)}`;
  // The release's windows need w tokens to come; where they are not, −1 stands for none.
  rows.push(["window entropy H̄", window < 0 ? `none${bar}` : `${figure(window, 3)}${bar}`]);
  rows.push(["high-entropy window", inside ? "inside" : "outside"]);
  if (r.logps) rows.push(["log π", `${figure(r.logps[t], 3)} (${figure(100 * Math.exp(r.logps[t]), 1)} %)`]);
  if (r.advantages) {
    const bonus = r.bonus?.[t];
    const parts = bonus ? ` = A ${signed(r.advantages[t] - bonus, 3)}, ψ ${signed(bonus, 3)}` : "";
    rows.push(["advantage Ã", `${signed(r.advantages[t], 3)}${parts}`]);
  }
  if (r.kl_weight) rows.push(["KL weight", figure(klWeight(r, t), 4)]);
  if (r.reward) rows.push(["reward R", rewardSum(r)]);
  if (r.learned === false) rows.push(["update", "filtered out: not learned from"]);
  return [
    el("b", {}, `“${visible(r.tokens[t])}”`),
    el("span", { class: "dim" }, ` token ${t + 1} of ${r.tokens.length}`),
    el("dl", {}, ...rows.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)])),
  ];
}

/** The rollout's reward as the sum of its terms other than 0. @param {ShownRollout} r */
function rewardSum(r) {
  const terms = rewardTerms(r).filter(([, value]) => value !== 0);
  const sum = terms.map(([name, value]) => `${name} ${signed(value, 3)}`).join(", ");
  return `${signed(r.reward?.overall ?? 0, 3)}${sum && ` = ${sum}`}`;
}

/**
 * Window entropy of every token as bars, τ as a line, branch points as ticks.
 * @param {ShownRollout} r
 * @param {number | undefined} threshold
 * @param {number} scale
 * @param {readonly number[]} branches steps
 */
export function entropyStrip(r, threshold, scale, branches) {
  const n = r.windows.length;
  const top = Math.max(scale, ...r.windows, (threshold ?? 0) * 1.2);
  const bars = { inside: "", outside: "" };
  r.windows.forEach((window, t) => {
    const h = Math.max(0, window);
    bars[inWindow(r, t) ? "inside" : "outside"] += `M${t + 0.06},1v${(-h / top).toFixed(4)}h0.88v${
      (h / top).toFixed(4)
    }z`;
  });
  const drawing = svg(
    "svg",
    {
      viewBox: `0 0 ${n} 1`,
      preserveAspectRatio: "none",
      class: "strip",
      // A short response is not blown up to the page's width.
      style: `max-width:${n * 16}px`,
      role: "img",
      "aria-label": `Window entropy of ${n} tokens, at most ${figure(Math.max(...r.windows), 2)} nats`,
    },
    svg("path", { d: bars.outside, class: "outside" }),
    svg("path", { d: bars.inside, class: "inside" }),
  );
  if (threshold !== undefined) {
    drawing.append(
      svg("line", { x1: 0, x2: n, y1: 1 - threshold / top, y2: 1 - threshold / top, class: "tau" }),
    );
  }
  for (const step of branches) {
    drawing.append(svg("line", { x1: step, x2: step, y1: 0, y2: 1, class: "branch" }));
  }
  return { drawing, top };
}
