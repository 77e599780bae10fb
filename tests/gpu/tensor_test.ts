import { assertEquals, assertThrows } from "@std/assert";
import { GpuError } from "../../gpu/errors.ts";
import { elements, rowWindows, type Tensor, view } from "../../gpu/tensor.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

/** A test with tensors `[rows, width]` that hold 0, 1, 2, …; the device outlives it: one device per process. */
function tensorTest(
  name: string,
  shapes: readonly [rows: number, width: number][],
  fn: (...matrices: Tensor[]) => void | Promise<void>,
): void {
  Deno.test({
    name: `tensor: ${name}`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const gpu = await oneGpu();
      const matrices = shapes.map(([rows, width]) =>
        gpu.tensor(
          `[${rows}, ${width}]`,
          [rows, width],
          Float32Array.from({ length: rows * width }, (_, i) => i),
        )
      );
      await fn(...matrices);
      for (const matrix of matrices) gpu.pool.free(matrix);
      gpu.check();
    },
  });
}

Deno.test("tensor: elements is the product of the extents; a scalar has one", () => {
  assertEquals(elements([]), 1);
  assertEquals(elements([3, 5, 7]), 105);
  assertEquals(elements([3, 0]), 0);
});

tensorTest(
  "a view shares its owner's buffer, reads and writes its range alone",
  [[10, 64]],
  async (matrix) => {
    const gpu = await oneGpu();
    const part = view(matrix, 128, [2, 3], "part");
    assertEquals([part.name, part.offset, part.size, part.bytes, part.dtype], ["part", 512, 6, 24, "f32"]);
    assertEquals(part.buffer === matrix.buffer, true);
    assertEquals(await gpu.readF32(part), Float32Array.of(128, 129, 130, 131, 132, 133));
    gpu.write(part, Float32Array.of(-1, -2), 2);
    const inner = view(view(matrix, 64, [128]), 64, [5]); // of a view: 64 + 64 elements into the owner
    assertEquals([inner.name, inner.offset], [matrix.name, 512]);
    assertEquals(await gpu.readF32(inner), Float32Array.of(128, 129, -1, -2, 132));
    gpu.clear(view(matrix, 0, [64]));
    const whole = await gpu.readF32(matrix);
    assertEquals([whole[0], whole[63], whole[64], whole[639]], [0, 0, 64, 639]);
  },
);

tensorTest("views and row windows of f16 values count two bytes each", [], async () => {
  const gpu = await oneGpu();
  const table = gpu.alloc("table", [200, 8], "data", "f16");
  gpu.write(table, Float32Array.from({ length: 1600 }, (_, i) => i));
  const part = view(table, 128, [2, 4]);
  assertEquals([part.offset, part.bytes, part.dtype], [256, 16, "f16"]);
  assertEquals(await gpu.readF32(part), Float32Array.of(128, 129, 130, 131, 132, 133, 134, 135));
  assertThrows(() => view(table, 64, [4]), GpuError, "at byte 128");
  // 64 rows of 16 bytes: twice as many as there would be of f32 values.
  const windows = rowWindows(table, 1024);
  assertEquals(windows.map((w) => [w.first, w.rows, w.tensor.offset]), [[0, 64, 0], [64, 64, 1024], [
    128,
    64,
    2048,
  ], [192, 8, 3072]]);
  gpu.pool.free(table);
});

tensorTest("a view that leaves its tensor or starts between 256 bytes is refused", [[10, 64]], (matrix) => {
  assertThrows(() => view(matrix, 576, [65]), GpuError, "view [576, 641) leaves [10, 64] of 640 elements");
  assertThrows(() => view(matrix, -64, [4]), GpuError, "leaves [10, 64]");
  assertThrows(() => view(view(matrix, 64, [64]), 64, [1]), GpuError, "of 64 elements");
  for (const start of [1, 32, 63, 0.5, NaN]) {
    assertThrows(() => view(matrix, start, [1]), GpuError, "multiple of 256");
  }
  assertEquals(view(matrix, 576, [64]).offset, 2304);
});

tensorTest(
  "row windows hold every row once, start at multiples of 64 and fit",
  [[300, 5], [128, 3], [1, 7]],
  async (...matrices) => {
    const gpu = await oneGpu();
    const cuts = [
      { maxBytes: Infinity, maxRows: Infinity },
      { maxBytes: 64 * 5 * 4, maxRows: Infinity },
      { maxBytes: 3000, maxRows: Infinity },
      { maxBytes: Infinity, maxRows: 100 },
      { maxBytes: 4000, maxRows: 64 },
    ];
    for (const matrix of matrices) {
      const [rows, width] = matrix.shape;
      for (const { maxBytes, maxRows } of cuts) {
        const windows = rowWindows(matrix, maxBytes, maxRows);
        let next = 0;
        for (const { first, rows: count, tensor } of windows) {
          assertEquals([first, first % 64, tensor.shape], [next, 0, [count, width]]);
          assertEquals([tensor.bytes <= maxBytes, count <= maxRows, tensor.offset % 256], [true, true, 0]);
          next += count;
        }
        assertEquals(next, rows);
        const parts = await gpu.read(...windows.map((w) => w.tensor));
        assertEquals(parts.flatMap((part) => [...part]), Array.from({ length: rows * width }, (_, i) => i));
      }
    }
    assertEquals(rowWindows(matrices[0], 3000).map((w) => w.rows), [128, 128, 44]);
    assertEquals(rowWindows(matrices[0], Infinity).length, 1);
  },
);

tensorTest("a matrix whose 64 rows do not fit a window is refused with both limits", [[65, 5]], (matrix) => {
  assertThrows(
    () => rowWindows(matrix, 64 * 5 * 4 - 1),
    GpuError,
    "64 rows of [65, 5] [65 x 5] exceed a window of 1279",
  );
  assertThrows(() => rowWindows(matrix, 1e6, 63), GpuError, "63 rows");
  assertEquals(rowWindows({ ...matrix, shape: [0, 5], size: 0, bytes: 0 }, 16), []);
});
