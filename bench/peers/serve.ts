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
    /** A number of the first run that must be the same for everyone: see {@link Session.run}. */
    readonly value: number;
  }
  | { readonly kind: "time"; readonly seconds: number }
  | { readonly kind: "error"; readonly reason: string };

/** A peer that is ready for its work. */
export interface Session {
  /** Device and version, in words. */
  readonly what: string;
  /**
   * Does the work `repeats` times and waits for the last result.
   * @returns an element of the product (row 1, column 2), the loss before the step, the number of tokens made
   */
  run(repeats: number): Promise<number>;
}

/** Shortest time that is measured: what takes less is repeated. */
const SECONDS = 0.4;

/** Milliseconds of a first run that may be followed by two more before anything is timed; one otherwise. */
const PATIENCE = 10_000;

/** Serves until standard input ends. */
export async function serve(
  open: (work: Work) => Promise<Session>,
): Promise<void> {
  const say = (answer: Answer) => console.log(MARK + JSON.stringify(answer));
  try {
    const session = await open(JSON.parse(Deno.args[0]));
    const time = async (repeats: number): Promise<number> => {
      const start = performance.now();
      await session.run(repeats);
      return (performance.now() - start) / 1000;
    };
    const start = performance.now();
    const value = await session.run(1);
    // The second run may still compile (an optimizer's second step, a pipeline's first reuse); the slowest do without
    // one more.
    if (performance.now() - start < PATIENCE) await session.run(1);
    let repeats = 1;
    for (
      let seconds = await time(1);
      seconds < SECONDS / 2 && repeats < 4096;
      seconds = await time(repeats)
    ) {
      repeats *= 2;
    }
    say({ kind: "ready", what: session.what, value });
    for await (
      const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    ) {
      for (let i = chunk.split("run\n").length - 1; i > 0; i--) {
        say({ kind: "time", seconds: await time(repeats) / repeats });
      }
    }
  } catch (error) {
    say({
      kind: "error",
      reason: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
    });
    Deno.exit(1);
  }
  // Devices and worker threads would keep the process alive.
  Deno.exit(0);
}
