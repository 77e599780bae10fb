/** What a comparison and a check print. @module */
import { renderTable } from "./table.ts";
import type { ComparedRow } from "../bench/peers/comparison.ts";
import { OWN } from "../bench/peers/peers.ts";
import type { CheckResult } from "../bench/peers/results.ts";
import { targetOf, verdict } from "../bench/peers/targets.ts";

/** Most characters of a reason. */
const REASON = 400;

/** A whole comparison; what `--json` prints. */
export interface PeerReport {
  /** This project's adapter and driver; null when it did not run. */
  readonly adapter: string | null;
  readonly driver: string | null;
  /** ISO 8601. */
  readonly date: string;
  readonly rounds: number;
  readonly rows: readonly ComparedRow[];
}

/** The table of speeds and ratios, and why some are missing. */
export function comparisonText(r: PeerReport): string {
  const number = (x: number | null) => x === null ? "" : x.toPrecision(3);
  const cells = (row: ComparedRow) => {
    const target = targetOf(row);
    return [
      row.work,
      row.peer,
      row.speed === null ? (row.failed ? "failed" : "–") : speed(row.speed),
      row.unit,
      number(row.ratio),
      number(target.floor),
      number(target.goal),
      verdict(row.ratio, target),
    ];
  };
  const head = ["work", "peer", "median", "unit", `${OWN} / peer`, "floor", "goal", ""];
  const missing = r.rows.filter((row) => row.speed === null);
  // What a peer says of itself is the same at each kind of work, or nearly.
  const versions = new Set(
    r.rows.filter((row) => row.speed !== null && row.peer !== OWN).map((row) => row.note),
  );
  return [
    `${r.adapter ?? "no adapter"}, ${
      r.driver ?? "no driver"
    }; medians of ${r.rounds} rounds in turns; ${OWN} / peer: how many times as fast as the peer this project is`,
    renderTable(head, r.rows.map(cells), { left: [0, 1, 3, 7] }),
    ...[...versions].sort(),
    ...missing.map((row) => `${row.work}, ${row.peer}: ${row.failed ? "failed: " : ""}${brief(row.note)}`),
  ].join("\n");
}

/** A reason on one line: a refused shader comes with its whole text, which is for `--json`. */
function brief(reason: string): string {
  const line = reason.replace(/\s+/g, " ");
  return line.length <= REASON ? line : `${line.slice(0, REASON)}…`;
}

/** Whole numbers from a hundred on: no rounding to 1.23e+4. */
function speed(x: number): string {
  return x >= 100 ? x.toFixed(0) : x.toPrecision(3);
}

/** Every ratio beside the saved one, then why the check failed or that it passed. */
export function checkText({ changes, failures }: CheckResult): string {
  const rows = changes.map(({ work, peer, before, now, fell }) => [
    work,
    peer,
    before.toPrecision(3),
    now === null ? "–" : now.toPrecision(3),
    fell ? "fell" : now === null ? "not measured" : "",
  ]);
  const parts = rows.length === 0
    ? []
    : [renderTable(["work", "peer", "saved", "now", ""], rows, { left: [0, 1, 4] })];
  return [
    ...parts,
    ...(failures.length === 0 ? ["check passed: no ratio fell by more than 20 %"] : failures),
  ].join("\n");
}
