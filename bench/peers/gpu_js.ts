/** gpu.js on WebGPU: products; it has no gradients. @module */
import { GPU } from "gpu.js";
import { serve, type Session } from "./serve.ts";
import { spread } from "../workload.ts";
import type { Work } from "./work.ts";

async function open(work: Work): Promise<Session> {
  if (work.kind !== "matmul") throw new Error("gpu.js has no gradients");
  const { m, k, n } = work;
  // deno-lint-ignore no-explicit-any
  const gpu = new GPU({ mode: "webgpu" as any });
  const rows = (values: Float32Array, count: number, width: number) =>
    Array.from(
      { length: count },
      (_, i) => values.subarray(i * width, (i + 1) * width),
    );
  const product = gpu.createKernel(
    function (this: any, a: number[][], b: number[][]) {
      let sum = 0;
      for (let i = 0; i < this.constants.k; i++) {
        sum += a[this.thread.y][i] * b[i][this.thread.x];
      }
      return sum;
    },
    { output: [n, m], constants: { k } },
  ) as any;
  product.setPipeline(true);
  const a = rows(spread(m * k), m, k);
  const b = rows(spread(k * n), k, n);
  return {
    what: "gpu.js 2.24.1, webgpu",
    async run(repeats) {
      let c: any;
      for (let i = 0; i < repeats; i++) {
        c?.delete?.();
        c = await product(a, b);
      }
      const values = await c.toArray();
      c.delete?.();
      return values[1][2];
    },
  };
}

await serve(open);
