/**
 * Opens the device of a process of its own, breaks it in the way named by the argument, and prints as one JSON array
 * what the runtime's next calls reject with: `[call, error name, message]`, or `[call, "none", ""]`.
 * @module
 */
import { Gpu } from "../../gpu/device.ts";
import { Program } from "../../gpu/program.ts";
import { increase } from "./test_kernels.ts";

/** Ways to break the device, each behind the runtime's back. */
export type Damage = "invalid copy" | "invalid dispatch" | "destroyed" | "destroyed while reading";

/** One call and what it threw. */
export type Outcome = [call: string, error: string, message: string];

function damage(gpu: Gpu, how: string): void {
  const { device } = gpu;
  const encoder = device.createCommandEncoder();
  if (how === "invalid copy") {
    const [from, to] = [32, 16].map((size) => device.createBuffer({ size, usage: 0x80 | 8 | 4 }));
    encoder.copyBufferToBuffer(from, 0, to, 8, 16);
    device.queue.submit([encoder.finish()]);
  } else if (how === "invalid dispatch") {
    const pass = encoder.beginComputePass();
    pass.dispatchWorkgroups(1); // no pipeline is set
    pass.end();
    device.queue.submit([encoder.finish()]);
  } else {
    device.destroy();
  }
}

async function main(how: string): Promise<Outcome[]> {
  const gpu = await Gpu.open();
  const x = gpu.tensor("x", [4], new Float32Array(4));
  const program = new Program(gpu, "test").add(increase, { x }, { n: 4, value: 1 });
  await program.run();
  await gpu.read(x);
  const outcomes: Outcome[] = [];
  const attempt = async (call: string, promise: Promise<unknown>): Promise<void> => {
    const error = await promise.then(() => undefined, (error: Error) => error);
    outcomes.push([call, error?.name ?? "none", error?.message ?? ""]);
  };
  // All are listened to at once: which of them ends first is the runtime's affair.
  const early = how === "destroyed while reading" ? [gpu.read(x), gpu.idle()] : [];
  const heard = early.map((promise) => attempt("read before", promise));
  damage(gpu, how);
  await Promise.all(heard);
  await attempt("read", gpu.read(x));
  await attempt("read again", gpu.read(x));
  await attempt("idle", gpu.idle());
  await attempt("run", program.run());
  await attempt("check", (async () => gpu.check())());
  return outcomes;
}

if (import.meta.main) console.log(JSON.stringify(await main(Deno.args[0])));
