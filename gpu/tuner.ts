/**
 * Kernels chosen by measuring: the first time a class of launches occurs, its candidates run on scratch tensors of that
 * size, and the fastest is kept for this adapter. All candidates compute the same within rounding.
 * @module
 */
import { createHash } from "node:crypto";
import type { Gpu } from "./device.ts";
import { type Candidates, type KernelSpec, kernelText } from "./kernel.ts";
import { Program } from "./program.ts";
import type { Tensor } from "./tensor.ts";
import { addChoices, type Choices, readChoices, tuningCachePath } from "./tuning_cache.ts";

/** How a device tunes. */
export interface TuneOptions {
  /** Seconds of measuring in all, compiling included; the rule decides on what is left. 4 by default. */
  readonly seconds?: number;
  /** File of earlier choices; null: none is read or written. By default in the user's cache folder. */
  readonly cache?: string | null;
  /** Hears one line when measuring begins, and why a file is not used. */
  readonly say?: (line: string) => void;
}

/** Which kernels a device runs where it chose by measuring. */
export interface KernelChoices {
  /** Adapter and driver. */
  readonly adapter: string;
  /** By class of launches: `linear_tiled.forward tokens=64 inputs=896 …`. */
  readonly choices: Choices;
}

/** A faster kernel is taken where it saves more than this share of the time: less is noise, and choices are to be stable. */
const NOISE = 0.05;
/** Launches of each candidate in one go. */
const ROUNDS = 7;
/** Milliseconds of measured launches that are enough; most goes. */
const ENOUGH = 10;
const GOES = 3;
/** Most bytes of scratch tensors of a class; a larger one is left to the rule. */
const MOST_SCRATCH = 2 ** 30;

/** Chooses kernels for the programs of one device. */
export class Tuner {
  #gpu: Gpu;
  #options: TuneOptions;
  #adapter: string;
  #cache: string | undefined;
  #known: Promise<Choices> | undefined;
  /** What the run that is gone on with took. */
  #adopted: Choices = {};
  #used: Choices = {};
  #turn: Promise<unknown> = Promise.resolve();
  #seconds = 0;
  #classes = 0;

  /** One for a device; nothing is read or measured yet. */
  constructor(gpu: Gpu, options: TuneOptions = {}) {
    this.#gpu = gpu;
    this.#options = options;
    this.#adapter = `${gpu.facts.name} | ${gpu.facts.driver}`;
    this.#cache = options.cache === undefined ? tuningCachePath() : options.cache ?? undefined;
  }

