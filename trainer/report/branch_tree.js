// @ts-check
/**
 * A group as a tree of continuations: each rollout from the prompt, below it those that branched from it, each with the
 * tokens from its branch point on. Keys as in every tree: up, down, left, right, Enter.
 * @module
 */
import { el, figure, signed } from "./dom.js";
import { tokenSpans } from "./token_view.js";

/** @typedef {import("./page_data.ts").PageData} PageData */
/** @typedef {import("./page_data.ts").ShownRollout} ShownRollout */

/** @param {ShownRollout} r */
export function isBranch(r) {
  return typeof r.parent === "number";
}

/** Characters of a collapsed continuation. */
const PREVIEW = 160;

/** The tree of one group. */
export class BranchTree {
  /**
   * @param {PageData} data
   * @param {number[]} members indices of the group's rollouts
   * @param {{ opened: number, measure: string, scale: number, open: (index: number) => void }} options
   */
  constructor(data, members, options) {
    this.data = data;
    this.options = options;
    /** Children by index, in the order of their branch points. @type {Map<number, number[]>} */
    this.children = new Map(members.map((i) => [i, []]));
    /** @type {number[]} */
    this.roots = [];
    for (const i of members) {
      const r = data.rollouts[i];
      const parent = isBranch(r)
        ? members.find((m) =>
          m !== i && data.rollouts[m].place === r.place && data.rollouts[m].sample === r.parent
        )
        : undefined;
      if (parent === undefined) this.roots.push(i);
      else this.children.get(parent)?.push(i);
    }
    for (const list of this.children.values()) {
      list.sort((a, b) => this.#step(a) - this.#step(b) || data.rollouts[a].sample - data.rollouts[b].sample);
    }
    this.element = el("ul", { class: "tree", role: "tree", "aria-label": "Rollouts of the group" });
    this.element.append(...this.roots.map((i) => this.#node(i, 1, 0)));
    this.element.addEventListener("keydown", (event) => this.#key(event));
    // One stop for the tab key; within the tree the arrows move.
    const items = this.#items();
    (items.find((n) => n.dataset.rollout === String(options.opened)) ?? items[0])?.setAttribute(
      "tabindex",
      "0",
    );
  }

  /** Branch points of a rollout: step and index of each branch. @param {number} index @returns {[number, number][]} */
  branchesOf(index) {
    return (this.children.get(index) ?? []).map((child) => [this.#step(child), child]);
  }

  /** @param {number} index */
  #step(index) {
    return this.data.rollouts[index].branch_step ?? 0;
  }

  /** Whether `index` is the opened rollout or leads to it. @param {number} index @returns {boolean} */
  #leadsToOpened(index) {
    return (this.children.get(index) ?? []).some((c) => c === this.options.opened || this.#leadsToOpened(c));
  }

  /** @param {number} index @param {number} level @param {number} from @returns {HTMLElement} */
  #node(index, level, from) {
    const r = this.data.rollouts[index];
    const children = this.children.get(index) ?? [];
    const right = r.accuracy > 0;
    const line = el(
      "div",
      { class: "line" },
      el("span", { class: "toggle", "aria-hidden": "true" }),
      el("span", { class: right ? "right" : "wrong", title: right ? "right" : "wrong" }, right ? "✓" : "✗"),
      el(
        "button",
        { type: "button", class: "open", tabindex: -1, title: "open this rollout" },
        `#${r.sample}`,
      ),
      el(
        "span",
        { class: "how" },
        this.data.places[r.place].evaluation && `${this.data.places[r.place].name} · `,
        isBranch(r) &&
          `from #${r.parent} at token ${from + 1}${
            typeof r.branch_entropy === "number" ? `, H̄ ${figure(r.branch_entropy)}` : ""
          } · `,
        `${r.tokens.length - from} tokens`,
        children.length > 0 && ` · ${children.length} ${children.length === 1 ? "branch" : "branches"}`,
        r.reward && ` · R ${signed(r.reward.overall)}`,
        r.advantage !== undefined && ` · A ${signed(r.advantage)}`,
      ),
      el(
        "span",
        { class: "preview" },
        `${from > 0 ? "…" : ""}${r.tokens.slice(from).join("").slice(0, PREVIEW)}`,
      ),
    );
    const item = el(
      "li",
      {
        role: "treeitem",
        tabindex: -1,
        "aria-level": level,
        "aria-expanded": "false",
        "aria-current": index === this.options.opened ? "true" : undefined,
        "data-rollout": index,
      },
      line,
    );
    line.addEventListener("click", (event) => {
      if (/** @type {Element} */ (event.target).closest(".open")) this.options.open(index);
      else this.#toggle(item, index, level, from);
    });
    if (this.#leadsToOpened(index)) this.#toggle(item, index, level, from);
    return item;
  }

  /** Shows or hides a node's tokens and branches; they are made when first shown. @param {HTMLElement} item @param {number} index @param {number} level @param {number} from */
  #toggle(item, index, level, from) {
    const expand = item.getAttribute("aria-expanded") !== "true";
    item.setAttribute("aria-expanded", String(expand));
    const below = item.querySelector(":scope > .below");
    if (below) {
      /** @type {HTMLElement} */ (below).hidden = !expand;
      return;
    }
    const r = this.data.rollouts[index];
    const branches = this.branchesOf(index);
    /** @type {Map<number, Node[]>} */
    const marks = new Map();
    for (const [step, child] of branches) {
      const mark = el("span", { class: "mark" }, `↳#${this.data.rollouts[child].sample}`);
      marks.set(step, [...marks.get(step) ?? [], mark]);
    }
    const { measure, scale } = this.options;
    item.append(el(
      "div",
      { class: "below" },
      el(
        "div",
        { class: "tokens", "data-rollout": index },
        from > 0 && "…",
        tokenSpans(r, { first: from, end: r.tokens.length, measure, scale, marks }),
      ),
      branches.length > 0 &&
        el("ul", { role: "group" }, ...branches.map(([step, child]) => this.#node(child, level + 1, step))),
    ));
  }

  /** @returns {HTMLElement[]} the nodes in sight */
  #items() {
    return [.../** @type {NodeListOf<HTMLElement>} */ (this.element.querySelectorAll("[role=treeitem]"))]
      .filter((item) => item.closest(".below[hidden]") === null);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const item =
      /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("[role=treeitem]"));
    if (!item) return;
    const items = this.#items();
    const at = items.indexOf(item);
    const expanded = item.getAttribute("aria-expanded") === "true";
    const line = /** @type {HTMLElement} */ (item.querySelector(":scope > .line"));
    /** @type {HTMLElement | undefined | null} */
    let to;
    if (event.key === "ArrowDown") to = items[at + 1];
    else if (event.key === "ArrowUp") to = items[at - 1];
    else if (event.key === "Home") to = items[0];
    else if (event.key === "End") to = items.at(-1);
    else if (event.key === "ArrowRight" && !expanded) line.click();
    else if (event.key === "ArrowRight") to = item.querySelector("[role=treeitem]");
    else if (event.key === "ArrowLeft" && expanded) line.click();
    else if (event.key === "ArrowLeft") to = item.parentElement?.closest("[role=treeitem]");
    else if (event.key === " ") line.click();
    else if (event.key === "Enter") this.options.open(Number(item.dataset.rollout));
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (!to) return;
    item.setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  }
}
