/**
 * Every kernel's checks, found by file name so that none can be forgotten, and what has none.
 * @module
 */
import { type AdapterTraits, type KernelSpec, kernelText } from "../../gpu/kernel.ts";
import { type Adapter, KERNEL_PRESETS, PRECISIONS, traitsFor } from "../../gpu/kernel_options.ts";
import { SHADERS } from "../../shaders/bundle.ts";
import { siblingsOf } from "../../shaders/values.ts";
import type { KernelCase } from "./case.ts";

/** The cases of one `*_cases.ts`. */
export interface OpCases {
  /** Name of the file without `_cases.ts`. */
  readonly op: string;
  readonly cases: readonly KernelCase[];
}

/** The cases of every `*_cases.ts` in this folder, by file name. */
export async function allCases(): Promise<OpCases[]> {
  const here = new URL("./", import.meta.url);
  const ops: OpCases[] = [];
  for (const name of await namesIn(here, "_cases.ts")) {
    if (name === "all_cases.ts") continue;
    ops.push({ op: name.slice(0, -9), cases: (await import(new URL(name, here).href)).cases() });
  }
  return ops;
}

/**
 * What is not among the kernels that are `run`: kernels that the modules of shaders/ export, by name, and entry points of their texts as
 * `file.wgsl: entry`. The entry points also cover kernels that a function makes for a parameter (a head size); any
 * parameter will do.
 */
export async function uncovered(
  run: readonly KernelSpec[],
  texts: Readonly<Record<string, string>> = SHADERS,
): Promise<string[]> {
  const names = new Set(run.map((kernel) => kernel.name));
  const exported = await exportedKernels();
  const missing = exported.map((kernel) => kernel.name).filter((name) => !names.has(name));
  for (const [file, text] of Object.entries(texts)) {
    for (const [, entry] of text.matchAll(/@compute[^{]*?\bfn\s+(\w+)/g)) {
      if (![...run, ...exported].some((kernel) => kernel.entry === entry && kernel.source.includes(text))) {
        missing.push(`${file}.wgsl: ${entry}`);
      }
    }
  }
  return [...new Set(missing)];
}

/** What is compiled for a kernel: siblings of one name differ in it. */
const compiled = (k: KernelSpec): string =>
  [k.entry, Object.values(k.bindings).join(" "), kernelText(k)].join("\n");

/** Elements of the tensors of a launch that is large enough for all that only large ones get. */
const LARGE = 2 ** 20;

/**
 * Siblings that a program may get on this adapter, by some preset, some precision or a tuner, and no case runs: by name,
 * constants and ways of reading. Asked for with the sizes of all cases: what a family holds for no such sizes is not seen.
 */
export async function uncoveredSiblings(
  cases: readonly KernelCase[],
  adapter: Adapter,
  kernels?: readonly KernelSpec[],
): Promise<string[]> {
  const elements = ({ inputs }: KernelCase): Record<string, number> =>
    Object.fromEntries(Object.entries(inputs).map(([name, data]) => [name, data.length]));
  const mine = traitsFor(adapter);
  const launched = new Set(cases.map((c) => c.kernel.fit?.(c.dims, mine, elements(c)) ?? c.kernel));
  const run = new Set([...launched].map(compiled));
  const asked: AdapterTraits[] = PRECISIONS
    .filter((precision) => precision !== "float16" || adapter.features.includes("shader-f16"))
    .flatMap((precision) => KERNEL_PRESETS.map((preset) => traitsFor(adapter, { preset, precision })));
  const names = (of: object): string => Object.keys(of).join(" ");
  const heads = new Set(cases.flatMap(({ kernel }) => headOf(kernel) ?? []));
  const siblings = new Set<KernelSpec>();
  for (const kernel of kernels ?? await exportedKernels([...heads])) {
    siblingsOf(kernel).forEach((sibling) => siblings.add(sibling));
    for (const c of cases) {
      if (names(c.kernel.bindings) !== names(kernel.bindings)) continue;
      if (names(c.kernel.dims) !== names(kernel.dims)) continue;
      if (headOf(c.kernel) !== headOf(kernel)) continue;
      const own = elements(c);
      const large = Object.fromEntries(Object.keys(own).map((name) => [name, LARGE]));
      for (const traits of asked) {
        for (const sizes of [own, large]) {
          // One without siblings has a name of its own, by which `uncovered` goes.
          if (kernel.fit) siblings.add(kernel.fit(c.dims, traits, sizes));
          kernel.candidates?.(c.dims, traits, sizes).kernels.forEach((sibling) => siblings.add(sibling));
        }
      }
    }
  }
  const missing = [...siblings].filter(({ needs }) => !needs || adapter.features.includes(needs))
    .filter((sibling) => !launched.has(sibling) && !run.has(compiled(sibling)));
  return [...new Set(missing.map(described))];
}

/** The size of an attention head that a kernel is made for. */
const headOf = ({ consts }: KernelSpec): number | undefined => consts?.HEAD ?? consts?.HEAD_DIM;

function described({ name, consts = {}, bindings }: KernelSpec): string {
  const sizes = Object.entries(consts).map(([key, value]) => `${key} = ${value}`);
  return `${name} (${[...sizes, Object.values(bindings).join(" ")].join(", ")})`;
}

/**
 * The kernels that the modules of shaders/ export, alone or in a record, and those that functions make for these sizes
 * of an attention head.
 */
export async function exportedKernels(heads: readonly number[] = []): Promise<KernelSpec[]> {
  const folder = new URL("../../shaders/", import.meta.url);
  const found = new Set<KernelSpec>();
  const look = (value: unknown, name = ""): void => {
    if (typeof value === "function" && name.startsWith("attention")) {
      for (const head of heads) look(value(head));
    }
    if (typeof value !== "object" || value === null) return;
    if ("source" in value && "entry" in value) found.add(value as KernelSpec);
    else Object.entries(value).forEach(([name, part]) => look(part, name));
  };
  for (const name of await namesIn(folder, ".ts")) look({ ...await import(new URL(name, folder).href) });
  return [...found];
}

async function namesIn(folder: URL, ending: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) if (name.endsWith(ending)) names.push(name);
  return names.sort();
}
