/**
 * Equations, inequalities and assignments among normalised answers.
 * @module
 */
import type { Expression } from "./expression.ts";
import { valueAt } from "./expression_value.ts";
import { type Decision, exactOf, tryParse } from "./answer_value.ts";
import { sameOrdered, splitTop } from "./answer_split.ts";

const RELATIONS = ["\\leq", "\\geq", "\\neq", "\\approx", "\\equiv", "\\in", "<", ">", "="];

/** sides[0] signs[0] sides[1] signs[1] … */
export interface Relation {
  /** the expressions between the signs */
  sides: string[];
  /** the relation signs, one fewer than sides */
  signs: string[];
}

/** Splits at relation signs; no signs for a plain value. */
export function relationOf(s: string): Relation {
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
export function isName(s: string): boolean {
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
export function assignedValue({ sides, signs }: Relation): string | undefined {
  const approx = signs.indexOf("\\approx");
  if (approx === 0 && !isName(sides[0])) return sides[0];
  const last = approx > 0 ? sides[approx] : sides[sides.length - 1];
  if (!signs.every((x) => x === "=" || x === "\\in" || x === "\\approx" || x === "\\equiv")) return undefined;
  if (isName(sides[0])) return last;
  return sides.every((side) => exactOf(side) !== undefined) ? last : undefined;
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

/**
 * Equations up to a factor, inequalities up to a factor and direction, chains side by side; `same` compares sides.
 */
export function sameRelation(g: Relation, a: Relation, same: (g: string, a: string) => Decision): Decision {
  if (g.signs.length !== a.signs.length) return false;
  if (g.signs.length > 1) {
    const forward = g.signs.join() === a.signs.join() && sameOrdered(g.sides, a.sides, same);
    const turned = a.signs.map((s) => FLIP[s] ?? s).reverse();
    return forward ||
      (g.signs.join() === turned.join() && sameOrdered(g.sides, [...a.sides].reverse(), same));
  }
  const x = difference(g.sides[0], g.sides[1]), y = difference(a.sides[0], a.sides[1]);
  if (!x || !y) return undefined;
  const c = ratio(x, y);
  if (c === undefined) return false;
  const turns = g.signs[0] in FLIP && c < 0;
  return g.signs[0] === (turns ? FLIP[a.signs[0]] : a.signs[0]);
}

/** a < x ≤ b, x > a, as an interval; undefined for other relations. */
export function intervalOf({ sides, signs }: Relation): string | undefined {
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
