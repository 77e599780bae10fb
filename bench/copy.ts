/**
 * The plainest kernel there is: what the memory gives when nothing is computed. No model needs it, so it is not in
 * shaders/.
 * @module
 */
import { defineKernel, linearGrid } from "../gpu/kernel.ts";
import { type Workload, workload } from "./workload.ts";

const GROUP = 256;
/** f32 values of the type that one thread moves. */
const LANES = { vec4f: 4, mat4x4f: 16 } as const;

/** y = x for `mebibytes` MiB, one value of `type` a thread. */
export function copyWorkload(type: keyof typeof LANES, mebibytes: number): Workload {
  const lanes = LANES[type];
  const kernel = defineKernel({
    name: `copy.${type}`,
    source: `alias Value = ${type};
struct Dims { n: u32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;

@compute @workgroup_size(GROUP)
fn copy(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) lane: vec3u,
) {
  let i = (group.y * groups.x + group.x) * GROUP + lane.x;
  if (i < d.n) { y[i] = x[i]; }
}
`,
    entry: "copy",
    bindings: { x: "read", y: "write" },
    dims: { n: "u32" },
    consts: { GROUP },
    sizes: ({ n }) => ({ x: n * lanes, y: n * lanes }),
    grid: ({ n }) => linearGrid(n, GROUP),
    cost: ({ n }) => ({ flops: 0, bytes: 8 * n * lanes }),
  });
  const data = new Float32Array(mebibytes * 2 ** 18).fill(1);
  return workload(kernel, `${mebibytes} MiB`, { n: data.length / lanes }, { x: data, y: data });
}
