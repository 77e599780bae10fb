/**
 * Two kernels, small enough to be right at sight, for the tests of the runtime.
 * @module
 */
import { defineKernel, type KernelSpec, linearGrid } from "../../gpu/kernel.ts";

const SOURCE = `struct Dims { n: u32, value: f32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn scale(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if (i < d.n) { y[i] = x[i] * d.value; }
}
`;

/** y [n] = x [n] · value. */
export const scale: KernelSpec<"x" | "y", "n" | "value"> = defineKernel({
  name: "test.scale",
  source: SOURCE,
  entry: "scale",
  bindings: { x: "read", y: "write" },
  dims: { n: "u32", value: "f32" },
  sizes: ({ n }) => ({ x: n, y: n }),
  grid: ({ n }) => n === 0 ? [0, 1, 1] : linearGrid(n, 64),
  cost: ({ n }) => ({ flops: n, bytes: 8 * n }),
});

/** x [n] += value, in place. */
export const increase: KernelSpec<"x", "n" | "value"> = defineKernel({
  name: "test.increase",
  source: `struct Dims { n: u32, value: f32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64)
fn increase(@builtin(global_invocation_id) id: vec3u) { if (id.x < d.n) { x[id.x] += d.value; } }
`,
  entry: "increase",
  bindings: { x: "inout" },
  dims: { n: "u32", value: "f32" },
  sizes: ({ n }) => ({ x: n }),
  grid: ({ n }) => [Math.ceil(n / 64), 1, 1],
  cost: ({ n }) => ({ flops: 2 * n, bytes: 8 * n }),
});
