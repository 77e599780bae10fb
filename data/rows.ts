/**
 * Reading problems from JSONL files with the column names of EasyR1 and TRL.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { boxedAnswer, boxedCandidate, splitFinalLine, withoutCalculatorMarks } from "./solution.ts";

/** A problem with a checkable answer. */
export interface Row {
  /** Unique within a file. */
  id: string;
  /** The question as the user asks it. */
  problem: string;
  /** The reference answer as text. */
  answer: string;
  /** One worked solution, without calculator marks. */
  solution?: string;
  /** Several worked solutions. */
  candidates?: string[];
  /** Where the problem comes from: curation and tables go by it. */
  source: string;
  /** Paths, or addresses with a scheme; relative paths have been resolved against the data file's folder. */
  images?: string[];
  /** A difficulty label, if the file has one. */
  level?: string;
}

/** The columns of a file, by our names. */
export type Columns = Record<keyof Row, string>;

/** What `readRows` can be told. */
export interface ReadOptions {
  /** Names of this file's columns where they are not the usual ones; a named column replaces the usual names. */
  columns?: Partial<Columns>;
  /** Stop after so many good rows. */
  limit?: number;
  /** The source of rows which do not name one; default the file's name without its ending. */
  source?: string;
}

/** Rows left out for one reason. */
export interface Skipped {
  /** Why, in two or three words. */
  reason: string;
  /** How many rows. */
  count: number;
  /** The first three; `row` is the line number, from 1. */
  examples: { row: number; detail: string }[];
}

/** What a file held. */
export interface ReadResult {
  /** The good rows, in the order of the file. */
  rows: Row[];
  /** In the order in which the reasons first occurred. */
  skipped: Skipped[];
}

const USUAL_COLUMNS: Record<keyof Row, readonly string[]> = {
  id: ["id"],
  problem: ["problem", "question", "prompt"],
  answer: ["answer"],
  solution: ["solution"],
  candidates: ["candidates"],
  source: ["source", "data_source"],
  images: ["images", "image"],
  level: ["level"],
};

const EXAMPLES_KEPT = 3;
const DETAIL_LENGTH = 120;

/** Why one row is left out; never leaves this file. */
class BadRow extends Error {
  constructor(readonly reason: string, readonly detail: string) {
    super(reason);
  }
}

function shortened(text: string): string {
  return text.length <= DETAIL_LENGTH ? text : `${text.slice(0, DETAIL_LENGTH)}…`;
}

/** Finds our columns in one record; null and absent are the same. */
class RowRecord {
  constructor(readonly record: Record<string, unknown>, readonly columns: Partial<Columns>) {}

  names(column: keyof Row): readonly string[] {
    return this.columns[column] === undefined ? USUAL_COLUMNS[column] : [this.columns[column]];
  }

  value(column: keyof Row): { name: string; value: unknown } | undefined {
    const name = this.names(column).find((name) =>
      this.record[name] !== undefined && this.record[name] !== null
    );
    return name === undefined ? undefined : { name, value: this.record[name] };
  }

  wrong(name: string, wanted: string): BadRow {
    return new BadRow(
      "wrong type",
      `column "${name}" must be ${wanted}, not ${shortened(JSON.stringify(this.record[name]))}`,
    );
  }

  /** A text or number as trimmed text; undefined where absent or blank. */
  text(column: keyof Row): string | undefined {
    const found = this.value(column);
    if (!found) return undefined;
    const { name, value } = found;
    if (typeof value === "number") return `${value}`;
    if (typeof value !== "string") throw this.wrong(name, "text or a number");
    return value.trim() || undefined;
  }

  /** A list of texts, or one text as a list of one; undefined where absent or empty. */
  texts(column: keyof Row): string[] | undefined {
    const found = this.value(column);
    if (!found) return undefined;
    const list = Array.isArray(found.value) ? found.value : [found.value];
    if (!list.every((entry) => typeof entry === "string" && entry.trim() !== "")) {
      throw this.wrong(found.name, "text or a list of texts, none of them blank");
    }
    return list.length > 0 ? list : undefined;
  }

  /** The question: text, or (TRL's conversations) the last user message of a list of messages. */
  problem(): string | undefined {
    const found = this.value("problem");
    if (!found || !Array.isArray(found.value)) return this.text("problem");
    const last = found.value.findLast((message) => message?.role === "user");
    if (typeof last?.content !== "string") {
      throw this.wrong(found.name, "text or messages with a user's text");
    }
    return last.content.trim() || undefined;
  }
}

function resolvedImage(image: string, folder: string): string {
  return /^(\/|[A-Za-z]:[\\/]|[a-z][a-z0-9+.-]+:)/.test(image) ? image : `${folder}${image}`;
}

