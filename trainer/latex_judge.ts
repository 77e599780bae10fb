/**
 * LaTeX equality through @cortex-js/compute-engine behind a hard time limit: the engine runs in a worker, which is
 * ended and later started anew when an item takes too long.
 * @module
 */

/** What the worker is asked. */
export interface LatexQuestion {
  /** the right answer, LaTeX */
  gold: string;
  /** the answer to judge, LaTeX */
  answer: string;
}

/** Starts its worker at the first question; `close()` ends it. */
export class LatexJudge {
  #worker: Worker | undefined;
  /** Questions that ran into the time limit. */
  timeouts = 0;

  /** `timeLimitMs` bounds one question, not counting the start of a fresh worker. */
  constructor(readonly timeLimitMs: number) {}

  /** Whether the engine finds the two equal; false when it cannot tell, fails, or runs out of time. */
  async same(gold: string, answer: string): Promise<boolean> {
    this.#worker ??= await this.#start();
    const worker = this.#worker;
    const reply = await new Promise<boolean | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(undefined), this.timeLimitMs);
      const done = (value: boolean | undefined) => {
        clearTimeout(timer);
        resolve(value);
      };
      worker.onmessage = (event: MessageEvent<boolean>) => done(event.data);
      worker.onerror = (event) => {
        event.preventDefault();
        done(undefined);
      };
      worker.postMessage({ gold, answer } satisfies LatexQuestion);
    });
    if (reply === undefined) {
      this.timeouts++;
      this.close();
    }
    return reply ?? false;
  }

  /** Ends the worker, if one runs. */
  close(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** The engine takes most of a second to load; that time is no item's fault. */
  async #start(): Promise<Worker> {
    const worker = new Worker(new URL("./latex_judge_worker.ts", import.meta.url), { type: "module" });
    await new Promise<void>((resolve, reject) => {
      worker.onmessage = () => resolve();
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(`the LaTeX engine does not load: ${event.message}`));
      };
    });
    return worker;
  }
}
