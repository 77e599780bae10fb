import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { GpuError } from "../../gpu/errors.ts";
import { memoryLine, Pool } from "../../gpu/pool.ts";
import { view } from "../../gpu/tensor.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

/** A test with a pool of its own on the shared device, which outlives the test: one device per process. */
function poolTest(name: string, fn: (pool: Pool, device: GPUDevice) => void | Promise<void>): void {
  Deno.test({
    name: `pool: ${name}`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const gpu = await oneGpu();
      const errors: GpuError[] = [];
      const pool = new Pool(gpu.device, (error) => errors.push(error));
      await fn(pool, gpu.device);
      pool.destroy();
      await gpu.idle();
      assertEquals(errors, []);
    },
  });
}

poolTest("bytes are counted by class, the peak stays, idle buffers are counted apart", (pool) => {
  const weight = pool.alloc("weight", [8, 16], "parameter");
  const moment = pool.alloc("moment", [8, 16], "moment");
  const odd = pool.alloc("odd", [5], "parameter", "u32"); // 20 bytes in a buffer of 32
  const none = { gradient: 0, activation: 0, cache: 0, scratch: 0, data: 0, mirror: 0 };
  const all = { ...none, parameter: 544, moment: 512 };
  assertEquals(pool.report(), { byClass: all, bytes: 1056, peak: 1056, peakByClass: all, idle: 0 });
  pool.free(moment);
  pool.free(odd);
  const rest = { ...none, parameter: 512, moment: 0 };
  assertEquals(pool.report(), {
    byClass: rest,
    bytes: 512,
    peak: 1056,
    peakByClass: all,
    idle: 544,
  });
  pool.alloc("gradient", [128], "gradient");
  assertEquals(pool.report().byClass.gradient, 512);
  assertEquals(pool.report().idle, 32);
  pool.trim();
  assertEquals(pool.report().idle, 0);
  pool.free(weight);
  assertEquals(pool.report().bytes, 512);
  assertEquals(pool.report().peak, 1056);
});

poolTest("memory that is no tensor's is counted from hold to release", (pool) => {
  pool.alloc("weight", [100], "parameter");
  pool.hold("mirror", 1000);
  pool.alloc("late", [50], "data");
  pool.release("mirror", 1000);
  pool.hold("mirror", 700);
  const { byClass, bytes, peak, peakByClass } = pool.report();
  assertEquals([bytes, byClass.mirror], [1308, 700]);
  assertEquals([peak, peakByClass.parameter, peakByClass.data, peakByClass.mirror], [1608, 400, 208, 1000]);
});

Deno.test("pool: classes in words, the largest first, without those that round to nothing", () => {
  const MiB = 2 ** 20;
  assertEquals(
    memoryLine({ parameter: 3 * MiB, activation: 10.4 * MiB, data: 0.4 * MiB, cache: 0, mirror: 0.5 * MiB }),
    "activations 10, parameters 3, mirror textures 1",
  );
});

poolTest("a freed buffer serves the next tensor of its size, whatever its class and shape", (pool) => {
  const first = pool.alloc("first", [4, 8], "activation");
  const second = pool.alloc("second", [4, 8], "activation");
  assert(first.buffer !== second.buffer);
  pool.free(first);
  assert(pool.alloc("longer", [64], "activation").buffer !== first.buffer);
  const reused = pool.alloc("reused", [32], "scratch", "u32");
  assert(reused.buffer === first.buffer);
  assertEquals([reused.name, reused.shape, reused.dtype, reused.size, reused.bytes], [
    "reused",
    [32],
    "u32",
    32,
    128,
  ]);
  assert(pool.alloc("fourth", [4, 8], "activation").buffer !== reused.buffer);
});

poolTest(
  "freeing twice is refused, also once the buffer is another tensor's; so are views and strangers",
  (pool, device) => {
    const first = pool.alloc("first", [100], "data");
    pool.free(first);
    assertThrows(() => pool.free(first), GpuError, "tensor first was freed twice");
    const second = pool.alloc("second", [100], "data");
    assert(second.buffer === first.buffer);
    assertThrows(() => pool.free(first), GpuError, "tensor first was freed twice");
    assertThrows(() => pool.free(view(second, 64, [8], "part")), GpuError, "part");
    assertEquals(pool.report().bytes, 400);
    const stranger = new Pool(device, () => {});
    assertThrows(() => stranger.free(second), GpuError, "not from this pool");
    pool.free(second);
    assertEquals(pool.report().bytes, 0);
  },
);

poolTest(
  "a tensor beyond the largest buffer is refused with name, shape and limit; nothing is counted",
  (pool, device) => {
    const limit = device.limits.maxBufferSize;
    // One element more than the last whole 16 bytes, which is what a buffer is rounded to.
    const rows = Math.floor(limit / 16) * 4 + 1;
    const { message } = assertThrows(() => pool.alloc("logits", [rows, 1], "activation"), GpuError);
    for (const part of ["logits", `[${rows} x 1]`, `${rows * 4} bytes`, `maxBufferSize = ${limit}`]) {
      assertStringIncludes(message, part);
    }
    assertEquals(pool.report().bytes, 0);
    assertEquals(pool.report().peak, 0);
  },
);

poolTest("a shape that is none is refused", (pool) => {
  for (const shape of [[-1], [-2, -3], [2.5], [0.5, 2], [NaN], [2 ** 30, 2 ** 30]]) {
    assertThrows(() => pool.alloc("odd", shape, "data"), GpuError, "not a valid shape");
  }
  assertEquals(pool.alloc("scalar", [], "data").size, 1);
  assertEquals(pool.alloc("empty", [0, 7], "data").bytes, 0);
});

poolTest("two hundred rounds take no more than the first", (pool, device) => {
  const createBuffer = device.createBuffer;
  let made = 0;
  device.createBuffer = (descriptor) => {
    made++;
    return createBuffer.call(device, descriptor);
  };
  try {
    const round = (n: number): void => {
      const tensors = [1, 5, 123, 64].map((size, i) =>
        pool.alloc(`t${i}`, [size], n % 2 ? "scratch" : "cache")
      );
      for (const tensor of n % 3 ? tensors : tensors.reverse()) pool.free(tensor);
    };
    round(0);
    assertEquals(made, 4);
    const first = pool.report();
    for (let n = 1; n < 200; n++) round(n);
    assertEquals(made, 4);
    assertEquals(pool.report(), first);
  } finally {
    device.createBuffer = createBuffer;
  }
});
