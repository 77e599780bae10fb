/**
 * Multiple-choice problems: the choices become part of the text, and both the right one's letter and its text count as
 * the right answer.
 * @module
 */
import { BadRow, shortened } from "./bad_row.ts";

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/**
 * The problem with one line for each choice: "…\nA. 6\nB. 5". A choice whose text is its own letter (it stands in the
 * picture) is the letter alone.
 */
export function withChoices(problem: string, choices: readonly string[]): string {
  const lines = choices.map((choice, i) => choice === LETTERS[i] ? choice : `${LETTERS[i]}. ${choice}`);
  return [problem, ...lines].join("\n");
}

/** The right choice's place, found by text first, then by letter ("B", "(b)", "B."), then by number ("4.0" is "4"). */
function chosen(choices: readonly string[], answer: string): number {
  const byText = choices.indexOf(answer);
  if (byText >= 0) return byText;
  const letter = /^\(?([A-Za-z])[.):]?$/.exec(answer)?.[1].toUpperCase();
  const byLetter = letter === undefined ? -1 : LETTERS.indexOf(letter);
  if (byLetter >= 0 && byLetter < choices.length) return byLetter;
  const folded = choices.findIndex((choice) => choice.toLowerCase() === answer.toLowerCase());
  if (folded >= 0) return folded;
  return choices.findIndex((choice) => choice !== "" && Number(choice) === Number(answer));
}

/**
 * Every text that counts as the right answer, the given one first: the letter of the right choice and its text. A text
 * that is another choice's letter is left out: it would be ambiguous.
 * @throws BadRow where there are more than 26 choices, or the answer is none of them
 */
export function acceptableAnswers(choices: readonly string[], answer: string): string[] {
  if (choices.length > LETTERS.length) {
    throw new BadRow("too many choices", `${choices.length}; at most ${LETTERS.length}`);
  }
  const place = chosen(choices, answer);
  if (place < 0) {
    throw new BadRow(
      "answer not a choice",
      `"${shortened(answer)}" of ${shortened(JSON.stringify(choices))}`,
    );
  }
  const letter = LETTERS[place], text = choices[place];
  const ambiguous = LETTERS.slice(0, choices.length).includes(text) && text !== letter;
  const both = ambiguous ? [letter] : answer === text ? [text, letter] : [letter, text];
  return [...new Set(both)];
}
