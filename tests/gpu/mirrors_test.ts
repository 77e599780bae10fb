import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Gpu } from "../../gpu/device.ts";
import { GpuError } from "../../gpu/errors.ts";
import { defineKernel, type KernelSpec } from "../../gpu/kernel.ts";
import { assignPlaces, type Mirror, planMirrors } from "../../gpu/mirrors.ts";
import { Program } from "../../gpu/program.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { SHADERS } from "../../shaders/bundle.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { increase } from "./test_kernels.ts";

const SUM_SOURCE = SHADERS.texel + `struct Dims { n: u32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var a: Mirror;
@group(0) @binding(2) var b: Mirror;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(64)
fn sum(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.n / 4u) { y[id.x] = texel(a, id.x) + texel(b, id.x); }
}
`;

/** y [n] = a [n] + b [n], both read through textures. */
const sum: KernelSpec<"a" | "b" | "y", "n"> = defineKernel({
  name: "test.sum",
  source: SUM_SOURCE,
  entry: "sum",
  bindings: { a: "texture", b: "texture", y: "write" },
  dims: { n: "u32" },
  sizes: ({ n }) => ({ a: n, b: n, y: n }),
  grid: ({ n }) => [Math.ceil(n / 256), 1, 1],
  cost: ({ n }) => ({ flops: n, bytes: 12 * n }),
});

const N = 8;
const filled = (gpu: Gpu, name: string, value: number, size = N): Tensor =>
  gpu.tensor(name, [size], new Float32Array(size).fill(value));

/** A test with a program; the device outlives it: one device per process. */
function mirrorTest(name: string, fn: (gpu: Gpu, program: Program) => Promise<void>): void {
  Deno.test({
    name: `mirrors: ${name}`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const gpu = await oneGpu();
      const program = new Program(gpu, "test");
      await fn(gpu, program);
      program.destroy();
      await gpu.idle();
    },
  });
}

mirrorTest(
  "a tensor that the program changes is read as it is at each launch, `times` over",
  async (gpu, program) => {
    const x = filled(gpu, "x", 1),
      one = filled(gpu, "one", 1),
      y = filled(gpu, "y", 0),
      z = filled(gpu, "z", 0);
    program.add(sum, { a: x, b: one, y }, { n: N }) // y = x + 1
      .add(increase, { x }, { n: N, value: 10 })
      .add(sum, { a: x, b: y, y: z }, { n: N }); // z = x + 10 + y
    await program.run();
    assertEquals((await gpu.readF32(z))[N - 1], 13);
    await program.run(2); // x: 11, 21, 31; z = 31 + 22
    assertEquals((await gpu.readF32(z))[0], 53);
  },
);

mirrorTest("a tensor that only others write is read anew at every run", async (gpu, program) => {
  const x = filled(gpu, "x", 1), one = filled(gpu, "one", 1), y = filled(gpu, "y", 0);
  program.add(sum, { a: x, b: one, y }, { n: N });
  await program.run();
  gpu.write(x, new Float32Array(N).fill(5));
  await program.run();
  assertEquals([...await gpu.readF32(y)], new Array(N).fill(6));
});

mirrorTest("many changing tensors are all read right", async (gpu, program) => {
  const xs = Array.from({ length: 7 }, (_, i) => filled(gpu, `x${i}`, i));
  const ys = xs.map((_, i) => filled(gpu, `y${i}`, 0));
  for (const x of xs) program.add(increase, { x }, { n: N, value: 100 });
  for (let round = 0; round < 2; round++) {
    xs.forEach((x, i) => program.add(sum, { a: x, b: xs[(i + 3) % 7], y: ys[i] }, { n: N }));
  }
  await program.run();
  const read = await gpu.read(...ys);
  read.forEach((y, i) => assertEquals(y[0], 200 + i + (i + 3) % 7));
});

mirrorTest("rows of 1,024 texels and a last one that is not full", async (gpu, program) => {
  const n = 4096 * 2 + 12;
  const x = gpu.tensor("x", [n], Float32Array.from({ length: n }, (_, i) => i));
  const one = filled(gpu, "one", 1, n), y = filled(gpu, "y", 0, n);
  program.add(sum, { a: x, b: one, y }, { n });
  await program.run();
  assertEquals(await gpu.readF32(y), Float32Array.from({ length: n }, (_, i) => i + 1));
});

mirrorTest("only what a run reads is copied, and a later run may read more", async (gpu, program) => {
  let n = 4;
  const x = filled(gpu, "x", 1), one = filled(gpu, "one", 1), y = filled(gpu, "y", 0);
  program.add(sum, { a: x, b: one, y }, { n: () => n });
  await program.run();
  assertEquals([...await gpu.readF32(y)], [2, 2, 2, 2, 0, 0, 0, 0]);
  n = 8;
  await program.run();
  assertEquals([...await gpu.readF32(y)], new Array(N).fill(2));
});

mirrorTest(
  "a tensor both written and read through a texture by one launch is refused",
  async (gpu, program) => {
    const x = filled(gpu, "x", 1), one = filled(gpu, "one", 1);
    assertThrows(() => program.add(sum, { a: x, b: one, y: x }, { n: N }), GpuError, "share the buffer of x");
    await program.run();
  },
);

