/**
 * `bench`: the speed of every kernel on real shapes, beside what this adapter reaches at best, and one training and one
 * decode step taken apart by kernel.
 * @module
 */
import { branchingRollouts } from "../bench/branching.ts";
import { bestOf, ceilingWorkloads } from "../bench/ceilings.ts";
import { type Clock, clockOf } from "../bench/clock.ts";
import { decodeBatch, decodeContext, decodeFinished } from "../bench/decode_rates.ts";
import { decodeStep } from "../bench/decode_step.ts";
import { type Ceilings, measure, type Row, share, type SharedRow } from "../bench/row.ts";
import { measureScaling, type ScalingResult, SCALINGS } from "../bench/scaling.ts";
import { SHAPES } from "../bench/shapes.ts";
import type { Rate, StepRow, StepTime } from "../bench/step.ts";
import { recomputingStep, trainingStep } from "../bench/training_step.ts";
import { TINY_VISION, TOWER_7B } from "../bench/vision_shapes.ts";
import { towerStep, visionTrainingStep } from "../bench/vision_step.ts";
import { allWorkloads } from "../bench/workloads.ts";
import type { Gpu } from "../gpu/device.ts";
import { UserError } from "../gpu/errors.ts";
import type { MemoryClass } from "../gpu/tensor.ts";
import { memoryLine } from "../gpu/pool.ts";
import type { BenchArgs } from "./arguments.ts";
import { benchPeers } from "./bench_peers.ts";
import { Progress } from "./progress.ts";
import { renderTable } from "./table.ts";
import { openTuned } from "./tuned_gpu.ts";

/** A row of a step beside the ceilings. */
export type SharedStepRow = StepRow & Pick<SharedRow, "matmulShare" | "copyShare">;

/** What `--json` prints. */
export interface BenchReport {
  /** Name of the adapter. */
  readonly adapter: string;
  /** Its driver. */
  readonly driver: string;
  /** When it was measured, ISO 8601. */
  readonly date: string;
  /** What the kernels' times were read from. */
  readonly clock: Clock;
  /** Timed repetitions; times are medians over them. */
  readonly rounds: number;
  /** The best product and the best copy of this run. */
  readonly ceilings: Ceilings;
  /** Every kernel on every shape. */
  readonly rows: readonly SharedRow[];
  /** Whole steps. */
  readonly steps: readonly (Omit<StepTime, "rows"> & { readonly rows: readonly SharedStepRow[] })[];
  /** How a training pass grows. */
  readonly scalings: readonly ScalingResult[];
}

/** A step that is taken apart. */
interface TimedStep {
  readonly name: string;
  /** Minutes on a CPU: there it waits to be asked for by name. */
  readonly long?: boolean;
  run(gpu: Gpu, rounds: number, clock: Clock): Promise<StepTime>;
}

/**
 * A training and a decode step of both models, decoding at several sizes, a training step with pictures, rollouts that
 * branch, and a block of the 7B model's tower.
 */
const STEPS: readonly TimedStep[] = [
  { name: "training_step.tiny", run: (gpu, rounds, clock) => trainingStep(gpu, SHAPES.tiny, rounds, clock) },
  { name: "decode_step.tiny", run: (gpu, rounds, clock) => decodeStep(gpu, SHAPES.tiny, rounds, clock) },
  { name: "decode_batch.tiny", long: true, run: (gpu, rounds) => decodeBatch(gpu, SHAPES.tiny, rounds) },
  { name: "decode_context.tiny", long: true, run: (gpu, rounds) => decodeContext(gpu, SHAPES.tiny, rounds) },
  {
    name: "decode_finished.tiny",
    long: true,
    run: (gpu, rounds) => decodeFinished(gpu, SHAPES.tiny, rounds),
  },
  {
    name: "vision_training_step.tiny",
    run: (gpu, rounds, clock) => visionTrainingStep(gpu, TINY_VISION, rounds, clock),
  },
  {
    name: "training_step_recompute.tiny",
    run: (gpu, rounds, clock) => recomputingStep(gpu, SHAPES.tiny, rounds, clock),
  },
  {
    name: "training_step_recompute.small",
    long: true,
    run: (gpu, rounds, clock) => recomputingStep(gpu, SHAPES.small, rounds, clock),
  },
  {
    name: "training_step.small",
    long: true,
    run: (gpu, rounds, clock) => trainingStep(gpu, SHAPES.small, rounds, clock),
  },
  {
    name: "decode_step.small",
    long: true,
    run: (gpu, rounds, clock) => decodeStep(gpu, SHAPES.small, rounds, clock),
  },
  {
    name: "branching_rollouts.tiny",
    long: true,
    run: (gpu, rounds) => branchingRollouts(gpu, SHAPES.tiny, rounds),
  },
  {
    name: "vision_tower.7b",
    long: true,
    run: (gpu, rounds, clock) => towerStep(gpu, TOWER_7B, rounds, clock),
  },
];

