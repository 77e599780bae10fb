/**
 * Tables for the terminal.
 * @module
 */
import Table from "cli-table3";

/** How a table looks. */
export interface TableStyle {
  /** Colours in head and border; default: standard output is a terminal and NO_COLOR is not set. */
  colour?: boolean;
  /** Columns set to the left; the others, numbers mostly, to the right. Default: the first. */
  left?: readonly number[];
}

/** Lays `rows` out under `head`; every row has one cell for each column of the head. */
export function renderTable(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  style: TableStyle = {},
): string {
  const colour = style.colour ?? (Deno.stdout.isTerminal() && !Deno.env.get("NO_COLOR"));
  const left = style.left ?? [0];
  const table = new Table({
    // Bold by our own hand: the library's colours go off wherever it takes the environment for a CI's.
    head: head.map((name) => colour ? `\x1b[1m${name}\x1b[22m` : name),
    colAligns: head.map((_, column) => left.includes(column) ? "left" : "right"),
    // Rules between rows would double the height of a long table and say nothing: compact.
    style: { compact: true, head: [], border: [] },
  });
  for (const row of rows) {
    if (row.length !== head.length) {
      throw new RangeError(`a row of ${row.length} cells under ${head.length} heads`);
    }
    table.push(row.map(String));
  }
  return table.toString();
}
