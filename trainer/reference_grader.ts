/**
 * Recipe `reference`: the strict public grader the release calls (OpenAI's PRM800K grader by way of mathruler), kept
 * with its habits: unreduced fractions and unevaluated integers are wrong, intervals are compared bracket by bracket.
 * Its LaTeX-to-text step is left out: what still holds a backslash after the text comparison is not equal here.
 * @module
 */
import { ExpressionError, parseExpression } from "./expression.ts";
import { sameAtSamples } from "./expression_value.ts";

/**
 * Content of the last `\boxed{…}`, trimmed; the text "None" when it is missing or not closed
 * (mathruler: extract_boxed_content).
 */
export function referenceBoxed(text: string): string {
  const start = text.lastIndexOf("\\boxed{");
  let depth = 0;
  for (let i = start < 0 ? text.length : start + 6; i < text.length; i++) {
    if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return text.slice(start + 7, i).trim();
  }
  return "None";
}

/** \frac12 -> \frac{1}{2}; a string whose \frac ends early stays as it is. */
function braceFractions(s: string): string {
  const [head, ...tails] = s.split("\\frac");
  if (tails.some((t) => t.length < 2 && t[0] !== "{")) return s;
  return head + tails.map((t) => {
    if (t[0] === "{") return "\\frac" + t;
    const second = t[1] === "{" ? t.slice(1) : `{${t[1]}}${t.slice(2)}`;
    return `\\frac{${t[0]}}${second}`;
  }).join("");
}

/** The spelling of Hendrycks' MATH comparison (mathd). */
function mathSpelling(answer: string): string {
  let s = answer.trim();
  s = (/^\\text\{(.+?)\}$/.exec(s)?.[1] ?? s).trim();
  s = s.replaceAll("\n", "").replaceAll("\\!", "").replaceAll("\\\\", "\\");
  s = s.replaceAll("tfrac", "frac").replaceAll("dfrac", "frac").replaceAll("\\left", "").replaceAll(
    "\\right",
    "",
  );
  s = s.replaceAll("^{\\circ}", "").replaceAll("^\\circ", "").replaceAll("\\$", "");
  s = s.split("\\text{ ")[0].replaceAll("\\%", "").replaceAll(" .", " 0.").replaceAll("{.", "{0.");
  if (s.startsWith(".")) s = "0" + s;
  const sides = s.split("=");
  if (sides.length === 2 && sides[0].length <= 2) s = sides[1];
  s = s.replace(/\\sqrt(?!\{)(.)/g, "\\sqrt{$1}").replaceAll(" ", "");
  s = braceFractions(s);
  if (s === "0.5") return "\\frac{1}{2}";
  return s.replace(/^(-?\d+)\/(-?\d+)$/, "\\frac{$1}{$2}");
}

const UNITS =
  /(?:degree|cm|centimeter|meter|mile|second|minute|hour|day|week|month|year|foot|feet|inch|yard)(?:es)?s? *(?:\^[0-9]+)?/g;

function withoutThousands(s: string): string {
  for (;;) {
    const next = s.replace(/(\d),(\d\d\d)(?=$|\D)/g, "$1$2");
    if (next === s) return s;
    s = next;
  }
}

const FLOAT = /^\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?\s*$/i;
const isInteger = (s: string): boolean => {
  const plain = withoutThousands(s);
  return FLOAT.test(plain) && Math.abs(Number(plain) - Math.round(Number(plain))) <= 1e-7;
};

function plainSpelling(answer: string): string {
  let s = /^\\text\{(.+?)\}$/.exec(answer)?.[1] ?? answer;
  s = s.replaceAll("\\%", "%").replaceAll("\\$", "$").replace(/[$%]/g, "");
  s = s.replaceAll(" or ", " , ").replaceAll(" and ", " , ");
  s = s.replaceAll("million", "*10^6").replaceAll("billion", "*10^9").replaceAll("trillion", "*10^12");
  s = s.replace(UNITS, "").replace(/\^ *\\circ/g, "");
  if (s.startsWith("{") && s.endsWith("}")) s = s.slice(1, -1);
  s = s.replace(/,\\! */g, "").trim().replace(/- */g, "-").replace(/([0-9]) +([0-9])/g, "$1+$2");
  s = s.replace(/[ {}]/g, "").toLowerCase();
  return isInteger(s) ? String(Math.round(Number(withoutThousands(s)))) : s;
}

function tupleParts(s: string): string[] {
  const plain = withoutThousands(s);
  if (plain === "") return [];
  const whole = plain.length > 2 && "()[]".includes(plain[0]) && "()[]".includes(plain.at(-1)!) &&
    !/[()[\]]/.test(plain.slice(1, -1));
  return whole ? plain.slice(1, -1).split(",").map((p) => p.trim()) : [plain];
}

/** Symbolic equality as the release allows it: at most two letters, no braces or brackets in exponents, short powers. */
function sameExpression(gold: string, given: string): boolean {
  const both = `(${gold})-(${given})`;
  const letters = new Set(both.replaceAll("sqrt", "").replaceAll("frac", "").match(/\p{L}/gu) ?? []);
  if (letters.size > 2 || /\^[{(]|\^[0-9]+\^|\^[0-9][0-9]+|\\/.test(both)) return false;
  try {
    return sameAtSamples(parseExpression(gold), parseExpression(given)) === true;
  } catch (error) {
    if (error instanceof ExpressionError) return false;
    throw error;
  }
}

/**
 * Whether the release's grader takes the answer `given` for `gold` (mathruler: grade_answer). Both are answers without
 * their box, see {@link referenceBoxed}; what it cannot read is not equal, and nothing throws. A run's own grader is
 * sameAnswer.
 */
export function referenceSameAnswer(given: string, gold: string): boolean {
  if (mathSpelling(given) === mathSpelling(gold)) return true;
  const [x, y] = [plainSpelling(gold), plainSpelling(given)];
  if (x === y) return true;
  if (y === "") return false;
  const golds = tupleParts(x), parts = tupleParts(y);
  if (golds.length > 1 && (x[0] !== y[0] || x.at(-1) !== y.at(-1))) return false;
  if (golds.length === 0 || golds.length !== parts.length) return false;
  const fraction = /^-?[0-9]+.?\/0*[1-9][0-9]*.?$/;
  return golds.every((g, i) => {
    if (fraction.test(g) && fraction.test(parts[i])) return g === parts[i];
    return isInteger(g) === isInteger(parts[i]) && sameExpression(g, parts[i]);
  });
}
