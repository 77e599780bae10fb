import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { BadRow } from "../../data/bad_row.ts";
import { acceptableAnswers, withChoices } from "../../data/choices.ts";

Deno.test("choices: one line each; a text that is its own letter is not said twice", () => {
  assertEquals(withChoices("Which?", ["6", "five", "C", "A"]), "Which?\nA. 6\nB. five\nC\nD. A");
});

Deno.test("choices: a letter or a text is understood, and both are right", () => {
  const choices = ["30", "40", "Sixty", "-1/2"];
  for (const answer of ["C", "c", "(C)", "C.", "c)", "C:"]) {
    assertEquals(acceptableAnswers(choices, answer), ["C", "Sixty"], answer);
  }
  assertEquals(acceptableAnswers(choices, "Sixty"), ["Sixty", "C"]);
  assertEquals(acceptableAnswers(choices, "sixty"), ["C", "Sixty"]);
  assertEquals(acceptableAnswers(choices, "40.0"), ["B", "40"]);
  assertEquals(acceptableAnswers(["A", "B"], "B"), ["B"]);
});

Deno.test("choices: the text goes before the letter, and a text that is another's letter is not right", () => {
  // "A" stands second: who answers "A" may mean either, who answers "B" means it.
  assertEquals(acceptableAnswers(["B", "A", "x"], "A"), ["B"]);
  assertEquals(acceptableAnswers(["x", "A"], "x"), ["x", "A"]);
});

Deno.test("choices: an answer that is none of them is refused, as are more choices than letters", () => {
  for (const answer of ["E", "50", "", "AB"]) {
    const error = assertThrows(() => acceptableAnswers(["30", "40"], answer), BadRow);
    assertEquals(error.reason, "answer not a choice");
    assertStringIncludes(error.detail, '["30","40"]');
  }
  const many = Array.from({ length: 27 }, (_, i) => `${i}`);
  assertEquals(assertThrows(() => acceptableAnswers(many, "3"), BadRow).reason, "too many choices");
});

Deno.test("choices: whichever is right, its letter and its text lead to the same answers and to no other's", () => {
  const word = fc.stringMatching(/^[a-z]{2,6}$/);
  fc.assert(
    fc.property(fc.uniqueArray(word, { minLength: 2, maxLength: 26 }), fc.nat(), (choices, n) => {
      const place = n % choices.length;
      const letter = String.fromCharCode(65 + place);
      const byText = acceptableAnswers(choices, choices[place]);
      assertEquals(byText, [choices[place], letter]);
      assertEquals(acceptableAnswers(choices, letter), [letter, choices[place]]);
      const line = withChoices("q", choices).split("\n")[place + 1];
      assertEquals(line, `${letter}. ${choices[place]}`);
    }),
    { seed: 7 },
  );
});
