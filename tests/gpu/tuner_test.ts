import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Gpu } from "../../gpu/device.ts";
import type { KernelSpec } from "../../gpu/kernel.ts";
import { PRECISIONS } from "../../gpu/kernel_options.ts";
import { Program } from "../../gpu/program.ts";
import { fastest, type TuneOptions, Tuner } from "../../gpu/tuner.ts";
import { addChoices, readChoices, tuningCachePath } from "../../gpu/tuning_cache.ts";
import {
  type LinearDims,
  linearKernels,
  linearRowsKernels,
  SUBGROUPS,
} from "../../shaders/linear_variants.ts";
import {
  attentionBackwardKeyValue,
  attentionBackwardQuery,
  attentionDelta,
  attentionForward,
} from "../../shaders/attention.ts";
import * as reference from "../reference/attention.ts";
import { linearHalfProducts, linearProducts } from "../../shaders/linear.ts";
import { linear, linearBackwardInput, linearBackwardWeight } from "../reference/linear.ts";
import { segmentsOf } from "../shaders/attention_cases.ts";
import { randomArray, worstDifference } from "../shaders/case.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { scale } from "./test_kernels.ts";

function tunerTest(name: string, fn: (gpu: Gpu, file: string) => Promise<void>): void {
  Deno.test({
    name: `tuner: ${name}`,
    // The device outlives a test: one device per process.
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const folder = await Deno.makeTempDir();
      try {
        await fn(await oneGpu(), `${folder}/cache/kernels.json`);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

/** `scale` by another name and body. */
function kernel(name: string, body: string): KernelSpec {
  const source = scale.source.replace("y[i] = x[i] * d.value;", body);
  return { ...scale, name, source } as unknown as KernelSpec;
}

const quick = kernel("test.quick", "y[i] = x[i] * d.value;");
/** The same after 40,000 steps of a generator: longer than what a busy machine adds to a launch. */
const slow = kernel(
  "test.slow",
  `var h = i;
    for (var k = 0u; k < 40000u; k++) { h = h * 1664525u + 1013904223u; }
    y[i] = x[i] * d.value * select(1.0, 2.0, h == 1u && i == 2u);`,
);
const dims = { n: 1024, value: 3 };
const name = (chosen: KernelSpec) => chosen.name;

/** A tuner that keeps what it says. */
function tuner(gpu: Gpu, options: TuneOptions): { tuner: Tuner; said: string[] } {
  const said: string[] = [];
  return {
    tuner: new Tuner(gpu, { seconds: 60, cache: null, say: (line) => said.push(line), ...options }),
    said,
  };
}

tunerTest("takes the faster of two, whichever the rule prefers, and measures a class once", async (gpu) => {
  const passed: string[] = [];
  const { tuner: t, said } = tuner(gpu, { pass: (line) => passed.push(line) });
  assertEquals(name(await t.choose(slow, { kernels: [slow, quick], dims })), "test.quick");
  assertEquals(name(await t.choose(quick, { kernels: [slow, quick], dims })), "test.quick");
  assertEquals(t.spent.classes, 2);
  assertEquals(name(await t.choose(slow, { kernels: [slow, quick], dims })), "test.quick");
  assertEquals(t.spent.classes, 2);
  assertEquals(said, ["tuning kernels for this adapter: at most 60 s, once"]);
  assertEquals(passed.map((line) => line.replace(/\d+\.\d/, "#")), [
    "tuning kernels: 1 classes of launches, # of at most 60 s",
    "tuning kernels: 2 classes of launches, # of at most 60 s",
  ]);
  assertEquals(Object.keys(t.choices().choices), ["test.quick n=1024 value=3", "test.slow n=1024 value=3"]);
});

tunerTest(
  "one candidate costs nothing; without time the rule decides, and that is kept for the run",
  async (gpu, file) => {
    const { tuner: t, said } = tuner(gpu, { seconds: 0, cache: file });
    assertEquals(name(await t.choose(slow, { kernels: [slow], dims })), "test.slow");
    assertEquals(t.choices().choices, {});
    assertEquals(name(await t.choose(slow, { kernels: [quick], dims })), "test.slow");
    assertEquals(t.spent, { classes: 0, seconds: 0 });
    assertEquals(said, []);
    assertEquals(Object.values(t.choices().choices).map((c) => c.kernel), ["test.slow"]);
    // Not for the next run, which may have the time.
    assertEquals(await Deno.stat(file).catch(() => "none"), "none");
  },
);

tunerTest("stops measuring when its time is spent", async (gpu, file) => {
  // Before the first class has come to its second kernel, and all the more at the next one.
  const { tuner: t } = tuner(gpu, { seconds: 1e-9, cache: file });
  for (const n of [1024, 512]) {
    assertEquals(name(await t.choose(slow, { kernels: [quick], dims: { ...dims, n } })), "test.slow");
  }
  assertEquals(t.spent.classes, 1);
  assertEquals(await Deno.stat(file).catch(() => "none"), "none");
});

tunerTest("choices go to the file and come back; another text is measured anew", async (gpu, file) => {
  await tuner(gpu, { cache: file }).tuner.choose(slow, { kernels: [quick], dims });
  const again = tuner(gpu, { cache: file, seconds: 0 }).tuner;
  assertEquals(name(await again.choose(slow, { kernels: [quick], dims })), "test.quick");
  assertEquals(again.spent.classes, 0);
  const changed = { ...quick, source: quick.source + "// changed\n" };
  const other = tuner(gpu, { cache: file, seconds: 0 }).tuner;
  assertEquals(name(await other.choose(slow, { kernels: [changed], dims })), "test.slow");
});

tunerTest("a broken file is ignored with a word and replaced", async (gpu, file) => {
  await addChoices(file, "any", {}, () => {});
  for (
    const broken of [
      "{ not JSON",
      `{"version":99,"adapters":{}}`,
      `{"version":1,"adapters":{"a":{"k":7}}}`,
      "[]",
    ]
  ) {
    await Deno.writeTextFile(file, broken);
    const { tuner: t, said } = tuner(gpu, { cache: file });
    assertEquals(name(await t.choose(slow, { kernels: [quick], dims })), "test.quick");
    assertStringIncludes(said[0], `${file} is not used`);
    const next = tuner(gpu, { cache: file, seconds: 0 });
    assertEquals(name(await next.tuner.choose(slow, { kernels: [quick], dims })), "test.quick");
    assertEquals(next.said, []);
  }
});

tunerTest("a folder that cannot be written costs a word, not the run", async (gpu, file) => {
  await Deno.writeTextFile(file.replace("/cache/kernels.json", "/plain"), "");
  const { tuner: t, said } = tuner(gpu, { cache: file.replace("/cache/", "/plain/") });
  assertEquals(name(await t.choose(slow, { kernels: [quick], dims })), "test.quick");
  assert(said.some((line) => line.startsWith("kernel choices are not kept: ")), said.join("\n"));
});

tunerTest("another adapter's entries are not taken and stay in the file", async (gpu, file) => {
  const { tuner: t } = tuner(gpu, { cache: file });
  await t.choose(slow, { kernels: [quick], dims });
  const { adapter, choices } = t.choices();
  await Deno.remove(file);
  await addChoices(file, "another | driver", choices, () => {});
  const other = tuner(gpu, { cache: file, seconds: 0 }).tuner;
  assertEquals(name(await other.choose(slow, { kernels: [quick], dims })), "test.slow");
  await addChoices(file, adapter, {}, () => {});
  assertEquals(await readChoices(file, "another | driver", () => {}), choices);
});

tunerTest(
  "a run that goes on takes its own choices before the file's; not those of another adapter",
  async (gpu, file) => {
    const first = tuner(gpu, { seconds: 0 }).tuner;
    await first.choose(slow, { kernels: [quick], dims });
    await tuner(gpu, { cache: file }).tuner.choose(slow, { kernels: [quick], dims });
    const on = tuner(gpu, { cache: file }).tuner;
    assert(on.adopt(first.choices()));
    assertEquals(name(await on.choose(slow, { kernels: [quick], dims })), "test.slow");
    const elsewhere = tuner(gpu, { cache: file }).tuner;
    assert(!elsewhere.adopt({ ...first.choices(), adapter: "another | driver" }));
    assertEquals(name(await elsewhere.choose(slow, { kernels: [quick], dims })), "test.quick");
  },
);

tunerTest("a kernel that is wrong or does not compile here is left out with a word", async (gpu) => {
  const wrong = kernel("test.wrong", "y[i] = x[i] * d.value * select(1.0, 1.1, i == d.n - 1);");
  const lost = kernel("test.lost", "y[i] = bitcast<f32>(0x7fc00000u | i);");
  const broken = kernel("test.broken", "y[i] = missing;");
  const { tuner: t, said } = tuner(gpu, {});
  for (const n of [4096, 100_000]) {
    const found = await t.choose(quick, { kernels: [wrong, lost, broken], dims: { ...dims, n } });
    assertEquals(name(found), "test.quick");
    const [off, notNumbers, missing] = said.filter((line) => line.includes("left out")).slice(-3);
    assertStringIncludes(off, "test.wrong is left out: on this adapter it is off by 0.");
    assertStringIncludes(notNumbers, "test.lost is left out: on this adapter it is off by Infinity");
    assertStringIncludes(missing, "test.broken is left out: compiling kernel test.broken");
  }
  gpu.check();
});

tunerTest("without timestamps the wall's clock serves", async (gpu) => {
  const facts = gpu.facts as { features: readonly string[] };
  const { features } = facts;
  try {
    facts.features = [];
    const { tuner: t } = tuner(gpu, {});
    assertEquals(name(await t.choose(slow, { kernels: [quick], dims })), "test.quick");
    assertEquals(name(await t.choose(quick, { kernels: [slow], dims })), "test.quick");
  } finally {
    facts.features = features;
  }
});

Deno.test("tuner: only what is faster by more than noise replaces the rule's kernel", () => {
  const times = (...list: number[]) => list;
  const choose = (...lists: number[][]) => fastest(["rule", "other", "third"].slice(0, lists.length), lists);
  assertEquals(choose(times(10, 10, 10), times(9, 9, 9)), "other");
  assertEquals(choose(times(10, 10, 10), times(9.7, 9.7, 9.7)), "rule");
  assertEquals(choose(times(10, 10, 10), times(9, 9, 9), times(8, 8, 8)), "third");
  // Faster in the middle, but the times overlap.
  assertEquals(choose(times(8, 9, 10, 11, 12), times(6, 7, 8, 11, 12)), "rule");
  // One launch that compiled or was disturbed does not count.
  assertEquals(choose(times(10, 10, 10, 10, 10), times(500, 9, 9, 9, 9)), "other");
  assertEquals(choose(times(0, 0, 0), times(1, 1, 1)), undefined);
  assertEquals(choose(times(1, 1, 1), times(-3, -3, -3)), undefined);
});

Deno.test("tuner: the file lies where the system keeps what can be made again", () => {
  const path = (os: typeof Deno.build.os, env: Record<string, string>) =>
    tuningCachePath(os, (key) => env[key]);
  const slashes = (text?: string) => text?.replaceAll("\\", "/");
  assertEquals(path("linux", { HOME: "/h", XDG_CACHE_HOME: "/x" }), "/x/ares-webgpu/kernels.json");
  assertEquals(path("linux", { HOME: "/h" }), "/h/.cache/ares-webgpu/kernels.json");
  assertEquals(path("darwin", { HOME: "/h" }), "/h/Library/Caches/ares-webgpu/kernels.json");
  assertEquals(slashes(path("windows", { LOCALAPPDATA: "C:/l" })), "C:/l/ares-webgpu/kernels.json");
  assertEquals(
    slashes(path("windows", { USERPROFILE: "C:/u" })),
    "C:/u/AppData/Local/ares-webgpu/kernels.json",
  );
  assertEquals(path("linux", {}), undefined);
});

tunerTest("a program asks for candidates only on a device that tunes", async (gpu) => {
  let asked = 0;
  const general = {
    ...scale,
    fit: () => slow as unknown as typeof scale,
    candidates: () => (asked++, { kernels: [quick as unknown as typeof scale], dims }),
  };
  const launched = async (on: Gpu): Promise<string> => {
    const x = on.tensor("x", [64], new Float32Array(64).fill(2));
    const y = on.alloc("y", [64], "data");
    const program = new Program(on, "tuned").add(general, { x, y }, { n: 64, value: 3 });
    await program.run();
    assertEquals([...await on.readF32(y)], Array(64).fill(6));
    const [{ name }] = await program.profile();
    program.destroy();
    return name;
  };
  if (!gpu.facts.features.includes("timestamp-query")) return;
  assertEquals([await launched(gpu), asked], ["test.slow", 0]);
  const tuned = await Tuner.open({ cache: null, seconds: 60 });
  assertEquals([await launched(tuned), asked], ["test.quick", 1]);
  assertEquals(tuned.tuner!.spent.classes, 1);
  tuned.close();
});

/** What a GPU may choose in each precision, and how far that may be from products of unrounded operands. */
const PRODUCTS = {
  float32: {
    products: linearProducts,
    rule: "linear_tiled",
    rows: "linear_rows",
    family: /^linear_(tiled|rows)/,
    tolerance: 1e-5,
  },
  float16: {
    products: linearHalfProducts,
    rule: "linear_half",
    rows: "linear_half_rows",
    family: /^linear_half/,
    tolerance: 4e-3,
  },
} as const;

for (const precision of PRECISIONS) {
  tunerTest(`the products on a GPU in ${precision}: whatever is chosen is right`, async (given) => {
    const { products, rule, rows, family, tolerance } = PRODUCTS[precision];
    if (precision === "float16" && !given.facts.features.includes("shader-f16")) {
      return console.log("left out: this adapter has no shader-f16");
    }
    // The rules and the candidates of a GPU; lavapipe computes them as well.
    const gpu = await Tuner.open({ cache: null, seconds: 60 }, { preset: "gpu", precision });
    const seen = new Set<string>();
    for (const tokens of [1, 7, 70]) {
      const s = { tokens, inputs: 36, outputs: 72, stride: 72 };
      const x = randomArray([tokens, 36]);
      const weight = randomArray([72, 36]);
      const dy = randomArray([tokens, 72]);
      const stored = gpu.alloc("weight", [72, 36], "data", precision === "float16" ? "f16" : "f32");
      gpu.write(stored, weight);
      const tensors = {
        x: gpu.tensor("x", [tokens, 36], x),
        weight: stored,
        y: gpu.alloc("y", [tokens, 72], "data"),
        dy: gpu.tensor("dy", [tokens, 72], dy),
        dx: gpu.alloc("dx", [tokens, 36], "data"),
        dweight: gpu.tensor("dweight", [72, 36], new Float32Array(72 * 36)),
      };
      // Asked for at every run, as a graph's tokens are: the class is what the tensors hold.
      const dims: Record<LinearDims, number | (() => number)> = { ...s, tokens: () => tokens, accumulate: 0 };
      const program = new Program(gpu, "products")
        .add(products.forward, tensors, dims)
        .add(products.backwardInput, tensors, dims)
        .add(products.backwardWeight, tensors, dims);
      await program.run();
      const found = await gpu.read(tensors.y, tensors.dx, tensors.dweight);
      const expected = [
        linear(x, weight, new Float32Array(tokens * 72), s),
        linearBackwardInput(dy, weight, new Float32Array(tokens * 36), s, false),
        linearBackwardWeight(dy, x, new Float32Array(72 * 36), s),
      ];
      found.forEach((values, i) =>
        assert(worstDifference(values, expected[i]).worst < tolerance, `${tokens}: ${i}`)
      );
      program.destroy();
    }
    const { choices } = gpu.tuner!.choices();
    const own = SUBGROUPS.includes(gpu.facts.subgroup) ? "_subgroup" : "";
    for (const { kernel } of Object.values(choices)) seen.add(kernel);
    const families = { ...linearKernels, ...linearRowsKernels };
    const known = new Set(Object.values(families).flatMap((all) => Object.values(all)).map((k) => k.name));
    assertEquals([...seen].filter((kernel) => !known.has(kernel) || !family.test(kernel)), []);
    assertEquals([...seen].filter((kernel) => /sums.*\.forward/.test(kernel)), []);
    assertEquals(
      Object.keys(choices).map((key) => key.split(" inputs")[0]),
      [
        `${rows}_2${own}.forward tokens=1`,
        `${rows}_8${own}.forward tokens=8`,
        ...["backward_input", "backward_weight"].flatMap((entry) =>
          [1, 128, 8].map((tokens) => `${rule}.${entry} tokens=${tokens}`)
        ),
        `${rule}.forward tokens=128`,
      ].sort(),
    );
    assertEquals(gpu.tuner!.spent.classes, 9);
    gpu.close();
  });
}

/** y[i] = x[places[i]], and what stands for a place behind the last. */
function gather(name: string, behind: string, steps: number): KernelSpec {
  return {
    name,
    source: `struct Dims { n: u32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= d.n) { return; }
  var h = id.x;
  for (var k = 0u; k < ${steps}u; k++) { h = h * 1664525u + 1013904223u; }
  if (places[id.x] < d.n) { y[id.x] = x[places[id.x]] * select(1.0, 2.0, h == 1u && id.x == 2u); }
  else { y[id.x] = ${behind}; }
}`,
    entry: "main",
    bindings: { x: "read", places: "read", y: "write" },
    dims: { n: "u32" },
    sizes: ({ n }) => ({ x: n, places: n, y: n }),
    grid: ({ n }) => [Math.ceil(n / 64), 1, 1],
    cost: () => ({ flops: 0, bytes: 0 }),
  };
}

tunerTest("places stand where the candidates say; numbers in their stead are no places", async (gpu) => {
  const [rule, rival] = [gather("test.gather", "0.0", 40_000), gather("test.other", "1.0", 0)];
  const n = 1024;
  const places = Uint32Array.from({ length: n }, (_, i) => n - 1 - i);
  const { tuner: t, said } = tuner(gpu, {});
  const chosen = await t.choose(rule, { kernels: [rival], dims: { n }, contents: { places } });
  assertEquals([name(chosen), said.filter((line) => line.includes("left out"))], ["test.other", []]);
  const without = tuner(gpu, {});
  assertEquals(name(await without.tuner.choose(rule, { kernels: [rival], dims: { n } })), "test.gather");
  assertStringIncludes(without.said.join("\n"), "test.other is left out: on this adapter it is off by");
});

tunerTest(
  "attention on a GPU: a class of launches is measured, and whatever is chosen is right",
  async () => {
    const gpu = await Tuner.open({ cache: null, seconds: 60 }, { preset: "gpu" });
    const said: string[] = [];
    const own = new Tuner(gpu, { cache: null, seconds: 60, say: (line) => said.push(line) });
    gpu.tuner = own;
    const [tokens, heads, kvHeads, headDim] = [40, 2, 1, 32];
    const a = { tokens, heads, kvHeads, headDim, causal: true, scale: Math.fround(headDim ** -0.5) };
    const qkv = randomArray([tokens, (heads + 2 * kvHeads) * headDim]);
    const dout = randomArray([tokens, heads * headDim]);
    const segments = segmentsOf([7, 33]);
    const alloc = (name: string, width: number) => gpu.alloc(name, [tokens, width], "data");
    const tensors = {
      qkv: gpu.tensor("qkv", [tokens, (heads + 2 * kvHeads) * headDim], qkv),
      segments: gpu.tensor("segments", [tokens, 2], segments),
      out: alloc("out", heads * headDim),
      lse: alloc("lse", heads),
      dout: gpu.tensor("dout", [tokens, heads * headDim], dout),
      delta: alloc("delta", heads),
      dqkv: alloc("dqkv", (heads + 2 * kvHeads) * headDim),
    };
    const dims = { tokens: () => tokens, heads, kv_heads: kvHeads, causal: 1, scale: a.scale };
    const program = new Program(gpu, "attention")
      .add(attentionForward(headDim), tensors, dims)
      .add(attentionDelta(headDim), tensors, { tokens: () => tokens, heads })
      .add(attentionBackwardQuery(headDim), tensors, dims)
      .add(attentionBackwardKeyValue(headDim), tensors, dims);
    await program.run();
    const [out, dqkv] = await gpu.read(tensors.out, tensors.dqkv);
    const exact = reference.attentionForward({ ...a, qkv, segments });
    const delta = reference.attentionDelta(dout, exact.out, tokens, heads, headDim);
    const gradient = reference.attentionBackward({ ...a, qkv, segments }, dout, exact.lse, delta);
    assert(worstDifference(out, exact.out).worst < 1e-5, "out");
    assert(worstDifference(dqkv, gradient).worst < 1e-5, "dqkv");
    program.destroy();
    assertEquals(own.spent.classes, 3);
    // All kernels computed the same, so all were measured.
    assertEquals(said.filter((line) => line.includes("left out")), []);
    assertEquals(
      Object.keys(own.choices().choices).map((key) => key.split(" heads")[0]),
      ["backward_key_value", "backward_query", "forward"].map((entry) =>
        `attention_tiled.${entry}.d32 tokens=64`
      ),
    );
    gpu.close();
  },
);
