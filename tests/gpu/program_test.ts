import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { Gpu } from "../../gpu/device.ts";
import { GpuError } from "../../gpu/errors.ts";
import type { KernelSpec } from "../../gpu/kernel.ts";
import { Program } from "../../gpu/program.ts";
import { type Tensor, view } from "../../gpu/tensor.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { counting } from "./device_counts.ts";
import { increase, scale } from "./test_kernels.ts";

interface Bench {
  readonly gpu: Gpu;
  /** [128], 1, 2, 3, …: two views that can be bound side by side. */
  readonly x: Tensor;
  /** [128] of zeros. */
  readonly y: Tensor;
  readonly program: Program;
}

/** A test with two tensors and an empty program; the device outlives it: one device per process. */
function programTest(name: string, fn: (bench: Bench) => void | Promise<void>): void {
  Deno.test({
    name: `program: ${name}`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const gpu = await oneGpu();
      const x = gpu.tensor("x", [2, 64], Float32Array.from({ length: 128 }, (_, i) => i + 1));
      const y = gpu.tensor("y", [128], new Float32Array(128));
      const program = new Program(gpu, "test");
      await fn({ gpu, x, y, program });
      program.destroy();
      for (const tensor of [x, y]) gpu.pool.free(tensor);
      await gpu.idle();
    },
  });
}

/** The first `count` elements. */
async function head(gpu: Gpu, tensor: Tensor, count: number): Promise<number[]> {
  return [...(await gpu.readF32(tensor)).subarray(0, count)];
}

programTest("launches run in the order they were added, `times` over", async ({ gpu, x, y, program }) => {
  program.add(scale, { x, y }, { n: 1, value: 2 })
    .add(increase, { x: y }, { n: 1, value: 1 })
    .add(scale, { x: y, y: x }, { n: 1, value: 1 });
  assertEquals(program.length, 3);
  await program.run();
  assertEquals(await head(gpu, x, 2), [3, 2]);
  await program.run(3); // 3 → 7 → 15 → 31
  assertEquals(await head(gpu, x, 2), [31, 2]);
  await program.run(0);
  assertEquals(await head(gpu, x, 2), [31, 2]);
});

programTest(
  "what was encoded ahead is submitted with the values of later, where it covers their sizes",
  async ({ gpu, x, y, program }) => {
    let n = 128;
    let value = 2;
    program.add(scale, { x, y }, { n: () => n, value: () => value });
    await program.build();
    let finished = 0;
    const { createCommandEncoder } = gpu.device;
    gpu.device.createCommandEncoder = (descriptor) => {
      if (descriptor?.label === "test") finished++;
      return createCommandEncoder.call(gpu.device, descriptor);
    };
    try {
      const cases = [
        // Fewer workgroups than encoded: those too many do nothing.
        { from: 128, to: 3, times: 1, made: 1 },
        { from: 128, to: 128, times: 1, made: 1 },
        // More, or another number of turns: encoded again.
        { from: 3, to: 128, times: 1, made: 2 },
        { from: 128, to: 3, times: 2, made: 2 },
      ];
      for (const { from, to, times, made } of cases) {
        gpu.clear(y);
        [n, value, finished] = [from, 2, 0];
        const ahead = await program.encodeAhead(1);
        [n, value] = [to, 5];
        (await program.prepare(times, ahead))();
        const wanted = Array.from({ length: 128 }, (_, i) => i < to ? 5 * (i + 1) : 0);
        assertEquals(await head(gpu, y, 128), wanted, `${from} to ${to}`);
        assertEquals(finished, made, `${from} to ${to}, ${times} times`);
      }
    } finally {
      delete (gpu.device as Partial<GPUDevice>).createCommandEncoder;
    }
  },
);

