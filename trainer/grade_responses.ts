/**
 * Grading of responses to rows, whose answer may be given in more than one acceptable form.
 * @module
 */
import type { Row } from "../data/rows.ts";
import { gradeAll, type Verdict } from "./grade.ts";

/** The verdict of every response: the first acceptable form that it equals decides. */
export async function gradeResponses(responses: readonly { row: Row; text: string }[]): Promise<Verdict[]> {
  const forms = responses.map(({ row }) => row.acceptable ?? [row.answer]);
  const verdicts = await gradeAll(
    responses.flatMap(({ text }, i) => forms[i].map((gold) => ({ gold, answer: text }))),
  );
  let at = 0;
  return forms.map((list) => {
    const own = verdicts.slice(at, at += list.length);
    return own.find((v) => v.same) ?? own[0];
  });
}
