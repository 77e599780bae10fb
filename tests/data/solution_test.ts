import { assertEquals } from "@std/assert";
import { boxedAnswer, boxedCandidate, splitFinalLine, withoutCalculatorMarks } from "../../data/solution.ts";

Deno.test("calculator marks go, the numbers after them stay", () => {
  assertEquals(
    withoutCalculatorMarks("48/2 = <<48/2=24>>24 clips, then <<48+24=72>>72."),
    "48/2 = 24 clips, then 72.",
  );
  assertEquals(withoutCalculatorMarks("a << b and 3 > 2"), "a << b and 3 > 2");
});

Deno.test("the closing line of GSM8K is the answer, without thousands commas", () => {
  assertEquals(splitFinalLine("He has 5.\n#### 5"), { text: "He has 5.", answer: "5" });
  assertEquals(splitFinalLine("So.\n####1,234,567 \n"), { text: "So.", answer: "1234567" });
  assertEquals(splitFinalLine("#### 3"), { text: "", answer: "3" });
  assertEquals(splitFinalLine("#### 3\nand more"), null);
  assertEquals(splitFinalLine("none #### here"), null);
});

Deno.test("the last box with balanced braces counts", () => {
  assertEquals(boxedAnswer("\\boxed{1} then \\boxed{\\frac{1}{2}}."), "\\frac{1}{2}");
  assertEquals(boxedAnswer("\\boxed{1} then \\boxed{2"), "1");
  assertEquals(boxedAnswer("\\boxed{\\{1, 2\\}}"), "\\{1, 2\\}");
  assertEquals(boxedAnswer("\\boxed{ }"), null);
  assertEquals(boxedAnswer("nothing"), null);
});

Deno.test("only a candidate without a box gets one", () => {
  assertEquals(boxedCandidate("It is five.\n", "5"), "It is five. \\boxed{5}");
  assertEquals(boxedCandidate("It is \\boxed{5}.", "5"), "It is \\boxed{5}.");
});
