/**
 * Kernels chosen by measuring: the first time a class of launches occurs, its candidates run on scratch tensors of that
 * size, and the fastest is kept for this adapter. One that this adapter does not compile, or that computes something else
 * there than the rule's kernel, is left out. Tensors of kernels with candidates hold f32, or what the candidates say.
 * @module
 */
import { createHash } from "node:crypto";
import { Gpu } from "./device.ts";
import { type Candidates, type KernelSpec, kernelText, writes } from "./kernel.ts";
import type { KernelOptions } from "./kernel_options.ts";
import { Program } from "./program.ts";
import { BYTES, type DType, type Tensor } from "./tensor.ts";
import type { Choices, KernelChoices, KernelChooser } from "./kernel_choices.ts";
import { addChoices, readChoices, tuningCachePath } from "./tuning_cache.ts";

/** How a device tunes. */
export interface TuneOptions {
  /** Seconds of measuring in all, compiling included; the rule decides on what is left. 4 by default. */
  readonly seconds?: number;
  /** File of earlier choices; null: none is read or written. By default in the user's cache folder. */
  readonly cache?: string | null;
  /** Hears one line when measuring begins, and why a file is not used. */
  readonly say?: (line: string) => void;
  /** Hears after every class how far measuring is, in lines of which each replaces the one before. */
  readonly pass?: (line: string) => void;
}

/** A faster kernel is taken where it saves more than this share of the time: less is noise, and choices are to be stable. */
const NOISE = 0.05;
/** Milliseconds of measured launches that are enough; fewest and most launches of a candidate after its first. */
const ENOUGH = 20;
const FEWEST = 2;
const MOST = 8;
/** Elements compared at either end of a result, and the largest difference over the largest value. */
const COMPARED = 2 ** 15;
const TOLERANCE = 1e-3;
/** Most bytes of scratch tensors of a class; a larger one is left to the rule. */
const MOST_SCRATCH = 2 ** 30;

/** Chooses kernels for the programs of one device. */
export class Tuner implements KernelChooser {
  #gpu: Gpu;
  #options: TuneOptions;
  #adapter: string;
  #cache: string | undefined;
  #known: Promise<Choices> | undefined;
  /** What the run that is gone on with took. */
  #adopted: Choices = {};
  #used: Choices = {};
  #turn: Promise<unknown> = Promise.resolve();
  #resting = false;
  #seconds = 0;
  #classes = 0;

  /** One for a device; nothing is read or measured yet. */
  constructor(gpu: Gpu, options: TuneOptions = {}) {
    this.#gpu = gpu;
    this.#options = options;
    this.#adapter = `${gpu.facts.name} | ${gpu.facts.driver}`;
    this.#cache = options.cache === undefined ? tuningCachePath() : options.cache ?? undefined;
  }

