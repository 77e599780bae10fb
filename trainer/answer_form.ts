/**
 * Comparison of two normalised answers by their form: lists, sets, tuples, intervals, relations, single values.
 * @module
 */
import { bracketed, sameOrdered, sameUnordered, splitTop } from "./answer_split.ts";
import { assignedValue, intervalOf, type Relation, relationOf, sameRelation } from "./answer_relation.ts";
import { canonicalText, type Decision, sameSingle, THOUSANDS } from "./answer_value.ts";

function listOf(s: string): string[] {
  if (THOUSANDS.test(s)) return [s];
  return splitTop(s, [",", ";"]).filter((p) => p !== "" && !/^(?:\\?[cl]?dots|\.\.\.)$/.test(p));
}

/** Takes off bare braces around the whole: they group without showing, {1,2} is printed 1,2. */
function ungrouped(s: string): string {
  const group = bracketed(s);
  return group?.open === "{" && group.close === "}" ? group.inner : s;
}

/** {x | x > 1} as x > 1, and a union of finite sets as one set. */
function plainSet(s: string): string {
  const built = /^\\\{\s*[a-z](?:\s*\\in\s*\S+)?\s*(?:\||:|\\mid(?![A-Za-z]))\s*(.*[<>=\\].*)\\\}$/.exec(s);
  if (built) return built[1].trim();
  const parts = splitTop(s, ["\\cup"]).map(bracketed);
  if (parts.length < 2 || parts.some((b) => b?.open !== "\\{" || b.close !== "\\}")) return s;
  return `\\{${[...new Set(parts.flatMap((b) => listOf(b!.inner)))].join(",")}\\}`;
}

/** Whether an answer has several parts side by side: a list, or boxes joined. */
export function isList(normalised: string): boolean {
  return listOf(ungrouped(normalised)).length > 1 || /\\pm(?![A-Za-z])/.test(normalised);
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

/** Compares two normalised answers; `inList` is set for the parts of a list, where names must agree too. */
export function sameAnswerForm(g: string, a: string, inList = false): Decision {
  if (canonicalText(g) === canonicalText(a)) return true;
  const [bareG, bareA] = [plainSet(ungrouped(g)), plainSet(ungrouped(a))];
  if (bareG !== g || bareA !== a) return sameAnswerForm(bareG, bareA, inList);
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
    // x=2, y=3 against (x,y)=(2,3)
    const [one, other] = left.length === 1 ? [g, a] : [a, g];
    const tuple = relationOf(one).signs.length > 0 ? assignedValue(relationOf(one)) : undefined;
    if (tuple !== undefined && bracketed(tuple)) {
      return one === g ? sameAnswerForm(tuple, other) : sameAnswerForm(other, tuple);
    }
    // 2,74 for 2.74: a decimal comma, only where one number is wanted.
    if (/^\d*\.\d+$/.test(g) && /^\d+,\d+$/.test(a)) return sameSingle(g, a.replace(",", "."));
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
    const same = sameRelation(x, y, sameAnswerForm);
    if (same !== false) return same;
  }
  const ranges = [x.signs.length ? intervalOf(x) ?? u : g, y.signs.length ? intervalOf(y) ?? v : a];
  if (ranges[0] === undefined || ranges[1] === undefined || (ranges[0] === u && ranges[1] === v)) {
    return false;
  }
  return sameAnswerForm(ranges[0], ranges[1]);
}
