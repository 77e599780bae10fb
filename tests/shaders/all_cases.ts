/**
 * Every kernel's checks, found by file name so that none can be forgotten, and what has none.
 * @module
 */
import type { KernelSpec } from "../../gpu/kernel.ts";
import { SHADERS } from "../../shaders/bundle.ts";
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

/** The kernels that the modules of shaders/ export, alone or in a record. */
export async function exportedKernels(): Promise<KernelSpec[]> {
  const folder = new URL("../../shaders/", import.meta.url);
  const found = new Set<KernelSpec>();
  const look = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    if ("source" in value && "entry" in value) found.add(value as KernelSpec);
    else Object.values(value).forEach(look);
  };
  for (const name of await namesIn(folder, ".ts")) look({ ...await import(new URL(name, folder).href) });
  return [...found];
}

async function namesIn(folder: URL, ending: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) if (name.endsWith(ending)) names.push(name);
  return names.sort();
}
