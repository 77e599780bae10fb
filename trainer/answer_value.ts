/**
 * Comparison of two normalised single values: numbers, expressions, percentages, units, choice letters, words.
 * @module
 */
import { type Expression, ExpressionError, parseExpression } from "./expression.ts";
import { exactValue, type Rational, sameAtSamples, valueAt } from "./expression_value.ts";

/** true or false when decided; undefined when neither could be shown. */
export type Decision = boolean | undefined;

/** Letters and digits in one case, without spaces, braces and \text marks: the spelling that decides "by text". */
export function canonicalText(s: string): string {
  return s.replace(/[«»]/g, "").replace(/\\[{}]/g, (m) => m === "\\{" ? "⟨" : "⟩")
    .replace(/_\{(\w+)\}/g, "_$1").replace(/\^\{(\w)\}/g, "^$1").replace(/(\d)\s+(?=\d)/g, "$1_").replace(
      /\s/g,
      "",
    ).toLowerCase();
}

/** A whole number or decimal written with digit groups: 1,234 or 1 234. */
export const THOUSANDS = /^[-+]?\d{1,3}(?:(?:,|\s)\d{3})+(?:\.\d+)?$/;

/** The expression, or undefined where it cannot be read. */
export function tryParse(s: string): Expression | undefined {
  try {
    return parseExpression(s);
  } catch (error) {
    if (error instanceof ExpressionError) return undefined;
    throw error;
  }
}

/** The exact value of a rational number with or without a unit. */
export function exactOf(s: string): Rational | undefined {
  const e = tryParse(stripUnit(s).replace(THOUSANDS, (m) => m.replace(/[,\s]/g, "")));
  return e && exactValue(e);
}

const FUNCTION_WORD = /^(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|max|min|gcd|lcm|abs)$/;

/** Takes trailing units and degree signs off a value: \text words, and plain words of two letters or more. */
function stripUnit(s: string): string {
  let out = s.replace(/(?:\^\s*\{?\s*\\circ\s*\}?)\s*[CF]?\s*$/, "");
  out = out.replace(/(\S)\s*(?:«[^»]*»\s*(?:\^\s*\{?\d\}?)?\s*[./]?\s*)+$/, "$1");
  const words = /^(.*[\d)}%])\s*((?:[A-Za-z]{2,}\.?(?:\^\{?\d\}?)?\s*(?:\/\s*(?=[A-Za-z]))?)+)$/.exec(out);
  if (words && !words[2].split(/[\s/]+/).some((w) => FUNCTION_WORD.test(w))) out = words[1];
  return out.replace(/(?:\^\s*\{?\s*\\circ\s*\}?)\s*$/, "").trim();
}

/** A decimal with five or more significant digits stands for what it is rounded or cut from. */
function roundsTo(text: string, value: number): boolean {
  const m = /^[-+]?(\d*)\.(\d+)$/.exec(text.replace(/[\s,]/g, ""));
  if (!m || (m[1] + m[2]).replace(/^0+/, "").length < 5) return false;
  const given = Number(text.replace(/[\s,]/g, "")), unit = 10 ** -m[2].length;
  const cut = Math.sign(value) * (value - given);
  return Math.abs(value - given) <= 0.5000001 * unit || (cut >= 0 && cut < unit);
}

function sameValue(g: string, a: string): Decision {
  const x = tryParse(g), y = tryParse(a);
  if (!x || !y) return undefined;
  const p = exactValue(x), q = exactValue(y);
  if (p && q && p.num === q.num && p.den === q.den) return true;
  const u = valueAt(x, 0), v = valueAt(y, 0);
  const decimals = [g, a].filter((s) => /^[-+]?\d*\.\d+$/.test(s)).length;
  if (decimals === 1 && u && v && u[1] === 0 && v[1] === 0 && (roundsTo(g, v[0]) || roundsTo(a, u[0]))) {
    return sameAtSamples(x, { kind: "number", text: "0" }) === false;
  }
  return p && q ? false : sameAtSamples(x, y);
}

const letterOf = (s: string): string | undefined =>
  /^[«(\s]*([A-Ja-j])[»).:\s]*$/.exec(s)?.[1] ?? /^[«\s]*\(?([A-J])[).:][\s»)]/.exec(s + " ")?.[1] ??
    /^\(?([B-H])\)?\s+(?:is|because|since|as)\s/.exec(s)?.[1];

/** Compares two answers that are no list, tuple or relation. */
export function sameSingle(g: string, a: string): Decision {
  if (canonicalText(g) === canonicalText(a)) return true;
  const wanted = /^[«(\s]*[A-Ja-j][»).:\s]*$/.test(g) ? letterOf(g) : undefined;
  const given = letterOf(a);
  if (wanted && given) return wanted.toLowerCase() === given.toLowerCase();
  const [x, y] = [stripUnit(g), stripUnit(a)].map((s) =>
    s.replace(THOUSANDS, (m) => m.replace(/[,\s]/g, ""))
  );
  const [gp, ap] = [x.endsWith("%"), y.endsWith("%")];
  const [u, v] = [x, y].map((s) => s.replace(/\s*%$/, ""));
  const same = sameValue(u, v);
  if (same === true || gp === ap) return same ?? sameWords(g, a);
  return gp ? sameValue(`(${u})/100`, v) : sameValue(u, `(${v})/100`);
}

/** Words against words: compared without articles, spaces and signs; undefined when either is not only words. */
function sameWords(g: string, a: string): Decision {
  const words = (s: string) =>
    s.replace(/[«».,!?'"-]/g, " ").trim().toLowerCase().replace(/^(?:an?|the)\s+/, "");
  const [x, y] = [words(g), words(a)];
  if (!/^[a-z\s]+$/.test(x) || !/^[a-z\s]+$/.test(y)) return undefined;
  return x.replace(/\s/g, "") === y.replace(/\s/g, "");
}
