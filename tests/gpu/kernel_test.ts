import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Gpu } from "../../gpu/device.ts";
import { GpuError } from "../../gpu/errors.ts";
import {
  type Access,
  defineKernel,
  KernelCache,
  type KernelSpec,
  kernelText,
  linearGrid,
} from "../../gpu/kernel.ts";
import { Program } from "../../gpu/program.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { scale } from "./test_kernels.ts";

/** A test on the shared device, which outlives it: one device per process. */
function kernelTest(name: string, fn: (gpu: Gpu) => Promise<void>): void {
  Deno.test({
    name: `kernel: ${name}`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const gpu = await oneGpu();
      await fn(gpu);
      await gpu.idle();
    },
  });
}

/** `scale` with another statement as its body. */
function withBody(name: string, body: string): typeof scale {
  return { ...scale, name, source: scale.source.replace("y[i] = x[i] * d.value;", body) };
}

/** Line and column, from 1, of `needle` in the text that is compiled. */
function place(spec: KernelSpec, needle: string): string {
  const before = kernelText(spec).split(needle)[0].split("\n");
  return `${before.length}:${before.at(-1)!.length + 1}`;
}

kernelTest("an error in the WGSL names the kernel, the line and the column", async (gpu) => {
  const spec = { ...withBody("test.typo", "y[i] = x[i] * d.valeu;"), consts: { A: 1, B: 2 } };
  const { message } = await assertRejects(() => gpu.kernels.pipeline(spec), GpuError);
  assertStringIncludes(message, "compiling kernel test.typo (scale)");
  assertStringIncludes(message, "valeu");
  assertStringIncludes(message, place(spec, "valeu"));
});

kernelTest("kernels compiled side by side each get their own errors", async (gpu) => {
  const specs = [
    withBody("test.right", "y[i] = x[i] - d.value;"),
    withBody("test.first", "y[i] = missing_first;"),
    withBody("test.right_too", "y[i] = x[i] + d.value;"),
    withBody("test.second", "y[i] = missing_second;"),
    { ...withBody("test.first_again", "y[i] = missing_first;"), entry: "another" },
    { ...withBody("test.lost", "y[i] = x[i];"), entry: "nowhere" },
  ];
  const results = await Promise.allSettled(specs.map((spec) => gpu.kernels.pipeline(spec)));
  const messages = results.map((r) => r.status === "rejected" ? (r.reason as GpuError).message : "");
  assertEquals([messages[0], messages[2]], ["", ""]);
  assertStringIncludes(messages[1], "test.first (scale)");
  assertStringIncludes(messages[1], "missing_first");
  assertStringIncludes(messages[3], "test.second (scale)");
  assertStringIncludes(messages[3], "missing_second");
  // The text is compiled once, its error belongs to every entry point of it.
  assertStringIncludes(messages[4], "test.first_again (another)");
  assertStringIncludes(messages[4], place(specs[4], "missing_first"));
  assertStringIncludes(messages[5], "test.lost (nowhere)");
});

kernelTest("more storage bindings than the adapter allows are refused with both numbers", async (gpu) => {
  const limit = gpu.device.limits.maxStorageBuffersPerShaderStage;
  await assertRejects(
    () => gpu.kernels.pipeline(binding(limit + 1, "read")),
    GpuError,
    `kernel test.read binds ${limit + 1} buffers, this adapter allows ${limit}`,
  );
});

/** `scale` with so many bindings of one kind. */
function binding(count: number, access: Access): KernelSpec {
  const names = Array.from({ length: count }, (_, i) => `t${i}`);
  return {
    ...(scale as unknown as KernelSpec),
    name: `test.${access}`,
    bindings: Object.fromEntries(names.map((name): [string, Access] => [name, access])),
  };
}

