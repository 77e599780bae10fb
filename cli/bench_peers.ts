/** `bench --peers`, `--check` and `--save`: installs the peers, compares, and keeps or checks the ratios. @module */
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { Gpu } from "../gpu/device.ts";
import { UserError } from "../gpu/errors.ts";
import { type AdapterKind, adapterKind } from "../bench/peers/adapter_kind.ts";
import { compare, type ComparedRow } from "../bench/peers/comparison.ts";
import {
  installArguments,
  OWN,
  OWN_HALF,
  PACKAGES_FOLDER,
  type Peer,
  PEERS,
  pythonPeers,
  writePythonScripts,
} from "../bench/peers/peers.ts";
import { ratiosSection, withRatios } from "../bench/peers/page.ts";
import { checkText, comparisonText, type PeerReport } from "./peer_tables.ts";
import { checkRatios, loadResults, type SavedResults, saveResults } from "../bench/peers/results.ts";
import { steeringOf } from "../bench/peers/targets.ts";
import { WORKS } from "../bench/peers/work.ts";

/** Where results are kept, in git. */
export const RESULTS_FOLDER: string = fileURLToPath(new URL("../bench/results", import.meta.url));

/** The page that publishes them. */
export const RATIOS_PAGE: string = fileURLToPath(new URL("../docs/PERFORMANCE.md", import.meta.url));

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
    const kind = await kindHere();
    const { works, peers: wanted } = chosen(args.names, all, kind);
    const peers = await installed(wanted);
    const rows: ComparedRow[] = [];
    for (const work of works) {
      rows.push(...await compare(work, peers, limits, (note) => console.error(note)));
    }
    const report = reportOf(rows, rounds, kind);
    console.log(args.json ? JSON.stringify(report) : comparisonText(report));
    return await keep(report, saved, args);
  } finally {
    await Deno.remove(scripts, { recursive: true });
  }
}

/** The kind of the adapter that the peers will have; nothing is open on it while they run. */
async function kindHere(): Promise<AdapterKind> {
  const gpu = await Gpu.open();
  gpu.close();
  return adapterKind(gpu.facts);
}

/**
 * Names choose among works, among peers, or both; this project always takes part, in half precision where somebody does
 * whom that is held against. On a software adapter what is for hardware is taken only by a name that fits nothing else.
 * @throws UserError for a name that nothing has
 */
export function chosen(
  names: readonly string[],
  peers: readonly Peer[],
  kind: AdapterKind,
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
  const take = <T extends { readonly name: string; readonly hardware?: boolean }>(
    all: readonly T[],
    texts: readonly string[],
  ): readonly T[] => {
    const usual = all.filter(({ hardware }) => kind !== "software" || !hardware);
    if (texts.length === 0) return usual;
    return texts.flatMap((text) => {
      const named = (among: readonly T[]) => among.filter(({ name }) => part(name, text));
      return named(usual).length > 0 ? named(usual) : named(all);
    });
  };
  const works = take(WORKS, ofWorks);
  const taken = take(peers, ofPeers);
  const halved = taken.some(({ half }) => half);
  return {
    works: WORKS.filter((work) => works.includes(work)),
    peers: peers.filter((peer) =>
      peer.name === OWN || halved && peer.name === OWN_HALF || taken.includes(peer)
    ),
  };
}

/** Fetches the packages of the peers that have some; whoever's are not to be had is said to be absent, with the reason. */
async function installed(peers: readonly Peer[]): Promise<readonly Peer[]> {
  const reasons = new Map<string, string>();
  for (const script of new Set(peers.flatMap(({ packages }) => packages ?? []))) {
    console.error(`installing what ${basename(script)} needs into ${PACKAGES_FOLDER}`);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: installArguments(script),
      env: { DENO_DIR: PACKAGES_FOLDER, NO_COLOR: "1" },
      stdout: "null",
      stderr: "piped",
    }).output();
    if (!success) reasons.set(script, `is not installed: ${new TextDecoder().decode(stderr).trim()}`);
  }
  return peers.map((peer) => {
    const reason = peer.packages && reasons.get(peer.packages);
    return reason === undefined ? peer : { ...peer, absent: reason };
  });
}

function reportOf(rows: readonly ComparedRow[], rounds: number, kind: AdapterKind): PeerReport {
  const own = rows.find((row) => row.peer === OWN && row.speed !== null);
  const { adapter, driver } = own === undefined ? { adapter: null, driver: null } : JSON.parse(own.note);
  return { adapter, driver, kind, date: new Date().toISOString(), rounds, rows };
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
  let code = report.rows.some((row) => row.against === null && row.failed) ? 1 : 0;
  const { adapter, driver, date } = report;
  if (adapter === null || driver === null) return 1;
  const results: SavedResults = { adapter, driver, date, ratios: ratiosOf(report.rows) };
  const say = (text: string) => args.json ? console.error(text) : console.log(text);
  if (args.check) {
    const { changes, failures } = checkRatios(results, saved, report.rows);
    const check = { changes, failures: [...failures, ...steeringFailures(report.rows)] };
    say(checkText(check));
    if (check.failures.length > 0) code = 1;
  }
  if (args.save && Object.keys(results.ratios).length > 0) {
    say(`saved as ${await saveResults(RESULTS_FOLDER, results)}`);
    const page = await Deno.readTextFile(RATIOS_PAGE);
    const section = ratiosSection(await loadResults(RESULTS_FOLDER));
    await Deno.writeTextFile(RATIOS_PAGE, withRatios(page, section));
  }
  return code;
}
