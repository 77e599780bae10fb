/** The saved ratios as the published page has them: a table for each adapter, between two marks. @module */
import { UserError } from "../../gpu/errors.ts";
import { PEERS, pythonPeers } from "./peers.ts";
import { newestRatios, resultsOn, type SavedResults } from "./results.ts";
import { WORKS } from "./work.ts";

// The formatter would widen every column to its longest cell.
const BEGIN = "<!-- ratios: begin, by bench --save -->\n<!-- deno-fmt-ignore-start -->\n";
const END = "<!-- deno-fmt-ignore-end -->\n<!-- ratios: end -->";

/** What stands between the marks: works down, peers across, the newest ratio of each. */
export function ratiosSection(saved: readonly SavedResults[]): string {
  const adapters = [...new Set(saved.map(({ adapter }) => adapter))].sort();
  return adapters.map((adapter) => adapterTable(saved, adapter)).join("\n");
}

function adapterTable(saved: readonly SavedResults[], adapter: string): string {
  const ratios = newestRatios(saved, adapter);
  const works = inOrder(ratios.map(({ work }) => work), WORKS.map(({ name }) => name));
  const peers = inOrder(
    ratios.map(({ peer }) => peer),
    [...PEERS, ...pythonPeers("", "")].map(({ name }) => name),
  );
  const cell = (work: string, peer: string) =>
    ratios.find((r) => r.work === work && r.peer === peer)?.ratio.toPrecision(3) ?? "";
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  const days = [...new Set(resultsOn(saved, adapter).map(({ date }) => date.slice(0, 10)))];
  return `### ${adapter}\n\nMeasured ${days.join(", ")}; driver ${
    resultsOn(saved, adapter).at(-1)!.driver
  }.\n\n` +
    line(["work", ...peers]) + line(["---", ...peers.map(() => "--:")]) +
    works.map((work) => line([work, ...peers.map((peer) => cell(work, peer))])).join("");
}

/** Each name once: the known ones in their order, then what an older comparison had. */
function inOrder(names: readonly string[], order: readonly string[]): string[] {
  const there = new Set(names);
  return [...order.filter((name) => there.has(name)), ...[...there].filter((name) => !order.includes(name))];
}

/**
 * The page with this section in the place of the one that it has.
 * @throws UserError when the marks are missing, or are there twice
 */
export function withRatios(page: string, section: string): string {
  const [before, rest, more] = page.split(BEGIN);
  const [old, after, again] = rest?.split(END) ?? [];
  if (old === undefined || after === undefined || more !== undefined || again !== undefined) {
    throw new UserError(`the page needs these lines once, in this order:\n${BEGIN}${END}`);
  }
  return before + BEGIN + section + END + after;
}
