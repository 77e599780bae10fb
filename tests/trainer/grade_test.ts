import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { extractBoxed, formatReward, gradeAll, sameAnswer, type Verdict } from "../../trainer/grade.ts";

Deno.test("the last balanced box, nested, \\fbox and bare", () => {
  assertEquals(extractBoxed("\\boxed{1} then \\boxed{\\frac{a}{b}}."), "\\frac{a}{b}");
  assertEquals(extractBoxed("\\fbox{x}"), "x");
  assertEquals(extractBoxed("so \\boxed 7."), "7");
  assertEquals(extractBoxed("\\boxed{\\left\\{1,2\\right\\}}"), "\\left\\{1,2\\right\\}");
  assertEquals(extractBoxed("\\boxed{1} and \\boxed{2"), "1");
  assertEquals(extractBoxed("\\boxed{\\boxed{3}}"), "\\boxed{3}");
  assertEquals(extractBoxed("none"), undefined);
});

Deno.test("format: think, its end, then a box", () => {
  assertEquals(formatReward("<think>a</think> so \\boxed{7}."), 1);
  const bad = [
    "x<think>a</think>\\boxed{7}",
    "<think>\\boxed{7}</think>",
    "<think>a\\boxed{7}",
    "<think>a</think>\\boxed{7",
    "",
  ];
  assertEquals(bad.map(formatReward), [0, 0, 0, 0, 0]);
});

/** gold, answer, and whether they are the same. */
type Row = [gold: string, answer: string, same: boolean];

function check(rows: Row[]): void {
  for (const [gold, answer, same] of rows) {
    assertEquals(sameAnswer(gold, answer).same, same, `${answer} for ${gold}`);
  }
}

Deno.test("numbers", () =>
  check([
    ["7", "7.0", true],
    ["1,234", "1234", true],
    ["10,\\!236", "10236", true],
    ["25,\\!000", "25{,}000", true],
    ["1 000", "1000", true],
    ["\\frac12", "0.5", true],
    ["\\frac{1}{2}", "-\\frac{1}{2}", false],
    ["11 \\frac{2}{3}", "\\frac{35}{3}", true],
    ["11 \\frac23", "11.67", false],
    ["\\frac{1}{3}", "0.333", false],
    ["\\frac{1}{3}", "0.333333", true],
    ["\\sqrt{2}", "1.4142135", true],
    ["\\sqrt{2}", "1.4142", true],
    ["\\sqrt{2}", "1.4143", false],
    ["-\\sqrt{2}", "-1.4142135", true],
    ["\\frac{2}{5}", "0,4", false],
    ["2^{64}", "18446744073709551616", true],
    ["2^{64}", "18446744073709551615", false],
    ["6.02 \\times 10^{23}", "6.02e23", true],
    ["2.74", "2,74", true],
    ["12", "1,2", false],
    ["5", "5.001", false],
  ]));

Deno.test("percent, currency, degrees, units", () =>
  check([
    ["50\\%", "0.5", true],
    ["50\\%", "50", true],
    ["50\\%", "50 percent", true],
    ["50%", "5", false],
    ["\\$7.50", "7.50 dollars", true],
    ["72^\\circ", "72 degrees", true],
    ["72", "72°", true],
    ["5\\text{ inches}", "5 inches", true],
    ["12", "12\\mathrm{~cm}^2", true],
    ["9 \\pi", "9\\pi \\text{ cm}^2", true],
    ["5", "5x", false],
    ["5", "6 \\text{ cm}", false],
  ]));

Deno.test("expressions", () =>
  check([
    ["2\\sqrt{3}", "\\sqrt{12}", true],
    ["x^2-1", "(x-1)(x+1)", true],
    ["8x^3 - 6x - 1", "8x^3-6x+1", false],
    ["12\\pi", "37.7", false],
    ["-3+2i", "2i-3", true],
    ["\\tan^2 y + 1", "\\sec^2 y", true],
    ["141_{13}", "141_13", true],
    ["141_{13}", "142_{13}", false],
    ["3 \\pm 2\\sqrt{2}", "3-2\\sqrt{2}, 3+2\\sqrt{2}", true],
  ]));

Deno.test("tuples, lists, sets, intervals, matrices", () =>
  check([
    ["(-5, -4)", "(-5,-4)", true],
    ["(-5,-4)", "(-4,-5)", false],
    ["1,2,3", "3, 2 and 1", true],
    ["1,2", "1,2,3", false],
    ["1,1,2", "1,2,2", false],
    ["\\{1,2,3\\}", "\\{3,1,2\\}", true],
    ["\\{1,2\\} \\cup \\{3\\}", "\\{1,2,3\\}", true],
    ["\\langle 1,2 \\rangle", "(1,2)", true],
    ["(1,2),(3,4)", "(3,4) \\text{ and } (1,2)", true],
    ["[6,\\infty)", "(6,\\infty)", false],
    ["[6,\\infty)", "x \\ge 6", true],
    ["(-\\infty,-5]\\cup[5,\\infty)", "[5,\\infty) \\cup (-\\infty,-5]", true],
    ["(-\\infty,-5]\\cup[5,\\infty)", "x\\le -5 \\text{ or } x\\ge 5", true],
    ["(-\\infty,-5]\\cup[5,\\infty)", "(-\\infty,-5]\\cup(5,\\infty)", false],
    ["\\begin{pmatrix} -3 \\\\ 11 \\end{pmatrix}", "\\begin{bmatrix}-3\\\\11\\end{bmatrix}", true],
    ["\\begin{pmatrix} -3 \\\\ 11 \\end{pmatrix}", "\\begin{bmatrix}11\\\\-3\\end{bmatrix}", false],
    ["\\mathbb{R}", "(-\\infty,\\infty)", true],
  ]));

