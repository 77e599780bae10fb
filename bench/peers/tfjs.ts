/** TensorFlow.js on WebGPU or WebAssembly: products, and the training step of a plain Qwen2. @module */
import { fileURLToPath } from "node:url";
import * as tf from "@tensorflow/tfjs";
import { serve, type Session } from "./serve.ts";
import { trainingSteps } from "./tfjs_qwen2.ts";
import { spread } from "../workload.ts";
import type { Work } from "./work.ts";

const device = Deno.args[1] as "webgpu" | "wasm";

async function open(work: Work): Promise<Session> {
  if (device === "webgpu") await import("@tensorflow/tfjs-backend-webgpu");
  else {
    const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
    const entry = import.meta.resolve("@tensorflow/tfjs-backend-wasm");
    // The package's entry lies beside its binaries.
    setWasmPaths(fileURLToPath(new URL(".", entry)));
  }
  if (!await tf.setBackend(device)) {
    throw new Error(`tf.js could not set up ${device}`);
  }
  await tf.ready();
  const what = `tf.js ${tf.version.tfjs}, ${device}`;
  if (work.kind === "matmul") {
    const { m, k, n } = work;
    const a = tf.tensor2d(spread(m * k), [m, k]);
    const b = tf.tensor2d(spread(k * n), [k, n]);
    return {
      what,
      async run(repeats) {
        for (let i = 1; i < repeats; i++) tf.matMul(a, b).dispose();
        const c = tf.matMul(a, b);
        const values = await c.data();
        c.dispose();
        return values[n + 2];
      },
    };
  }
  if (work.kind === "train") {
    const oneHot = device === "wasm";
    return { what: oneHot ? `${what}, one-hot embedding` : what, run: trainingSteps(work, oneHot) };
  }
  throw new Error(`tf.js is compared at products and training steps, not at ${work.kind}`);
}

await serve(open);
