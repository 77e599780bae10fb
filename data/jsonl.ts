/**
 * JSONL files as a stream of records, one line in memory at a time.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import { BadRow, shortened } from "./bad_row.ts";

/** One record of a data file, or why it is none; `number` counts lines or rows from 1. */
export type FileRecord =
  | { readonly number: number; readonly record: Readonly<Record<string, unknown>> }
  | { readonly number: number; readonly fault: BadRow };

/** Lines without their end; a byte-order mark at the start of the text is taken off by the decoder. */
async function* linesOf(text: ReadableStream<string>): AsyncGenerator<string, void, undefined> {
  let rest = "";
  for await (const chunk of text) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "") yield rest;
}

function parseLine(line: string): Record<string, unknown> | BadRow {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch (error) {
    return new BadRow("not JSON", `${(error as Error).message} in ${shortened(line)}`);
  }
  return typeof record === "object" && record !== null && !Array.isArray(record)
    ? record as Record<string, unknown>
    : new BadRow("not a JSON object", shortened(line));
}

/**
 * The records of a JSONL file. Lines that are none come as faults; blank lines at the end do not count.
 * @throws UserError where the file cannot be read
 */
export async function* jsonlRecords(path: string): AsyncGenerator<FileRecord, void, undefined> {
  try {
    const file = await Deno.open(path);
    let number = 0, blank = 0;
    for await (const line of linesOf(file.readable.pipeThrough(new TextDecoderStream()))) {
      if (line.trim() === "") {
        blank++;
        continue;
      }
      for (; blank > 0; blank--) {
        yield { number: ++number, fault: new BadRow("empty line", "nothing between two rows") };
      }
      const parsed = parseLine(line);
      number++;
      yield parsed instanceof BadRow ? { number, fault: parsed } : { number, record: parsed };
    }
  } catch (error) {
    throw new UserError(
      `${path}: cannot be read (${(error as Error).message}); give the path of a JSONL or Parquet file`,
    );
  }
}