programTest(
  "one buffer written twice, or written and read, is refused, views too",
  ({ gpu, x, y, program }) => {
    assertThrows(
      () => program.add(scale, { x, y: x }, { n: 1, value: 1 }),
      GpuError,
      "test.scale: y and x share the buffer of x",
    );
    // WebGPU itself takes these two disjoint ranges for valid.
    const both = { ...scale, name: "test.both", bindings: { x: "inout", y: "write" } } as typeof scale;
    const parts = { x: view(x, 0, [64], "upper"), y: view(x, 64, [64], "lower") };
    assertThrows(() => program.add(both, parts, { n: 1, value: 1 }), GpuError, "share the buffer of lower");
    assertEquals(program.length, 0);
    const reads = { ...scale, bindings: { x: "read", y: "read" } } as typeof scale;
    assertEquals(program.add(reads, { x: y, y }, { n: 1, value: 1 }).length, 1);
    gpu.check();
  },
);

programTest(
  "a missing tensor and one beyond the binding size are refused by name",
  ({ gpu, x, y, program }) => {
    const lacking = { x } as unknown as Record<"x" | "y", Tensor>;
    assertThrows(
      () => program.add(scale, lacking, { n: 1, value: 1 }),
      GpuError,
      "test.scale: no tensor for binding y",
    );
    const limit = gpu.device.limits.maxStorageBufferBindingSize;
    const size = Math.floor(limit / 4) + 1;
    const large: Tensor = { ...x, name: "embedding", shape: [size, 1], size, bytes: size * 4 };
    const { message } = assertThrows(() => program.add(scale, { x: large, y }, { n: 1, value: 1 }), GpuError);
    assertStringIncludes(
      message,
      `embedding [${size} x 1] is ${size * 4} bytes, this adapter binds ${limit}`,
    );
    assertEquals(program.length, 0);
  },
);

programTest(
  "a tensor too small for the sizes of a run is named with what it needs and has",
  async ({ gpu, x, y, program }) => {
    let n = 129;
    program.add(scale, { x, y }, { n: () => n, value: 2 });
    await assertRejects(
      () => program.run(),
      GpuError,
      "test.scale: x needs 129 elements, x [2 x 64] has 128",
    );
    n = 128;
    await program.run();
    assertEquals((await gpu.readF32(y))[127], 256);
  },
);

programTest(
  "sizes that change are asked for at every run; nothing but the uniform buffer is made or written anew",
  async ({ gpu, x, y, program }) => {
    let [n, asked] = [3, 0];
    const size = (): number => {
      asked++;
      return n;
    };
    let value = 10;
    program.add(scale, { x, y }, { n: size, value: () => value }).add(increase, { x: y }, {
      n: 2,
      value: 0.5,
    });
    await program.run();
    assertEquals(await head(gpu, y, 4), [10.5, 20.5, 30, 0]);
    const { device } = gpu;
    const { queue } = device;
    const calls: string[] = [];
    const names = [
      "createBuffer",
      "createBindGroup",
      "createShaderModule",
      "createComputePipelineAsync",
    ] as const;
    const originals = names.map((name) => device[name]);
    const writeBuffer = queue.writeBuffer;
    const record = (target: object, name: string, original: (...args: never[]) => unknown): void => {
      Object.assign(target, {
        [name]: (...args: never[]): unknown => {
          calls.push(name);
          return original.apply(target, args);
        },
      });
    };
    names.forEach((name, i) => record(device, name, originals[i]));
    record(queue, "writeBuffer", writeBuffer);
    try {
      for (const [size, factor] of [[5, 3], [1, -1], [128, 2]]) {
        [n, value, asked] = [size, factor, 0];
        await program.run();
        assertEquals([asked, calls.splice(0)], [1, ["writeBuffer"]]);
      }
    } finally {
      names.forEach((name, i) => Object.assign(device, { [name]: originals[i] }));
      queue.writeBuffer = writeBuffer;
    }
    const got = await gpu.readF32(y);
    assertEquals([got[0], got[1], got[2], got[4], got[127]], [2.5, 4.5, 6, 10, 256]);
  },
);

