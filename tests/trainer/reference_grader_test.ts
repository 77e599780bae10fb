import { assertEquals } from "@std/assert";
import { referenceBoxed, referenceSameAnswer } from "../../trainer/reference_grader.ts";

Deno.test("only a closed \\boxed{…} counts, the last one, even when an earlier one is closed", () => {
  assertEquals(referenceBoxed("\\boxed{1} \\boxed{ \\frac{1}{2} }"), "\\frac{1}{2}");
  assertEquals(["\\boxed{1} \\boxed{2", "\\fbox{3}", "\\boxed 4", "5"].map(referenceBoxed), [
    "None",
    "None",
    "None",
    "None",
  ]);
});

Deno.test("strict habits of the release's grader", () => {
  const rows: [given: string, gold: string, same: boolean][] = [
    ["12.0", "12", true],
    ["6/8", "3/4", false],
    ["\\frac34", "3/4", true],
    ["3*4", "12", false],
    ["2y+1", "1+2y", true],
    ["(a-1)(a+1)", "a^2-1", true],
    ["a+b+c", "c+b+a", false],
    ["(3, 4)", "(3,4)", true],
    ["(3,4)", "[3,4]", false],
    ["(4,3)", "(3,4)", false],
    ["(B)", "B", true],
    ["2 3/4", "11/4", true],
    ["30\\text{ cm}", "30", true],
    ["12,345", "12345", true],
    ["y=8", "8", true],
    ["", "8", false],
  ];
  for (const [given, gold, same] of rows) {
    assertEquals(referenceSameAnswer(given, gold), same, `${given} for ${gold}`);
  }
});
