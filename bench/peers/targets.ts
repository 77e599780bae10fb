/** What this project's speed is measured against: ratios to its peers, by work. @module */
import type { ComparedRow } from "./comparison.ts";

/** Ratios (this project's speed over the peer's); null: none is set. */
export interface Target {
  /** Below it something is wrong. */
  readonly floor: number | null;
  /** Where work on speed is headed. */
  readonly goal: number | null;
}

/**
 * No JavaScript library may do the same work faster; PyTorch is the goal. Changed here, and nowhere else, when the
 * project sets itself others.
 */
const TARGETS: Readonly<Record<ComparedRow["group"], Target>> = {
  own: { floor: null, goal: null },
  javascript: { floor: 1, goal: null },
  pytorch: { floor: null, goal: 1 },
};

/** The targets of a row. */
export function targetOf(row: Pick<ComparedRow, "work" | "group">): Target {
  return TARGETS[row.group];
}

/** What a ratio is beside its targets, in words. */
export function verdict(ratio: number | null, { floor, goal }: Target): string {
  if (ratio === null) return "";
  if (floor !== null && ratio < floor) return "below the floor";
  if (goal !== null) return ratio >= goal ? "goal reached" : "below the goal";
  return floor === null ? "" : "above the floor";
}