programTest(
  "a tensor of another width than the kernel reads is refused by name",
  ({ gpu, x, y, program }) => {
    const half = gpu.alloc("half", [128], "data", "f16");
    assertThrows(
      () => program.add(scale, { x: half, y }, { n: 1, value: 2 }),
      GpuError,
      `${scale.name}: x is read as four bytes, half holds f16`,
    );
    assertThrows(
      () => program.add({ ...scale, halves: ["x"] }, { x, y }, { n: 1, value: 2 }),
      GpuError,
      `${scale.name}: x is read as f16, x holds f32`,
    );
    gpu.pool.free(half);
  },
);

programTest("a run without sizes that change writes nothing", async ({ gpu, x, y, program }) => {
  program.add(scale, { x, y }, { n: 2, value: 3 });
  await program.run();
  const { queue } = gpu.device;
  const writeBuffer = queue.writeBuffer;
  let writes = 0;
  queue.writeBuffer = (...args: Parameters<GPUQueue["writeBuffer"]>): undefined => {
    writes++;
    return writeBuffer.apply(queue, args);
  };
  try {
    gpu.clear(y);
    await program.run();
  } finally {
    queue.writeBuffer = writeBuffer;
  }
  assertEquals([writes, await head(gpu, y, 3)], [0, [3, 6, 0]]);
});

programTest(
  "runs started together, also the first two, and runs after destroy use the fixed sizes",
  async ({ gpu, x, program }) => {
    program.add(increase, { x }, { n: 2, value: 1 });
    await Promise.all([program.run(), program.run(), program.run()]);
    assertEquals(await head(gpu, x, 3), [4, 5, 3]);
    program.destroy();
    await program.run();
    assertEquals(await head(gpu, x, 3), [5, 6, 3]);
  },
);

programTest(
  "a dim that its type does not hold is refused; the next run is right",
  async ({ gpu, x, y, program }) => {
    let n = 0;
    program.add(scale, { x, y }, { n: 4, value: 1 }).add(increase, { x: y }, { n: () => n, value: 1 });
    for (n of [1.5, -1, NaN, Infinity, 2 ** 32]) {
      await assertRejects(
        () => program.run(),
        GpuError,
        `test.increase: dim n = ${n} is not a valid u32`,
      );
    }
    n = undefined as unknown as number;
    await assertRejects(() => program.run(), GpuError, "dim n = undefined");
    n = 2;
    await program.run();
    assertEquals(await head(gpu, y, 5), [2, 3, 3, 4, 0]);
  },
);

programTest(
  "a grid beyond the adapter's limit is refused with both; an empty one starts nothing",
  async ({ gpu, x, y, program }) => {
    const limit = gpu.device.limits.maxComputeWorkgroupsPerDimension;
    const flat: typeof scale = { ...scale, sizes: () => ({ x: 0, y: 0 }), grid: ({ n }) => [1, n, 1] };
    let n = limit + 1;
    program.add(flat, { x, y }, { n: () => n, value: 1 });
    await assertRejects(
      () => program.run(),
      GpuError,
      `test.scale: grid 1 x ${limit + 1} x 1 exceeds ${limit} workgroups a dimension`,
    );
    n = 0;
    await program.run();
    assertEquals(await head(gpu, y, 2), [0, 0]);
  },
);

programTest(
  "launches that come after build, even while it works, are refused; an empty program runs",
  async ({ gpu, x, y, program }) => {
    await new Program(gpu, "empty").run();
    program.add(scale, { x, y }, { n: 1, value: 1 });
    const building = program.build();
    const late = (): Program => program.add(increase, { x }, { n: 1, value: 1 });
    assertThrows(late, GpuError, "program test is built, test.increase comes too late");
    assertEquals(await building, program);
    assertThrows(late, GpuError, "test is built");
    assertEquals(program.length, 1);
  },
);

programTest("a kernel that does not compile is named by build and by run", async ({ x, y, program }) => {
  const broken: typeof scale = {
    ...scale,
    name: "test.broken",
    source: scale.source.replace("d.value", "nothing"),
  };
  program.add(scale, { x, y }, { n: 1, value: 1 }).add(broken, { x, y }, { n: 1, value: 1 });
  await assertRejects(() => program.build(), GpuError, "test.broken");
  await assertRejects(() => program.run(), GpuError, "test.broken");
});

