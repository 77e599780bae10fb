/**
 * Comparison of two normalised answers by their form: lists, sets, tuples, intervals, equations, inequalities,
 * percentages, units, choice letters, and single values at the bottom.
 * @module
 */
import { type Expression, ExpressionError, parseExpression } from "./expression.ts";
import { exactValue, sameAtSamples, valueAt } from "./expression_value.ts";

/** true or false when decided; undefined when neither could be shown. */
export type Decision = boolean | undefined;

const OPEN = "([{", CLOSE = ")]}";
const RELATIONS = ["\\leq", "\\geq", "\\neq", "\\approx", "\\equiv", "\\in", "<", ">", "="];
const MAX_PARTS = 40;

/** Letters and digits in one case, without spaces, braces and \text marks: the spelling that decides "by text". */
export function canonicalText(s: string): string {
  return s.replace(/[«»]/g, "").replace(/\\[{}]/g, (m) => m === "\\{" ? "⟨" : "⟩")
    .replace(/_\{(\w+)\}/g, "_$1").replace(/\^\{(\w)\}/g, "^$1").replace(/(\d)\s+(?=\d)/g, "$1_").replace(
      /\s/g,
      "",
    ).toLowerCase();
}

/** Splits at a separator that stands outside all brackets. */
function splitTop(s: string, separators: readonly string[]): string[] {
  const parts: string[] = [];
  let depth = 0, from = 0;
  for (let i = 0; i < s.length; i++) {
    if (s.startsWith("\\begin", i)) depth++;
    if (s.startsWith("\\end", i)) depth--;
    if (OPEN.includes(s[i])) depth++;
    else if (CLOSE.includes(s[i])) depth = Math.max(0, depth - 1);
    if (depth > 0) continue;
    const found = separators.find((x) =>
      s.startsWith(x, i) && !(x.startsWith("\\") && /[A-Za-z]/.test(s[i + x.length] ?? ""))
    );
    if (found === undefined) continue;
    parts.push(s.slice(from, i));
    i += found.length - 1;
    from = i + 1;
  }
  parts.push(s.slice(from));
  return parts.map((p) => p.trim());
}

/** The inside of a string that is one bracket pair as a whole, with its brackets. */
function bracketed(s: string): { open: string; close: string; inner: string } | undefined {
  const open = s.startsWith("\\{") ? "\\{" : s[0];
  const close = s.endsWith("\\}") ? "\\}" : s[s.length - 1];
  if (s.length < open?.length + close?.length || !["(", "[", "{", "\\{"].includes(open)) return undefined;
  if (![")", "]", "}", "\\}"].includes(close)) return undefined;
  let depth = 0;
  for (let i = open.length - 1; i < s.length; i++) {
    if (OPEN.includes(s[i])) depth++;
    else if (CLOSE.includes(s[i]) && --depth === 0 && i < s.length - 1) return undefined;
  }
  return depth === 0
    ? { open, close, inner: s.slice(open.length, s.length - close.length).trim() }
    : undefined;
}

const THOUSANDS = /^[-+]?\d{1,3}(?:(?:,|\s)\d{3})+(?:\.\d+)?$/;

function listOf(s: string): string[] {
  if (THOUSANDS.test(s)) return [s];
  return splitTop(s, [",", ";"]).filter((p) => p !== "" && !/^(?:\\?[cl]?dots|\.\.\.)$/.test(p));
}

/** Takes off bare braces around the whole: they group without showing, {1,2} is printed 1,2. */
function ungrouped(s: string): string {
  const group = bracketed(s);
  return group?.open === "{" && group.close === "}" ? group.inner : s;
}

/** Whether an answer has several parts side by side: a list, or boxes joined. */
export function isList(normalised: string): boolean {
  return listOf(ungrouped(normalised)).length > 1 || /\\pm(?![A-Za-z])/.test(normalised);
}

/** Whether each part of `a` can be paired with one of `b`; undefined when only undecided pairs are missing. */
function sameUnordered(a: string[], b: string[], same: (x: string, y: string) => Decision): Decision {
  if (a.length !== b.length) return false;
  if (a.length > MAX_PARTS) return undefined;
  const left = [...b];
  let open = false;
  for (const x of a) {
    const decisions = left.map((y) => same(x, y));
    let at = decisions.indexOf(true);
    if (at < 0) {
      at = decisions.indexOf(undefined);
      if (at < 0) return false;
      open = true;
    }
    left.splice(at, 1);
  }
  return open ? undefined : true;
}

function sameOrdered(a: string[], b: string[], same: (x: string, y: string) => Decision): Decision {
  if (a.length !== b.length) return false;
  const decisions = a.map((x, i) => same(x, b[i]));
  return decisions.includes(false) ? false : decisions.includes(undefined) ? undefined : true;
}

interface Relation {
  sides: string[];
  signs: string[];
}

