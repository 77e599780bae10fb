/**
 * `doctor`: what the adapter is and can do, what of the built-in model and data is there, and whether every kernel
 * computes on it what plain f64 loops do.
 * @module
 */
import { microRows } from "../data/micro/world.ts";
import { type AdapterFacts, Gpu } from "../gpu/device.ts";
import { UserError } from "../gpu/errors.ts";
import { openCheckpoint } from "../models/checkpoint_folder.ts";
import { loadModelConfig, parameterShapes } from "../models/config.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import { allCases, type OpCases, uncovered, uncoveredSiblings } from "../tests/shaders/all_cases.ts";
import { lacking, runCase } from "../tests/shaders/case.ts";
import { loadConfig } from "../trainer/config.ts";
import type { DoctorArgs } from "./arguments.ts";
import { type Phase, Progress } from "./progress.ts";

/** A case whose result is wrong, or that did not run. */
export interface KernelFailure {
  /** Name of the kernel. */
  readonly kernel: string;
  /** Name of the case: its shape. */
  readonly shape: string;
  /** Worst difference over the largest expected value; null when the kernel did not run (and in JSON, when a value is not finite). */
  readonly worst: number | null;
  /** Largest difference allowed. */
  readonly tolerance: number;
  /** Which element, its value and the expected one; or the error. */
  readonly where: string;
}

/** A part that training starts from. */
export interface Part {
  /** What it is. */
  readonly name: string;
  /** Whether it is there and whole. */
  readonly ok: boolean;
  /** What was found, or what is wrong and what to do. */
  readonly found: string;
}

/** Everything that `doctor` finds out. */
export interface DoctorReport {
  /** What the adapter says of itself. */
  readonly adapter: AdapterFacts;
  /** By WebGPU's names. */
  readonly limits: Readonly<Record<string, number>>;
  /** Optional features by whether the device has them. */
  readonly features: Readonly<Record<string, boolean>>;
  /** The base model and the data. */
  readonly parts: readonly Part[];
  /** Names of all kernels checked. */
  readonly kernels: readonly string[];
  /** Number of cases run. */
  readonly cases: number;
  /** Cases left out, by the feature that they need and this adapter lacks. */
  readonly leftOut: Readonly<Record<string, number>>;
  /** The cases that failed. */
  readonly failures: readonly KernelFailure[];
  /** Kernels, siblings of kernels and entry points without any case. */
  readonly uncovered: readonly string[];
  /** Time of the whole command. */
  readonly seconds: number;
}

/** The limits that decide what fits, and what each of them is. */
const LIMITS = {
  maxStorageBufferBindingSize: "largest tensor a kernel sees at once, bytes",
  maxBufferSize: "largest tensor, bytes",
  maxStorageBuffersPerShaderStage: "tensors of one kernel",
  maxComputeInvocationsPerWorkgroup: "threads of a workgroup",
  maxComputeWorkgroupStorageSize: "memory of a workgroup, bytes",
  maxComputeWorkgroupsPerDimension: "workgroups along one axis",
} as const;
const FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const;

/** Runs every case that the adapter can; `phase` counts them and names what runs. */
export async function checkKernels(
  gpu: Gpu,
  ops: readonly OpCases[],
  phase?: Phase,
): Promise<KernelFailure[]> {
  const failures: KernelFailure[] = [];
  for (const { cases } of ops) {
    for (const c of cases) {
      if (lacking(gpu, c) !== undefined) continue;
      phase?.advance(0, c.kernel.name);
      const base = { kernel: c.kernel.name, shape: c.name, tolerance: c.tolerance };
      try {
        const { passed, worst, where } = await runCase(gpu, c);
        if (!passed) failures.push({ ...base, worst, where });
      } catch (error) {
        failures.push({ ...base, worst: null, where: (error as Error).message });
      }
      phase?.advance();
    }
  }
  return failures;
}

