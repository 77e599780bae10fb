import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { bestOf } from "../../bench/ceilings.ts";
import { branchingRollouts, extraTime, usedSteps } from "../../bench/branching.ts";
import { median, timeLaunch } from "../../bench/clock.ts";
import { fittedExponent, measureScaling, SCALINGS } from "../../bench/scaling.ts";
import { decodeFinished } from "../../bench/decode_rates.ts";
import { rates, share } from "../../bench/row.ts";
import { SHAPES } from "../../bench/shapes.ts";
import { visionWorkloads } from "../../bench/vision.ts";
import { attentionProduct, patchesIn, TINY_VISION, TOWER_7B } from "../../bench/vision_shapes.ts";
import { meanAttentionCosts } from "../../bench/vision_step.ts";
import { workload } from "../../bench/workload.ts";
import { allWorkloads } from "../../bench/workloads.ts";
import { type BenchReport, overheadText } from "../../cli/bench.ts";
import { gatherRows } from "../../shaders/rows.ts";
import { uncovered } from "../shaders/all_cases.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

const MAIN = new URL("../../cli/main.ts", import.meta.url).pathname;

async function bench(args: string[]) {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "bench", "--no-tune", ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}

Deno.test("bench: every kernel is timed on some shape on some adapter", async () => {
  const workloads = [true, false].flatMap((software) => [
    ...allWorkloads({ software }),
    ...allWorkloads({ software, precision: "float16" }),
    ...allWorkloads({ software, subgroups: true }),
  ]);
  assertEquals(await uncovered(workloads.map((w) => w.kernel)), []);
});

Deno.test("bench rmsnorm --json: its kernels on the shapes of both models, and nothing else", async () => {
  const { code, stdout, stderr } = await bench(["rmsnorm", "--json", "--rounds", "1"]);
  assertEquals(code, 0, stderr);
  const report = JSON.parse(stdout) as BenchReport;
  assertEquals(
    new Set(report.rows.map((row) => row.kernel)),
    new Set([
      "rmsnorm.forward",
      "rmsnorm.backward",
      "rmsnorm.backward_weight",
    ]),
  );
  assertEquals(report.rows.filter((row) => row.kernel === "rmsnorm.forward").map((row) => row.shape), [
    "tiny 2048 x 128",
    "tiny 64 x 128",
    "small 512 x 384",
    "small 64 x 384",
  ]);
  const { matmul, copy } = report.ceilings;
  for (const row of report.rows) {
    assert(row.milliseconds > 0 && row.gflops! > 0 && row.gbs! > 0, row.shape);
    assertAlmostEquals(row.matmulShare!, row.gflops! / matmul.gflops!, 1e-12);
    assertAlmostEquals(row.copyShare!, row.gbs! / copy.gbs!, 1e-12);
  }
  assertEquals([report.rounds, report.steps], [1, []]);
  assert(report.adapter.length > 0 && !Number.isNaN(Date.parse(report.date)));
});

Deno.test("bench: a name that nothing has is refused", async () => {
  const { code, stderr } = await bench(["nothing_like_it"]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "no kernel's or step's name contains nothing_like_it");
});

Deno.test({
  name: "bench: without timestamps the wall's clock serves",
  // The device outlives a test: one device per process.
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const gpu = await oneGpu();
    const index = Uint32Array.from({ length: 64 }, (_, i) => i);
    const w = workload(gatherRows, "64 x 64", { rows: 64, width: 64 }, { index, x: new Float32Array(4096) });
    const held = gpu.pool.report().bytes;
    for (const clock of ["wall", "timestamp-query"] as const) {
      if (clock !== "wall" && !gpu.facts.features.includes(clock)) continue;
      const milliseconds = await timeLaunch(gpu, w, 1, clock);
      assert(milliseconds > 0 && milliseconds < 1000, `${clock}: ${milliseconds}`);
    }
    assertEquals(gpu.pool.report().bytes, held);
  },
});

Deno.test({
  name: "bench: a scaling gives a time for every size, and the exponent of the power law through them",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    assertAlmostEquals(fittedExponent([1, 2, 8], [3, 12, 192]), 2, 1e-12);
    assertAlmostEquals(fittedExponent([10, 20, 40], [7, 7, 7]), 0, 1e-12);
    assertEquals(new Set(SCALINGS.map(({ name }) => name)).size, 4);
    const gpu = await oneGpu();
    const held = gpu.pool.report().bytes;
    const pass = { width: 64, layers: 1, vocabulary: 256, sequences: 1, length: 16 };
    const points = [{ size: 16, pass }, { size: 64, pass: { ...pass, sequences: 4 } }];
    const result = await measureScaling(gpu, { name: "test", what: "", unit: "", points }, 1, "wall");
    assertEquals(result.points.map(({ size }) => size), [16, 64]);
    assert(result.points.every(({ milliseconds }) => milliseconds > 0) && Number.isFinite(result.exponent));
    assertEquals([result.attentionExponent, result.restExponent], [null, null]);
    assertEquals(gpu.pool.report().bytes, held);
  },
});

