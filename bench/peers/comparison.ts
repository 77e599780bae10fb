/**
 * Runs the work with everyone in turns: all get ready one after another, then each does one piece a round, so that
 * whatever else the machine does meets all of them.
 * @module
 */
import { median } from "../clock.ts";
import { against, OWN, type Peer } from "./peers.ts";
import { PeerAbsent, PeerFailure, PeerProcess, PeerTooSlow } from "./process.ts";
import type { Time } from "./serve.ts";
import type { Work } from "./work.ts";

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
  /** Who is held against it, {@link OWN} or its half-precision twin; null for this project itself. */
  readonly against: string | null;
  /** The speed of `against` over the peer's: the median of the rounds' ratios; null for itself and without a speed. */
  readonly ratio: number | null;
  /** Share of this project's iteration that decides what to learn, the median over the rounds; null where nothing does. */
  readonly steering: number | null;
  /** Device and version in words; or why there is no speed. */
  readonly note: string;
  /** The peer was to do the work and did not. */
  readonly failed: boolean;
  /** It never does this work, or is not installed here. */
  readonly absent: boolean;
}

/** How long a comparison may take. */
export interface Limits {
  /** Turns of everyone. */
  readonly rounds: number;
  /** Seconds that a peer may spend on one kind of work, getting ready included; then it is cut off. */
  readonly seconds: number;
  /** When the whole comparison ends, on `performance.now()`'s clock. */
  readonly end: number;
}

/** What the rows need of a process; {@link PeerProcess}, or a stand-in. */
export type Runner = Pick<PeerProcess, "ready" | "run" | "close">;

/** Relative difference beyond which two programs do not compute the same. */
const TOLERANCE = 1e-3;
/** The same for losses where products are of 16 bits. */
const HALF_TOLERANCE = 2e-3;
/**
 * And for an element of a product, over the root of its terms: factors of W1 deviate by 0.29, their bf16 roundings by
 * 1.1e-3 of that, so that a sum of k terms deviates by 1.3e-4 √k; this is 5 times as much.
 */
const HALF_PRODUCT = 6.5e-4;

interface Entrant {
  readonly peer: Peer;
  runner?: Runner;
  note: string;
  failed: boolean;
  absent: boolean;
  /** Seconds left to it. */
  left: number;
  times: Time[];
}

/** One kind of work by all peers; the first is this project. */
export async function compare(
  work: Work,
  peers: readonly Peer[],
  limits: Limits,
  tell: (note: string) => void,
  start: (peer: Peer, work: Work) => Runner = (peer, work) => new PeerProcess(peer, work),
): Promise<ComparedRow[]> {
  const { rounds } = limits;
  const entrants = peers.map((peer): Entrant => {
    const reason = peer.cannot[work.kind] ?? peer.absent;
    return {
      peer,
      note: reason ?? "",
      failed: false,
      absent: reason !== undefined,
      left: limits.seconds,
      times: [],
    };
  });
  /** Charges the time of `act` to the entrant, who is out when it fails. */
  const turn = async (entrant: Entrant, what: string, act: (seconds: number) => Promise<void>) => {
    const started = performance.now();
    const seconds = Math.min(entrant.left, (limits.end - started) / 1000);
    try {
      if (seconds <= 0) {
        throw new PeerTooSlow("not begun, or cut off: the time of the whole comparison was up");
      }
      tell(`${work.name}: ${what}, ${entrant.peer.name}`);
      await act(seconds);
      entrant.left -= (performance.now() - started) / 1000;
    } catch (error) {
      if (!(error instanceof PeerFailure)) throw error;
      const kept = error instanceof PeerTooSlow ? entrant.times.length : 0;
      entrant.absent = error instanceof PeerAbsent;
      // Whose turn never came did not fail.
      entrant.failed = !entrant.absent && kept === 0 && performance.now() < limits.end;
      entrant.note = kept === 0
        ? error.message
        : `${entrant.note}; ${work.name}: cut off after ${kept} of ${rounds} rounds`;
      entrant.times.length = kept;
      await entrant.runner?.close();
      entrant.runner = undefined;
    }
  };
  let own: readonly number[] = [];
  try {
    for (const entrant of entrants) {
      if (entrant.note !== "") continue;
      await turn(entrant, "getting ready", async (seconds) => {
        entrant.runner = start(entrant.peer, work);
        const { what, values } = await entrant.runner.ready(seconds);
        entrant.note = what;
        if (entrant.peer.name === OWN) own = values;
        // What is not a program of its own computes something else on purpose.
        else if (entrant.peer.group !== "ceiling") {
          refuseOther(values, own, toleranceOf(work, entrant.peer));
        }
      });
    }
    for (let round = 0; round < rounds; round++) {
      for (const entrant of entrants) {
        if (!entrant.runner) continue;
        await turn(entrant, `round ${round + 1} of ${rounds}`, async (seconds) => {
          entrant.times.push(await entrant.runner!.run(seconds));
        });
      }
    }
  } finally {
    for (const { runner } of entrants) await runner?.close();
  }
  const timesOf = (name: string | null) => entrants.find(({ peer }) => peer.name === name)?.times ?? [];
  return entrants.map(({ peer, note, failed, absent, times }): ComparedRow => {
    const seconds = times.map((time) => time.seconds);
    const steering = times.flatMap((time) =>
      time.steering === undefined ? [] : [time.steering / time.seconds]
    );
    const ours = against(peer);
    return {
      work: work.name,
      peer: peer.name,
      group: peer.group,
      unit: work.unit,
      speed: seconds.length > 0 ? work.amount / median(seconds) : null,
      seconds,
      against: ours,
      ratio: ours === null ? null : ratioOf(timesOf(ours), times),
      steering: steering.length > 0 ? median(steering) : null,
      note,
      failed,
      absent,
    };
  });
}

function toleranceOf(work: Work, { half }: Peer): number {
  if (!half) return TOLERANCE;
  return work.kind === "matmul" ? HALF_PRODUCT * Math.sqrt(work.k) : HALF_TOLERANCE;
}

/** @throws PeerFailure when the first runs' numbers are not this project's, as far as both have them */
function refuseOther(values: readonly number[], own: readonly number[], tolerance: number): void {
  const other = values.findIndex((value, i) =>
    i < own.length && !(Math.abs(value - own[i]) <= tolerance * Math.max(1, Math.abs(own[i])))
  );
  if (other < 0) return;
  throw new PeerFailure(
    `computes something else: ${values[other]} in run ${other + 1} where this project has ${own[other]}`,
  );
}

/** How many times as fast the first is: rounds are compared one by one, for they saw the same load. */
export function ratioOf(own: readonly Time[], peer: readonly Time[]): number | null {
  const ratios = peer.flatMap(({ seconds, whole }, round) => {
    const ours = whole ?? own[round]?.seconds;
    return ours === undefined ? [] : [seconds / ours];
  });
  return ratios.length === 0 ? null : median(ratios);
}
