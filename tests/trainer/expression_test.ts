import { assert, assertEquals, assertThrows } from "@std/assert";
import { ExpressionError, parseExpression } from "../../trainer/expression.ts";
import { exactValue, sameAtSamples, valueAt } from "../../trainer/expression_value.ts";

const exact = (s: string) => {
  const v = exactValue(parseExpression(s));
  return v && (v.den === 1n ? `${v.num}` : `${v.num}/${v.den}`);
};
const same = (a: string, b: string) => sameAtSamples(parseExpression(a), parseExpression(b));

Deno.test("exact rationals: order of operations, fractions, mixed numbers, decimals, powers", () => {
  const rows: Record<string, string> = {
    "1+2*3": "7",
    "2-3-4": "-5",
    "12/3/2": "2",
    "-2^2": "-4",
    "(-2)^2": "4",
    "2^{-3}": "1/8",
    "2^10": "1024",
    "\\frac12+\\frac{1}{3}": "5/6",
    "1\\frac{9}{10}": "19/10",
    "2 3/4": "11/4",
    "\\frac 9{20}": "9/20",
    "\\frac{360}7": "360/7",
    ".5": "1/2",
    "1.25e2": "125",
    "3(4)": "12",
    "5!": "120",
    "\\binom{6}{2}": "15",
    "50%": "1/2",
    "|-3|": "3",
    "2^{64}": "18446744073709551616",
  };
  for (const [text, value] of Object.entries(rows)) assertEquals(exact(text), value, text);
  assertEquals(
    [exact("1/0"), exact("x"), exact("9^{9^{9}}"), exact("\\sqrt{4}")],
    new Array(4).fill(undefined),
  );
});

Deno.test("functions, roots, constants and complex numbers agree with their identities", () => {
  const rows: [string, string][] = [
    ["\\sin^2 x+\\cos^2(x)", "1"],
    ["\\sin 2x", "2\\sin(x)\\cos(x)"],
    ["\\tan^{-1}(1)", "\\frac{\\pi}{4}"],
    ["\\sqrt[3]{-8}", "-2"],
    ["\\log_2 8", "3"],
    ["\\ln e^{2}", "2"],
    ["e^{i\\pi}", "-1"],
    ["(2+3i)(2-3i)", "13"],
    ["x^2y", "yx^2"],
    ["|x-y|", "|y-x|"],
    ["\\lfloor 3.7\\rfloor", "3"],
    ["\\sin(30^\\circ)", "\\frac12"],
    ["\\frac{x^2-1}{x-1}", "x+1"],
    ["a_1+a_{2}", "a_{2}+a_1"],
    [
      "\\begin{pmatrix}1&2\\cr 3&4\\end{pmatrix}+\\begin{pmatrix}1&1\\cr 1&1\\end{pmatrix}",
      "\\begin{pmatrix}2&3\\cr 4&5\\end{pmatrix}",
    ],
  ];
  for (const [a, b] of rows) assertEquals(same(a, b), true, `${a} = ${b}`);
});

Deno.test("different expressions differ, also where only the sign of a variable tells them apart", () => {
  for (
    const [a, b] of [["x", "y"], ["x", "|x|"], ["a_1", "a_2"], ["f'", "f"], ["\\sin x", "x"], ["2i", "2"]]
  ) {
    assertEquals(same(a, b), false, `${a} = ${b}`);
  }
  assertEquals(same("\\frac{0}{0}", "1"), undefined);
});

Deno.test("what is no expression is refused with its place", () => {
  for (const text of ["", "1 +", "2 3", "(1", "\\int x", "\\foo", "1..2", "x)", "«cm»"]) {
    assertThrows(() => parseExpression(text), ExpressionError);
  }
  assertThrows(() => parseExpression("(".repeat(500)), ExpressionError, "nested");
  assertThrows(() => parseExpression("1+".repeat(2000) + "1"), ExpressionError, "longer");
});

Deno.test("sample points are fixed and differ between variables", () => {
  const x = valueAt(parseExpression("x"), 0), y = valueAt(parseExpression("y"), 0);
  assertEquals(valueAt(parseExpression("x"), 0), x);
  assert(x![0] !== y![0]);
  assertEquals(valueAt(parseExpression("\\begin{pmatrix}1\\end{pmatrix}"), 0), undefined);
});
