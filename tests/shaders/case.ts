/**
 * One check of one kernel: its inputs, its sizes and what plain f64 loops make of them. The tests and `doctor` run these.
 * @module
 */
import type { Gpu, HostArray } from "../../gpu/device.ts";
import { elements, type Tensor } from "../../gpu/tensor.ts";
import type { KernelSpec } from "../../gpu/kernel.ts";
import { Program } from "../../gpu/program.ts";

/** A kernel, the contents of all its bindings before the launch, and what must stand in the written ones after it. */
export interface KernelCase {
  /** Says the shape, e.g. `tokens=5 width=123`. */
  readonly name: string;
  readonly kernel: KernelSpec;
  /** Contents of every binding, of f16 ones as f32 values; outputs start from these too (zeros, garbage, or what is accumulated onto). */
  readonly inputs: Readonly<Record<string, HostArray>>;
  readonly dims: Readonly<Record<string, number>>;
  /** The f64 reference: expected contents of written bindings. */
  expected(inputs: Readonly<Record<string, HostArray>>): Readonly<Record<string, ArrayLike<number>>>;
  /** Largest allowed |actual − expected| over the largest |expected| of that binding (1 where all are smaller). */
  readonly tolerance: number;
}

/** Worst relative difference of a case, and where. */
export interface CaseResult {
  readonly worst: number;
  readonly where: string;
  readonly passed: boolean;
}

/** Largest |actual − expected| divided by the largest |expected|; infinite when a value is not finite. */
export function worstDifference(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
): { worst: number; index: number } {
  if (actual.length < expected.length) return { worst: Infinity, index: actual.length };
  let scale = 1e-30;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i])) scale = Math.max(scale, Math.abs(expected[i]));
  }
  let worst = 0;
  let index = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Object.is(actual[i], expected[i]) ? 0 : Math.abs(actual[i] - expected[i]) / scale;
    if (!(difference <= worst)) {
      worst = Number.isNaN(difference) ? Infinity : difference;
      index = i;
      if (worst === Infinity) break;
    }
  }
  return { worst, index };
}

/** The feature that a case's kernel needs and this device lacks: then there is nothing to run. */
export function lacking(gpu: Gpu, { kernel: { needs } }: KernelCase): string | undefined {
  return needs && !gpu.facts.features.includes(needs) ? needs : undefined;
}

/** Runs one case on the GPU. */
export async function runCase(gpu: Gpu, c: KernelCase): Promise<CaseResult> {
  const tensors: Record<string, Tensor> = {};
  for (const name of Object.keys(c.kernel.bindings)) {
    const data = c.inputs[name];
    if (!data) throw new Error(`${c.kernel.name} ${c.name}: no input for ${name}`);
    if (c.kernel.halves?.includes(name)) {
      // Rounded on the way in; tensors of f16 are written in pairs.
      tensors[name] = gpu.alloc(name, [data.length], "data", "f16");
      gpu.write(tensors[name], data.length % 2 === 0 ? data : Float32Array.of(...data, 0));
    } else tensors[name] = gpu.tensor(name, [data.length], data);
  }
  const program = new Program(gpu, c.kernel.name).add(c.kernel, tensors, c.dims);
  try {
    await program.run();
    const expected = c.expected(c.inputs);
    const names = Object.keys(expected);
    const actual = await gpu.read(...names.map((name) => tensors[name]));
    let worst = 0;
    let where = "";
    names.forEach((name, i) => {
      const d = worstDifference(actual[i], expected[name]);
      if (d.worst > worst || where === "") {
        worst = d.worst;
        where = `${name}[${d.index}] = ${actual[i][d.index]}, expected ${expected[name][d.index]}`;
      }
    });
    return { worst, where, passed: worst <= c.tolerance };
  } finally {
    program.destroy();
    for (const name in tensors) gpu.pool.free(tensors[name]);
  }
}

/** A planted mistake: `from` occurs exactly once in the kernel's text and is replaced by `to`. */
export interface Mistake {
  readonly why: string;
  readonly from: string;
  readonly to: string;
}

/** The case with the mistake in its kernel; a good check rejects it. */
export function withMistake(c: KernelCase, mistake: Mistake): KernelCase {
  const planted = (kernel: KernelSpec): KernelSpec => {
    const parts = kernel.source.split(mistake.from);
    if (parts.length !== 2) {
      throw new Error(`${kernel.name}: "${mistake.from}" occurs ${parts.length - 1} times, not once`);
    }
    return { ...kernel, source: parts.join(mistake.to) };
  };
  const { fit } = c.kernel;
  const kernel = planted(c.kernel);
  // The sibling that the adapter gets has it too.
  return { ...c, kernel: fit ? { ...kernel, fit: (...asked) => planted(fit(...asked)) } : kernel };
}

/** The kernel in workgroups of 16 threads, which subgroups of 16 or more take all rows of in turns. */
export const oneSubgroup = (kernel: KernelSpec): KernelSpec => ({
  ...kernel,
  consts: { ...kernel.consts, GROUP: 16 },
});

let seed = 1;

/** Reproducible values in [-scale, scale), for inputs. */
export function randomArray(shape: readonly number[], scale = 1): Float32Array<ArrayBuffer> {
  const out = new Float32Array(elements(shape));
  for (let i = 0; i < out.length; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    out[i] = (seed / 2 ** 31 - 1) * scale;
  }
  return out;
}