  /** Opens the default device (see {@link Gpu.open}) with a tuner. */
  static async open(options: TuneOptions = {}, kernels: KernelOptions = {}): Promise<Gpu> {
    const gpu = await Gpu.open(kernels);
    gpu.tuner = new Tuner(gpu, options);
    return gpu;
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

  /** From now on the rule decides, as for a run that began so. */
  rest(): void {
    this.#resting = true;
  }

  /**
   * The kernel to launch: as it was chosen before for this class, else the fastest of `rule` and the candidates, else,
   * where the time is spent or the scratch tensors do not fit, `rule`.
   */
  choose(rule: KernelSpec, candidates: Candidates): Promise<KernelSpec> {
    const rivals = [rule, ...candidates.kernels.filter((kernel) => kernel.name !== rule.name)];
    if (rivals.length === 1 || this.#resting) return Promise.resolve(rule);
    // One at a time: programs that are built side by side would disturb each other's times.
    const choice = this.#turn.then(() => this.#choose(rivals, candidates));
    this.#turn = choice.catch(() => {});
    return choice;
  }

  async #choose(rivals: readonly KernelSpec[], measured: Candidates): Promise<KernelSpec> {
    const [rule] = rivals;
    const key = `${rule.name} ${
      Object.entries(measured.dims).map(([name, value]) => `${name}=${value}`).join(" ")
    }`;
    const among = fingerprint(rivals);
    const known = await (this.#known ??= this.#read());
    for (const choices of [this.#used, this.#adopted, known]) {
      const choice = choices[key];
      const kernel = choice?.among === among && rivals.find((rival) => rival.name === choice.kernel);
      if (!kernel) continue;
      this.#used[key] = choice;
      return kernel;
    }
    const best = await this.#fastest(rivals, measured);
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
  async #fastest(
    rivals: readonly KernelSpec[],
    { dims, contents }: Candidates,
  ): Promise<KernelSpec | undefined> {
    const { seconds = 4 } = this.#options;
    if (this.#seconds >= seconds) return undefined;
    if (this.#classes === 0) {
      const kept = this.#cache ? `, kept in ${this.#cache}` : "";
      this.#say(`tuning kernels for this adapter: at most ${seconds} s, once${kept}`);
    }
    // What was submitted before is not measured, and its time is not the tuner's.
    await this.#gpu.idle();
    const start = performance.now();
    const scratch = await allocate(this.#gpu, rivals[0], dims, contents);
    if (!scratch) return undefined;
    const programs: Program[] = [];
    try {
      const sound = await this.#sound(rivals, scratch, dims, start + (seconds - this.#seconds) * 1000);
      if (sound.length < 2) return sound[0];
      return fastest(sound, await this.#measure(sound, scratch, dims, programs));
    } finally {
      for (const program of programs) program.destroy();
      for (const tensor of Object.values(scratch)) tensor.buffer.destroy();
      this.#classes++;
      this.#seconds += (performance.now() - start) / 1000;
      this.#options.pass?.(
        `tuning kernels: ${this.#classes} classes of launches, ${
          this.#seconds.toFixed(1)
        } of at most ${seconds} s`,
      );
    }
  }

  /** The rule's kernel, and of the others those that this adapter compiles and that compute what it does; none past `deadline`. */
  async #sound(
    rivals: readonly KernelSpec[],
    scratch: Readonly<Record<string, Tensor>>,
    dims: Candidates["dims"],
    deadline: number,
  ): Promise<KernelSpec[]> {
    // Side by side, as far as the driver does; what fails is heard of below.
    await Promise.allSettled(rivals.map((kernel) => this.#gpu.kernels.pipeline(kernel)));
    const sound: KernelSpec[] = [];
    let expected: Float32Array[] = [];
    for (const kernel of rivals) {
      if (sound.length > 0 && performance.now() > deadline) return [];
      const written = Object.keys(kernel.bindings).filter((name) => writes(kernel.bindings[name]))
        .map((name) => scratch[name]);
      const program = new Program(this.#gpu, `tuning ${kernel.name}`).add(alone(kernel), scratch, dims);
      try {
        this.#gpu.clear(...written);
        await program.run();
        const found = await this.#gpu.read(...written.flatMap(ends)) as Float32Array[];
        if (sound.length === 0) expected = found;
        const off = Math.max(...found.map((values, i) => difference(values, expected[i])));
        if (off <= TOLERANCE) sound.push(kernel);
        else this.#say(`${kernel.name} is left out: on this adapter it is off by ${off.toPrecision(2)}`);
      } catch (error) {
        // Of the rule's kernel, and of a device that is lost, the run is to hear.
        if (sound.length === 0) throw error;
        this.#gpu.check();
        this.#say(`${kernel.name} is left out: ${(error as Error).message.split("\n")[0]}`);
      } finally {
        program.destroy();
      }
    }
    return sound;
  }

  /** Milliseconds of launches of each, taken in turns. */
  async #measure(
    rivals: readonly KernelSpec[],
    scratch: Readonly<Record<string, Tensor>>,
    dims: Candidates["dims"],
    programs: Program[],
  ): Promise<number[][]> {
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
    if (gpu.facts.features.includes("timestamp-query")) {
      const take = async (turns: Program): Promise<number> => {
        const times = await turns.times();
        times.forEach((time, i) => taken[i % rivals.length].push(time));
        return times.reduce((a, b) => a + b);
      };
      const round = await take(make(1, ...rivals));
      await take(make(Math.max(FEWEST, Math.min(MOST, Math.ceil(ENOUGH / round))), ...rivals));
      return taken;
    }
    // By the wall's clock, in batches that are long beside a wait, whose own time is taken off.
    const each = rivals.map((kernel) => ({ program: make(1, kernel), launches: 1 }));
    await each[0].program.run();
    const wait = await this.#wall(each[0].program, 0);
    for (const one of each) {
      while (one.launches < 1024 && await this.#wall(one.program, one.launches) - wait < ENOUGH) {
        one.launches *= 2;
      }
    }
    for (let go = 0; go < MOST / 2; go++) {
      for (const [i, { program, launches }] of each.entries()) {
        taken[i].push((await this.#wall(program, launches) - wait) / launches);
      }
    }
    return taken;
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

/** The value below which `share` of the sorted values lie. */
const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.round(share * (sorted.length - 1))];

/**
 * The first of `rivals`, unless another one is faster by more than noise: its median by 5 % and most of its times below
 * most of the first's. Undefined where the clock stood still or ran backwards.
 * @param times of launches, by rival
 */
export function fastest<T>(rivals: readonly T[], times: readonly (readonly number[])[]): T | undefined {
  const sorted = times.map((list) => [...list].sort((a, b) => a - b));
  const medians = sorted.map((list) => quantile(list, 0.5));
  if (medians.some((time) => !(time > 0))) return undefined;
  const best = medians.indexOf(Math.min(...medians));
  const clear = medians[best] < medians[0] * (1 - NOISE) &&
    quantile(sorted[best], 0.75) < quantile(sorted[0], 0.25);
  return rivals[clear ? best : 0];
}

/** The first and the last elements of a tensor: what is compared. */
function ends(tensor: Tensor): Tensor[] {
  const size = Math.min(tensor.size, COMPARED);
  const bytes = size * BYTES[tensor.dtype];
  const first = { ...tensor, shape: [size], size, bytes };
  return tensor.size === size ? [first] : [first, { ...first, offset: tensor.bytes - bytes }];
}

/** Largest |found − expected| over the largest |expected|; infinite for a value that is no number. */
function difference(found: Float32Array, expected: Float32Array): number {
  let scale = 1e-30;
  let off = 0;
  for (let i = 0; i < expected.length; i++) {
    scale = Math.max(scale, Math.abs(expected[i]));
    const apart = Math.abs(found[i] - expected[i]);
    if (!(apart <= off)) off = Number.isNaN(apart) ? Infinity : apart;
  }
  return off / scale;
}

/** What a choice depends on: the names and texts it was made among. */
function fingerprint(kernels: readonly KernelSpec[]): string {
  const hash = createHash("sha256");
  for (const kernel of kernels) hash.update(`${kernel.name}\n${kernelText(kernel)}\n`);
  return hash.digest("hex").slice(0, 12);
}

/**
 * Numbers in [-0.5, 0.5), or what `contents` has, for every binding, outside the pool: they are gone at once, and no part of a
 * run's memory.
 */
async function allocate(
  gpu: Gpu,
  kernel: KernelSpec,
  dims: Candidates["dims"],
  contents: Candidates["contents"] = {},
): Promise<Record<string, Tensor> | undefined> {
  const { device } = gpu;
  const typed = (name: string): DType =>
    name in contents ? "u32" : kernel.halves?.includes(name) ? "f16" : "f32";
  const sizes = Object.entries(kernel.sizes(dims))
    .map(([name, size]) => ({ name, size, dtype: typed(name), bytes: size * BYTES[typed(name)] }));
  const most = Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize);
  if (sizes.some(({ bytes }) => bytes > most)) return undefined;
  if (sizes.reduce((sum, { bytes }) => sum + bytes, 0) > MOST_SCRATCH) return undefined;
  device.pushErrorScope("out-of-memory");
  const make = ({ name, size, dtype, bytes }: typeof sizes[number]): Tensor => {
    const label = `tuning ${name}`;
    // Whole words, and what a copy of them needs.
    const room = Math.max(16, Math.ceil(bytes / 4) * 4);
    const buffer = device.createBuffer({ label, size: room, usage: 0x80 | 0x08 | 0x04 });
    return { name, shape: [size], dtype, buffer, offset: 0, size, bytes };
  };
  const block = (dtype: DType): Tensor => {
    const size = 2 * Math.ceil(Math.min(2 ** 20, Math.max(...sizes.map(({ size }) => size))) / 2);
    return make({ name: `numbers of ${dtype}`, size, dtype, bytes: size * BYTES[dtype] });
  };
  const numbered = new Set(sizes.map(({ dtype }) => dtype).filter((dtype) => dtype !== "u32"));
  const blocks = new Map<DType, Tensor>([...numbered].map((dtype) => [dtype, block(dtype)]));
  const tensors = sizes.map(make);
  const refused = await device.popErrorScope();
  if (!refused) {
    for (const block of blocks.values()) {
      gpu.write(block, Float32Array.from({ length: block.size }, (_, i) => (i * 0.6180339887) % 1 - 0.5));
    }
    const encoder = device.createCommandEncoder();
    for (const { buffer, dtype } of tensors) {
      const numbers = blocks.get(dtype);
      if (!numbers) continue;
      for (let at = 0; at < buffer.size; at += numbers.bytes) {
        const bytes = Math.min(numbers.bytes, buffer.size - at);
        encoder.copyBufferToBuffer(numbers.buffer, 0, buffer, at, bytes);
      }
    }
    device.queue.submit([encoder.finish()]);
    for (const tensor of tensors) if (tensor.name in contents) gpu.write(tensor, contents[tensor.name]);
  } else for (const tensor of tensors) tensor.buffer.destroy();
  for (const { buffer } of blocks.values()) buffer.destroy();
  return refused ? undefined : Object.fromEntries(tensors.map((tensor) => [tensor.name, tensor]));
}
