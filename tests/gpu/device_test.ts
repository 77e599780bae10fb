import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import type { Gpu, HostArray } from "../../gpu/device.ts";
import { GpuError } from "../../gpu/errors.ts";
import { type Tensor, view } from "../../gpu/tensor.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import type { Damage, Outcome } from "./broken_device.ts";

/** A test on the shared device, whose tensors it gives back; the device outlives it: one device per process. */
function deviceTest(name: string, fn: (gpu: Gpu, tensor: Gpu["tensor"]) => Promise<void>): void {
  Deno.test({
    name: `device: ${name}`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const gpu = await oneGpu();
      const made: Tensor[] = [];
      await fn(gpu, (...args) => {
        made.push(gpu.tensor(...args));
        return made.at(-1)!;
      });
      for (const tensor of made) gpu.pool.free(tensor);
      await gpu.idle();
    },
  });
}

const BROKEN = new URL("broken_device.ts", import.meta.url).pathname;
// A child takes under a second; one that hangs is ended and fails its test.
const CHILD_LIMIT = 30_000;

async function child(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ success: boolean; stdout: string; stderr: string }> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", BROKEN, ...args],
    env: { NO_COLOR: "1", ...env },
    signal: AbortSignal.timeout(CHILD_LIMIT),
  }).output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { success: output.success, stdout: text(output.stdout), stderr: text(output.stderr) };
}

async function outcomes(damage: Damage): Promise<Outcome[]> {
  const { success, stdout, stderr } = await child([damage]);
  assert(success, `${damage}: the process failed or did not end in time: ${stderr}`);
  return JSON.parse(stdout) as Outcome[];
}

deviceTest(
  "the limits are the adapter's own, software is recognised, features are those of the device",
  async (gpu) => {
    const adapter = (await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }))!;
    const own = adapter.limits as unknown as Record<string, number>;
    const given = gpu.device.limits as unknown as Record<string, number>;
    const names: string[] = [];
    for (const name in own) if (typeof own[name] === "number") names.push(name);
    assert(names.length > 20, `only ${names}`);
    assertEquals(names.map((name) => [name, given[name]]), names.map((name) => [name, own[name]]));
    assertEquals(gpu.facts.software, (adapter.info as { isFallbackAdapter?: boolean }).isFallbackAdapter);
    assert(gpu.facts.name.length > 1 && !/^\d+$/.test(gpu.facts.name), gpu.facts.name);
    assertEquals(gpu.facts.features, [...gpu.device.features].sort());
    for (const name of ["timestamp-query", "shader-f16"] as const) {
      assertEquals(gpu.facts.features.includes(name), adapter.features.has(name), name);
    }
  },
);

deviceTest("f32 and u32 come back bit for bit, at odd sizes, in one read", async (gpu, tensor) => {
  const sizes = [1, 2, 3, 5, 123, 1025, 4097];
  const data: HostArray[] = sizes.flatMap((size) => [
    Float32Array.from({ length: size }, (_, i) => [-0, 1e-45, 3.4e38, NaN, -Infinity, 0.1][i % 6]),
    Uint32Array.from({ length: size }, (_, i) => 0xffffffff - i * 7919),
  ]);
  const tensors = data.map((array, i) => tensor(`t${i}`, [array.length], array));
  const back = await gpu.read(...tensors);
  assertEquals(back, data);
  assertEquals(back.map((a) => a.constructor), data.map((a) => a.constructor));
  assertEquals(await gpu.readF32(tensors[4]), data[4] as Float32Array);
});

