/**
 * Reading problems from JSONL and Parquet files with the column names of EasyR1, TRL and Hugging Face's picture sets.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { BadRow, SkipCount, type Skipped } from "./bad_row.ts";
import { acceptableAnswers, withChoices } from "./choices.ts";
import { placeImages } from "./image_marks.ts";
import { type FileRecord, jsonlRecords } from "./jsonl.ts";
import { parquetRecords } from "./parquet.ts";
import type { RowImage } from "./picture.ts";
import { allColumnNames, type Columns, RowRecord } from "./row_record.ts";
import { boxedAnswer, boxedCandidate, splitFinalLine, withoutCalculatorMarks } from "./solution.ts";

export type { Skipped } from "./bad_row.ts";
export type { Columns } from "./row_record.ts";

/** A problem with a checkable answer. */
export interface Row {
  /** Unique within a file. */
  id: string;
  /** The question as the user asks it, with one `<image>` for each picture and one line for each choice. */
  problem: string;
  /** The reference answer as text. */
  answer: string;
  /** All texts that count as the right answer where there are several (multiple choice), `answer` first. */
  acceptable?: string[];
  /** One worked solution, without calculator marks. */
  solution?: string;
  /** Several worked solutions. */
  candidates?: string[];
  /** Where the problem comes from: curation and tables go by it. */
  source: string;
  /** The pictures, in the order of their marks in `problem`; relative paths have been resolved. */
  images?: RowImage[];
  /** A difficulty label, if the file has one. */
  level?: string;
}

/** What `readRows` can be told. */
export interface ReadOptions {
  /** Names of this file's columns where they are not the usual ones; a named column replaces the usual names. */
  columns?: Partial<Columns>;
  /** Stop after so many good rows. */
  limit?: number;
  /** The source of rows which do not name one; default the file's name without its ending. */
  source?: string;
  /** The folder from which relative image paths start; default the data file's folder. */
  imageDir?: string;
}

/** What a file held. */
export interface ReadResult {
  /** The good rows, in the order of the file. */
  rows: Row[];
  /** In the order in which the reasons first occurred. */
  skipped: Skipped[];
}

/** A row as it was read, or why it is left out; `number` counts lines (JSONL) or rows (Parquet) from 1. */
export type RowOutcome =
  | { readonly number: number; readonly row: Row }
  | { readonly number: number; readonly fault: BadRow };

function resolvedImage(image: RowImage, folder: string): RowImage {
  return typeof image !== "string" || /^(\/|[A-Za-z]:[\\/]|[a-z][a-z0-9+.-]+:)/.test(image)
    ? image
    : `${folder}${image}`;
}

/** Answer and solution of a record, wherever it keeps them. */
function answerAndSolution(record: RowRecord): { answer: string; solution?: string } {
  let answer = record.text("answer");
  let solution = record.text("solution");
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
      `none of the columns ${record.quoted("answer")} has text, and ${
        record.quoted("solution")
      } has no \\boxed{}`,
    );
  }
  return { answer, solution };
}

function parseRow(record: RowRecord, rowNumber: number, path: string, options: ReadOptions): Row {
  const problem = record.problem();
  if (problem === undefined) {
    throw new BadRow("no problem", `none of the columns ${record.quoted("problem")} has text`);
  }
  const fileName = path.replace(/^.*[\\/]/, "").replace(/\.[^.]*$/, "");
  const { answer, solution } = answerAndSolution(record);
  const choices = record.choices();
  const acceptable = choices && acceptableAnswers(choices, answer);
  const placed = placeImages(choices ? withChoices(problem, choices) : problem, record.images() ?? []);
  const row: Row = {
    id: record.text("id") ?? `${fileName}-${rowNumber}`,
    problem: placed.problem,
    answer: acceptable?.[0] ?? answer,
    source: record.text("source") ?? options.source ?? fileName,
  };
  if (acceptable) row.acceptable = acceptable;
  if (solution) row.solution = withoutCalculatorMarks(solution);
  const candidates = record.texts("candidates")?.map(withoutCalculatorMarks);
  if (candidates) row.candidates = candidates;
  const folder = options.imageDir?.replace(/[\\/]*$/, "/") ?? path.replace(/[^\\/]*$/, "");
  if (placed.images.length > 0) row.images = placed.images.map((image) => resolvedImage(image, folder));
  const level = record.text("level");
  if (level !== undefined) row.level = level;
  return row;
}

/** The responses a row offers for curation: its candidates and its solution, each ending in a box. */
export function candidatesOf(row: Row): string[] {
  const texts = [...(row.candidates ?? []), ...(row.solution === undefined ? [] : [row.solution])];
  return texts.map((text) => boxedCandidate(text, row.answer));
}

/**
 * Reads a file row by row: JSONL (one JSON object a line) a line at a time, `*.parquet` a row group at a time. Rows with
 * a fault come as such, in their place; with `limit` the stream ends after so many good ones.
 * @throws UserError where the file cannot be read
 */
export async function* streamRows(
  path: string,
  options: ReadOptions = {},
): AsyncGenerator<RowOutcome, void, undefined> {
  const { columns = {}, limit = Infinity } = options;
  const records: AsyncIterable<FileRecord> = /\.parquet$/i.test(path)
    ? parquetRecords(path, allColumnNames(columns))
    : jsonlRecords(path);
  const ids = new Set<string>();
  if (limit <= 0) return;
  for await (const entry of records) {
    const { number } = entry;
    if ("fault" in entry) {
      yield entry;
      continue;
    }
    try {
      const row = parseRow(new RowRecord(entry.record, columns), number, path, options);
      if (ids.has(row.id)) throw new BadRow("id used before", `"${row.id}"`);
      ids.add(row.id);
      yield { number, row };
      if (ids.size >= limit) return;
    } catch (fault) {
      if (!(fault instanceof BadRow)) throw fault;
      yield { number, fault };
    }
  }
}

/**
 * Reads a whole JSONL or Parquet file. Malformed, empty and answerless rows are left out and counted. Pictures inside a
 * Parquet file stay in memory; {@link streamRows} keeps those of one row group.
 * @throws UserError where the file cannot be read, is empty, or holds no good row (naming the first bad one)
 */
export async function readRows(path: string, options: ReadOptions = {}): Promise<ReadResult> {
  const rows: Row[] = [];
  const skips = new SkipCount();
  let read = 0;
  for await (const outcome of streamRows(path, options)) {
    read++;
    if ("row" in outcome) rows.push(outcome.row);
    else skips.add(outcome.number, outcome.fault);
  }
  const { skipped } = skips;
  if (rows.length === 0 && options.limit !== 0) {
    if (read === 0) {
      throw new UserError(
        `${path}: the file is empty; it needs one JSON object a line (JSONL) or rows (Parquet)`,
      );
    }
    const { reason, examples: [{ row, detail }] } = skipped[0];
    const all = skipped.map((entry) => `${entry.reason}: ${entry.count}`).join(", ");
    throw new UserError(`${path}: no usable row in ${read} (${all}); row ${row}: ${reason}: ${detail}`);
  }
  return { rows, skipped };
}