function relationOf(s: string): Relation {
  const sides = splitTop(s, RELATIONS);
  const signs: string[] = [];
  let at = 0;
  for (let i = 0; i + 1 < sides.length; i++) {
    at = s.indexOf(sides[i], at) + sides[i].length;
    const rest = s.slice(at).trimStart();
    signs.push(RELATIONS.find((r) => rest.startsWith(r))!);
    at = s.indexOf(signs[i], at) + signs[i].length;
  }
  return { sides, signs };
}

/** x, f(x), a_n, (x, y), |AB|, \frac{NO}{BO}, words: what names a value rather than being one. */
function isName(s: string): boolean {
  if (s === "") return true;
  const bare = s.replace(/«[^»]*»/g, "x").replace(
    /\\(?:frac|overline|angle|triangle|vec|mathbb|mathcal|widehat|hat|bar)/g,
    "",
  )
    .replace(/_\{?\w+\}?|(?<=[A-Za-z])\^\{?-1\}?(?=\()/g, "").replace(/(?<=[A-Za-z}'])\([^()=]*\)/g, "")
    .replace(/\\[a-zA-Z]+/g, "x");
  return /^[A-Za-z'|(){},/\s]+$/.test(bare);
}

/** The value an equation assigns: the last side when the first is a name or nothing but numbers stands there. */
function assignedValue({ sides, signs }: Relation): string | undefined {
  const approx = signs.indexOf("\\approx");
  if (approx === 0 && !isName(sides[0])) return sides[0];
  const last = approx > 0 ? sides[approx] : sides[sides.length - 1];
  if (!signs.every((x) => x === "=" || x === "\\in" || x === "\\approx" || x === "\\equiv")) return undefined;
  if (isName(sides[0])) return last;
  return sides.every((side) => exactOf(side) !== undefined) ? last : undefined;
}

function tryParse(s: string): Expression | undefined {
  try {
    return parseExpression(s);
  } catch (error) {
    if (error instanceof ExpressionError) return undefined;
    throw error;
  }
}

function exactOf(s: string): ReturnType<typeof exactValue> {
  const e = tryParse(stripUnit(s).replace(THOUSANDS, (m) => m.replace(/[,\s]/g, "")));
  return e && exactValue(e);
}

/** l − r of "l sign r", or undefined when a side cannot be read. */
function difference(left: string, right: string): Expression | undefined {
  const l = tryParse(left), r = tryParse(right);
  return l && r ? { kind: "operation", op: "-", left: l, right: r } : undefined;
}

/** The constant c ≠ 0 with a = c · b at all sample points; undefined when there is none. */
function ratio(a: Expression, b: Expression): number | undefined {
  let c: number | undefined;
  for (let k = 0; k < 6; k++) {
    const x = valueAt(a, k), y = valueAt(b, k);
    if (!x || !y || x[1] !== 0 || y[1] !== 0 || !(Math.abs(y[0]) > 1e-9)) return undefined;
    const now = x[0] / y[0];
    if (c === undefined) c = now;
    else if (!(Math.abs(now - c) <= 1e-9 * Math.abs(c))) return undefined;
  }
  return c;
}

const FLIP: Record<string, string> = { "<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq" };

function sameRelation(g: Relation, a: Relation): Decision {
  if (g.signs.length !== a.signs.length) return false;
  if (g.signs.length > 1) {
    const forward = g.signs.join() === a.signs.join() && sameOrdered(g.sides, a.sides, sameAnswerForm);
    const turned = a.signs.map((s) => FLIP[s] ?? s).reverse();
    return forward ||
      (g.signs.join() === turned.join() && sameOrdered(g.sides, [...a.sides].reverse(), sameAnswerForm));
  }
  const x = difference(g.sides[0], g.sides[1]), y = difference(a.sides[0], a.sides[1]);
  if (!x || !y) return undefined;
  const c = ratio(x, y);
  if (c === undefined) return false;
  const turns = g.signs[0] in FLIP && c < 0;
  return g.signs[0] === (turns ? FLIP[a.signs[0]] : a.signs[0]);
}

/** a < x ≤ b, x > a, as an interval; undefined for other relations. */
function intervalOf({ sides, signs }: Relation): string | undefined {
  const up = signs.every((s) => s === "<" || s === "\\leq"),
    down = signs.every((s) => s === ">" || s === "\\geq");
  if (!up && !down) return undefined;
  const [s, r] = up ? [sides, signs] : [[...sides].reverse(), signs.map((x) => FLIP[x]).reverse()];
  if (s.length === 3 && isName(s[1])) {
    return `${r[0] === "<" ? "(" : "["}${s[0]},${s[2]}${r[1] === "<" ? ")" : "]"}`;
  }
  if (s.length !== 2) return undefined;
  if (isName(s[0])) return `(-\\infty,${s[1]}${r[0] === "<" ? ")" : "]"}`;
  return isName(s[1]) ? `${r[0] === "<" ? "(" : "["}${s[0]},\\infty)` : undefined;
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

/** A decimal with five or more significant digits stands for what rounds to it. */
function roundsTo(text: string, value: number): boolean {
  const m = /^[-+]?(\d*)\.(\d+)$/.exec(text.replace(/[\s,]/g, ""));
  if (!m || (m[1] + m[2]).replace(/^0+/, "").length < 5) return false;
  return Math.abs(Number(text.replace(/[\s,]/g, "")) - value) <= 0.5000001 * 10 ** -m[2].length;
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
  /^[«(\s]*([A-Ja-j])[»).:\s]*$/.exec(s)?.[1] ?? /^[«\s]*\(?([A-J])[).:][\s»)]/.exec(s + " ")?.[1];

function sameSingle(g: string, a: string): Decision {
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

function expandPlusMinus(s: string): string[] {
  if (!/\\(?:pm|mp)(?![A-Za-z])/.test(s)) return [s];
  const with_ = (up: string, down: string) =>
    s.replace(/\\pm(?![A-Za-z])/g, ` ${up} `).replace(/\\mp(?![A-Za-z])/g, ` ${down} `).trim();
  return [with_("+", "-"), with_("-", "+")];
}

function sameBrackets(g: string, a: string): Decision | "none" {
  const x = bracketed(g), y = bracketed(a);
  const set = (b: typeof x) => b?.open === "\\{" && b.close === "\\}";
  const parts = (b: NonNullable<typeof x>) => splitTop(b.inner, [",", ";"]);
  if (x && y) {
    if (set(x) && set(y)) return sameUnordered(listOf(x.inner), listOf(y.inner), sameAnswerForm);
    if (parts(x).length < 2 && parts(y).length < 2) return "none";
    if (x.open !== y.open || x.close !== y.close) return false;
    return sameOrdered(parts(x), parts(y), sameAnswerForm);
  }
  const [b, other] = x ? [x, a] : [y, g];
  if (!b) return "none";
  const inner = parts(b), list = listOf(other);
  if (set(b)) return sameUnordered(inner, list, sameAnswerForm);
  if (inner.length < 2 || list.length < 2 || b.open !== "(" || b.close !== ")") return "none";
  return sameOrdered(inner, list, sameAnswerForm);
}

/** Compares two normalised answers ; `inList` is set for the parts of a list, where names must agree too. */
export function sameAnswerForm(g: string, a: string, inList = false): Decision {
  if (canonicalText(g) === canonicalText(a)) return true;
  if (ungrouped(g) !== g || ungrouped(a) !== a) return sameAnswerForm(ungrouped(g), ungrouped(a), inList);
  const left = listOf(g).flatMap(expandPlusMinus), right = listOf(a).flatMap(expandPlusMinus);
  const unions = [g, a].map((s) => splitTop(s, ["\\cup"]));
  if (unions[0].length > 1 || unions[1].length > 1) {
    // A union against intervals one by one, which may be written as inequalities: x ≤ −5 or x ≥ 5.
    const [x, y] = unions.map((parts, i) => parts.length > 1 ? parts : [left, right][i]);
    if (x.length > 1 && y.length > 1) return sameUnordered(x, y, (p, q) => sameAnswerForm(p, q));
  }
  if (left.length > 1 || right.length > 1) {
    const same = sameUnordered(left, right, (x, y) => sameAnswerForm(x, y, true));
    if (same !== false) return same;
    const brackets = left.length === right.length ? false : sameBrackets(g, a);
    if (brackets !== "none" && brackets !== false) return brackets;
    // 2,74 for 2.74: a decimal comma, only where one number is wanted.
    if (left.length === 1 && /^\d+,\d+$/.test(a)) return sameSingle(g, a.replace(",", "."));
    return false;
  }
  const x = relationOf(g), y = relationOf(a);
  if (x.signs.length > 0 || y.signs.length > 0) return sameRelated(x, y, g, a, inList);
  const brackets = sameBrackets(g, a);
  return brackets === "none" ? sameSingle(g, a) : brackets;
}

function sameRelated(x: Relation, y: Relation, g: string, a: string, inList: boolean): Decision {
  const u = x.signs.length ? assignedValue(x) : g, v = y.signs.length ? assignedValue(y) : a;
  const bothNamed = x.signs.length > 0 && y.signs.length > 0;
  const namesDiffer = bothNamed && canonicalText(x.sides[0]) !== canonicalText(y.sides[0]);
  if (u !== undefined && v !== undefined && !(inList && namesDiffer)) {
    const same = sameAnswerForm(u, v);
    if (same !== false || !bothNamed) return same;
  }
  if (bothNamed) {
    const same = sameRelation(x, y);
    if (same !== false) return same;
  }
  const ranges = [x.signs.length ? intervalOf(x) ?? u : g, y.signs.length ? intervalOf(y) ?? v : a];
  if (ranges[0] === undefined || ranges[1] === undefined || (ranges[0] === u && ranges[1] === v)) {
    return false;
  }
  return sameAnswerForm(ranges[0], ranges[1]);
}