deviceTest("f16 values are rounded to the nearest on the way in and come back as f32", async (gpu) => {
  const values = Float32Array.of(-0, 1e-45, 65504, 65520, NaN, -Infinity, 0.1, 1 / 3, 2049, 2051);
  const x = gpu.alloc("x", [10], "data", "f16");
  assertEquals([x.bytes, x.size], [20, 10]);
  gpu.write(x, values);
  const y = gpu.alloc("y", [10], "data", "f16");
  gpu.copy([x, y]);
  gpu.write(y, Float32Array.of(7, 8), 4);
  // An odd number of them, between others that fill whole words.
  const part = { ...x, shape: [3], size: 3, bytes: 6 };
  const [read, first, changed] = await gpu.read(x, part, y);
  assertEquals(read, values.map(Math.f16round));
  assertEquals(first, read.slice(0, 3));
  assertEquals(changed, read.with(4, 7).with(5, 8));
  assertThrows(() => gpu.write(x, Float32Array.of(1)), GpuError, "both are to be even");
  assertThrows(() => gpu.write(x, Float32Array.of(1, 2), 3), GpuError, "x: both are to be even");
  assertThrows(() => gpu.write(x, Uint32Array.of(1, 2)), GpuError, "tensor x holds f16");
  const full = gpu.alloc("full", [10], "data");
  assertThrows(() => gpu.copy([x, full]), GpuError, "copying x, which holds f16, to full of f32");
  assertThrows(() => gpu.copyTo(full, 2, x, 0), GpuError, "copying full, which holds f32, to x of f16");
  for (const tensor of [x, y, full]) gpu.pool.free(tensor);
});

deviceTest(
  "a write goes to its place alone, parts of host arrays too; one that does not fit is refused",
  async (gpu, tensor) => {
    const x = tensor("x", [7], Float32Array.of(0, 1, 2, 3, 4, 5, 6));
    gpu.write(x, Float32Array.of(9, 8, 7, 6, 5).subarray(1, 3), 3);
    gpu.write(x, Float32Array.of(-6), 6);
    assertEquals(await gpu.readF32(x), Float32Array.of(0, 1, 2, 8, 7, 5, -6));
    const tooLong = assertThrows(() => gpu.write(x, new Float32Array(3), 5), GpuError);
    assertEquals(tooLong.message, "writing 3 elements at 5 into x of 7");
    assertThrows(() => gpu.write(x, new Uint32Array(1)), GpuError, "tensor x holds f32");
    assertEquals(await gpu.readF32(x), Float32Array.of(0, 1, 2, 8, 7, 5, -6));
  },
);

deviceTest("empty writes, copies, clears and reads are harmless", async (gpu, tensor) => {
  const x = tensor("x", [2], Float32Array.of(1, 2));
  const empty = tensor("empty", [0, 5], new Float32Array(0));
  const none = tensor("none", [0], new Uint32Array(0));
  gpu.write(x, new Float32Array(0));
  gpu.write(x, new Float32Array(0), 2);
  gpu.clear(empty);
  gpu.clear();
  gpu.copy([empty, x]);
  gpu.copyTo(x, 0, none, 0);
  assertEquals(await gpu.read(empty, x, none), [
    new Float32Array(0),
    Float32Array.of(1, 2),
    new Uint32Array(0),
  ]);
  assertEquals(await gpu.read(empty), [new Float32Array(0)]);
  assertEquals(await gpu.read(), []);
});

deviceTest(
  "copies and clears touch what they name; those that do not fit are refused",
  async (gpu, tensor) => {
    const whole = tensor("whole", [128], new Float32Array(128));
    const part = view(whole, 64, [5], "part");
    assertThrows(() => gpu.copy([part, whole]), GpuError, "copying part to whole: they share one buffer");
    assertThrows(
      () => gpu.copyTo(whole, 1, part, 1),
      GpuError,
      "copying whole to part: they share one buffer",
    );
    const a = tensor("a", [3], Float32Array.of(1, 2, 3));
    const b = tensor("b", [5], Float32Array.of(9, 9, 9, 9, 9));
    const c = tensor("c", [5], new Float32Array(5));
    gpu.copy([a, b], [b, c]); // in order: c gets what a gave to b
    assertEquals(await gpu.read(b, c), [Float32Array.of(1, 2, 3, 9, 9), Float32Array.of(1, 2, 3, 9, 9)]);
    gpu.copyTo(a, 2, c, 3);
    gpu.clear(a, b);
    assertEquals(await gpu.read(a, b, c), [
      new Float32Array(3),
      new Float32Array(5),
      Float32Array.of(1, 2, 3, 1, 2),
    ]);
    assertThrows(() => gpu.copy([b, a]), GpuError, "copying b into the smaller a");
    assertThrows(() => gpu.copyTo(a, 4, b, 0), GpuError, "copying 4 elements of a to 0 of b [5]");
    assertThrows(() => gpu.copyTo(a, 3, b, 3), GpuError, "to 3 of b");
  },
);