/** Runs the command. */
export async function bench(args: BenchArgs): Promise<number> {
  const { names, rounds } = args;
  if (args.peers || args.check || args.save || args.python !== undefined) {
    if (args.kernels !== "auto" || args.precision !== "float32") {
      throw new UserError(
        "other libraries are compared with what runs by default, those in 16 bits with ares float16: " +
          "leave out --kernels and --precision",
      );
    }
    return await benchPeers(args);
  }
  const wanted = (name: string) => names.length === 0 || names.some((part) => name.includes(part));
  const progress = new Progress();
  const gpu = await openTuned(args, progress);
  try {
    const { software, name: adapter, driver } = gpu.facts;
    const clock = clockOf(gpu);
    const workloads = allWorkloads(gpu.traits).filter((w) => wanted(w.kernel.name));
    const steps = STEPS.filter(({ name, long }) => names.length > 0 ? wanted(name) : !(long && software));
    const scalings = SCALINGS.filter(({ name }) => names.length > 0 ? wanted(name) : !software);
    if (workloads.length + steps.length + scalings.length === 0) {
      throw new UserError(`no kernel's or step's name contains ${names.join(" or ")}`);
    }
    const best = ceilingWorkloads(gpu.traits);
    const phase = progress.phase(
      "timing",
      best.length + workloads.length + steps.length + scalings.length,
      "cases",
    );
    const timed: Row[] = [];
    for (const w of [...best, ...workloads]) {
      timed.push(await measure(gpu, w, rounds, clock));
      phase.advance(1, w.kernel.name);
    }
    const ceilings = bestOf(timed.slice(0, best.length));
    const report: BenchReport = {
      adapter,
      driver,
      date: new Date().toISOString(),
      clock,
      rounds,
      ceilings,
      rows: timed.filter((row) => wanted(row.kernel)).map((row) => share(row, ceilings)),
      steps: [],
      scalings: [],
    };
    const done: BenchReport["steps"][number][] = [];
    for (const { name, run } of steps) {
      const step = await run(gpu, rounds, clock);
      done.push({ ...step, rows: step.rows.map((row) => share(row, ceilings)) });
      phase.advance(1, name);
    }
    const grown: ScalingResult[] = [];
    for (const scaling of scalings) {
      grown.push(await measureScaling(gpu, scaling, rounds, clock));
      phase.advance(1, scaling.name);
    }
    progress.close();
    const full = { ...report, steps: done, scalings: grown };
    console.log(args.json ? JSON.stringify(full) : text(full));
    return 0;
  } finally {
    gpu.close();
  }
}

/** The price of the feature that a step measures, beside what it may be where that is set. */
export function overheadText(overhead: number, most?: number): string {
  const percent = (x: number) => `${(100 * x).toFixed(1)} %`;
  const text = `${percent(overhead)} more time a token than without`;
  if (most === undefined) return text;
  return `${text}: ${overhead <= most ? "within" : "over"} the ${percent(most)} that it may be`;
}

/** What a step holds, mirror textures apart: only software adapters have them. */
function memoryText(
  memory: Readonly<Record<MemoryClass, number>>,
  without?: Readonly<Record<MemoryClass, number>>,
): string {
  const buffers = (m: typeof memory) =>
    (Object.entries(m).reduce((sum, [name, bytes]) => name === "mirror" ? sum : sum + bytes, 0) / 2 ** 20)
      .toFixed(0);
  const mirrors = (m: typeof memory) =>
    m.mirror > 0 ? ` and ${(m.mirror / 2 ** 20).toFixed(0)} MiB of textures` : "";
  return `memory: ${buffers(memory)} MiB of buffers${mirrors(memory)} (${memoryLine(memory)})` +
    (without ? `; without it ${buffers(without)} MiB${mirrors(without)}` : "");
}

