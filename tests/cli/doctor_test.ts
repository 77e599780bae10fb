import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { checkKernels, type DoctorReport } from "../../cli/doctor.ts";
import { gatherRows, scatterRows } from "../../shaders/rows.ts";
import { rmsnormForward } from "../../shaders/rmsnorm.ts";
import { fitted } from "../../shaders/values.ts";
import { linearProducts } from "../../shaders/linear.ts";
import { allCases, exportedKernels, uncovered, uncoveredSiblings } from "../shaders/all_cases.ts";
import { withMistake } from "../shaders/case.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { cases, mistakes } from "../shaders/rows_cases.ts";

const MAIN = new URL("../../cli/main.ts", import.meta.url).pathname;

async function doctor(args: string[], env: Record<string, string> = {}) {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "doctor", ...args],
    env: { NO_COLOR: "1", ...env },
  }).output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}

Deno.test("every kernel and every entry point of a shader has a case", async () => {
  const ops = await allCases();
  assertEquals(await uncovered(ops.flatMap((op) => op.cases.map((c) => c.kernel))), []);
});

const ADAPTER = {
  name: "any",
  software: true,
  subgroup: 16,
  features: ["shader-f16", "subgroups", "timestamp-query"],
};

Deno.test("every sibling that an adapter with every feature may get has a case", async () => {
  const ops = await allCases();
  const all = ops.flatMap((op) => op.cases);
  assertEquals(await uncoveredSiblings(all, ADAPTER), []);
});

Deno.test("a sibling without a case is named, though others of its name have one", async () => {
  const norms = (await allCases()).find(({ op }) => op === "rmsnorm")!.cases;
  const without = (lost: unknown) => norms.filter(({ kernel }) => kernel !== lost);
  const missing = (lost: unknown, features = ADAPTER.features) =>
    uncoveredSiblings(without(lost), { ...ADAPTER, features }, [rmsnormForward]);
  assertEquals(await missing(undefined), []);
  assertEquals(await missing(fitted(rmsnormForward, 4, "texture")), [
    "rmsnorm.forward (GROUP = 16, SHARE = 1, ROWS = 16, TURNS = 1, texture texture write write)",
  ]);
  const subgroups = fitted(rmsnormForward, 1, "subgroups");
  assertEquals(await missing(subgroups), [
    "rmsnorm_subgroup.forward (GROUP = 64, SHARE = 16, ROWS = 2, TURNS = 2, read read write write)",
  ]);
  // Where the adapter does not have them there is nothing to run.
  assertEquals(await missing(subgroups, []), []);
  // One that only a tuner chooses.
  const products = (await allCases()).find(({ op }) => op === "linear")!.cases;
  const fewer = products.filter(({ kernel }) => !kernel.name.startsWith("linear_tiled_128x64."));
  const [named] = await uncoveredSiblings(fewer, { ...ADAPTER, features: [] }, [linearProducts.forward]);
  assertStringIncludes(named, "linear_tiled_128x64.forward (");
});

Deno.test("a kernel and an entry point without a case are named", async () => {
  const all = await exportedKernels();
  const others = all.filter((kernel) => kernel !== gatherRows);
  assertEquals(await uncovered(others, {}), ["rows.gather"]);
  const text = "@compute @workgroup_size(1)\nfn lost() {}";
  assertEquals(await uncovered(all, { extra: text }), ["extra.wgsl: lost"]);
});

Deno.test({
  name: "doctor: a wrong kernel and one that does not compile are named, the others go on",
  // The device outlives a test: one device per process.
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const gpu = await oneGpu();
    const right = cases().find((c) => c.kernel.name === scatterRows.name)!;
    const gather = cases().filter((c) => c.kernel.name === gatherRows.name).at(-1)!;
    const { mistake } = mistakes.find((m) => m.kernel === gatherRows.name)!;
    const wrong = withMistake(gather, mistake);
    const broken = { ...gather, kernel: { ...gather.kernel, entry: "nowhere" } };
    const failures = await checkKernels(gpu, [{ op: "rows", cases: [wrong, broken, right] }]);
    assertEquals(failures.map((f) => [f.kernel, f.shape]), [
      [gatherRows.name, gather.name],
      [gatherRows.name, gather.name],
    ]);
    assert(failures[0].worst! > failures[0].tolerance);
    assertStringIncludes(failures[0].where, "y[");
    assertEquals(failures[1].worst, null);
    assertStringIncludes(failures[1].where, "nowhere");
  },
});

Deno.test("doctor --json: one object on standard output, whose verdict is the exit code", async () => {
  const { code, stdout, stderr } = await doctor(["--json"]);
  const report = JSON.parse(stdout) as DoctorReport;
  assert(report.adapter.name.length > 0);
  for (const [name, value] of Object.entries(report.limits)) assert(value > 0, name);
  assertEquals(Object.keys(report.features), ["shader-f16", "subgroups", "timestamp-query"]);
  assertEquals(report.parts.map((part) => part.name), ["base model", "data"]);
  assert(report.cases >= report.kernels.length && report.kernels.includes("rows.gather"));
  assertEquals(code, report.failures.length + report.uncovered.length === 0 ? 0 : 1, stdout);
  assertStringIncludes(stderr, "checking kernels");
});

Deno.test("doctor: without an adapter it says what to install", async () => {
  const { code, stderr } = await doctor([], { VK_DRIVER_FILES: "/dev/null", DENO_WEBGPU_BACKEND: "vulkan" });
  assertEquals(code, 2);
  assertStringIncludes(stderr, "error: no WebGPU adapter: install");
});