function parseRow(line: string, rowNumber: number, path: string, options: ReadOptions): Row {
  if (line.trim() === "") throw new BadRow("empty line", "nothing between two rows");
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch (error) {
    throw new BadRow("not JSON", `${(error as Error).message} in ${shortened(line)}`);
  }
  if (typeof record !== "object" || record === null || Array.isArray(record)) {
    throw new BadRow("not a JSON object", shortened(line));
  }
  const columns = new RowRecord(record as Record<string, unknown>, options.columns ?? {});
  const quoted = (column: keyof Row): string => columns.names(column).map((name) => `"${name}"`).join(", ");
  const problem = columns.problem();
  if (problem === undefined) {
    throw new BadRow("no problem", `none of the columns ${quoted("problem")} has text`);
  }

  const fileName = path.replace(/^.*[\\/]/, "").replace(/\.[^.]*$/, "");
  const row: Row = {
    id: columns.text("id") ?? `${fileName}-${rowNumber}`,
    problem,
    answer: "",
    source: columns.text("source") ?? options.source ?? fileName,
  };
  let answer = columns.text("answer");
  let solution = columns.text("solution");
  // GSM8K as released keeps the whole solution in `answer`, closed by "#### 72".
  const inAnswer = answer === undefined ? null : splitFinalLine(answer);
  if (inAnswer) {
    answer = inAnswer.answer;
    solution ??= inAnswer.text;
  }
  const inSolution = solution === undefined ? null : splitFinalLine(solution);
  if (inSolution) {
    answer ??= inSolution.answer;
    solution = inSolution.text;
  }
  answer ??= boxedAnswer(solution ?? "") ?? undefined;
  if (answer === undefined) {
    throw new BadRow(
      "no answer",
      `none of the columns ${quoted("answer")} has text, and ${quoted("solution")} has no \\boxed{}`,
    );
  }
  row.answer = answer;
  if (solution) row.solution = withoutCalculatorMarks(solution);
  const candidates = columns.texts("candidates")?.map(withoutCalculatorMarks);
  if (candidates) row.candidates = candidates;
  const images = columns.texts("images");
  const folder = path.replace(/[^\\/]*$/, "");
  if (images) row.images = images.map((image) => resolvedImage(image, folder));
  const level = columns.text("level");
  if (level !== undefined) row.level = level;
  return row;
}

/** The responses a row offers for curation: its candidates and its solution, each ending in a box. */
export function candidatesOf(row: Row): string[] {
  const texts = [...(row.candidates ?? []), ...(row.solution === undefined ? [] : [row.solution])];
  return texts.map((text) => boxedCandidate(text, row.answer));
}

async function readText(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new UserError(
      `${path}: cannot be read (${(error as Error).message}); give the path of a JSONL file`,
    );
  }
}

/**
 * Reads a JSONL file: one JSON object a line. Malformed, empty and answerless rows are left out and counted.
 * @throws UserError where the file cannot be read, is empty, or holds no good row (naming the first bad one)
 */
export async function readRows(path: string, options: ReadOptions = {}): Promise<ReadResult> {
  const text = await readText(path);
  const lines = text.replace(/^\uFEFF/, "").trimEnd().split("\n");
  if (lines.length === 1 && lines[0] === "") {
    throw new UserError(`${path}: the file is empty; it needs one JSON object a line`);
  }
  const rows: Row[] = [];
  const skipped = new Map<string, Skipped>();
  const ids = new Set<string>();
  for (let i = 0; i < lines.length && rows.length < (options.limit ?? Infinity); i++) {
    try {
      const row = parseRow(lines[i], i + 1, path, options);
      if (ids.has(row.id)) throw new BadRow("id used before", `"${row.id}"`);
      ids.add(row.id);
      rows.push(row);
    } catch (error) {
      if (!(error instanceof BadRow)) throw error;
      const entry = skipped.get(error.reason) ?? { reason: error.reason, count: 0, examples: [] };
      entry.count++;
      if (entry.examples.length < EXAMPLES_KEPT) entry.examples.push({ row: i + 1, detail: error.detail });
      skipped.set(error.reason, entry);
    }
  }
  const result = { rows, skipped: [...skipped.values()] };
  if (rows.length === 0 && options.limit !== 0) {
    const { reason, examples: [{ row, detail }] } = result.skipped[0];
    const all = result.skipped.map((entry) => `${entry.reason}: ${entry.count}`).join(", ");
    throw new UserError(
      `${path}: no usable row in ${lines.length} (${all}); row ${row}: ${reason}: ${detail}`,
    );
  }
  return result;
}