/** Runs the command: exit code 0 when every kernel has a case and every case passes, else 1. */
export async function doctor(args: DoctorArgs): Promise<number> {
  const start = performance.now();
  const gpu = await Gpu.open();
  try {
    const progress = new Progress();
    const ops = await allCases();
    const all = ops.flatMap((op) => op.cases);
    const cases = all.filter((c) => lacking(gpu, c) === undefined);
    const leftOut: Record<string, number> = {};
    for (const c of all) {
      const feature = lacking(gpu, c);
      if (feature !== undefined) leftOut[feature] = (leftOut[feature] ?? 0) + 1;
    }
    const phase = progress.phase("checking kernels", cases.length, "cases");
    const failures = await checkKernels(gpu, ops, phase);
    phase.finish(failures.length > 0 ? `${failures.length} failed` : "all right");
    const report: DoctorReport = {
      adapter: gpu.facts,
      limits: Object.fromEntries(Object.keys(LIMITS).map((name) => [name, limit(gpu, name)])),
      features: Object.fromEntries(FEATURES.map((name) => [name, gpu.facts.features.includes(name)])),
      parts: [await baseModel(), microWorld()],
      kernels: [...new Set(cases.map((c) => c.kernel.name))],
      cases: cases.length,
      leftOut,
      failures,
      uncovered: [
        ...await uncovered(all.map((c) => c.kernel)),
        ...await uncoveredSiblings(all, gpu.facts),
      ],
      seconds: Math.round(performance.now() - start) / 1000,
    };
    console.log(args.json ? JSON.stringify(report, null, 1) : reportText(report));
    return failures.length + report.uncovered.length === 0 ? 0 : 1;
  } finally {
    gpu.close();
  }
}

function limit(gpu: Gpu, name: string): number {
  return (gpu.device.limits as unknown as Record<string, number>)[name];
}

async function baseModel(): Promise<Part> {
  const folder = loadConfig().config.worker.actor.model.model_path;
  const name = "base model";
  try {
    const config = await loadModelConfig(folder);
    await Tokenizer.load(folder);
    await openCheckpoint(folder, config);
    const sizes = [...parameterShapes(config).values()].map((shape) => shape.reduce((a, b) => a * b, 1));
    const count = sizes.reduce((a, b) => a + b, 0);
    return {
      name,
      ok: true,
      found: `${folder}: ${config.model_type}, ${count.toLocaleString("en")} weights`,
    };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return {
      name,
      ok: false,
      found: `${error.message}\n\`./ares pretrain\` makes it; --model takes another`,
    };
  }
}

function microWorld(): Part {
  const [row] = microRows({ seed: 0, count: 1, split: "train" });
  const found = `micro-world, made when it is needed, e.g. ${JSON.stringify(row.problem)}`;
  return { name: "data", ok: row.candidates.length > 0, found };
}

function reportText(r: DoctorReport): string {
  const facts: [string, string][] = [
    ["adapter", r.adapter.name],
    ["driver", r.adapter.driver || "not said"],
    ["runs on", r.adapter.software ? "the CPU (software adapter)" : "a GPU"],
    ...Object.entries(LIMITS).map(([name, what]): [string, string] => [
      what,
      r.limits[name].toLocaleString("en"),
    ]),
    ...Object.entries(r.features).map(([name, there]): [string, string] => [name, there ? "yes" : "no"]),
    ...r.parts.map((part): [string, string] => [
      part.name,
      part.ok ? part.found : `NOT THERE: ${part.found}`,
    ]),
    ["kernels", `${r.kernels.length} kernels in ${r.cases} cases, ${r.seconds.toFixed(1)} s`],
    ...Object.entries(r.leftOut).map(([feature, count]): [string, string] => [
      "left out",
      `${count} cases: this adapter has no ${feature}`,
    ]),
  ];
  const width = Math.max(...facts.map(([name]) => name.length)) + 2;
  const lines = facts.map(([name, text]) =>
    name.padEnd(width) + text.replaceAll("\n", `\n${" ".repeat(width)}`)
  );
  for (const f of r.failures) {
    const off = f.worst === null ? "did not run" : `off by ${f.worst.toPrecision(3)} (limit ${f.tolerance})`;
    lines.push(`FAILED ${f.kernel} ${f.shape}: ${off}: ${f.where}`);
  }
  for (const name of r.uncovered) lines.push(`FAILED ${name}: no case checks it`);
  const wrong = new Set([...r.failures.map((f) => f.kernel), ...r.uncovered]).size;
  lines.push(
    wrong === 0 ? "every kernel is right on this adapter" : `${wrong} kernels failed on this adapter`,
  );
  return lines.join("\n");
}
