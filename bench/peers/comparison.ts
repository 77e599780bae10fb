/**
 * Runs the work with everyone in turns: all get ready one after another, then each does one piece a round, so that
 * whatever else the machine does meets all of them.
 * @module
 */
import { median } from "../clock.ts";
import { OWN, type Peer } from "./peers.ts";
import { PeerFailure, PeerProcess } from "./process.ts";
import type { Work } from "./work.ts";

/** Seconds that a peer may take to get ready, and for one piece of work. */
export const LIMIT = 300;

/** One peer at one kind of work. */
export interface ComparedRow {
  /** Name of the work. */
  readonly work: string;
  readonly peer: string;
  readonly group: Peer["group"];
  readonly unit: string;
  /** Median over the rounds; null when there is a reason instead. */
  readonly speed: number | null;
  /** Seconds of one piece of work, round by round. */
  readonly seconds: readonly number[];
  /** This project's speed over the peer's: the median of the rounds' ratios; null for itself and without a speed. */
  readonly ratio: number | null;
  /** Device and version in words; or why there is no speed. */
  readonly note: string;
  /** The peer was to do the work and did not. */
  readonly failed: boolean;
}

/** What the rows need of a process; {@link PeerProcess}, or a stand-in. */
export type Runner = Pick<PeerProcess, "ready" | "run" | "close">;

/** Relative difference beyond which two programs do not compute the same. */
const TOLERANCE = 1e-3;

interface Entrant {
  readonly peer: Peer;
  runner?: Runner;
  note: string;
  failed: boolean;
  seconds: number[];
}

/** One kind of work by all peers; the first is this project. */
export async function compare(
  work: Work,
  peers: readonly Peer[],
  rounds: number,
  tell: (note: string) => void,
  start: (peer: Peer, work: Work) => Runner = (peer, work) => new PeerProcess(peer, work),
): Promise<ComparedRow[]> {
  const entrants = peers.map((peer): Entrant => {
    const reason = peer.cannot[work.kind];
    return { peer, note: reason ?? "", failed: false, seconds: [] };
  });
  let own: number | undefined;
  const fail = async (entrant: Entrant, error: unknown) => {
    if (!(error instanceof PeerFailure)) throw error;
    entrant.note = error.message;
    entrant.failed = true;
    entrant.seconds = [];
    await entrant.runner?.close();
    entrant.runner = undefined;
  };
  try {
    for (const entrant of entrants) {
      if (entrant.note !== "") continue;
      tell(`${work.name}: ${entrant.peer.name} gets ready`);
      try {
        entrant.runner = start(entrant.peer, work);
        const { what, value } = await entrant.runner.ready(LIMIT);
        entrant.note = what;
        if (entrant.peer.name === OWN) own = value;
        else if (own !== undefined && !(Math.abs(value - own) <= TOLERANCE * Math.max(1, Math.abs(own)))) {
          throw new PeerFailure(`computes something else: ${value} where this project has ${own}`);
        }
      } catch (error) {
        await fail(entrant, error);
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (const entrant of entrants) {
        if (!entrant.runner) continue;
        tell(`${work.name}: round ${round + 1} of ${rounds}, ${entrant.peer.name}`);
        try {
          entrant.seconds.push(await entrant.runner.run(LIMIT));
        } catch (error) {
          await fail(entrant, error);
        }
      }
    }
  } finally {
    for (const { runner } of entrants) await runner?.close();
  }
  const ours = entrants.find(({ peer }) => peer.name === OWN)?.seconds ?? [];
  return entrants.map(({ peer, note, failed, seconds }): ComparedRow => ({
    work: work.name,
    peer: peer.name,
    group: peer.group,
    unit: work.unit,
    speed: seconds.length > 0 ? work.amount / median(seconds) : null,
    seconds,
    ratio: peer.name === OWN ? null : ratioOf(ours, seconds),
    note,
    failed,
  }));
}

/** How many times as fast the first is: rounds are compared one by one, for they saw the same load. */
export function ratioOf(own: readonly number[], peer: readonly number[]): number | null {
  if (own.length === 0 || own.length !== peer.length) return null;
  return median(own.map((seconds, round) => peer[round] / seconds));
}
