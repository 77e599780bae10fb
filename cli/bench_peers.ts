/** `bench --peers`, `--check` and `--save`: installs the peers, compares, and keeps or checks the ratios. @module */
import { fileURLToPath } from "node:url";
import { UserError } from "../gpu/errors.ts";
import { compare, type ComparedRow } from "../bench/peers/comparison.ts";
import {
  INSTALL,
  OWN,
  PACKAGES_FOLDER,
  type Peer,
  PEERS,
  pythonPeers,
  writePythonScripts,
} from "../bench/peers/peers.ts";
import { checkText, comparisonText, type PeerReport } from "./peer_tables.ts";
import { checkRatios, loadResults, type SavedResults, saveResults } from "../bench/peers/results.ts";
import { steeringOf } from "../bench/peers/targets.ts";
import { WORKS } from "../bench/peers/work.ts";

/** Where results are kept, in git. */
export const RESULTS_FOLDER: string = fileURLToPath(new URL("../bench/results", import.meta.url));

/** Fewer say nothing about noise. */
const LEAST_ROUNDS = 3;

/** What to do. */
export interface PeerBenchArgs {
  /** Parts of names of works (`W1`, `W2 tiny`) and peers; none: all. */
  readonly names: readonly string[];
  readonly json: boolean;
  readonly rounds: number;
  /** Seconds that a peer may spend on one kind of work. */
  readonly limit: number;
  /** Minutes after which the comparison ends with what it has. */
  readonly minutes: number;
  /** Compare with the saved ratios. */
  readonly check: boolean;
  /** Keep the ratios. */
  readonly save: boolean;
  /** A Python interpreter with PyTorch, transformers and TRL, or with some of them. */
  readonly python?: string;
}

/** Runs the comparison; the exit code is 1 when a check failed or this project itself did. */
export async function benchPeers(args: PeerBenchArgs): Promise<number> {
  const rounds = Math.max(LEAST_ROUNDS, args.rounds);
  // Fetching the peers is part of the time.
  const limits = { rounds, seconds: args.limit, end: performance.now() + 60_000 * args.minutes };
  const saved = args.check ? await loadResults(RESULTS_FOLDER) : [];
  const scripts = await Deno.makeTempDir({ prefix: "ares-bench-" });
  try {
    await writePythonScripts(scripts);
    const all = args.python === undefined ? PEERS : [...PEERS, ...pythonPeers(args.python, scripts)];
    const { works, peers } = chosen(args.names, all);
    if (peers.some(({ group }) => group === "javascript")) await install();
    const rows: ComparedRow[] = [];
    for (const work of works) {
      rows.push(...await compare(work, peers, limits, (note) => console.error(note)));
    }
    const report = reportOf(rows, rounds);
    console.log(args.json ? JSON.stringify(report) : comparisonText(report));
    return await keep(report, saved, args);
  } finally {
    await Deno.remove(scripts, { recursive: true });
  }
}

/**
 * Names choose among works, among peers, or both; this project always takes part.
 * @throws UserError for a name that nothing has
 */
export function chosen(
  names: readonly string[],
  peers: readonly Peer[],
): { works: typeof WORKS; peers: readonly Peer[] } {
  const part = (name: string, text: string) => name.toLowerCase().includes(text.toLowerCase());
  const ofWorks = names.filter((text) => WORKS.some(({ name }) => part(name, text)));
  const ofPeers = names.filter((text) => peers.some(({ name }) => part(name, text)));
  const unknown = names.find((text) => !ofWorks.includes(text) && !ofPeers.includes(text));
  if (unknown !== undefined) {
    throw new UserError(
      `no work and no peer is called ${unknown}; there are ${
        [...WORKS, ...peers].map(({ name }) => name).join(", ")
      }`,
    );
  }
  const take = (name: string, texts: readonly string[]) =>
    texts.length === 0 || texts.some((text) => part(name, text));
  return {
    works: WORKS.filter(({ name }) => take(name, ofWorks)),
    peers: peers.filter(({ name }) => name === OWN || take(name, ofPeers)),
  };
}

/** Fetches the peers' packages; a failure shows again, with its reason, in every row that needs them. */
async function install(): Promise<void> {
  console.error(`installing the JavaScript peers into ${PACKAGES_FOLDER}`);
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...INSTALL],
    env: { DENO_DIR: PACKAGES_FOLDER, NO_COLOR: "1" },
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) console.error(`not all could be installed: ${new TextDecoder().decode(stderr).trim()}`);
}

function reportOf(rows: readonly ComparedRow[], rounds: number): PeerReport {
  const own = rows.find((row) => row.peer === OWN && row.speed !== null);
  const { adapter, driver } = own === undefined ? { adapter: null, driver: null } : JSON.parse(own.note);
  return { adapter, driver, date: new Date().toISOString(), rounds, rows };
}

/** Works whose iterations are steered at too high a price, in words. */
export function steeringFailures(rows: readonly ComparedRow[]): string[] {
  return rows.map(steeringOf).flatMap((share) => share?.tooMuch ? [share.text] : []);
}

/** This project's ratios by work and peer. */
export function ratiosOf(rows: readonly ComparedRow[]): SavedResults["ratios"] {
  const ratios: Record<string, Record<string, number>> = {};
  for (const { work, peer, ratio } of rows) if (ratio !== null) (ratios[work] ??= {})[peer] = ratio;
  return ratios;
}

async function keep(
  report: PeerReport,
  saved: readonly SavedResults[],
  args: PeerBenchArgs,
): Promise<number> {
  const own = report.rows.filter((row) => row.peer === OWN && row.failed).map((row) => row.work);
  let code = own.length > 0 ? 1 : 0;
  const { adapter, driver, date } = report;
  if (adapter === null || driver === null) return 1;
  const results: SavedResults = { adapter, driver, date, ratios: ratiosOf(report.rows) };
  const say = (text: string) => args.json ? console.error(text) : console.log(text);
  if (args.check) {
    const { changes, failures } = checkRatios(results, saved, own);
    const check = { changes, failures: [...failures, ...steeringFailures(report.rows)] };
    say(checkText(check));
    if (check.failures.length > 0) code = 1;
  }
  if (args.save && Object.keys(results.ratios).length > 0) {
    say(`saved as ${await saveResults(RESULTS_FOLDER, results)}`);
  }
  return code;
}
