// @ts-check
/**
 * The list of rollouts. Only the rows in sight are in the document, so that thousands scroll as easily as ten.
 * @module
 */
import { el, figure, signed } from "./dom.js";

/** @typedef {import("./page_data.ts").PageData} PageData */

/** Pixels of a row; the style sheet has the same. */
const ROW = 42;

/** A listbox over indices of rollouts. */
export class RolloutList {
  /**
   * @param {PageData} data
   * @param {(index: number) => void} open
   */
  constructor(data, open) {
    this.data = data;
    this.open = open;
    /** @type {number[]} */
    this.shown = [];
    this.at = -1;
    this.space = el("div", { class: "space", role: "presentation" });
    this.element = el(
      "div",
      { class: "list", role: "listbox", tabindex: 0, "aria-label": "Rollouts" },
      this.space,
    );
    this.element.addEventListener("scroll", () => this.draw());
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.space.addEventListener("click", (event) => {
      const row = /** @type {Element} */ (event.target).closest("[data-at]");
      if (row) this.select(Number(row.getAttribute("data-at")));
    });
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /**
   * Shows these rollouts from the first on, as a new filter or order asks for; the one that is open stays selected if
   * it is among them.
   * @param {number[]} indices
   * @param {number | undefined} opened
   */
  show(indices, opened) {
    this.shown = indices;
    this.at = opened === undefined ? -1 : indices.indexOf(opened);
    this.space.style.height = `${indices.length * ROW}px`;
    this.element.scrollTop = 0;
    this.draw();
  }

  /** Selects the rollout that was opened elsewhere and brings it into sight. @param {number} opened */
  follow(opened) {
    const at = this.shown.indexOf(opened);
    if (at === this.at) return;
    this.at = at;
    const { scrollTop, clientHeight } = this.element;
    const top = at * ROW;
    if (at >= 0 && (top < scrollTop || top + 2 * ROW > scrollTop + clientHeight)) {
      this.element.scrollTop = top - clientHeight / 3;
    }
    this.draw();
  }

  /** @param {number} at place in the list */
  select(at) {
    if (this.shown.length === 0) return;
    this.at = Math.max(0, Math.min(this.shown.length - 1, at));
    this.#reveal();
    this.draw();
    this.open(this.shown[this.at]);
  }

  /** Puts the rows in sight, and a few around them, into the document. */
  draw() {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - 4);
    const end = Math.min(this.shown.length, Math.ceil((scrollTop + clientHeight) / ROW) + 4);
    const rows = [];
    for (let at = first; at < end; at++) rows.push(this.#row(at));
    this.space.replaceChildren(...rows);
    if (this.at >= first && this.at < end) {
      this.element.setAttribute("aria-activedescendant", `row-${this.at}`);
    } else this.element.removeAttribute("aria-activedescendant");
  }

  /** Scrolls no further than it takes to see the selected row. */
  #reveal() {
    const top = this.at * ROW;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW > scrollTop + clientHeight) this.element.scrollTop = top + ROW - clientHeight;
  }

  /** @param {number} at */
  #row(at) {
    const r = this.data.rollouts[this.shown[at]];
    const problem = this.data.problems[r.problem];
    const right = r.accuracy > 0;
    return el(
      "div",
      {
        class: "row",
        role: "option",
        id: `row-${at}`,
        "data-at": at,
        "aria-selected": at === this.at ? "true" : "false",
        "aria-setsize": this.shown.length,
        "aria-posinset": at + 1,
        style: `top:${at * ROW}px`,
      },
      el("span", { class: right ? "right" : "wrong", title: right ? "right" : "wrong" }, right ? "✓" : "✗"),
      el("span", { class: "what" }, problem.text.slice(0, 120)),
      el(
        "span",
        { class: "how" },
        `${this.data.places[r.place].name} #${r.sample}`,
        typeof r.parent === "number" && ` ↳ #${r.parent}`,
        " · ",
        el("span", { class: r.difficulty ?? "" }, r.difficulty ?? problem.source ?? ""),
        ` · ${r.tokens.length} tokens · N_HE ${figure(r.n_he, 0)}`,
        r.reward && ` · R ${signed(r.reward.overall)}`,
      ),
    );
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 1);
    /** @type {Record<string, number>} */
    const moves = {
      ArrowDown: this.at + 1,
      ArrowUp: this.at - 1,
      PageDown: this.at + page,
      PageUp: this.at - page,
      Home: 0,
      End: this.shown.length - 1,
    };
    const to = moves[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.select(to);
  }
}
