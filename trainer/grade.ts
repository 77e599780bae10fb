/**
 * Grading of answers against a gold answer: by text, by number, then by LaTeX equality with a time limit.
 * @module
 */
import { answerCandidates, extractBoxed, formatReward, normaliseAnswer } from "./answer_text.ts";
import { isList, sameAnswerForm } from "./answer_form.ts";
import { canonicalText } from "./answer_value.ts";
import { LatexJudge } from "./latex_judge.ts";

export { extractBoxed, formatReward };

/** The judgement of one answer: whether it is the gold answer, and which step said so (`none`: nothing did). */
export interface Verdict {
  /** whether the answer is the gold answer */
  same: boolean;
  /** the step that decided */
  by: "text" | "number" | "latex" | "none";
}

/** An answer to grade; either side may be a bare answer or a whole reply. */
export interface GradeItem {
  /** the right answer */
  gold: string;
  /** the answer to judge */
  answer: string;
}

// A longer reply is not graded, a longer answer only by text.
const MAX_REPLY = 1_000_000, MAX_ANSWER = 1500;

function judge(gold: string, answer: string): { verdict?: Verdict; open: GradeItem[] } {
  const open: GradeItem[] = [];
  const g = normaliseAnswer(answerCandidates(gold, true)[0] ?? "");
  const candidates = g === "" || answer.length > MAX_REPLY ? [] : answerCandidates(answer, isList(g));
  for (const a of candidates.map(normaliseAnswer)) {
    if (canonicalText(g) === canonicalText(a)) return { verdict: { same: true, by: "text" }, open };
    if (a === "" || a.length > MAX_ANSWER || g.length > MAX_ANSWER) continue;
    const decision = sameAnswerForm(g, a);
    if (decision) return { verdict: { same: true, by: "number" }, open };
    if (decision === undefined) open.push({ gold: g, answer: a });
  }
  return open.length ? { open } : { verdict: { same: false, by: "none" }, open };
}

/**
 * Compares normalised text, then numbers (exactly where rational, else at fixed sample points of the variables); both
 * sides may be replies, of which the last box or the final statement counts. Runs at once, in bounded time; what only
 * the LaTeX engine could decide counts as not the same. Use {@link gradeAll} to ask the engine too.
 */
export function sameAnswer(gold: string, answer: string): Verdict {
  return judge(gold, answer).verdict ?? { same: false, by: "none" };
}

/**
 * {@link sameAnswer} for many, then LaTeX equality through the compute engine for those still open. The engine runs
 * in a worker that is ended when one item takes longer than `timeLimitMs`; such an item is not the same.
 */
export async function gradeAll(
  items: readonly GradeItem[],
  { timeLimitMs = 2000 }: { timeLimitMs?: number } = {},
): Promise<Verdict[]> {
  const latex = new LatexJudge(timeLimitMs);
  const verdicts: Verdict[] = [];
  try {
    for (const { gold, answer } of items) {
      const { verdict, open } = judge(gold, answer);
      let result = verdict;
      for (const pair of open) {
        if (!result && await latex.same(pair.gold, pair.answer)) result = { same: true, by: "latex" };
      }
      verdicts.push(result ?? { same: false, by: "none" });
    }
  } finally {
    latex.close();
  }
  return verdicts;
}
