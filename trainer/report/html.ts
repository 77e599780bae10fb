/**
 * HTML as text, with everything that is put into it escaped unless it is markup itself.
 * @module
 */

/** Text that is HTML already. */
export class Markup {
  /** Takes `text` for what it says it is. */
  constructor(readonly text: string) {}
}

/** What may be put into a template; undefined and false leave nothing. */
export type Insert = string | number | Markup | undefined | false | readonly Insert[];

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Text for an element's content or a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => ENTITIES[c]);
}

/** JSON for a script element: no `<`, so neither `</script>` nor `<!--`. */
export function scriptJson(value: unknown): Markup {
  return new Markup(JSON.stringify(value).replaceAll("<", "\\u003c"));
}

/** A template of HTML; inserts are escaped, markup is not, lists are joined. */
export function html(parts: TemplateStringsArray, ...inserts: readonly Insert[]): Markup {
  return new Markup(parts.reduce((text, part, i) => text + inserted(inserts[i - 1]) + part));
}

function inserted(value: Insert): string {
  if (value === undefined || value === false) return "";
  if (value instanceof Markup) return value.text;
  if (typeof value === "object") return value.map(inserted).join("");
  return escapeHtml(String(value));
}