Deno.test({
  name: "bench: decoding by the share of sequences that have ended, and the memory given back",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const gpu = await oneGpu();
    const held = gpu.pool.report().bytes;
    const { rates, tokensPerSecond } = await decodeFinished(
      gpu,
      { ...SHAPES.tiny, slots: 8, context: 32 },
      1,
    );
    assertEquals(rates!.map((r) => r.at), [0, 25, 50, 75, 90].map((percent) => `${percent} % have ended`));
    [8, 6, 4, 2, 1].forEach((live, i) => {
      const { tokensPerSecond, milliseconds, cpu } = rates![i];
      assertAlmostEquals(tokensPerSecond! * milliseconds! / 1000, live, 1e-9);
      assert(cpu! > 0);
    });
    assertEquals(tokensPerSecond, Math.max(...rates!.map((r) => r.tokensPerSecond!)));
    assertEquals(gpu.pool.report().bytes, held);
  },
});

Deno.test("bench: what branching costs is time over time at equal tokens, whatever else differs", () => {
  const run = (milliseconds: number, cpu: number, tokens: number, computed: number) => ({
    milliseconds,
    cpu,
    tokens,
    computed,
    rollouts: [],
  });
  const pairs = [
    { plain: run(100, 200, 1000, 1000), tree: run(84, 168, 800, 1000) },
    { plain: run(100, 200, 1000, 2000), tree: run(103, 220, 1000, 1000) },
    { plain: run(100, 200, 1000, 1000), tree: run(400, 190, 1000, 1250) },
  ];
  assertAlmostEquals(extraTime(pairs, "milliseconds"), 0.05, 1e-12);
  assertAlmostEquals(extraTime(pairs, "cpu"), 0.05, 1e-12);
  assertEquals([usedSteps(pairs.map(({ tree }) => tree)), usedSteps(pairs.map(({ plain }) => plain))], [
    0.8,
    1,
  ]);
  assertEquals(
    overheadText(0.049, 0.05),
    "4.9 % more time a token than without: within the 5.0 % that it may be",
  );
  assertEquals(
    overheadText(0.051, 0.05),
    "5.1 % more time a token than without: over the 5.0 % that it may be",
  );
  assertEquals(overheadText(-0.01), "-1.0 % more time a token than without");
});

Deno.test({
  name: "bench: rollouts that branch and such that do not are ended at the same number of generated tokens",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const gpu = await oneGpu();
    const held = gpu.pool.report().bytes;
    const shape = { ...SHAPES.tiny, slots: 8, prompt: 8, context: 56 };
    const { what, overhead, mostOverhead } = await branchingRollouts(gpu, shape, 1, 1);
    assertEquals(mostOverhead, 0.05);
    assert(Number.isFinite(overhead), what);
    const [, branches, rollouts] = what.match(/(\d+) of (\d+) branch/)!.map(Number);
    assert(branches > 0 && branches <= rollouts / 2, what);
    const [generated, until] = [/(\d+) are generated/, /ended at (\d+)/].map((p) =>
      Number(what.match(p)![1])
    );
    assert(until > 0 && until <= 0.75 * generated, what);
    assertEquals(gpu.pool.report().bytes, held);
  },
});

Deno.test("bench: medians, rates and shares", () => {
  assertEquals([median([3, 1, 2]), median([4, 1, 3, 2])], [2, 2.5]);
  assertEquals(rates({ flops: 4e6, bytes: 0 }, 2), { gflops: 2, gbs: null });
  const row = (kernel: string, gflops: number | null, gbs: number) => ({
    kernel,
    shape: "",
    milliseconds: 1,
    gflops,
    gbs,
  });
  const best = bestOf([row("slow", 1, 9), row("fast", 8, 1), row("copy", null, 2), row("copy 2", null, 4)]);
  assertEquals([best.matmul.kernel, best.copy.kernel], ["fast", "copy 2"]);
  assertEquals(share({ gflops: 2, gbs: 3 }, best), { gflops: 2, gbs: 3, matmulShare: 0.25, copyShare: 0.75 });
  assertEquals(share({ gflops: null, gbs: 3 }, best).matmulShare, null);
});

Deno.test("bench: a 448 x 448 picture is 1024 patches in 16 windows of 64; a small one lies in one window", () => {
  const { vision } = TOWER_7B.config;
  assertEquals([patchesIn(TOWER_7B), vision!.hidden_size, vision!.intermediate_size], [1024, 1280, 3420]);
  assertEquals(attentionProduct(TOWER_7B, "windows"), 2 * 1280 * 1024 * 64);
  assertEquals(attentionProduct(TOWER_7B, "images"), 2 * 1280 * 1024 * 1024);
  for (const kind of ["windows", "images"] as const) {
    assertEquals(attentionProduct(TINY_VISION, kind), 2 * 64 * 32 * 36 * 36);
  }
});