kernelTest("more textures than the adapter allows are refused with both numbers", async (gpu) => {
  const limit = gpu.device.limits.maxStorageTexturesPerShaderStage;
  await assertRejects(
    () => gpu.kernels.pipeline(binding(limit + 1, "texture")),
    GpuError,
    `kernel test.texture binds ${limit + 1} textures, this adapter allows ${limit}`,
  );
  // Whether a launch reads a texture, writes one or has one beside its buffer: on a device that allows four.
  const small = {
    limits: { maxStorageBuffersPerShaderStage: 8, maxStorageTexturesPerShaderStage: 4 },
    pushErrorScope: () => {
      throw new Error("passed");
    },
  } as unknown as GPUDevice;
  for (const access of ["texture", "kept"] as const) {
    const compile = (count: number) => new KernelCache(small).pipeline(binding(count, access));
    await assertRejects(() => compile(5), GpuError, `test.${access} binds 5 textures, this adapter allows 4`);
    await assertRejects(() => compile(4), Error, "passed");
  }
  // Buffers alone need no texture.
  const cache = new KernelCache(small);
  await assertRejects(() => cache.pipeline(binding(8, "inout")), Error, "passed");
});

kernelTest("a kernel is compiled once; another constant is another kernel", async (gpu) => {
  const [a, again, other] = await Promise.all([
    gpu.kernels.pipeline(scale),
    gpu.kernels.pipeline({ ...scale }),
    gpu.kernels.pipeline({ ...scale, consts: { UNUSED: 1 } }),
  ]);
  assert(a === again);
  assert(a !== other);
});

kernelTest("constants stand in front of the text: whole numbers as u32, others as f32", async (gpu) => {
  const consts = { COUNT: 3, HALF: -0.5, TINY: 1e-7 };
  const spec = {
    ...withBody("test.consts", "y[i] = select(f32(COUNT % 2u), HALF + TINY * 1e6, i < COUNT);"),
    consts,
  };
  assertEquals(kernelText(scale), scale.source);
  assertEquals(
    kernelText(spec),
    "const COUNT = 3u;\nconst HALF = -0.5f;\nconst TINY = 1e-7f;\n" + spec.source,
  );
  const x = gpu.tensor("x", [5], new Float32Array(5));
  const y = gpu.alloc("y", [5], "data");
  const program = new Program(gpu, "consts").add(spec, { x, y }, { n: 5, value: 0 });
  await program.run();
  const half = Math.fround(Math.fround(-0.5) + Math.fround(Math.fround(1e-7) * 1e6));
  const got = await gpu.readF32(y);
  assertEquals([...got].map((v) => v.toFixed(6)), [half, half, half, 1, 1].map((v) => v.toFixed(6)));
  program.destroy();
  for (const tensor of [x, y]) gpu.pool.free(tensor);
});

kernelTest("a program takes the sibling that fits the dims and the adapter", async (gpu) => {
  const wide = withBody("test.wide", "y[i] = 4.0;");
  const asked: unknown[] = [];
  const general: typeof scale = defineKernel({
    ...withBody("test.general", "y[i] = 1.0;"),
    fit: (dims, { software }) => {
      asked.push([dims, software]);
      return dims.n === 4 ? wide : general;
    },
  });
  const [x, y] = ["x", "y"].map((name) => gpu.tensor(name, [4], new Float32Array(4)));
  for (const [n, expected] of [[4, [4, 4, 4, 4]], [3, [1, 1, 1, 4]]] as const) {
    const dims = { n, value: 0 };
    const program = new Program(gpu, "fit").add(general, { x, y }, dims);
    assertEquals(asked.splice(0), [[dims, gpu.facts.software]]);
    await program.run();
    assertEquals([...await gpu.readF32(y)], expected as unknown as number[]);
    program.destroy();
  }
  for (const tensor of [x, y]) gpu.pool.free(tensor);
});

Deno.test("kernel: a linear grid has a workgroup for every item and stays within 65,535 a dimension", () => {
  for (
    const [n, perGroup] of [[0, 64], [1, 64], [64, 64], [65, 64], [65535, 1], [65536, 1], [1e9, 64], [
      2 ** 32 - 1,
      256,
    ]]
  ) {
    const [x, y, z] = linearGrid(n, perGroup);
    assert(x * y * perGroup >= n && x <= 65535 && y <= 65535 && z === 1, `${n} by ${perGroup}: ${x} x ${y}`);
    // No more than a row of idle groups.
    assert(x * (y - 1) * perGroup < Math.max(1, n), `${n} by ${perGroup}: ${x} x ${y} is too many`);
  }
});