Deno.test("equations and inequalities", () =>
  check([
    ["x = -1", "-1", true],
    ["y = \\frac{1}{2} x + 2", "y=\\frac{x+4}{2}", true],
    ["y=2x+3", "2x-y+3=0", true],
    ["2x+4y=6", "x+2y=4", false],
    ["a + 3z = 0", "0", false],
    ["x=1,y=2", "y=2, x=1", true],
    ["x=1,y=2", "x=2, y=1", false],
    ["(p,q)=(3,2)", "(3,2)", true],
    ["(x,y)=(2,3)", "x=2, y=3", true],
    ["(x,y)=(2,3)", "x=3, y=2", false],
    ["\\{x \\mid -1<x\\leqslant 3\\}", "(-1,3]", true],
    ["9", "\\begin{align*} x &= 3+6 \\\\ &= 9 \\end{align*}", true],
    ["x<5", "5>x", true],
    ["x<5", "x\\le5", false],
    ["-2x+4>0", "x<2", true],
    ["1<x<3", "3>x>1", true],
    ["1<x<3", "1<x<4", false],
  ]));

Deno.test("words and choices", () =>
  check([
    ["\\text{Evelyn}", "evelyn", true],
    ["\\text{circle}", "a circle", true],
    ["\\text{even}", "odd", false],
    ["\\text{C}", "(C)", true],
    ["C", "\\textbf{(C)}\\ 12", true],
    ["C", "D", false],
    ["B", "The answer is C because B is wrong.", false],
    ["\\text{June 20}", "June 20", true],
    ["12:30", "12:31", false],
  ]));

Deno.test("whole replies: the box, the final statement, the last formula or number", () =>
  check([
    ["10", "first \\boxed{7}, then \\boxed{10}", true],
    ["7", "first \\boxed{7}, then \\boxed{10}", false],
    ["7,10", "$\\boxed{7}$ and $\\boxed{10}$", true],
    ["10", "\\boxed{x = 10 \\text{ apples}}", true],
    ["10", "\\boxed{7} Final Answer: The final answer is $10$. I hope it is correct.", true],
    ["\\frac{3}{4}", "We get $\\frac{1}{4}$, thus the probability is $\\frac{3}{4}$.", true],
    ["42", "So we have 6*7=42.", true],
    ["34", "Final Answer: The largest $n$ is 34.", true],
    ["2", "AB2CD", false],
    ["4", "I think it is 4 or 5", false],
    ["10", "\\boxed{10", false],
    ["So it is \\boxed{16}.", "16", true],
    ["10", "2 * 5 = 10 so\n#### 10", true],
    ["10", "#### 12", false],
    ["4", "", false],
    ["", "", false],
  ]));

Deno.test("the verdict names the step", async () => {
  const by = (v: Verdict) => v.by;
  assertEquals(["7", "7.0", "8"].map((a) => by(sameAnswer("7", a))), ["text", "number", "none"]);
  const items = [{ gold: "6", answer: "\\sum_{k=1}^{3} k" }, { gold: "6", answer: "6" }, {
    gold: "7",
    answer: "\\sum_{k=1}^{3} k",
  }];
  assertEquals(sameAnswer(items[0].gold, items[0].answer).same, false);
  assertEquals(await gradeAll(items), [
    { same: true, by: "latex" },
    { same: true, by: "text" },
    { same: false, by: "none" },
  ]);
});

Deno.test("any text is graded in bounded time and without an error", () => {
  const pieces = [
    "\\frac",
    "{",
    "}",
    "(",
    ")",
    "\\boxed{",
    "$",
    ",",
    "=",
    "<",
    "x",
    "12",
    ".5",
    "^",
    "_",
    "\\text{a}",
    " ",
    "\\\\",
    "answer is ",
    "|",
    "\\pm",
    "%",
    "\\cup",
    "is ",
    "\\{",
    "!",
  ];
  const text = fc.array(fc.constantFrom(...pieces), { maxLength: 60 }).map((p) => p.join(""));
  fc.assert(
    fc.property(text, text, (gold, answer) => {
      const start = performance.now();
      sameAnswer(gold, answer);
      assert(performance.now() - start < 2000, `slow: ${gold} | ${answer}`);
    }),
    { numRuns: 2000, seed: 1 },
  );
  for (
    const long of [
      "\\boxed{".repeat(30_000),
      " ".repeat(200_000),
      "answer is ".repeat(20_000),
      "\\(".repeat(60_000),
      "(1,".repeat(50_000),
    ]
  ) {
    const start = performance.now();
    sameAnswer("1", long);
    assert(performance.now() - start < 3000, `slow: ${long.slice(0, 20)}`);
  }
});
