/**
 * The sampling kernel against the filtered distributions of `sampling_filters.json`, and its draws against the
 * distribution they come from.
 * @module
 */
import type { Gpu } from "../../gpu/device.ts";
import { Program } from "../../gpu/program.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { filteredProbabilities, sample } from "../../shaders/sample.ts";
import { readSafetensors } from "./read_safetensors.ts";
import type { Report } from "./report.ts";
import { Worst } from "./worst.ts";

const PROBABILITY = 5e-4;
const DRAWS = 20_000;
const OFF = { temperature: 1, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 };

type Settings = typeof OFF;

/** One row of logits for every slot, with the tokens of the sequence so far. */
class Draw {
  readonly slots: Tensor;
  readonly #gpu: Gpu;
  readonly #tensors: Record<"logits" | "slots" | "seen" | "banned" | "stops", Tensor>;
  readonly #count: number;
  readonly #vocab: number;

  constructor(gpu: Gpu, row: ArrayLike<number>, history: readonly number[], count: number) {
    this.#gpu = gpu;
    this.#count = count;
    const vocab = this.#vocab = row.length, words = Math.ceil(vocab / 32);
    const logits = new Float32Array(count * vocab), seen = new Uint32Array(count * words);
    for (let s = 0; s < count; s++) {
      logits.set(Float32Array.from(row), s * vocab);
      for (const v of history) seen[s * words + (v >> 5)] |= 1 << (v & 31);
    }
    const make = (name: string, data: Float32Array | Uint32Array) => gpu.tensor(name, [data.length], data);
    this.slots = make("slots", new Uint32Array(8 * count));
    this.#tensors = {
      logits: make("logits", logits),
      slots: this.slots,
      seen: make("seen", seen),
      banned: make("banned", new Uint32Array(words)),
      stops: make("stops", new Uint32Array(1)),
    };
  }

  #dims(settings: Settings) {
    return { slots: this.#count, vocab: this.#vocab, stride: this.#vocab, stop_count: 0, ...settings };
  }

  /** Slot s starts at `position` with key (first + s, 1). */
  start(position: number, first: number): void {
    const state = Array.from(
      { length: this.#count },
      (_, s) => [0, position, 1, 0xfffffff0, first + s, 1, 0, 0],
    );
    this.#gpu.write(this.slots, Uint32Array.from(state.flat()));
  }

  /** [count, vocab] after all filters. */
  async probabilities(settings: Settings): Promise<Float32Array> {
    const out = this.#gpu.alloc("probabilities", [this.#count, this.#vocab], "data");
    const { stops: _, ...bound } = this.#tensors;
    const program = new Program(this.#gpu, "filtered")
      .add(filteredProbabilities, { ...bound, probabilities: out }, this.#dims(settings));
    await program.run();
    const probabilities = await this.#gpu.readF32(out);
    program.destroy();
    this.#gpu.pool.free(out);
    return probabilities;
  }

  /** [steps, count] tokens of `steps` launches over the same logits. */
  async tokens(settings: Settings, steps: number): Promise<Uint32Array> {
    const out = this.#gpu.alloc("tokens", [steps, this.#count], "data", "u32");
    const values = this.#gpu.alloc("values", [steps, this.#count, 2], "data");
    const tick = this.#gpu.tensor("tick", [1], Uint32Array.of(0));
    const program = new Program(this.#gpu, "sample")
      .add(sample, { ...this.#tensors, out_tokens: out, out_values: values, tick }, this.#dims(settings));
    await program.run(steps);
    const [tokens] = await this.#gpu.read(out);
    program.destroy();
    for (const tensor of [out, values, tick]) this.#gpu.pool.free(tensor);
    return tokens as Uint32Array;
  }

  free(): void {
    for (const tensor of Object.values(this.#tensors)) this.#gpu.pool.free(tensor);
  }
}

/** Every folder of the goldens that holds `sampling_filters.json` beside `forward.safetensors`. */
export async function checkSampling(gpu: Gpu, goldensFolder: string, report: Report): Promise<void> {
  const names: string[] = [];
  for (const { name } of Deno.readDirSync(goldensFolder)) {
    const there = await Deno.stat(`${goldensFolder}/${name}/sampling_filters.json`).then(
      () => true,
      () => false,
    );
    if (there) names.push(name);
  }
  if (names.length === 0) throw new Error(`${goldensFolder} holds no sampling_filters.json`);
  for (const name of names.sort()) {
    const folder = `${goldensFolder}/${name}`;
    const table = JSON.parse(await Deno.readTextFile(`${folder}/sampling_filters.json`));
    const logits = readSafetensors(`${folder}/forward.safetensors`).seq1_logits;
    const [length, vocab] = logits.shape;
    const row = logits.data.subarray((length - 1) * vocab, length * vocab);
    await checkFilters(gpu, name, row, table, report);
    await checkDraws(gpu, name, row, table, report);
  }
}

async function checkFilters(
  gpu: Gpu,
  name: string,
  row: Float64Array,
  table: any,
  report: Report,
): Promise<void> {
  const draw = new Draw(gpu, row, table.history, 1);
  draw.start(table.history.length - 1, 0);
  const kept = new Worst(), probabilities = new Worst();
  for (const { settings, kept_ids, probabilities: wanted } of table.rows) {
    const got = await draw.probabilities({ ...OFF, ...settings });
    const where = JSON.stringify(settings);
    const ids = [...got.keys()].filter((v) => got[v] > 0);
    const all = [...row.keys()];
    kept.same(ids, kept_ids ?? all, where);
    probabilities.list((kept_ids ?? all).map((v: number) => got[v]), wanted, where);
  }
  draw.free();
  kept.report(`${name}/sampling filters: kept ids`, 0, report);
  probabilities.report(`${name}/sampling filters: probabilities`, PROBABILITY, report);
}

/**
 * Draws follow the distribution (chi-square over the tokens expected at least five times, the others pooled), and a slot
 * draws the same alone as among others.
 */
async function checkDraws(
  gpu: Gpu,
  name: string,
  row: Float64Array,
  table: any,
  report: Report,
): Promise<void> {
  const slots = 100;
  const draw = new Draw(gpu, row, [], slots);
  for (const { settings } of table.rows) {
    // Drawing adds to the history, so the penalty would move the distribution.
    const used = { ...OFF, ...settings, repetition_penalty: 1 };
    draw.start(7, 1000);
    const p = (await draw.probabilities(used)).subarray(0, row.length);
    const tokens = await draw.tokens(used, Math.ceil(DRAWS / slots));
    const counts = new Float64Array(row.length);
    for (const token of tokens) counts[token]++;
    const n = tokens.length;
    let [statistic, classes, rareCount, rareExpected] = [0, 0, 0, 0];
    const add = (count: number, expected: number) => {
      statistic += (count - expected) ** 2 / expected;
      classes++;
    };
    for (let v = 0; v < p.length; v++) {
      if (p[v] * n >= 5) add(counts[v], p[v] * n);
      else [rareCount, rareExpected] = [rareCount + counts[v], rareExpected + p[v] * n];
    }
    if (rareExpected >= 5) add(rareCount, rareExpected);
    // Wilson and Hilferty: the cube root of chi-square over its degrees of freedom is nearly normal.
    const freedom = Math.max(1, classes - 1), spread = 2 / (9 * freedom);
    const z = (Math.cbrt(statistic / freedom) - (1 - spread)) / Math.sqrt(spread);
    const impossible = counts.filter((count, v) => count > 0 && p[v] === 0).length;
    report(
      `${name}/draws at ${JSON.stringify(used)}: standard deviations of chi-square`,
      impossible > 0 ? Infinity : Math.abs(z),
      4,
      `${n} draws, ${classes} classes`,
    );
  }
  await checkAlone(gpu, name, row, draw, slots, report);
  draw.free();
}

async function checkAlone(
  gpu: Gpu,
  name: string,
  row: Float64Array,
  together: Draw,
  slots: number,
  report: Report,
): Promise<void> {
  const settings = { ...OFF, temperature: 0.9, top_p: 0.95, top_k: 200 };
  const steps = 16;
  together.start(7, 5);
  const all = await together.tokens(settings, steps);
  const one = new Draw(gpu, row, [], 1);
  let different = 0;
  for (const s of [0, 1, slots >> 1, slots - 1]) {
    one.start(7, 5 + s);
    const alone = await one.tokens(settings, steps);
    for (let k = 0; k < steps; k++) if (alone[k] !== all[k * slots + s]) different++;
  }
  one.free();
  report(`${name}/tokens of a slot alone and among ${slots}: differences`, different, 0);
}
