// Made by `deno task bundle` from the .js and .css files beside it; do not edit.
// deno-fmt-ignore-file

/** What a report's page brings along. */
export const PAGE_PARTS: Readonly<Record<"script" | "style", string>> = {
  script: `"use strict";
{
// @ts-check
/**
 * Elements of the report's page. Texts become text nodes, never markup: a model may have written them.
 * @module
 */

/** @typedef {Node | string | number | undefined | null | false} Child */

/**
 * An element with attributes and children; attributes that are undefined or false are left out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number | boolean | undefined>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

/**
 * @param {Element} parent
 * @param {readonly (Child | Child[])[]} children
 */
function append(parent, children) {
  for (const child of children.flat()) {
    if (child !== undefined && child !== null && child !== false) {
      parent.append(child instanceof Node ? child : String(child));
    }
  }
}

/**
 * A labelled select.
 * @param {string} name
 * @param {string} label
 * @param {readonly (readonly (string | undefined)[])[]} options values and what is shown of them
 */
function choice(name, label, options) {
  const select = el("select", { name });
  append(select, options.map(([value, text]) => el("option", { value: value ?? "" }, text)));
  return el("label", {}, label, select);
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...Node} children
 */
function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * A number as it is read: so many digits, a real minus sign.
 * @param {number | undefined} x
 * @param {number} [digits]
 */
function figure(x, digits = 2) {
  if (typeof x !== "number") return x === undefined ? "–" : String(x);
  return x.toFixed(digits).replace(/^-(?=0\\.?0*\$)/, "").replace("-", "−");
}

/**
 * A number with its sign.
 * @param {number} x
 * @param {number} [digits]
 */
function signed(x, digits = 2) {
  const text = figure(x, digits);
  return Number(x.toFixed(digits)) > 0 ? \`+\${text}\` : text;
}

/**
 * A token's text with its white space made visible.
 * @param {string} text
 */
function visible(text) {
  return text === ""
    ? "(part of a character)"
    : text.replaceAll("\\n", "⏎").replaceAll("\\t", "⇥").replaceAll(" ", "␣");
}

// @ts-check
/**
 * A rollout's reward as the sum of its terms, and what the entropy term was made from.
 * @module
 */

/** @typedef {import("./page_data.ts").ShownRollout} ShownRollout */
/** @typedef {import("./page_data.ts").Place} Place */

/** @type {Record<string, string>} */
const NAMES = { shaping: "entropy shaping", overlong: "overlong" };

/**
 * Terms and their sum; what the known terms do not explain stands as a term of its own.
 * @param {ShownRollout} r
 * @returns {[string, number][]}
 */
function rewardTerms(r) {
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
function rewardTable(r, place) {
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
            \`target \${figure(shaping.target, 2)}, Δ \${signed(r.n_he - shaping.target, 2)}, λ \${
              figure(shaping.lambda, 3)
            } (\${r.difficulty})\`,
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
    style: \`width:\${width.toFixed(1)}%;margin-left:\${(share < 0 ? 50 - width : 50).toFixed(1)}%\`,
  });
}

// @ts-check
/**
 * A rollout's tokens: shaded by a measure, high-entropy windows marked, everything about a token in a card beside it,
 * and the window entropies as a strip above.
 * @module
 */

/** @typedef {import("./page_data.ts").ShownRollout} ShownRollout */
/** @typedef {import("./page_data.ts").PageData} PageData */

/**
 * What tokens are shaded by.
 * @type {Record<string, { name: string, of: (r: ShownRollout, t: number) => number | undefined, diverging?: boolean, unit: string }>}
 */
const MEASURES = {
  window: { name: "window entropy", of: (r, t) => Math.max(0, r.windows[t]), unit: "nats" },
  entropy: { name: "token entropy", of: (r, t) => r.entropies[t], unit: "nats" },
  advantage: { name: "advantage", of: (r, t) => r.advantages?.[t], diverging: true, unit: "" },
  kl: { name: "KL weight", of: (r, t) => klWeight(r, t), unit: "" },
  surprise: { name: "surprise, −log π", of: (r, t) => r.logps && -r.logps[t], unit: "nats" },
};

/** @param {ShownRollout} r @param {number} t */
function inWindow(r, t) {
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
function shadeScales(data) {
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
 * Tokens first … end − 1 as spans; \`marks\` are put in front of the token of their index.
 * @param {ShownRollout} r
 * @param {{ first: number, end: number, measure: string, scale: number, shared?: number, marks?: Map<number, Node[]> }} options
 */
function tokenSpans(r, { first, end, measure, scale, shared = 0, marks }) {
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
      el("span", { class: kind.join(" "), "data-t": t, style: \`--v:\${strength.toFixed(3)}\` }, r.tokens[t]),
    );
  }
  return fragment;
}

/** A card that follows the token under the pointer or the keyboard's cursor. One for the whole page. */
class TokenCard {
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
    this.element.style.left = \`\${left}px\`;
    this.element.style.top = \`\${Math.max(4, top)}px\`;
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
  const rows = [["entropy H", \`\${figure(r.entropies[t], 3)} nats\`]];
  const window = r.windows[t];
  // Inside, H̄ may lie below τ: one of the mask rules does not look at windows. Both are rounded.
  const reaches = inside && threshold !== undefined && window > threshold - 1e-3;
  const bar = threshold === undefined ? "" : \`\${reaches ? " ≥" : ","} τ \${figure(threshold, 3)}\`;
  // The release's windows need w tokens to come; where they are not, −1 stands for none.
  rows.push(["window entropy H̄", window < 0 ? \`none\${bar}\` : \`\${figure(window, 3)}\${bar}\`]);
  rows.push(["high-entropy window", inside ? "inside" : "outside"]);
  if (r.logps) rows.push(["log π", \`\${figure(r.logps[t], 3)} (\${figure(100 * Math.exp(r.logps[t]), 1)} %)\`]);
  if (r.advantages) {
    const bonus = r.bonus?.[t];
    const parts = bonus ? \` = A \${signed(r.advantages[t] - bonus, 3)}, ψ \${signed(bonus, 3)}\` : "";
    rows.push(["advantage Ã", \`\${signed(r.advantages[t], 3)}\${parts}\`]);
  }
  if (r.kl_weight) rows.push(["KL weight", figure(klWeight(r, t), 4)]);
  if (r.reward) rows.push(["reward R", rewardSum(r)]);
  if (r.learned === false) rows.push(["update", "filtered out: not learned from"]);
  return [
    el("b", {}, \`“\${visible(r.tokens[t])}”\`),
    el("span", { class: "dim" }, \` token \${t + 1} of \${r.tokens.length}\`),
    el("dl", {}, ...rows.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)])),
  ];
}

/** The rollout's reward as the sum of its terms other than 0. @param {ShownRollout} r */
function rewardSum(r) {
  const terms = rewardTerms(r).filter(([, value]) => value !== 0);
  const sum = terms.map(([name, value]) => \`\${name} \${signed(value, 3)}\`).join(", ");
  return \`\${signed(r.reward?.overall ?? 0, 3)}\${sum && \` = \${sum}\`}\`;
}

/**
 * Window entropy of every token as bars, τ as a line, branch points as ticks.
 * @param {ShownRollout} r
 * @param {number | undefined} threshold
 * @param {number} scale
 * @param {readonly number[]} branches steps
 */
function entropyStrip(r, threshold, scale, branches) {
  const n = r.windows.length;
  const top = Math.max(scale, ...r.windows, (threshold ?? 0) * 1.2);
  const bars = { inside: "", outside: "" };
  r.windows.forEach((window, t) => {
    const h = Math.max(0, window);
    bars[inWindow(r, t) ? "inside" : "outside"] += \`M\${t + 0.06},1v\${(-h / top).toFixed(4)}h0.88v\${
      (h / top).toFixed(4)
    }z\`;
  });
  const drawing = svg(
    "svg",
    {
      viewBox: \`0 0 \${n} 1\`,
      preserveAspectRatio: "none",
      class: "strip",
      // A short response is not blown up to the page's width.
      style: \`max-width:\${n * 16}px\`,
      role: "img",
      "aria-label": \`Window entropy of \${n} tokens, at most \${figure(Math.max(...r.windows), 2)} nats\`,
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

// @ts-check
/**
 * A group as a tree of continuations: each rollout from the prompt, below it those that branched from it, each with the
 * tokens from its branch point on. Keys as in every tree: up, down, left, right, Enter.
 * @module
 */

/** @typedef {import("./page_data.ts").PageData} PageData */
/** @typedef {import("./page_data.ts").ShownRollout} ShownRollout */

/** @param {ShownRollout} r */
function isBranch(r) {
  return typeof r.parent === "number";
}

/** Characters of a collapsed continuation. */
const PREVIEW = 160;

/** The tree of one group. */
class BranchTree {
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

  /** Whether \`index\` is the opened rollout or leads to it. @param {number} index @returns {boolean} */
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
        \`#\${r.sample}\`,
      ),
      el(
        "span",
        { class: "how" },
        this.data.places[r.place].evaluation && \`\${this.data.places[r.place].name} · \`,
        isBranch(r) &&
          \`from #\${r.parent} at token \${from + 1}\${
            typeof r.branch_entropy === "number" ? \`, H̄ \${figure(r.branch_entropy)}\` : ""
          } · \`,
        \`\${r.tokens.length - from} tokens\`,
        children.length > 0 && \` · \${children.length} \${children.length === 1 ? "branch" : "branches"}\`,
        r.reward && \` · R \${signed(r.reward.overall)}\`,
        r.advantage !== undefined && \` · A \${signed(r.advantage)}\`,
      ),
      el(
        "span",
        { class: "preview" },
        \`\${from > 0 ? "…" : ""}\${r.tokens.slice(from).join("").slice(0, PREVIEW)}\`,
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
      const mark = el("span", { class: "mark" }, \`↳#\${this.data.rollouts[child].sample}\`);
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

// @ts-check
/**
 * The numbers of a training curve under the pointer, or under a cursor that the arrow keys move.
 * @module
 */

/** @typedef {{ domain: [number, number], range: [number, number], steps: number[], series: { name: string, values: (number | null)[] }[] }} Curve */

/** Makes every curve of the page tell its numbers. */
function curveReadouts() {
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
        : \`\${series.length > 1 ? \`\${name} \` : ""}\${Number(value.toPrecision(3))}\`;
    });
    output.textContent = \`\${steps[at]}: \${values.filter((v) => v !== undefined).join(" · ")}\`;
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

// @ts-check
/**
 * Which rollouts are listed, and in which order.
 * @module
 */

/** @typedef {import("./page_data.ts").PageData} PageData */
/** @typedef {import("./page_data.ts").ShownRollout} ShownRollout */

/** A form and what it asks for. */
class RolloutFilter {
  /**
   * @param {PageData} data
   * @param {() => void} changed
   */
  constructor(data, changed) {
    this.data = data;
    this.changed = changed;
    this.branched = new Set(data.rollouts.filter(isBranch).map((r) => \`\${r.group} \${r.place} \${r.parent}\`));
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
    return this.branched.has(\`\${r.group} \${r.place} \${r.sample}\`) ? "branched" : "alone";
  }
}

// @ts-check
/**
 * The list of rollouts. Only the rows in sight are in the document, so that thousands scroll as easily as ten.
 * @module
 */

/** @typedef {import("./page_data.ts").PageData} PageData */

/** Pixels of a row; the style sheet has the same. */
const ROW = 42;

/** A listbox over indices of rollouts. */
class RolloutList {
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
    this.space.style.height = \`\${indices.length * ROW}px\`;
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
      this.element.setAttribute("aria-activedescendant", \`row-\${this.at}\`);
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
        id: \`row-\${at}\`,
        "data-at": at,
        "aria-selected": at === this.at ? "true" : "false",
        "aria-setsize": this.shown.length,
        "aria-posinset": at + 1,
        style: \`top:\${at * ROW}px\`,
      },
      el("span", { class: right ? "right" : "wrong", title: right ? "right" : "wrong" }, right ? "✓" : "✗"),
      el("span", { class: "what" }, problem.text.slice(0, 120)),
      el(
        "span",
        { class: "how" },
        \`\${this.data.places[r.place].name} #\${r.sample}\`,
        typeof r.parent === "number" && \` ↳ #\${r.parent}\`,
        " · ",
        el("span", { class: r.difficulty ?? "" }, r.difficulty ?? problem.source ?? ""),
        \` · \${r.tokens.length} tokens · N_HE \${figure(r.n_he, 0)}\`,
        r.reward && \` · R \${signed(r.reward.overall)}\`,
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

// @ts-check
/**
 * The trace viewer: filters, the list of rollouts, and the opened one. Reads the JSON that lies in the page.
 * @module
 */

/** @typedef {import("./page_data.ts").PageData} PageData */
/** @typedef {import("./page_data.ts").ShownRollout} ShownRollout */

class Viewer {
  /** @param {PageData} data @param {Element} host */
  constructor(data, host) {
    this.data = data;
    this.scales = shadeScales(data);
    this.measure = "window";
    /** @type {number | undefined} */
    this.opened = undefined;
    /** @type {Map<number, number[]>} */
    this.groups = Map.groupBy(data.rollouts.keys(), (i) => data.rollouts[i].group);
    this.card = new TokenCard();
    this.list = new RolloutList(data, (index) => this.open(index));
    this.count = el("output", { class: "count" });
    this.filter = new RolloutFilter(data, () => this.#apply());
    this.detail = el("article", { class: "detail", "aria-label": "Opened rollout" });
    host.append(el("div", { class: "side" }, this.filter.form, this.count, this.list.element), this.detail);
    this.#hover();
    this.#apply();
    addEventListener("hashchange", () => this.#fromAddress());
    if (!this.#fromAddress()) this.open(this.#first(), false);
  }

  /** What is worth a first look: the latest training rollout with a high-entropy window, else the latest of all. */
  #first() {
    const { rollouts, places } = this.data;
    const from = [...rollouts.keys()].reverse();
    return from.find((i) => !places[rollouts[i].place].evaluation && rollouts[i].high_entropy.length > 0) ??
      from[0];
  }

  /** Opens the rollout that the address names. */
  #fromAddress() {
    const index = Number(/^#rollout=(\\d+)\$/.exec(location.hash)?.[1] ?? NaN);
    if (!(index in this.data.rollouts)) return false;
    if (index !== this.opened) {
      this.open(index, false);
      this.detail.scrollIntoView({ block: "nearest" });
    }
    return true;
  }

  /** Fills the list with what the filters leave. */
  #apply() {
    const { rollouts } = this.data;
    const found = this.filter.matches();
    const right = found.filter((i) => rollouts[i].accuracy > 0).length;
    this.count.textContent = found.length === 0
      ? "no rollout matches"
      : \`\${found.length} of \${rollouts.length} rollouts, \${figure(100 * right / found.length, 0)} % right\`;
    this.list.show(found, this.opened);
  }

  /** Shows one rollout. @param {number} index @param {boolean} [remember] put it into the address */
  open(index, remember = true) {
    this.opened = index;
    if (remember) history.replaceState(null, "", \`#rollout=\${index}\`);
    this.list.follow(index);
    this.card.hide();
    this.#draw();
  }

  #draw() {
    const index = this.opened;
    if (index === undefined) return;
    const r = this.data.rollouts[index];
    const place = this.data.places[r.place];
    const problem = this.data.problems[r.problem];
    const members = this.groups.get(r.group) ?? [index];
    const scale = this.scales[this.measure];
    const tree = new BranchTree(this.data, members, {
      opened: index,
      measure: this.measure,
      scale,
      open: (i) => this.open(i),
    });
    const branches = tree.branchesOf(index);
    const strip = entropyStrip(r, place.threshold, this.scales.window, branches.map(([step]) => step));
    this.detail.replaceChildren(
      this.#head(r),
      el(
        "div",
        { class: "top" },
        this.#problem(problem, place.blind),
        r.reward && rewardTable(r, place),
      ),
      el("div", { class: "measures" }, this.#shading(), this.#legend(place.threshold, scale)),
      el(
        "div",
        { class: "stripbox" },
        strip.drawing,
        el(
          "span",
          { class: "dim" },
          \`H̄, 0 to \${figure(strip.top)} nats\`,
          place.threshold !== undefined && \`; dashed: τ = \${figure(place.threshold, 3)}\`,
          branches.length > 0 && "; upright: branch points",
        ),
      ),
      this.#tokens(index, branches),
      el("h4", {}, this.#groupTitle(members)),
      tree.element,
    );
  }

  /** @param {ShownRollout} r */
  #head(r) {
    const place = this.data.places[r.place];
    const { id, source } = this.data.problems[r.problem];
    const at = this.list.at;
    /** @param {string} name @param {number} to */
    const step = (name, to) => {
      const button = el("button", { type: "button", disabled: to < 0 || to >= this.list.shown.length }, name);
      button.addEventListener("click", () => this.list.select(to));
      return button;
    };
    return el(
      "h3",
      {},
      el("span", { class: r.accuracy > 0 ? "right" : "wrong" }, r.accuracy > 0 ? "✓ right" : "✗ wrong"),
      el("span", {}, \`\${place.name}, sample \${r.sample}\`),
      r.difficulty && el("span", { class: r.difficulty }, r.difficulty),
      source && el("span", {}, source),
      el("span", { class: "dim" }, id),
      el(
        "span",
        { class: "dim" },
        \`\${r.tokens.length} tokens, N_HE \${figure(r.n_he, 0)}\${
          r.finish === "length" ? ", cut at the limit" : ""
        }\`,
      ),
      el(
        "span",
        { class: "steps" },
        step("‹ previous", at < 0 ? -1 : at - 1),
        step("next ›", at < 0 ? this.list.shown.length : at + 1),
      ),
    );
  }

  /** @param {PageData["problems"][number]} problem @param {boolean} blind */
  #problem({ text, answer, images }, blind) {
    return el(
      "div",
      { class: "problem" },
      ...(images ?? []).map((name, i) => {
        const url = this.data.pictures[name];
        if (blind) return el("span", { class: "missing" }, "gray in place of the picture");
        return url
          ? el("img", { src: url, alt: \`picture \${i + 1} of the problem\` })
          : el("span", { class: "missing" }, \`\${name} is missing\`);
      }),
      el("p", { class: "text" }, text),
      el("p", { class: "dim" }, "answer: ", el("b", {}, answer)),
    );
  }

  #shading() {
    const known = Object.entries(MEASURES).filter(([, { of }]) =>
      this.data.rollouts.some((r) => of(r, 0) !== undefined)
    );
    const label = choice("measure", "Shaded by", known.map(([key, { name }]) => [key, name]));
    const select = /** @type {HTMLSelectElement} */ (label.querySelector("select"));
    select.value = this.measure;
    select.addEventListener("change", () => {
      this.measure = select.value;
      this.#draw();
      /** @type {HTMLElement | null} */ (this.detail.querySelector("[name=measure]"))?.focus();
    });
    return label;
  }

  /** @param {number | undefined} threshold @param {number} scale */
  #legend(threshold, scale) {
    const { diverging, unit } = MEASURES[this.measure];
    const digits = scale < 0.1 ? 4 : 2;
    return el(
      "span",
      { class: "legend" },
      diverging && [figure(-scale, digits), el("i", { class: "ramp minus" })],
      diverging ? " 0 " : "0",
      el("i", { class: "ramp plus" }),
      \`\${figure(scale, digits)} \${unit}\`,
      el("span", { class: "t hwe start end" }, "high-entropy window"),
      threshold !== undefined && el("span", { class: "dim" }, \`H̄ ≥ τ = \${figure(threshold, 3)} nats\`),
    );
  }

  /** @param {number} index @param {[number, number][]} branches */
  #tokens(index, branches) {
    const r = this.data.rollouts[index];
    /** @type {Map<number, Node[]>} */
    const marks = new Map();
    /** @param {number} t @param {string} label @param {string} title @param {number | undefined} to */
    const mark = (t, label, title, to) => {
      const button = el(
        "button",
        { type: "button", class: "mark", title, disabled: to === undefined },
        label,
      );
      button.addEventListener("click", () => to !== undefined && this.open(to));
      marks.set(t, [...marks.get(t) ?? [], button]);
    };
    const shared = isBranch(r) ? r.branch_step ?? 0 : 0;
    if (isBranch(r)) {
      const parent = this.groups.get(r.group)?.find((i) =>
        this.data.rollouts[i].place === r.place && this.data.rollouts[i].sample === r.parent
      );
      mark(shared, \`↳ from #\${r.parent}\`, "branched here; opens the rollout that it left", parent);
    }
    for (const [step, child] of branches) {
      mark(step, \`↳#\${this.data.rollouts[child].sample}\`, "a branch leaves here; opens it", child);
    }
    const box = el(
      "div",
      {
        class: "tokens main",
        tabindex: 0,
        role: "group",
        "aria-label": "Tokens; left and right arrow keys move, and tell about each",
        "data-rollout": index,
      },
      tokenSpans(r, {
        first: 0,
        end: r.tokens.length,
        measure: this.measure,
        scale: this.scales[this.measure],
        shared,
        marks,
      }),
    );
    let at = -1;
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.card.hide();
      const to = event.key === "ArrowRight"
        ? at + 1
        : event.key === "ArrowLeft"
        ? at - 1
        : event.key === "Home"
        ? 0
        : event.key === "End"
        ? r.tokens.length - 1
        : undefined;
      if (to === undefined || event.target !== box) return;
      event.preventDefault();
      at = Math.max(0, Math.min(r.tokens.length - 1, to));
      this.#point(index, at);
    });
    box.addEventListener("blur", () => this.card.hide());
    return box;
  }

  /** Marks a token of the opened rollout and tells about it. @param {number} index @param {number} t @param {DOMRect} [at] */
  #point(index, t, at) {
    for (const old of this.detail.querySelectorAll(".pointed")) old.classList.remove("pointed");
    const token = this.detail.querySelector(\`.tokens.main [data-t="\${t}"]\`);
    token?.classList.add("pointed");
    if (!at) token?.scrollIntoView({ block: "nearest" });
    const r = this.data.rollouts[index];
    const box = at ?? token?.getClientRects()[0];
    if (box) this.card.show(r, t, this.data.places[r.place].threshold, box);
    const box2 = this.detail.querySelector(".tokens.main");
    box2?.setAttribute("aria-description", this.card.element.textContent ?? "");
  }

  /** The card under the pointer, over tokens and over the strip. */
  #hover() {
    this.detail.addEventListener("pointerover", (event) => {
      const target = /** @type {Element} */ (event.target);
      const token = target.closest(".tokens [data-t]");
      if (!token) {
        if (!target.closest(".strip")) this.card.hide();
        return;
      }
      const index = Number(token.closest(".tokens")?.getAttribute("data-rollout"));
      const r = this.data.rollouts[index];
      this.card.show(
        r,
        Number(token.getAttribute("data-t")),
        this.data.places[r.place].threshold,
        token.getClientRects()[0],
      );
    });
    this.detail.addEventListener("pointermove", (event) => {
      const strip = /** @type {Element} */ (event.target).closest(".strip");
      if (!strip || this.opened === undefined) return;
      const { left, width, top, bottom } = strip.getBoundingClientRect();
      const n = this.data.rollouts[this.opened].tokens.length;
      const t = Math.max(0, Math.min(n - 1, Math.floor(n * (event.clientX - left) / width)));
      this.#point(this.opened, t, new DOMRect(event.clientX, top, 0, bottom - top));
    });
    this.detail.addEventListener("pointerleave", () => this.card.hide());
    addEventListener("scroll", () => this.card.hide(), { passive: true });
  }

  /** @param {number[]} members */
  #groupTitle(members) {
    const all = members.map((i) => this.data.rollouts[i]);
    const right = all.filter((r) => r.accuracy > 0).length;
    const branches = all.filter(isBranch).length;
    const [of, what] = this.data.places[all[0].place].evaluation
      ? ["All responses to this problem", "responses"]
      : ["Its group", "rollouts"];
    return \`\${of}: \${all.length} \${what}, \${right} right\${
      branches > 0 ? \`; \${branches} \${branches === 1 ? "is a branch" : "are branches"}\` : ""
    }\`;
  }
}

curveReadouts();
const host = document.getElementById("viewer");
if (host) new Viewer(JSON.parse(document.getElementById("data")?.textContent ?? ""), host);
}
`,
  style: `:root {
  color-scheme: light dark;
  --page: light-dark(#ffffff, #15171a);
  --panel: light-dark(#f5f6f7, #1d2024);
  --line: light-dark(#d5d9de, #363b42);
  --text: light-dark(#16191d, #e4e7eb);
  --dim: light-dark(#59626d, #9aa4b0);
  --accent: light-dark(#0b5cad, #7ab8ff);
  --easy: light-dark(#00765a, #46cfa5);
  --medium: light-dark(#9a6200, #efb443);
  --hard: light-dark(#b02368, #f482b4);
  --right: light-dark(#00765a, #46cfa5);
  --wrong: light-dark(#b3261e, #ff8a80);
  --series-1: light-dark(#0b5cad, #7ab8ff);
  --series-2: light-dark(#9a6200, #efb443);
  --series-3: light-dark(#7b3fb5, #c79bf2);
  --shade: light-dark(#f59e0b, #955508);
  --shade-plus: light-dark(#34b38a, #126b50);
  --shade-minus: light-dark(#ef7a70, #a8372d);
  --window: light-dark(#b02368, #f482b4);
}
* {
  box-sizing: border-box;
}
html {
  scroll-padding-top: 0.5rem;
}
body {
  margin: 0 auto;
  padding: 0.75rem 1.25rem 2rem;
  max-width: 1440px;
  background: var(--page);
  color: var(--text);
  font: 14px/1.4 system-ui, sans-serif;
}
h1,
h2,
h3,
h4 {
  margin: 0;
  line-height: 1.2;
}
h1 {
  font-size: 1.4rem;
}
h2 {
  font-size: 1.1rem;
  margin: 1.5rem 0 0.5rem;
  padding-top: 0.6rem;
  border-top: 1px solid var(--line);
}
h3 {
  font-size: 0.95rem;
  margin: 0.75rem 0 0.35rem;
}
h4 {
  font-size: 0.9rem;
  margin: 0.9rem 0 0.3rem;
}
a {
  color: var(--accent);
}
:focus-visible {
  outline: 2px solid var(--accent);
  outline-offset: 1px;
}
header {
  display: flex;
  flex-wrap: wrap;
  align-items: baseline;
  gap: 0.25rem 1.5rem;
}
nav {
  display: flex;
  flex-wrap: wrap;
  gap: 0 1rem;
}
.facts {
  flex-basis: 100%;
  display: flex;
  flex-wrap: wrap;
  gap: 0.1rem 1.4rem;
  margin: 0.25rem 0 0;
}
.facts dt {
  white-space: nowrap;
}
.facts dd {
  min-width: 0;
  overflow-wrap: anywhere;
}
.facts div {
  max-width: 100%;
  display: flex;
  gap: 0.4rem;
}
dt,
.dim,
.note,
caption,
figcaption,
output,
.how {
  color: var(--dim);
}
dd {
  margin: 0;
}
p {
  margin: 0.25rem 0;
}
pre {
  overflow-x: auto;
  font-size: 12px;
}
button,
select,
input {
  font: inherit;
  color: inherit;
}
.easy {
  color: var(--easy);
}
.medium {
  color: var(--medium);
}
.hard {
  color: var(--hard);
}
.right {
  color: var(--right);
}
.wrong {
  color: var(--wrong);
}

/* Tables */
.scrolls {
  overflow-x: auto;
}
table {
  border-collapse: collapse;
  font-variant-numeric: tabular-nums;
}
caption {
  text-align: left;
  padding-bottom: 0.3rem;
}
.figures td,
.figures th {
  padding: 0.08rem 0.55rem;
  text-align: right;
  font-weight: normal;
}
.figures thead th {
  font-weight: 600;
}
.figures thead th[scope="colgroup"] {
  text-align: center;
}
.figures tbody th {
  text-align: left;
}
.figures th[scope="rowgroup"] {
  font-weight: 600;
  padding-top: 0.4rem;
}
.figures .first,
.figures th[scope="colgroup"],
.figures th.easy {
  border-left: 1px solid var(--line);
}
.figures tbody:first-of-type tr:first-child > * {
  border-top: 1px solid var(--line);
}

/* Drawings */
.grid {
  display: grid;
  grid-template-columns: repeat(auto-fill, minmax(310px, 1fr));
  gap: 0.5rem 1rem;
}
.wide {
  display: flex;
  flex-wrap: wrap;
  gap: 0.75rem 1.5rem;
}
figure {
  margin: 0;
  min-width: 0;
}
figcaption b {
  color: var(--text);
  font-weight: 600;
  margin-right: 0.4rem;
}
/* Title, then keys: the drawings of a row stand level. */
.curve figcaption {
  min-height: 2.8em;
}
.curve figcaption b {
  display: block;
}
.wide figure {
  max-width: 100%;
}
/* Shrunk to a narrow window nobody could read them. */
.wide svg {
  max-width: none;
}
.key {
  white-space: nowrap;
  margin-right: 0.35rem;
}
.key i {
  display: inline-block;
  width: 1em;
  margin-right: 0.3em;
  vertical-align: middle;
}
.curve output {
  display: block;
  min-height: 1.4em;
  font-size: 12px;
  font-variant-numeric: tabular-nums;
}
.cursor {
  stroke: var(--dim);
  stroke-dasharray: 2 2;
}

/* The trace viewer */
#viewer {
  display: grid;
  grid-template-columns: minmax(300px, 380px) minmax(0, 1fr);
  gap: 1rem;
  align-items: start;
}
.side {
  position: sticky;
  top: 0.5rem;
  display: flex;
  flex-direction: column;
  gap: 0.4rem;
  height: calc(100vh - 1rem);
}
.filters {
  display: grid;
  grid-template-columns: 1fr 1fr 1fr;
  gap: 0.35rem 0.5rem;
  align-items: end;
}
label {
  display: flex;
  flex-direction: column;
  font-size: 12px;
  color: var(--dim);
  min-width: 0;
}
.filters .text {
  grid-column: span 2;
}
select,
input,
button {
  padding: 0.2rem 0.35rem;
  border: 1px solid var(--line);
  border-radius: 4px;
  background: var(--page);
  min-width: 0;
  width: 100%;
  font-size: 13px;
  color: var(--text);
}
button {
  cursor: pointer;
  width: auto;
  background: var(--panel);
}
button:disabled {
  cursor: default;
  opacity: 0.5;
}
.list {
  flex: 1;
  min-height: 12rem;
  overflow-y: auto;
  position: relative;
  border: 1px solid var(--line);
  border-radius: 4px;
}
.space {
  position: relative;
}
.row {
  position: absolute;
  left: 0;
  right: 0;
  height: 42px;
  padding: 2px 0.5rem;
  display: grid;
  grid-template-columns: 1.2em 1fr;
  border-bottom: 1px solid var(--line);
  cursor: pointer;
  overflow: hidden;
}
.row:hover {
  background: var(--panel);
}
.row[aria-selected="true"] {
  background: color-mix(in oklab, var(--accent) 16%, var(--page));
}
.row .what,
.row .how {
  white-space: nowrap;
  overflow: hidden;
  text-overflow: ellipsis;
}
.row .how {
  grid-column: 2;
  font-size: 12px;
}
.detail {
  min-width: 0;
}
.detail h3 {
  display: flex;
  flex-wrap: wrap;
  align-items: baseline;
  gap: 0.1rem 0.9rem;
  margin-top: 0;
}
.detail h3 .dim {
  font-weight: normal;
}
.steps {
  margin-left: auto;
}
.steps button {
  margin-left: 0.3rem;
}
.top {
  display: flex;
  flex-wrap: wrap;
  gap: 0.5rem 1.5rem;
  margin: 0.5rem 0;
}
.problem {
  flex: 1 1 18rem;
  min-width: 0;
}
.problem .text {
  white-space: pre-wrap;
  overflow-wrap: anywhere;
  max-height: 16rem;
  overflow-y: auto;
}
.problem img {
  display: block;
  max-width: 100%;
  max-height: 260px;
  min-width: 200px;
  margin: 0 0 0.4rem;
  image-rendering: auto;
  background: #fff;
}
.missing {
  display: inline-block;
  padding: 0.3rem 0.5rem;
  border: 1px dashed var(--line);
  color: var(--dim);
}
.terms caption {
  font-weight: 600;
  color: var(--text);
  padding: 0;
}
.terms th {
  text-align: left;
  font-weight: normal;
  padding-right: 0.75rem;
}
.terms td {
  text-align: right;
  padding-right: 0.6rem;
}
.terms td.dim {
  white-space: nowrap;
  text-align: left;
}
.terms .sum > * {
  border-top: 1px solid var(--line);
  font-weight: 600;
}
.terms .bar {
  width: 11rem;
  padding: 0;
  background: linear-gradient(var(--line), var(--line)) center / 1px 100% no-repeat;
}
.bar i {
  display: block;
  height: 0.7em;
}
.bar .plus {
  background: var(--right);
}
.bar .minus {
  background: var(--wrong);
}
.measures {
  display: flex;
  flex-wrap: wrap;
  align-items: end;
  gap: 0.4rem 1rem;
}
.measures label {
  flex-direction: row;
  align-items: center;
  gap: 0.4rem;
}
.measures select {
  width: auto;
}
.legend {
  display: inline-flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 0.4rem;
  font-size: 12px;
}
.ramp {
  width: 5rem;
  height: 0.8em;
  background: linear-gradient(to right, transparent, var(--shade));
}
.ramp.minus {
  background: linear-gradient(to left, transparent, var(--shade-minus));
}
.ramp.minus ~ .ramp.plus {
  background: linear-gradient(to right, transparent, var(--shade-plus));
}
.stripbox {
  margin-top: 0.4rem;
  font-size: 12px;
}
.strip {
  display: block;
  width: 100%;
  height: 56px;
  border-bottom: 1px solid var(--line);
}
.strip path {
  fill: var(--shade);
}
.strip .inside {
  fill: var(--window);
}
.strip line {
  vector-effect: non-scaling-stroke;
  stroke: var(--dim);
}
.strip .tau {
  stroke-dasharray: 4 3;
}
.strip .branch {
  stroke: var(--accent);
  stroke-width: 2;
}
.tokens {
  white-space: pre-wrap;
  overflow-wrap: anywhere;
  font: 14px/2 ui-monospace, "DejaVu Sans Mono", monospace;
}
.tokens.main {
  margin-top: 0.3rem;
  padding: 0.3rem 0.5rem;
  border: 1px solid var(--line);
  border-radius: 4px;
}
.t {
  --colour: var(--shade);
  padding: 2px 0;
  background: color-mix(in oklab, var(--colour) calc(var(--v, 0) * 100%), transparent);
  border-bottom: 3px solid transparent;
}
/* A hairline between tokens; the sides of windows lie over it. */
.tokens .t {
  box-shadow: inset -1px 0 color-mix(in oklab, var(--text) 14%, transparent);
}
.t.plus {
  --colour: var(--shade-plus);
}
.t.minus {
  --colour: var(--shade-minus);
}
.t.hwe {
  border-bottom-color: var(--window);
}
.t.start {
  border-left: 2px solid var(--window);
}
.t.end {
  border-right: 2px solid var(--window);
}
/* In full colour: gray would not be read on a full shade. */
.t.shared {
  font-style: italic;
}
.tokens .t:hover,
.t.pointed {
  outline: 2px solid var(--accent);
}
.mark {
  display: inline-block;
  padding: 0 0.3rem;
  margin: 0 0.15rem;
  border: 1px solid var(--accent);
  border-radius: 4px;
  background: var(--page);
  color: var(--accent);
  font: 600 12px/1.4 system-ui, sans-serif;
  white-space: nowrap;
}
#card {
  position: fixed;
  z-index: 1;
  max-width: 24rem;
  padding: 0.35rem 0.6rem;
  border: 1px solid var(--line);
  border-radius: 4px;
  background: var(--page);
  box-shadow: 0 2px 10px rgb(0 0 0 / 0.25);
  pointer-events: none;
  font-size: 12.5px;
  overflow-wrap: anywhere;
}
#card[hidden] {
  display: none;
}
#card dl {
  display: grid;
  grid-template-columns: auto auto;
  gap: 0 0.75rem;
  margin: 0.2rem 0 0;
  font-variant-numeric: tabular-nums;
}
.tree,
.tree ul {
  list-style: none;
  margin: 0;
  padding: 0;
}
.tree ul {
  margin-left: 0.55rem;
  padding-left: 0.9rem;
  border-left: 2px solid var(--accent);
}
.tree [role="treeitem"] {
  border-radius: 4px;
}
.line {
  display: flex;
  align-items: baseline;
  gap: 0.45rem;
  padding: 0.15rem 0.3rem;
  cursor: pointer;
  white-space: nowrap;
}
.line:hover {
  background: var(--panel);
}
[aria-current="true"] > .line {
  background: color-mix(in oklab, var(--accent) 16%, var(--page));
}
.toggle::before {
  content: "▸";
}
[aria-expanded="true"] > .line .toggle::before {
  content: "▾";
}
.line .open {
  flex: none;
  padding: 0 0.35rem;
  font-size: 12px;
}
.line .how {
  font-size: 12px;
}
.preview {
  flex: 1;
  min-width: 4rem;
  overflow: hidden;
  text-overflow: ellipsis;
  font: 12px ui-monospace, "DejaVu Sans Mono", monospace;
}
[aria-expanded="true"] > .line .preview {
  visibility: hidden;
}
.below {
  padding: 0 0 0.3rem 1.4rem;
}
.below[hidden] {
  display: none;
}
.below .tokens {
  font-size: 13px;
  line-height: 1.9;
}
@media (max-width: 860px) {
  #viewer {
    grid-template-columns: minmax(0, 1fr);
  }
  .side {
    position: static;
    height: 60vh;
  }
  .preview {
    display: none;
  }
  .figures caption {
    max-width: calc(100vw - 2.5rem);
  }
  /* What lies side by side in a wide window wraps instead of leading out of a narrow one. */
  .line {
    white-space: normal;
  }
  .line .how {
    flex: 1;
    min-width: 0;
  }
  .below {
    padding-left: 0.3rem;
  }
  .tree ul {
    margin-left: 0.3rem;
    padding-left: 0.5rem;
  }
  .terms {
    width: 100%;
  }
  .terms .bar {
    width: 40%;
  }
  .terms td.dim {
    white-space: normal;
  }
}
@media print {
  #traces,
  nav {
    display: none;
  }
}
`,
};
