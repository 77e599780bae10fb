import { assert, assertEquals } from "@std/assert";
import { type AdapterTraits, defineKernel, type KernelSpec } from "../../gpu/kernel.ts";
import { Program } from "../../gpu/program.ts";
import { headGradient } from "../../shaders/head.ts";
import { rope } from "../../shaders/rope.ts";
import { SHADERS } from "../../shaders/bundle.ts";
import { rmsnormForward } from "../../shaders/rmsnorm.ts";
import { sample } from "../../shaders/sample.ts";
import { type Adapter, fitted, WORTH_A_TEXTURE } from "../../shaders/values.ts";
import { oneGpu } from "./one_gpu.ts";

/** places [n] = (row, column) of the items [n] = (item, items a row). */
const placeKernel = (prelude: string): KernelSpec<"items" | "places", "n"> =>
  defineKernel({
    name: "test.place",
    source: prelude + `struct Dims { n: u32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> items: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> places: array<vec2u>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < d.n) { places[id.x] = place(items[id.x].x, items[id.x].y); }
}
`,
    entry: "main",
    bindings: { items: "read", places: "write" },
    dims: { n: "u32" },
    sizes: ({ n }) => ({ items: 2 * n, places: 2 * n }),
    grid: ({ n }) => [Math.ceil(n / 64), 1, 1],
    cost: ({ n }) => ({ flops: 0, bytes: 16 * n }),
  });

/** The first and last items of rows, of any width, among the first rows and the last below 2^31. */
function items(): number[][] {
  const most = 2 ** 31 - 1;
  const list: number[][] = [];
  for (const width of [1, 2, 3, 7, 32, 96, 127, 1216, 4095, 65537, 2 ** 24 + 1, 2 ** 30, most]) {
    const rows = Math.floor(most / width);
    for (const row of [0, 1, 2, 3, 1000, 65535, 2 ** 23, 2 ** 24 + 1, rows - 2, rows - 1, rows]) {
      for (const off of [-2, -1, 0, 1, 2]) {
        const item = row * width + off;
        if (item >= 0 && item <= most) list.push([item, width]);
      }
    }
  }
  for (let i = 1; i < 4000; i++) {
    list.push([Math.imul(i, 2654435761) >>> 1, (Math.imul(i, 40503) >>> (i % 30)) % most + 1]);
  }
  return list;
}

for (const [name, prelude] of [["of integers", SHADERS.place], ["in floats", SHADERS.place_float]]) {
  Deno.test({
    name: `values: rows and columns are exact up to 2^31 items, divided ${name}`,
    // The device outlives a test: one device per process.
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const gpu = await oneGpu();
      const list = items();
      const data = gpu.tensor("items", [list.length, 2], Uint32Array.from(list.flat()));
      const places = gpu.tensor("places", [list.length, 2], new Uint32Array(2 * list.length));
      const program = new Program(gpu, "place").add(placeKernel(prelude), { items: data, places }, {
        n: list.length,
      });
      await program.run();
      const [got] = await gpu.read(places);
      list.forEach(([item, width], i) =>
        assertEquals(
          [got[2 * i], got[2 * i + 1]],
          [item % width, Math.floor(item / width)],
          `item ${item} of rows of ${width}`,
        )
      );
      program.destroy();
      for (const tensor of [data, places]) gpu.pool.free(tensor);
    },
  });
}

Deno.test("values: a software adapter reads through textures where the largest mirrored tensor is worth it", () => {
  const family = (kernel: unknown, width: number) => (adapter: Adapter) =>
    fitted(kernel as typeof rmsnormForward, width, adapter) as unknown;
  const norm = family(rmsnormForward, 4);
  const normFit = (software: boolean, x: number, width = 4) =>
    rmsnormForward.fit!({ width }, { software, subgroup: 0 }, {
      x,
      weight: width,
      y: 2 ** 30,
      rstd: x / width,
    });
  assert(norm("gpu") !== norm("software") && norm("software") !== norm("texture"));
  assertEquals(
    rmsnormForward.fit!({ width: 4 }, { software: false, subgroup: 0 }, { x: 2 ** 20 }),
    norm("gpu"),
  );
  assert(normFit(true, WORTH_A_TEXTURE - 4) === norm("software"));
  assert(normFit(true, WORTH_A_TEXTURE) === norm("texture"));
  assert(normFit(true, 2 ** 25) === norm("texture"));
  // Beyond what every adapter's textures hold.
  assert(normFit(true, 2 ** 25 + 4) === norm("software"));
  // Three values are no texel.
  assert(normFit(true, 3 * WORTH_A_TEXTURE, 3) === family(rmsnormForward, 3)("software"));
  // What is written too is read where it stands.
  const gradient = headGradient.fit!({ stride: 4, columns: 4 }, { software: true, subgroup: 0 }, {
    tile: 2 ** 20,
  });
  assert(gradient as unknown === family(headGradient, 4)("software"));
});

Deno.test("values: a GPU reduces within subgroups where kernels may use these; nothing else changes by them", () => {
  const wide = { width: 4 };
  const norm = (traits: Partial<AdapterTraits>) =>
    rmsnormForward.fit!(wide, { software: false, subgroup: 0, ...traits }, { x: 4 }) as unknown;
  const sibling = (adapter: Adapter) => fitted(rmsnormForward, 4, adapter) as unknown;
  assert(sibling("subgroups") !== sibling("gpu"));
  assert(norm({ subgroups: true }) === sibling("subgroups"));
  // Their size does not have to be known, nor does it matter.
  assert(norm({ subgroups: true, subgroup: 32 }) === sibling("subgroups"));
  assert(norm({}) === sibling("gpu"));
  assert(norm({ portable: true }) === sibling("gpu"));
  assert(norm({ software: true, subgroups: true, subgroup: 16 }) === sibling("software"));
  const angle = (subgroups: boolean): unknown =>
    rope.fit!({ head_dim: 8 }, { software: false, subgroup: 0, subgroups }, { qkv: 16 });
  assert(angle(true) === angle(false));
  const choice = (traits: Partial<AdapterTraits>) =>
    sample.fit!({ vocab: 8, stride: 8 }, { software: false, subgroup: 0, ...traits }, {}).name;
  assertEquals(choice({ subgroups: true }), "sample_subgroup.sample");
  assertEquals(choice({}), "sample.sample");
  assertEquals(choice({ subgroups: true, software: true }), "sample_texture.sample");
});
