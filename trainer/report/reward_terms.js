// @ts-check
/**
 * A rollout's reward as the sum of its terms, and what the entropy term was made from.
 * @module
 */
import { el, figure, signed } from "./dom.js";

/** @typedef {import("./page_data.ts").ShownRollout} ShownRollout */
/** @typedef {import("./page_data.ts").Place} Place */

/** @type {Record<string, string>} */
const NAMES = { shaping: "entropy shaping", overlong: "overlong" };

/**
 * Terms and their sum; what the known terms do not explain stands as a term of its own.
 * @param {ShownRollout} r
 * @returns {[string, number][]}
 */
export function rewardTerms(r) {
  const { overall = 0, ...others } = r.reward ?? {};
  /** @type {[string, number][]} */
  const terms = [
    ["accuracy", r.accuracy],
    ...Object.entries(others).map(
      /** @returns {[string, number]} */ ([name, value]) => [NAMES[name] ?? name, value],
    ),
  ];
  const rest = overall - terms.reduce((sum, [, value]) => sum + value, 0);
  if (Math.abs(rest) > 1e-6) terms.push(["other", rest]);
  return terms;
}

/**
 * @param {ShownRollout} r
 * @param {Place} place
 */
export function rewardTable(r, place) {
  const terms = rewardTerms(r);
  const most = Math.max(1, ...terms.map(([, value]) => Math.abs(value)));
  const shaping = r.difficulty === undefined ? undefined : place.shaping?.[r.difficulty];
  return el(
    "table",
    { class: "terms" },
    el("caption", {}, "Reward"),
    el(
      "tbody",
      {},
      ...terms.map(([name, value]) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, name),
          el("td", {}, signed(value, 3)),
          el("td", { class: "bar" }, bar(value / most)),
        )
      ),
    ),
    el(
      "tfoot",
      {},
      el(
        "tr",
        { class: "sum" },
        el("th", { scope: "row" }, "reward R"),
        el("td", {}, signed(r.reward?.overall ?? 0, 3)),
        el("td", { class: "bar" }, bar((r.reward?.overall ?? 0) / most)),
      ),
      el(
        "tr",
        {},
        el("th", { scope: "row" }, "advantage A"),
        el("td", {}, signed(r.advantage ?? 0, 3)),
        el("td", { class: "dim" }, r.learned ? "of its group" : "filtered out: not learned from"),
      ),
      shaping &&
        el(
          "tr",
          {},
          el("th", { scope: "row" }, "N_HE"),
          el("td", {}, figure(r.n_he, 0)),
          el(
            "td",
            { class: "dim" },
            `target ${figure(shaping.target, 2)}, Δ ${signed(r.n_he - shaping.target, 2)}, λ ${
              figure(shaping.lambda, 3)
            } (${r.difficulty})`,
          ),
        ),
    ),
  );
}

/** @param {number} share from −1 to 1 */
function bar(share) {
  const width = 50 * Math.min(1, Math.abs(share));
  return el("i", {
    class: share < 0 ? "minus" : "plus",
    style: `width:${width.toFixed(1)}%;margin-left:${(share < 0 ? 50 - width : 50).toFixed(1)}%`,
  });
}
