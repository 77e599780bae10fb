/**
 * One record of a data file (a JSON object, a Parquet row) and the columns we look for in it.
 * @module
 */
import { BadRow, shortened } from "./bad_row.ts";
import type { RowImage } from "./picture.ts";

/** What a row is read from. `choices` become part of the problem's text. */
export type Column =
  | "id"
  | "problem"
  | "answer"
  | "choices"
  | "solution"
  | "candidates"
  | "source"
  | "images"
  | "level";

/** The columns of a file, by our names. */
export type Columns = Record<Column, string>;

const USUAL_COLUMNS: Record<Column, readonly string[]> = {
  id: ["id"],
  problem: ["problem", "question", "prompt"],
  answer: ["answer"],
  choices: ["choices"],
  solution: ["solution"],
  candidates: ["candidates"],
  source: ["source", "data_source"],
  images: ["images", "image"],
  level: ["level"],
};

/** The names under which a column is looked for: the one given for this file, else the usual ones. */
export function columnNames(column: Column, columns: Partial<Columns>): readonly string[] {
  return columns[column] === undefined ? USUAL_COLUMNS[column] : [columns[column]];
}

/** Every name that is looked for. */
export function allColumnNames(columns: Partial<Columns>): string[] {
  return (Object.keys(USUAL_COLUMNS) as Column[]).flatMap((column) => [...columnNames(column, columns)]);
}

/** A value in an error message: bytes by their number, the rest as JSON. */
function shown(value: unknown): string {
  return shortened(
    JSON.stringify(
      value,
      (_, part) =>
        part instanceof Uint8Array ? `${part.length} bytes` : typeof part === "bigint" ? `${part}` : part,
    ),
  );
}

/** Bytes of a Parquet column that is not marked as text; those that are no UTF-8 stay bytes. */
function decoded(value: unknown): unknown {
  if (!(value instanceof Uint8Array)) return value;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(value);
  } catch {
    return value;
  }
}

function isNumber(value: unknown): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

/** Finds our columns in one record; null and absent are the same. */
export class RowRecord {
  /** The record as it was read. */
  readonly record: Readonly<Record<string, unknown>>;
  readonly #columns: Partial<Columns>;

  /** A record whose columns have these names, or the usual ones. */
  constructor(record: Readonly<Record<string, unknown>>, columns: Partial<Columns>) {
    this.record = record;
    this.#columns = columns;
  }

  /** A column's possible names, quoted. */
  quoted(column: Column): string {
    return columnNames(column, this.#columns).map((name) => `"${name}"`).join(", ");
  }

  #value(column: Column): { name: string; value: unknown } | undefined {
    const name = columnNames(column, this.#columns).find((name) =>
      this.record[name] !== undefined && this.record[name] !== null
    );
    return name === undefined ? undefined : { name, value: this.record[name] };
  }

  #wrong(name: string, wanted: string): BadRow {
    return new BadRow("wrong type", `column "${name}" must be ${wanted}, not ${shown(this.record[name])}`);
  }

  /** A text or number as trimmed text; undefined where absent or blank. */
  text(column: Column): string | undefined {
    const found = this.#value(column);
    if (!found) return undefined;
    const value = decoded(found.value);
    if (isNumber(value)) return `${value}`;
    if (typeof value !== "string") throw this.#wrong(found.name, "text or a number");
    return value.trim() || undefined;
  }

  /** A list of texts, or one text as a list of one; undefined where absent or empty. */
  texts(column: Column): string[] | undefined {
    const found = this.#value(column);
    if (!found) return undefined;
    const list = (Array.isArray(found.value) ? found.value : [found.value]).map(decoded);
    if (!list.every((entry) => typeof entry === "string" && entry.trim() !== "")) {
      throw this.#wrong(found.name, "text or a list of texts, none of them blank");
    }
    return list.length > 0 ? list as string[] : undefined;
  }

  /** A list of texts or numbers as trimmed texts; undefined where absent or empty. */
  choices(): string[] | undefined {
    const found = this.#value("choices");
    if (!found) return undefined;
    const list = Array.isArray(found.value) ? found.value.map(decoded) : undefined;
    if (!list?.every((entry) => isNumber(entry) || typeof entry === "string" && entry.trim() !== "")) {
      throw this.#wrong(found.name, "a list of texts or numbers, none of them blank");
    }
    return list.length > 0 ? list.map((entry) => `${entry}`.trim()) : undefined;
  }

  /** The question: text, or (TRL's conversations) the last user message of a list of messages. */
  problem(): string | undefined {
    const found = this.#value("problem");
    if (!found || !Array.isArray(found.value)) return this.text("problem");
    const last = found.value.findLast((message) => message?.role === "user");
    if (typeof last?.content !== "string") {
      throw this.#wrong(found.name, "text or messages with a user's text");
    }
    return last.content.trim() || undefined;
  }

  /**
   * Pictures: one or a list of paths, addresses, bytes, or `{ bytes, path }` (Hugging Face's image columns; without
   * bytes the path counts). Undefined where absent or empty.
   */
  images(): RowImage[] | undefined {
    const found = this.#value("images");
    if (!found) return undefined;
    const list = Array.isArray(found.value) ? found.value : [found.value];
    const images = list.map((entry): RowImage => {
      if (typeof entry === "string" && entry.trim() !== "") return entry;
      if (entry instanceof Uint8Array && entry.length > 0) return { bytes: entry };
      const { bytes, path } = entry ?? {};
      const named = typeof path === "string" && path.trim() !== "";
      if (bytes instanceof Uint8Array && bytes.length > 0) return named ? { bytes, path } : { bytes };
      if ((bytes === null || bytes === undefined) && named) return path;
      throw this.#wrong(found.name, "one or a list of paths, picture bytes, or { bytes, path }");
    });
    return images.length > 0 ? images : undefined;
  }
}
