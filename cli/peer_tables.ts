/** What a comparison and a check print. @module */
import { renderTable } from "./table.ts";
import type { ComparedRow } from "../bench/peers/comparison.ts";
import type { AdapterKind } from "../bench/peers/adapter_kind.ts";
import type { CheckResult } from "../bench/peers/results.ts";
import { steeringOf, targeted, targetOf, verdict } from "../bench/peers/targets.ts";

/** Most characters of a reason. */
const REASON = 400;

/** A whole comparison; what `--json` prints. */
export interface PeerReport {
  /** This project's adapter and driver; null when it did not run. */
  readonly adapter: string | null;
  readonly driver: string | null;
  /** Decides the targets. */
  readonly kind: AdapterKind;
  /** ISO 8601. */
  readonly date: string;
  readonly rounds: number;
  readonly rows: readonly ComparedRow[];
}

/** The table of speeds and ratios, and why some are missing. */
export function comparisonText(r: PeerReport): string {
  const number = (x: number | null) => x === null ? "" : x.toPrecision(3);
  const cells = (row: ComparedRow) => {
    const target = targetOf(row, r.kind);
    return [
      row.work,
      row.peer,
      row.speed === null ? (row.failed ? "failed" : "–") : speed(row.speed),
      row.unit,
      row.against ?? "",
      number(row.ratio),
      number(target.floor),
      number(target.goal),
      verdict(row.ratio, target),
    ];
  };
  const head = ["work", "peer", "median", "unit", "against it", "times as fast", "floor", "goal", ""];
  const tried = r.rows.filter((row) => row.speed !== null || row.failed);
  // What a peer says of itself is the same at each kind of work, or nearly.
  const versions = new Set(
    r.rows.filter((row) => row.speed !== null && row.against !== null).map((row) => row.note),
  );
  return [
    `${r.adapter ?? "no adapter"}, ${
      r.driver ?? "no driver"
    }; medians of ${r.rounds} rounds in turns; times as fast: the speed of who is against it, this project in the same precision, over the peer's`,
    renderTable(head, tried.map(cells), { left: [0, 1, 3, 4, 8] }),
    targetLine(r),
    ...r.rows.flatMap((row) => steeringOf(row)?.text ?? []),
    ...[...versions].sort(),
    ...tried.filter((row) => row.failed).map((row) => `${row.work}, ${row.peer}: failed: ${brief(row.note)}`),
    ...unable(r.rows),
  ].join("\n");
}

/** How many targets of the works that were done are reached, and which were not measured. */
function targetLine({ rows, kind }: PeerReport): string {
  const works = new Set(rows.map(({ work }) => work));
  const ratios = targeted(kind).filter(([work]) => works.has(work)).map(([work, peer]) => ({
    work,
    peer,
    ratio: rows.find((row) => row.work === work && row.peer === peer)?.ratio ?? null,
  }));
  if (ratios.length === 0) return `targets: none for this work on this kind of adapter (${kind})`;
  const measured = ratios.filter(({ ratio }) => ratio !== null);
  const reached = (key: "floor" | "goal") =>
    measured.filter((row) => row.ratio! >= (targetOf(row, kind)[key] ?? 0)).length;
  const unmeasured = ratios.filter(({ ratio }) => ratio === null).map(({ work, peer }) =>
    `${work} with ${peer}`
  );
  const floors = measured.some((row) => targetOf(row, kind).floor !== null)
    ? `${reached("floor")} above the floor, `
    : "";
  const counts = `targets (${kind} adapter): of ${measured.length} measured, ${floors}${
    reached("goal")
  } at the goal`;
  return unmeasured.length === 0 ? counts : `${counts}; not measured: ${unmeasured.join(", ")}`;
}

/** Who leaves out what, and why; a ceiling is made for one work and has nothing to say of the others. */
function unable(rows: readonly ComparedRow[]): string[] {
  const works = new Map<string, string[]>();
  for (const { work, peer, speed, failed, group, note } of rows) {
    if (speed !== null || failed || group === "ceiling") continue;
    const reason = `${peer}: ${note}`;
    works.set(reason, [...works.get(reason) ?? [], work]);
  }
  return [...works].map(([reason, names]) => `${reason} (${names.join(", ")})`);
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
  const measured = changes.filter(({ now }) => now !== null).length;
  const count = `${measured} of ${changes.length} saved ratios measured`;
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
    ...failures,
    failures.length === 0
      ? `check passed: ${count}, none fell by more than 20 %, nothing is steered for too long`
      : `check failed: ${count}, ${failures.length} reasons above`,
  ].join("\n");
}
