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
export function el(tag, attributes = {}, ...children) {
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
export function append(parent, children) {
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
export function choice(name, label, options) {
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
export function svg(tag, attributes, ...children) {
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
export function figure(x, digits = 2) {
  if (typeof x !== "number") return x === undefined ? "–" : String(x);
  return x.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

/**
 * A number with its sign.
 * @param {number} x
 * @param {number} [digits]
 */
export function signed(x, digits = 2) {
  const text = figure(x, digits);
  return Number(x.toFixed(digits)) > 0 ? `+${text}` : text;
}

/**
 * A token's text with its white space made visible.
 * @param {string} text
 */
export function visible(text) {
  return text === ""
    ? "(part of a character)"
    : text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣");
}
