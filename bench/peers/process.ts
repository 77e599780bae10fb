/** A peer's process, seen from the bench: asked for one run at a time, ended when it takes too long. @module */
import type { Peer } from "./peers.ts";
import { type Answer, MARK, type Time } from "./serve.ts";
import type { Work } from "./work.ts";

/** Why a peer has no time: it failed, ended or was too slow. */
export class PeerFailure extends Error {}

/** It was too slow: what it did before counts. */
export class PeerTooSlow extends PeerFailure {}

/** What it needs is not on this machine. */
export class PeerAbsent extends PeerFailure {}

type Ready = Extract<Answer, { kind: "ready" }>;

/** Last characters of what a process prints that are kept for the reason of its failure. */
const KEPT = 2000;

/** One peer at one kind of work. */
export class PeerProcess {
  #child: Deno.ChildProcess;
  #input: WritableStreamDefaultWriter<Uint8Array>;
  #answers: AsyncGenerator<Answer>;
  #noise = "";
  #drained: Promise<void>;

  /**
   * Starts the process; it sets itself up at once.
   * @throws PeerFailure when there is no such program
   */
  constructor(peer: Peer, work: Work) {
    const [program, ...args] = peer.command(JSON.stringify(work));
    const command = new Deno.Command(program, {
      args,
      env: {
        // As this project sets it for itself: the width of Mesa's software vectors, the same for everyone.
        LP_NATIVE_VECTOR_WIDTH: Deno.env.get("LP_NATIVE_VECTOR_WIDTH") ?? "512",
        XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? "/tmp",
        NO_COLOR: "1",
        ...peer.env,
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    });
    try {
      this.#child = command.spawn();
    } catch (error) {
      throw new PeerFailure(`${program} cannot be started: ${(error as Error).message}`);
    }
    this.#input = this.#child.stdin.getWriter();
    this.#answers = this.#read();
    this.#drained = this.#drain();
  }

  /** Waits until the peer is warm; at most `limit` seconds. */
  async ready(limit: number): Promise<Ready> {
    const answer = await this.#next(limit, "to get ready");
    if (answer.kind !== "ready") throw new PeerFailure(`answered ${answer.kind} before it was ready`);
    return answer;
  }

  /** The time of one piece of work; at most `limit` seconds are waited. */
  async run(limit: number): Promise<Time> {
    try {
      await this.#input.write(new TextEncoder().encode("run\n"));
    } catch {
      // The process has ended; its output says why.
    }
    const answer = await this.#next(limit, "for a run");
    if (answer.kind !== "time") throw new PeerFailure(`answered ${answer.kind} to a run`);
    return answer;
  }

  /** Ends the process. */
  async close(): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#input.abort().catch(() => {});
    await this.#child.status;
    await this.#answers.return(undefined);
    await this.#drained;
  }

  async #next(limit: number, what: string): Promise<Answer> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new PeerTooSlow(`cut off: ${limit.toFixed(0)} s were not enough ${what}`)),
        1000 * limit,
      );
    });
    try {
      const { value, done } = await Promise.race([this.#answers.next(), late]);
      if (done) {
        const { code, signal } = await this.#child.status;
        await this.#drained;
        throw new PeerFailure(`ended (${signal ?? `exit code ${code}`}): ${lastLine(this.#noise)}`);
      }
      if (value.kind === "error") throw new PeerFailure(value.reason);
      if (value.kind === "unavailable") throw new PeerAbsent(value.reason);
      return value;
    } finally {
      clearTimeout(timer);
    }
  }

  async *#read(): AsyncGenerator<Answer> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      for (const line of lines) if (line.startsWith(MARK)) yield JSON.parse(line.slice(MARK.length));
    }
  }

  async #drain(): Promise<void> {
    for await (const chunk of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#noise = (this.#noise + chunk).slice(-KEPT);
    }
  }
}

/** The line that tells most: the last that names an error, before the trace that may follow it; else the last. */
function lastLine(text: string): string {
  const lines = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1) ?? "it said nothing";
}