programTest(
  "a kernel whose WGSL binds other than its spec is refused with its name",
  async ({ gpu, x, y, program }) => {
    const swapped = { ...scale, name: "test.swapped", bindings: { x: "read", y: "read" } } as KernelSpec<
      "x" | "y",
      "n" | "value"
    >;
    program.add(swapped, { x, y }, { n: 1, value: 1 });
    await assertRejects(() => program.run(), GpuError, "test.swapped");
    gpu.check();
  },
);

programTest(
  "profile sums calls, operations, bytes and time by kernel, costliest first",
  async ({ gpu, x, y, program }) => {
    program.add(scale, { x, y }, { n: 100, value: 2 })
      .add(increase, { x: y }, { n: () => 50, value: 1 })
      .add(scale, { x, y }, { n: 28, value: 3 })
      .add(scale, { x, y }, { n: 0, value: 3 });
    if (!gpu.facts.features.includes("timestamp-query")) {
      await assertRejects(() => program.profile(), GpuError, "this adapter has no timestamp-query");
      return;
    }
    const rows = await program.profile();
    const counts = rows.map(({ milliseconds: _, ...row }) => row).sort((a, b) => b.calls - a.calls);
    assertEquals(counts, [
      { name: "test.scale", calls: 3, flops: 128, bytes: 1024 },
      { name: "test.increase", calls: 1, flops: 100, bytes: 400 },
    ]);
    assert(rows.every((row) => row.milliseconds > 0 && row.milliseconds < 1000), JSON.stringify(rows));
    assert(rows[0].milliseconds >= rows[1].milliseconds);
    assertEquals(await head(gpu, y, 1), [3]); // it ran, once
  },
);

programTest("profile goes beyond the launches that one query set holds", async ({ gpu, x, program }) => {
  if (!gpu.facts.features.includes("timestamp-query")) return;
  for (let i = 0; i < 2049; i++) program.add(increase, { x }, { n: 1, value: 1 });
  const [row] = await program.profile();
  assertEquals([row.calls, row.flops, await head(gpu, x, 2)], [2049, 4098, [2050, 2]]);
});

programTest("together: one submit, in the order of the calls", async ({ gpu, x, y, program }) => {
  program.add(increase, { x }, { n: 128, value: 10 });
  await program.build();
  await counting(gpu.device, async (counts) => {
    await gpu.together(async () => {
      await program.run();
      gpu.copyTo(x, 2, y, 0);
      gpu.clear(x);
      gpu.copy([y, x]);
      // One within another is the same one.
      await gpu.together(async () => gpu.copyTo(x, 1, y, 5));
      assertEquals(counts.submits, 0);
    });
    assertEquals(counts.submits, 1);
  });
  assertEquals(await head(gpu, y, 6), [11, 12, 0, 0, 0, 11]);
});

programTest("together: a write, a read and a program's new sizes come where they stand", async (bench) => {
  const { gpu, x, y, program } = bench;
  let value = 1;
  program.add(increase, { x }, { n: 128, value: () => value });
  await program.build();
  await counting(gpu.device, async (counts) => {
    await gpu.together(async () => {
      await program.run(); // 2, 3, …
      value = 100;
      await program.run(); // 102, 103, …
      gpu.copyTo(x, 2, y, 0);
      gpu.write(x, Float32Array.of(7));
      gpu.copyTo(x, 2, y, 2);
      assertEquals(await head(gpu, y, 4), [102, 103, 7, 103]);
      gpu.clear(y);
    });
    // Before the second run, before the write, before the read, the read, the rest.
    assertEquals(counts.submits, 5);
  });
  assertEquals(await head(gpu, y, 4), [0, 0, 0, 0]);
});

programTest("together: after an error calls are submitted one by one again", async ({ gpu, x, y }) => {
  await assertRejects(() => gpu.together(() => Promise.reject(new Error("stop"))), Error, "stop");
  await counting(gpu.device, (counts) => {
    gpu.copyTo(x, 1, y, 0);
    assertEquals(counts.submits, 1);
    return Promise.resolve();
  });
});
