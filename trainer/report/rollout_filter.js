// @ts-check
/**
 * Which rollouts are listed, and in which order.
 * @module
 */
import { isBranch } from "./branch_tree.js";
import { choice, el } from "./dom.js";

/** @typedef {import("./page_data.ts").PageData} PageData */
/** @typedef {import("./page_data.ts").ShownRollout} ShownRollout */

/** A form and what it asks for. */
export class RolloutFilter {
  /**
   * @param {PageData} data
   * @param {() => void} changed
   */
  constructor(data, changed) {
    this.data = data;
    this.changed = changed;
    this.branched = new Set(data.rollouts.filter(isBranch).map((r) => `${r.group} ${r.place} ${r.parent}`));
    this.form = this.#form();
    this.form.addEventListener("input", changed);
    this.form.addEventListener("submit", (event) => event.preventDefault());
  }

  #form() {
    const { rollouts, places, problems } = this.data;
    /** @param {Iterable<string | undefined>} values */
    const unique = (values) => [...new Set(values)].filter((v) => v !== undefined).map((v) => [v, v]);
    const order = ["easy", "medium", "hard"];
    const difficulties = unique(rollouts.map((r) => r.difficulty)).sort(([a], [b]) =>
      order.indexOf(String(a)) - order.indexOf(String(b))
    );
    return el(
      "form",
      { class: "filters", "aria-label": "Filter rollouts" },
      choice("difficulty", "Difficulty", [["", "all"], ...difficulties]),
      choice("answer", "Answer", [["", "all"], ["right", "right"], ["wrong", "wrong"]]),
      choice("branch", "Branch", [["", "all"], ["branches", "branches"], ["branched", "parents"], [
        "alone",
        "neither",
      ]]),
      choice("place", "Sampled in", [["", "everywhere"], ["training", "training"], [
        "evaluation",
        "evaluations",
      ], ...places.map((p, i) => [String(i), p.name])]),
      choice("source", "Source", [["", "all"], ...unique(problems.map((p) => p.source))]),
      choice("sort", "Sort by", [
        ["", "run order"],
        ["long", "longest"],
        ["windows", "most N_HE"],
        ["low", "least reward"],
        ["high", "most reward"],
      ]),
      el(
        "label",
        { class: "text" },
        "Text",
        el("input", { type: "search", name: "text", placeholder: "in problem or response" }),
      ),
      this.#resetButton(),
    );
  }

  /** Not a button of type reset: its event comes before the fields are empty. */
  #resetButton() {
    const button = el("button", { type: "button" }, "Reset");
    button.addEventListener("click", () => {
      this.form.reset();
      this.changed();
    });
    return button;
  }

  /** Indices of the rollouts that are wanted, in the wanted order. */
  matches() {
    const { rollouts, places, problems } = this.data;
    const wanted = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(this.form)));
    const text = wanted.text.toLowerCase();
    const found = [...rollouts.keys()].filter((i) => {
      const r = rollouts[i];
      const problem = problems[r.problem];
      return (wanted.difficulty === "" || r.difficulty === wanted.difficulty) &&
        (wanted.answer === "" || (r.accuracy > 0) === (wanted.answer === "right")) &&
        (wanted.branch === "" || this.#branchKind(r) === wanted.branch) &&
        (wanted.place === "" || wanted.place === String(r.place) ||
          wanted.place === (places[r.place].evaluation ? "evaluation" : "training")) &&
        (wanted.source === "" || problem.source === wanted.source) &&
        (text === "" || problem.text.toLowerCase().includes(text) ||
          r.tokens.join("").toLowerCase().includes(text));
    });
    /** @type {Record<string, (r: ShownRollout) => number>} */
    const keys = {
      long: (r) => -r.tokens.length,
      windows: (r) => -r.n_he,
      low: (r) => r.reward?.overall ?? Infinity,
      high: (r) => -(r.reward?.overall ?? -Infinity),
    };
    const key = keys[wanted.sort];
    if (key) found.sort((a, b) => key(rollouts[a]) - key(rollouts[b]) || a - b);
    return found;
  }

  /** A rollout may be a branch and be branched from; it then counts as a branch. @param {ShownRollout} r */
  #branchKind(r) {
    if (isBranch(r)) return "branches";
    return this.branched.has(`${r.group} ${r.place} ${r.sample}`) ? "branched" : "alone";
  }
}