Deno.test("bench: the 7B tower's kernels on its shapes; a CPU leaves its longest to the whole block", () => {
  const timed = (software: boolean) =>
    visionWorkloads({ software }).filter((w) => w.shape.startsWith("7b")).map((w) => {
      // A binding holds 128 MiB at most on an adapter that keeps WebGPU's default limits.
      const largest = Math.max(...Object.values(w.kernel.sizes(w.dims)));
      assert(4 * largest <= 2 ** 27, `${w.kernel.name}: ${w.shape}`);
      return `${w.kernel.name}: ${w.shape}`;
    });
  const everywhere = [
    "rope: 7b tower 1 x 1024 patches, 3840",
    "gelu.backward: 7b merger 256 x 5120",
    "rows.gather: 7b 256 image tokens of 256 x 3584",
  ];
  const longest = [
    "linear_tiled.forward_bias: 7b merger 256 x 5120 x 3584",
    "attention_tiled.forward.d80: 7b tower 1 x 1024 patches, whole pictures",
  ];
  const [cpu, gpu] = [timed(true), timed(false)];
  for (const entry of ["forward", "backward_query", "backward_key_value"]) {
    const shape = "d80: 7b tower 1 x 1024 patches, in windows";
    assert(cpu.includes(`attention_texture.${entry}.${shape}`), entry);
    assert(gpu.includes(`attention_tiled.${entry}.${shape}`), entry);
  }
  for (const name of everywhere) assert(cpu.includes(name) && gpu.includes(name), name);
  for (const name of longest) assert(gpu.includes(name), name);
  assert(cpu.includes("linear_broadcast.forward: 7b tower 1 x 1024 patches, embedding 1176 x 1280"));
  assert(!cpu.some((name) => name.includes("whole pictures") || name.includes("5120 x 3584")));
});

Deno.test("bench: attention of text and tower costs the mean of the launches that share a kernel", () => {
  const costs = meanAttentionCosts([
    { headDim: 32, product: 10, launches: 3 },
    { headDim: 32, product: 2, launches: 1 },
    { headDim: 80, product: 7, launches: 1 },
  ]);
  // The half tiles are called after their size.
  const half = { forward: "_32x32", backward_query: "_32x32", backward_key_value: "_16x64" };
  const expected = ["attention", "attention_texture", "attention_tiled", "half"].flatMap((file) =>
    (["forward", "backward_query", "backward_key_value"] as const).flatMap((entry, i) => {
      const name = `${file === "half" ? `attention_tiled${half[entry]}` : file}.${entry}`;
      return [[`${name}.d32`, 8 * (i + 2)], [`${name}.d80`, 7 * (i + 2)]];
    })
  );
  assertEquals(
    Object.fromEntries(Object.entries(costs).map(([name, { flops }]) => [name, flops])),
    Object.fromEntries(expected),
  );
});

Deno.test("bench vision_training_step: pictures and text by kernel, with the rate of the whole step", async () => {
  const { code, stdout, stderr } = await bench(["vision_training_step", "--json", "--rounds", "1"]);
  assertEquals(code, 0, stderr);
  const { rows, steps: [step] } = JSON.parse(stdout) as BenchReport;
  assertEquals([rows.length, step.name], [0, "vision_training_step.tiny"]);
  // 32 sequences of 9 image tokens and 40 text tokens.
  assertAlmostEquals(step.tokensPerSecond * step.milliseconds / 1000, 32 * 49, 1e-6);
  // Without timestamps there is nothing by kernel.
  if (step.kernelMilliseconds === null) return;
  const kernels = step.rows.map((row) => row.kernel);
  for (const name of ["gelu.forward", "gelu.backward", "rows.gather", "rows.scatter", "adamw"]) {
    assert(kernels.includes(name), name);
  }
  // Four launches over 49 tokens that see what is before them, two over pictures of 36 patches that see each other.
  const forward = step.rows.find((row) => /^attention_(texture|tiled)\.forward\.d32$/.test(row.kernel))!;
  const pairs = 4 * 128 * 49 * 50 / 2 + 2 * 64 * 36 * 36;
  assertEquals(forward.calls, 6);
  assertAlmostEquals(forward.gflops! * forward.milliseconds, 2 * 2 * 32 * pairs / 1e6, 1e-6);
  const operations = step.rows.reduce((sum, row) => sum + (row.gflops ?? 0) * row.milliseconds, 0);
  assertAlmostEquals(step.gflops!, operations / step.milliseconds, 1e-9);
});