deviceTest("several reads in flight each see what was written before them", async (gpu, tensor) => {
  const x = tensor("x", [3], new Float32Array(3));
  const reads: Promise<Float32Array>[] = [];
  for (let i = 0; i < 6; i++) {
    gpu.write(x, Float32Array.of(i, i, i));
    reads.push(gpu.readF32(x));
  }
  const seen = await Promise.all(reads);
  assertEquals(seen.map((array) => [...array]), [0, 1, 2, 3, 4, 5].map((i) => [i, i, i]));
});

deviceTest(
  "a hundred reads one after the other make no new buffer",
  async (gpu, tensor) => {
    const sizes = [1, 2000, 5000, 3, 12000];
    const tensors = sizes.map((size, i) => tensor(`t${i}`, [size], new Float32Array(size).fill(i)));
    for (const t of tensors) await gpu.readF32(t);
    const createBuffer = gpu.device.createBuffer;
    let made = 0;
    gpu.device.createBuffer = (descriptor) => {
      made++;
      return createBuffer.call(gpu.device, descriptor);
    };
    try {
      for (let i = 0; i < 20; i++) {
        for (const t of tensors) {
          assertEquals((await gpu.readF32(t))[0], sizes.indexOf(t.size));
        }
      }
    } finally {
      gpu.device.createBuffer = createBuffer;
    }
    assertEquals(made, 0);
  },
);

Deno.test("device: an error that nobody caught comes out of the next read and of all that follows, named", async () => {
  for (
    const [damage, words] of [["invalid copy", /Copy .*overrun/], ["invalid dispatch", /pipeline/i]] as const
  ) {
    const all = await outcomes(damage);
    assertEquals(all.map(([call, error]) => [call, error]), [
      ["read", "GpuError"],
      ["read again", "GpuError"],
      ["idle", "GpuError"],
      ["run", "GpuError"],
      ["check", "GpuError"],
    ]);
    for (const [, , message] of all) {
      assertStringIncludes(message, "uncaptured GPU error: ");
      assertMatch(message, words);
    }
  }
});

Deno.test("device: once it is lost, reads in flight and everything after say so; nothing hangs", async () => {
  for (const damage of ["destroyed", "destroyed while reading"] as const) {
    const all = await outcomes(damage);
    assertEquals(all.length, damage === "destroyed" ? 5 : 7);
    for (const [call, error, message] of all) {
      assertEquals(error, "GpuError", `${damage}, ${call}: ${message}`);
      assertStringIncludes(message, "the GPU device was lost (destroyed)", `${damage}, ${call}: ${message}`);
    }
  }
});

Deno.test("device: without an adapter a UserError says what to install", async () => {
  const { success, stderr } = await child(["destroyed"], {
    VK_DRIVER_FILES: "/nonexistent",
    VK_ICD_FILENAMES: "/nonexistent",
    VK_LOADER_DRIVERS_DISABLE: "*",
    DENO_WEBGPU_BACKEND: "vulkan",
    ARES_LIBVULKAN: "",
  });
  assertEquals(success, false);
  assertStringIncludes(stderr, "UserError: no WebGPU adapter");
  for (const remedy of ["libvulkan1 mesa-vulkan-drivers", "./ares"]) assertStringIncludes(stderr, remedy);
});
