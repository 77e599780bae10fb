/**
 * The grader against labelled pairs and real model replies.
 * @module
 */
import { extractBoxed, gradeAll, type GradeItem } from "../../trainer/grade.ts";

/** Called once per quantity with its worst value and the fair limit; passes when worst ≤ limit. */
export type Report = (name: string, worst: number, limit: number, detail?: string) => void;

interface Labelled extends GradeItem {
  id: string;
  match: boolean;
  convention: string | null;
}

function rows(path: string): Record<string, unknown>[] {
  return Deno.readTextFileSync(path).split("\n").filter((line) => line.trim() !== "").map((line, i) => {
    try {
      return JSON.parse(line);
    } catch (error) {
      throw new Error(`${path} line ${i + 1}: ${(error as Error).message}`);
    }
  });
}

async function agreement(items: Labelled[], list: (line: string) => void): Promise<Labelled[]> {
  const verdicts = await gradeAll(items);
  return items.filter((item, i) => {
    if (verdicts[i].same === item.match) return false;
    const answer = item.answer.length > 120 ? `…${item.answer.slice(-120)}` : item.answer;
    const soft = item.convention === null ? "" : ` (soft: ${item.convention})`;
    list(
      `${item.id}: gold ${JSON.stringify(item.gold.slice(0, 120))}, answer ${JSON.stringify(answer)}: `
        .concat(
          `wanted ${item.match}, got ${verdicts[i].same} by ${verdicts[i].by}${soft}`,
        ),
    );
    return true;
  });
}

const bare = (s: string): string => s.replace(/[\s,]/g, "");
const percent = (part: number, whole: number): string => `${(100 * part / whole).toFixed(1)} % of ${whole}`;

/**
 * Reads `grader/pairs.jsonl` and `grader/qwen2.5-math-responses.jsonl` of `dataFolder`. Reports the share of
 * disagreement (limit 5 %) on the pairs whose `convention` is null and on the replies, and lists every disagreement.
 */
export async function checkGrader(
  dataFolder: string,
  report: Report,
  list: (line: string) => void,
): Promise<void> {
  const pairs = rows(`${dataFolder}/grader/pairs.jsonl`) as unknown as Labelled[];
  const wrong = await agreement(pairs, list);
  const hard = pairs.filter((p) => p.convention === null), soft = pairs.length - hard.length;
  const hardWrong = wrong.filter((p) => p.convention === null).length;
  const softWrong = wrong.length - hardWrong;
  const also = soft ? `; soft rows: ${percent(soft - softWrong, soft)}` : "";
  report(
    "grader/pairs",
    hardWrong / hard.length,
    0.05,
    `${percent(hard.length - hardWrong, hard.length)} agree${also}`,
  );

  const replies = rows(`${dataFolder}/grader/qwen2.5-math-responses.jsonl`).flatMap((row) =>
    (row.responses as { text: string; match: boolean; extracted: string }[]).map((r, i) => ({
      id: `${row.id}[${i}]`,
      gold: String(row.gold),
      answer: r.text,
      match: r.match,
      convention: null,
      extracted: r.extracted,
    }))
  );
  const disagree = await agreement(replies, list);
  report(
    "grader/replies",
    disagree.length / replies.length,
    0.05,
    `${percent(replies.length - disagree.length, replies.length)} agree`,
  );
  const unlike = replies.filter((r) => bare(extractBoxed(r.answer) ?? "") !== bare(r.extracted));
  for (const r of unlike) {
    list(`${r.id}: box ${JSON.stringify(extractBoxed(r.answer))}, source took ${r.extracted}`);
  }
  report(
    "grader/boxes",
    unlike.length / replies.length,
    0.05,
    `${unlike.length} boxes read otherwise than the source did`,
  );
}
