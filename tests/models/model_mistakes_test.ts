/** Mistakes planted in a model's recorded launches: the check of tests/models/model_check.ts must reject every one. */
import { assert, assertEquals } from "@std/assert";
import { packSequences } from "../../models/packed_batch.ts";
import { SequenceGraph } from "../../models/sequence_graph.ts";
import { type LinearDims, linearKernels } from "../../shaders/linear_variants.ts";
import type { KernelSpec } from "../../gpu/kernel.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { type LaunchMistake, type RecordedLaunch, rewrite, withLaunchMistake } from "./launch_edit.ts";
import { ModelCheck } from "./model_check.ts";
import { difference, freshPass, pass, tinyConfig, tinyModel } from "./tiny_model.ts";

// The device outlives a test: one device per process.
const options = { sanitizeOps: false, sanitizeResources: false };

const config = tinyConfig({
  model_type: "llama",
  attention_bias: true,
  mlp_bias: true,
  num_key_value_heads: 2,
});

/** A mistake in the text of one kernel wherever a name matches. */
function textMistake(why: string, kernel: RegExp, from: string, to: string): LaunchMistake {
  return { why, edit: (l) => kernel.test(l.kernel.name) ? rewrite(l, from, to) : l };
}

/** A launch that is left out. */
function dropped(why: string, which: (l: RecordedLaunch) => boolean): LaunchMistake {
  return { why, edit: (l) => which(l) ? undefined : l };
}

/** The residual product that writes `output`, without its residual. */
function withoutResidual(output: string): LaunchMistake {
  const plain = linearKernels.linear.forward as KernelSpec<"x" | "weight" | "y", LinearDims>;
  return {
    why: `no residual in ${output}`,
    edit: (l) =>
      l.program === "forward" && l.tensors.residual && l.tensors.y.name === output
        ? {
          ...l,
          kernel: plain as unknown as KernelSpec,
          tensors: { x: l.tensors.x, weight: l.tensors.weight, y: l.tensors.y },
        }
        : l,
  };
}

const gradientOf = (l: RecordedLaunch): string | undefined =>
  Object.entries(l.kernel.bindings).find(([binding, access]) =>
    access !== "read" && l.tensors[binding].name.endsWith(".grad")
  )?.[0];
const TIED = "model.embed_tokens.weight.grad";

const MISTAKES: LaunchMistake[] = [
  withoutResidual("activation middle"),
  withoutResidual("block input 1"),
  textMistake(
    "the residual's gradient is lost",
    /^rmsnorm\.backward$/,
    "dx[at] = dx[at] + r",
    "dx[at] = r",
  ),
  {
    why: "the gradient is rotated forward again, not back",
    edit: (l) =>
      l.program === "backward" && l.kernel.name === "rope" ? { ...l, dims: { ...l.dims, sign: 1 } } : l,
  },
  {
    why: "keys are not rotated",
    edit: (l) =>
      l.kernel.name === "rope" ? { ...l, dims: { ...l.dims, heads: config.num_attention_heads } } : l,
  },
  textMistake(
    "a token sees the next one",
    /^attention\.forward/,
    "var end = token + 1u;",
    "var end = token + 2u;",
  ),
  textMistake(
    "a token does not see itself",
    /^attention\.forward/,
    "var end = token + 1u;",
    "var end = max(token, firsts(token) + 1u);",
  ),
  textMistake(
    "backward, a token sees the next one",
    /^attention\.backward_query/,
    "var end = token + 1u;",
    "var end = token + 2u;",
  ),
  textMistake(
    "sequences see each other",
    /^attention\.forward/,
    "firsts(token), end)",
    "token - token, end)",
  ),
  textMistake(
    "kv heads are tiled over query heads, not grouped",
    /^attention\.(forward|backward)/,
    "let head = kv_head * shared_by + r % shared_by;",
    "let head = kv_head + r % shared_by * dims.kv_heads;",
  ),
  {
    why: "scores are scaled by 1 / head_dim",
    edit: (l) => "scale" in l.kernel.dims ? { ...l, dims: { ...l.dims, scale: 1 / config.head_dim } } : l,
  },
  {
    why: "the norms leave out eps",
    edit: (l) => "eps" in l.kernel.dims ? { ...l, dims: { ...l.dims, eps: 0 } } : l,
  },
  dropped("attention's delta is left out", (l) => l.kernel.name.startsWith("attention.delta")),
  dropped("the embedding's use as a table gives no gradient", (l) => l.kernel.name === "embedding.backward"),
  dropped(
    "the embedding's use as a head gives no gradient",
    (l) => l.kernel.name !== "embedding.backward" && l.tensors[gradientOf(l) ?? ""]?.name === TIED,
  ),
  textMistake("entropy gives no gradient", /^head\.gradient$/, " - s.y * p * (log_p + r.y)", ""),
  textMistake(
    "the temperature is missing in the gradient",
    /^head\.gradient$/,
    "g * d.inverse_temperature",
    "g",
  ),
  textMistake("the gate's own slope is missing", /^swiglu\.backward$/, "(1.0 + g * (1.0 - s))", "1.0"),
];

