/** jax-js on WebGPU or WebAssembly: products, and a plain Qwen2 with its own gradients. @module */
import { defaultDevice, init, numpy as np } from "@jax-js/jax";
import { generation, trainingSteps } from "./jax_js_qwen2.ts";
import { serve, type Session } from "./serve.ts";
import { spread } from "../workload.ts";
import type { Work } from "./work.ts";

const device = Deno.args[1] as "webgpu" | "wasm";

async function open(work: Work): Promise<Session> {
  const found = await init(device);
  if (!found.includes(device)) {
    throw new Error(`jax-js has no ${device} here, only ${found.join(", ")}`);
  }
  defaultDevice(device);
  const what = `jax-js 0.1.25, ${device}`;
  if (work.kind === "matmul") {
    const { m, k, n } = work;
    const a = np.array(spread(m * k)).reshape([m, k]);
    const b = np.array(spread(k * n)).reshape([k, n]);
    return {
      what,
      async run(repeats) {
        // Evaluation is lazy: a product that nobody waits for is never computed.
        const products = Array.from(
          { length: repeats },
          () => np.matmul(a.ref, b.ref),
        );
        const [last] = await Promise.all(
          products.reverse().map((c) => c.data()),
        );
        return last[n + 2];
      },
    };
  }
  if (work.kind === "train") {
    const oneHot = device === "webgpu";
    return { what: oneHot ? `${what}, one-hot embedding` : what, run: trainingSteps(work, oneHot) };
  }
  if (work.kind === "generate") return { what, run: generation(work) };
  throw new Error(`jax-js does no ${work.kind}`);
}

await serve(open);