  /** What measuring took so far. */
  get spent(): { readonly classes: number; readonly seconds: number } {
    return { classes: this.#classes, seconds: this.#seconds };
  }

  /** The choices made so far, for a run to keep. */
  choices(): KernelChoices {
    const sorted = Object.entries(this.#used).sort(([a], [b]) => a < b ? -1 : 1);
    return { adapter: this.#adapter, choices: Object.fromEntries(sorted) };
  }

  /** Takes an earlier run's choices before all others; false, and nothing is taken, when they are another adapter's. */
  adopt(kept: KernelChoices): boolean {
    if (kept.adapter !== this.#adapter) return false;
    this.#adopted = { ...kept.choices };
    return true;
  }

  /**
   * The kernel to launch: as it was chosen before for this class, else the fastest of `rule` and the candidates, else,
   * where the time is spent or the scratch tensors do not fit, `rule`.
   */
  choose(rule: KernelSpec, { kernels, dims }: Candidates): Promise<KernelSpec> {
    const rivals = [rule, ...kernels.filter((kernel) => kernel.name !== rule.name)];
    if (rivals.length === 1) return Promise.resolve(rule);
    // One at a time: programs that are built side by side would disturb each other's times.
    const choice = this.#turn.then(() => this.#choose(rivals, dims));
    this.#turn = choice.catch(() => {});
    return choice;
  }

  async #choose(rivals: readonly KernelSpec[], dims: Candidates["dims"]): Promise<KernelSpec> {
    const [rule] = rivals;
    const key = `${rule.name} ${Object.entries(dims).map(([name, value]) => `${name}=${value}`).join(" ")}`;
    const among = fingerprint(rivals);
    const known = await (this.#known ??= this.#read());
    for (const choices of [this.#used, this.#adopted, known]) {
      const choice = choices[key];
      const kernel = choice?.among === among && rivals.find((rival) => rival.name === choice.kernel);
      if (!kernel) continue;
      this.#used[key] = choice;
      return kernel;
    }
    const best = await this.#fastest(rivals, dims);
    // Also where it was not measured: a run that goes on from here is to take the same.
    this.#used[key] = { kernel: (best ?? rule).name, among };
    if (best && this.#cache) {
      await addChoices(this.#cache, this.#adapter, { [key]: this.#used[key] }, (line) => this.#say(line));
    }
    return best ?? rule;
  }

  async #read(): Promise<Choices> {
    return this.#cache ? await readChoices(this.#cache, this.#adapter, (line) => this.#say(line)) : {};
  }

  #say(line: string): void {
    this.#options.say?.(line);
  }

  /** Measures; undefined where nothing could be. */
  async #fastest(rivals: readonly KernelSpec[], dims: Candidates["dims"]): Promise<KernelSpec | undefined> {
    const { seconds = 4 } = this.#options;
    if (this.#seconds >= seconds) return undefined;
    if (this.#classes === 0) {
      const kept = this.#cache ? `, kept in ${this.#cache}` : "";
      this.#say(`tuning kernels for this adapter: at most ${seconds} s, once${kept}`);
    }
    const start = performance.now();
    const scratch = await allocate(this.#gpu, rivals[0], dims);
    if (!scratch) return undefined;
    const programs: Program[] = [];
    try {
      const times = await this.#measure(rivals, scratch, dims, programs);
      // A clock that stood still or ran backwards says nothing.
      if (times.some((time) => !(time > 0))) return undefined;
      const best = times.indexOf(Math.min(...times));
      return times[best] < times[0] * (1 - NOISE) ? rivals[best] : rivals[0];
    } finally {
      for (const program of programs) program.destroy();
      for (const tensor of Object.values(scratch)) tensor.buffer.destroy();
      this.#classes++;
      this.#seconds += (performance.now() - start) / 1000;
    }
  }

  /** Median milliseconds of a launch of each, taken in turns; the first go of a kernel, which may compile it, is one of many. */
  async #measure(
    rivals: readonly KernelSpec[],
    scratch: Readonly<Record<string, Tensor>>,
    dims: Candidates["dims"],
    programs: Program[],
  ): Promise<number[]> {
    const gpu = this.#gpu;
    const make = (times: number, ...kernels: readonly KernelSpec[]) => {
      const program = new Program(gpu, "tuning");
      programs.push(program);
      for (let i = 0; i < times; i++) {
        for (const kernel of kernels) program.add(alone(kernel), scratch, dims);
      }
      return program;
    };
    const taken = rivals.map((): number[] => []);
    let total = 0;
    if (gpu.facts.features.includes("timestamp-query")) {
      const turns = make(ROUNDS, ...rivals);
      for (let go = 0; go < GOES && total < ENOUGH; go++) {
        const times = await turns.times();
        times.forEach((time, i) => taken[i % rivals.length].push(time));
        total = times.reduce((a, b) => a + b, total);
      }
      return taken.map(median);
    }
    // By the wall's clock, in batches that are long beside a wait.
    const each = rivals.map((kernel) => make(1, kernel));
    for (const program of each) await program.run();
    let launches = 1;
    while (launches < 256 && await this.#wall(each[0], launches) < 2 * ENOUGH) launches *= 2;
    for (let go = 0; go < GOES; go++) {
      for (let i = 0; i < each.length; i++) taken[i].push(await this.#wall(each[i], launches));
    }
    return taken.map(median);
  }

  async #wall(program: Program, launches: number): Promise<number> {
    await this.#gpu.idle();
    const start = performance.now();
    await program.run(launches);
    await this.#gpu.idle();
    return performance.now() - start;
  }
}

/** The kernel itself, without siblings. */
const alone = (kernel: KernelSpec): KernelSpec => ({ ...kernel, fit: undefined, candidates: undefined });

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** What a choice depends on: the names and texts it was made among. */
function fingerprint(kernels: readonly KernelSpec[]): string {
  const hash = createHash("sha256");
  for (const kernel of kernels) hash.update(`${kernel.name}\n${kernelText(kernel)}\n`);
  return hash.digest("hex").slice(0, 12);
}

/** Zeros for every binding, outside the pool: they are gone at once, and no part of a run's memory. */
async function allocate(
  gpu: Gpu,
  kernel: KernelSpec,
  dims: Candidates["dims"],
): Promise<Record<string, Tensor> | undefined> {
  const sizes = Object.entries(kernel.sizes(dims));
  const { maxBufferSize, maxStorageBufferBindingSize } = gpu.device.limits;
  const most = Math.min(maxBufferSize, maxStorageBufferBindingSize);
  if (sizes.some(([, size]) => size * 4 > most)) return undefined;
  if (sizes.reduce((sum, [, size]) => sum + size * 4, 0) > MOST_SCRATCH) return undefined;
  gpu.device.pushErrorScope("out-of-memory");
  const tensors = sizes.map(([name, size]): [string, Tensor] => {
    const bytes = Math.max(16, size * 4);
    const buffer = gpu.device.createBuffer({
      label: `tuning ${name}`,
      size: bytes,
      usage: 0x80 | 0x08 | 0x04,
    });
    return [name, { name, shape: [size], dtype: "f32", buffer, offset: 0, size, bytes: size * 4 }];
  });
  if (!await gpu.device.popErrorScope()) return Object.fromEntries(tensors);
  for (const [, tensor] of tensors) tensor.buffer.destroy();
  return undefined;
}