Deno.test({
  name: "planted mistakes in a model are rejected, and so is the lost gradient of any parameter",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const check = new ModelCheck(config, [[9, 3], [1, 1], [12, 1]], 0.8);
    const run = () =>
      freshPass(gpu, config, check.weights, check.sequences, check.slopes, {
        temperature: check.temperature,
      });
    const right = await run();
    assertEquals(check.complaint(right), undefined);
    for (const name of right.gradients.keys()) {
      const gradients = new Map([...right.gradients].filter(([other]) => other !== name));
      assert(check.complaint({ ...right, gradients }) !== undefined, `${name} is not covered`);
    }
    const model = await tinyModel(gpu, config, check.weights);
    const lost = model.parameters.list.map((p) =>
      dropped(`${p.name} gets no gradient`, (l) => l.tensors[gradientOf(l) ?? ""]?.name === `${p.name}.grad`)
    );
    model.parameters.free();
    // Embedding, final norm, two norms, four products and their four biases.
    assertEquals(lost.length, 12);
    for (const mistake of [...MISTAKES, ...lost]) {
      const complaint = check.complaint(await withLaunchMistake(mistake, run));
      assert(complaint !== undefined, `"${mistake.why}" was not noticed`);
    }
  },
});

Deno.test({
  name: "gradients that overwrite instead of adding up are noticed",
  ...options,
  fn: async () => {
    const gpu = await oneGpu();
    const check = new ModelCheck(config, [[9, 3], [12, 1]], 1);
    const accumulatedTwice = async (): Promise<number> => {
      const model = await tinyModel(gpu, config, check.weights);
      const graph = new SequenceGraph(model, {
        tokens: packSequences(check.sequences).ids.length,
        train: true,
      });
      const once = await pass(graph, check.sequences, check.slopes);
      const twice = await pass(graph, check.sequences, check.slopes, true);
      graph.free();
      model.parameters.free();
      return Math.max(
        ...[...once.gradients].map(([name, g]) =>
          difference(twice.gradients.get(name)!, g.map((x) => 2 * x))
        ),
      );
    };
    assert(await accumulatedTwice() < 1e-6);
    const overwriting = [
      textMistake("biases and norms overwrite", /^column_sum\.finish$/, "out[j] += sum;", "out[j] = sum;"),
      textMistake(
        "the embedding overwrites",
        /^embedding\.backward$/,
        "dweight[row * n + at.x] += sum;",
        "dweight[row * n + at.x] = sum;",
      ),
    ];
    for (const mistake of overwriting) {
      assert(await withLaunchMistake(mistake, accumulatedTwice) > 0.1, `"${mistake.why}" was not noticed`);
    }
  },
});