const read = (...tensors: Tensor[]) => tensors.map((tensor, i) => ({ binding: `b${i}`, tensor }));
const planned = (plan: readonly Mirror[]): string[] =>
  plan.map((m) => `${m.tensor.name} before ${m.before ?? "all"}, ${m.readers.length} readers`);

mirrorTest("the plan fills once what stays, and what changes only after it was written", async (gpu) => {
  const [w, x, y] = ["w", "x", "y"].map((name) => filled(gpu, name, 0));
  const uses = [
    { mirrored: [], written: [x] },
    { mirrored: read(x, w), written: [y] },
    { mirrored: read(x, w), written: [] },
    { mirrored: read(y, w), written: [x] },
    { mirrored: read(x, w), written: [] },
  ];
  const plan = planMirrors(uses);
  assertEquals(planned(plan), [
    "x before 1, 2 readers",
    "w before all, 4 readers",
    "y before 3, 1 readers",
    "x before 4, 1 readers",
  ]);
  // w keeps its own; the others follow each other.
  assertEquals([assignPlaces(plan).length, plan.map((m) => m.place)], [2, [0, 1, 0, 0]]);
  const streamed = planMirrors(uses, true);
  assertEquals(planned(streamed)[1], "w before 1, 4 readers");
});

mirrorTest(
  "what stays is filled again, not kept, for a reader far behind in a program that runs once",
  async (gpu) => {
    const [w, x] = ["w", "x"].map((name) => filled(gpu, name, 0));
    const others = Array.from({ length: 40 }, () => ({ mirrored: read(x), written: [] }));
    const uses = [{ mirrored: read(w), written: [] }, ...others, { mirrored: read(w), written: [] }];
    assertEquals(planned(planMirrors(uses)), ["w before all, 2 readers", "x before all, 40 readers"]);
    const plan = planMirrors(uses, true);
    assertEquals(planned(plan), [
      "w before 0, 1 readers",
      "x before 1, 40 readers",
      "w before 41, 1 readers",
    ]);
    assertEquals(assignPlaces(plan).length, 1);
  },
);

mirrorTest(
  "a place is never left to another before its last reader, and holds its largest tensor",
  async (gpu) => {
    const size = (n: number) => filled(gpu, `${n}`, 0, n);
    const [a, b, c, d] = [size(8), size(64), size(32), size(128)];
    const plan = planMirrors([
      { mirrored: read(a, b), written: [] },
      { mirrored: read(b), written: [] },
      { mirrored: read(c), written: [] }, // both are free: the smallest that holds it is b's
      { mirrored: read(c, d), written: [] }, // c is still read: d has a's, which grows
      { mirrored: read(a, b, c, d), written: [] }, // a and b were not read for a while but still stand
    ], true);
    const sizes = assignPlaces(plan);
    for (const [i, m] of plan.entries()) {
      assert(sizes[m.place] >= m.tensor.size);
      const last = (x: Mirror) => x.readers[x.readers.length - 1].launch;
      for (const other of plan.slice(0, i)) {
        if (other.place === m.place) {
          assert(
            last(other) < m.before!,
            `${other.tensor.name}, ${m.tensor.name}`,
          );
        }
      }
    }
    assertEquals(sizes.reduce((x, y) => x + y), 8 + 64 + 32 + 128);
  },
);

mirrorTest(
  "programs share textures, each in turn; the last one that goes takes them along",
  async (gpu, program) => {
    const n = 4096 * 3;
    const [w, x, one] = [filled(gpu, "w", 3, n), filled(gpu, "x", 4, n), filled(gpu, "one", 1, n)];
    const [y, z, v] = ["y", "z", "v"].map((name) => filled(gpu, name, 0, n));
    const held = () => gpu.pool.report().byClass.mirror;
    const before = held();
    const other = new Program(gpu, "other", { once: true });
    program.add(sum, { a: w, b: one, y }, { n });
    other.add(sum, { a: x, b: one, y: z }, { n }).add(sum, { a: w, b: x, y: z }, { n: 4096 })
      .add(sum, { a: one, b: w, y: v }, { n });
    await program.run();
    const first = held() - before;
    assertEquals(first, 2 * 3 * 1024 * 16);
    await other.run(2);
    await program.run();
    assertEquals(held() - before, 3 * 3 * 1024 * 16);
    const [ys, zs, vs] = await gpu.read(y, z, v);
    assertEquals([ys[0], ys[n - 1], zs[0], zs[n - 1], vs[n - 1]], [4, 4, 7, 5, 4]);
    other.destroy();
    assertEquals(held() - before, first);
    program.destroy();
    assertEquals(held(), before);
  },
);

mirrorTest(
  "a tensor that is written with its texture is filled once; without it too is refused",
  async (gpu) => {
    const [x, y] = ["x", "y"].map((name) => filled(gpu, name, 0));
    const reader = { mirrored: [{ binding: "b", tensor: x }], written: [y] };
    const kept = { mirrored: [], written: [], kept: [{ binding: "k", tensor: x }] };
    const plan = planMirrors([kept, reader, kept, reader]);
    assertEquals(planned(plan), ["x before all, 4 readers"]);
    assertEquals(planned(planMirrors([kept, reader, kept, reader], true)), ["x before all, 4 readers"]);
    const wrong = [kept, reader, { mirrored: [], written: [x] }];
    assertThrows(() => planMirrors(wrong), GpuError, "x is written both with its texture and without");
  },
);