function text(r: BenchReport): string {
  const rate = (x: number | null) => x === null ? "" : x.toPrecision(3);
  const percent = (x: number | null) => x === null ? "" : (100 * x).toFixed(0);
  const best = (row: Row) => `(${row.kernel}, ${row.shape})`;
  const rates = (row: SharedRow | SharedStepRow) => [
    rate(row.gflops),
    rate(row.gbs),
    percent(row.matmulShare),
    percent(row.copyShare),
  ];
  const { matmul, copy } = r.ceilings;
  const parts = [
    `${r.adapter}, ${r.driver}; medians of ${r.rounds} rounds; kernels by ` +
    (r.clock === "wall"
      ? "wall time, launching included: this adapter has no timestamp-query"
      : "the adapter's timestamps"),
    `best matmul: ${rate(matmul.gflops)} GFLOP/s ${best(matmul)}; best copy: ${rate(copy.gbs)} GB/s ${
      best(copy)
    }`,
  ];
  const rateHeads = ["GFLOP/s", "GB/s", "% of matmul", "% of copy"];
  if (r.rows.length > 0) {
    const rows = r.rows.map((row) => [row.kernel, row.shape, row.milliseconds.toFixed(3), ...rates(row)]);
    parts.push(renderTable(["kernel", "shape", "ms", ...rateHeads], rows, { left: [0, 1] }));
  }
  for (const s of r.steps) {
    const speed = `${s.milliseconds.toFixed(2)} ms, ${s.tokensPerSecond.toFixed(0)} tokens/s`;
    const { matmulShare } = share({ gflops: s.gflops, gbs: null }, r.ceilings);
    const reached = s.gflops === null
      ? ""
      : `, ${rate(s.gflops)} GFLOP/s: ${percent(matmulShare)} % of the best matmul`;
    const overhead = s.overhead === undefined ? "" : `, ${overheadText(s.overhead, s.mostOverhead)}`;
    parts.push(`${s.name}: ${s.what}\n${speed}${reached}${overhead}`);
    if (s.memory) parts.push(memoryText(s.memory, s.memoryWithout));
    if (s.rates) {
      const cells = ({ at, milliseconds, cpu, tokensPerSecond }: Rate) => [
        at,
        milliseconds?.toFixed(2) ?? "left out: too long",
        cpu?.toFixed(2) ?? "",
        tokensPerSecond?.toFixed(0) ?? "",
        tokensPerSecond === null ? "" : (1e6 / tokensPerSecond).toFixed(0),
      ];
      parts.push(
        renderTable(["size", "ms a step", "processor ms", "tokens/s", "µs a token"], s.rates.map(cells)),
      );
    }
    if (s.kernelMilliseconds === null) continue;
    const outside = s.milliseconds - s.kernelMilliseconds;
    const cells = (row: SharedStepRow) => [
      row.kernel,
      row.calls,
      row.milliseconds.toFixed(2),
      percent(row.share),
      ...rates(row),
    ];
    const rest = (name: string, ms: number) => [
      name,
      "",
      ms.toFixed(2),
      percent(ms / s.milliseconds),
      "",
      "",
      "",
      "",
    ];
    parts.push(renderTable(["kernel", "calls", "ms", "% of step", ...rateHeads], [
      ...s.rows.map(cells),
      rest("all kernels", s.kernelMilliseconds),
      rest("outside kernels", outside),
    ]));
  }
  for (const s of r.scalings) parts.push(scalingText(s));
  return parts.join("\n");
}

function scalingText(
  { name, what, unit, points, exponent, attentionExponent, restExponent }: ScalingResult,
): string {
  const number = (x: number | null) => x === null ? "" : x.toFixed(2);
  return `${name}: ${what}\n` + renderTable([unit, "ms", "attention ms", "rest ms"], [
    ...points.map((p) => [p.size, number(p.milliseconds), number(p.attention), number(p.rest)]),
    ["exponent", number(exponent), number(attentionExponent), number(restExponent)],
  ]);
}
