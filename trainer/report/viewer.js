// @ts-check
/**
 * The trace viewer: filters, the list of rollouts, and the opened one. Reads the JSON that lies in the page.
 * @module
 */
import { BranchTree, isBranch } from "./branch_tree.js";
import { curveReadouts } from "./curve_readout.js";
import { choice, el, figure } from "./dom.js";
import { rewardTable } from "./reward_terms.js";
import { RolloutFilter } from "./rollout_filter.js";
import { RolloutList } from "./rollout_list.js";
import { entropyStrip, MEASURES, shadeScales, TokenCard, tokenSpans } from "./token_view.js";

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
    const index = Number(/^#rollout=(\d+)$/.exec(location.hash)?.[1] ?? NaN);
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
      : `${found.length} of ${rollouts.length} rollouts, ${figure(100 * right / found.length, 0)} % right`;
    this.list.show(found, this.opened);
  }

  /** Shows one rollout. @param {number} index @param {boolean} [remember] put it into the address */
  open(index, remember = true) {
    this.opened = index;
    if (remember) history.replaceState(null, "", `#rollout=${index}`);
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
          `H̄, 0 to ${figure(strip.top)} nats`,
          place.threshold !== undefined && `; dashed: τ = ${figure(place.threshold, 3)}`,
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
      el("span", {}, `${place.name}, sample ${r.sample}`),
      r.difficulty && el("span", { class: r.difficulty }, r.difficulty),
      source && el("span", {}, source),
      el("span", { class: "dim" }, id),
      el(
        "span",
        { class: "dim" },
        `${r.tokens.length} tokens, N_HE ${figure(r.n_he, 0)}${
          r.finish === "length" ? ", cut at the limit" : ""
        }`,
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
          ? el("img", { src: url, alt: `picture ${i + 1} of the problem` })
          : el("span", { class: "missing" }, `${name} is missing`);
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
      `${figure(scale, digits)} ${unit}`,
      el("span", { class: "t hwe start end" }, "high-entropy window"),
      threshold !== undefined && el("span", { class: "dim" }, `H̄ ≥ τ = ${figure(threshold, 3)} nats`),
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
      mark(shared, `↳ from #${r.parent}`, "branched here; opens the rollout that it left", parent);
    }
    for (const [step, child] of branches) {
      mark(step, `↳#${this.data.rollouts[child].sample}`, "a branch leaves here; opens it", child);
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
    const token = this.detail.querySelector(`.tokens.main [data-t="${t}"]`);
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
    return `${of}: ${all.length} ${what}, ${right} right${
      branches > 0 ? `; ${branches} ${branches === 1 ? "is a branch" : "are branches"}` : ""
    }`;
  }
}

curveReadouts();
const host = document.getElementById("viewer");
if (host) new Viewer(JSON.parse(document.getElementById("data")?.textContent ?? ""), host);
