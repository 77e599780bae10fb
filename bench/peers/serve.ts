/**
 * A peer's side of the conversation: one process, one kind of work. The argument is the work as JSON; every line `run`
 * on standard input is answered by one line on standard output, a mark and JSON. So a process stays warm while the
 * others have their turns.
 * @module
 */
import type { Work } from "./work.ts";

/** Marks an answer among whatever a library prints. */
export const MARK = "@peer ";

/** What a peer says. */
export type Answer =
  | {
    /** Set up and warm. */
    readonly kind: "ready";
    /** Device and version, in words. */
    readonly what: string;
    /** Numbers of the first runs that must be the same for everyone: see {@link Session.run}. */
    readonly values: readonly number[];
  }
  | ({ readonly kind: "time" } & Time)
  | { readonly kind: "error"; readonly reason: string }
  /** What it needs is not on this machine: no failure. */
  | { readonly kind: "unavailable"; readonly reason: string };

/** The time of one piece of work. */
export interface Time {
  readonly seconds: number;
  /** Seconds of this project at the same piece, where the peer is a part of it: the kernels without what is between them. */
  readonly whole?: number;
  /** Seconds of it that iterations spend on deciding what to learn, as `steeringSeconds` counts them. */
  readonly steering?: number;
}

/** What a peer needs is not on this machine. */
export class Unavailable extends Error {}

/** A peer that is ready for its work. */
export interface Session {
  /** Device and version, in words. */
  readonly what: string;
  /**
   * Does the work `repeats` times and waits for the last result.
   * @returns an element of the product (row 1, column 2), the loss before the step, the number of tokens made
   */
  run(repeats: number): Promise<number>;
  /** What a run counts for where that is not the time that it took. */
  counted?(seconds: number): Time;
}

/** Shortest time that is measured, s: what takes less is repeated, or its start after the others' turns would be most of it. */
const SECONDS = 1;

/** Seconds of a first run that may be followed by two more before anything is timed; one otherwise. */
const PATIENCE = 10;

/** Serves until standard input ends. */
export async function serve(
  open: (work: Work) => Promise<Session>,
): Promise<void> {
  const say = (answer: Answer) => console.log(MARK + JSON.stringify(answer));
  try {
    const session = await open(JSON.parse(Deno.args[0]));
    const values: number[] = [];
    const time = async (repeats: number): Promise<number> => {
      const start = performance.now();
      values.push(await session.run(repeats));
      return (performance.now() - start) / 1000;
    };
    // The second run may still compile (an optimizer's second step, a pipeline's first reuse); the slowest do without
    // one more.
    if (await time(1) < PATIENCE) await time(1);
    let seconds = await time(1);
    const first = [...values];
    let repeats = 1;
    while (seconds < SECONDS && repeats < 4096) {
      repeats *= 2;
      seconds = await time(repeats);
    }
    say({ kind: "ready", what: session.what, values: first });
    for await (
      const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    ) {
      for (let i = chunk.split("run\n").length - 1; i > 0; i--) {
        const taken = await time(repeats);
        const { seconds, whole, steering }: Time = session.counted?.(taken) ?? { seconds: taken };
        say({
          kind: "time",
          seconds: seconds / repeats,
          whole: whole && whole / repeats,
          steering: steering && steering / repeats,
        });
      }
    }
  } catch (error) {
    say(
      error instanceof Unavailable ? { kind: "unavailable", reason: error.message } : {
        kind: "error",
        reason: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
      },
    );
    Deno.exit(1);
  }
  // Devices and worker threads would keep the process alive.
  Deno.exit(0);
}
