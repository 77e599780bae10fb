import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type PretrainRecipe, RECIPE } from "../../data/micro/recipe.ts";
import { microRows } from "../../data/micro/world.ts";
import { UserError } from "../../gpu/errors.ts";
import { patchCount } from "../../models/packed_batch.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { silent } from "../../trainer/monitor.ts";
import { Policy } from "../../trainer/policy.ts";
import { pretrain } from "../../trainer/pretrain.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

const options = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "pretraining with pictures teaches the form, and its folder takes both kinds of problems",
  options,
  async () => {
    const gpu = await oneGpu();
    const out = await Deno.makeTempDir();
    const recipe = {
      ...RECIPE,
      batchSize: 8,
      warmupTokens: 0,
      phases: RECIPE.phases.slice(0, 1),
    };
    const losses: number[] = [];
    const monitor = {
      ...silent,
      phase: () => ({
        advance: (_: number, note?: string) => void losses.push(Number(note?.replace("loss ", ""))),
        finish: () => {},
      }),
    };
    await pretrain(gpu, { out, tokens: 7000, monitor }, recipe);
    const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length;
    // ln 448 = 6.1 nats at first; the marks and words that every response has come first.
    assert(losses[0] > 5.5 && mean(losses.slice(-3)) < 4, `${losses}`);

    // A phase that begins afresh goes on from the folder as well as from the phase before it.
    const more = {
      ...recipe,
      phases: [...recipe.phases, { ...RECIPE.phases.at(-1)!, afresh: true as const }],
    };
    const went = losses.length;
    await pretrain(gpu, { out: `${out}/more`, from: out, tokens: 1000, monitor }, more);
    assert(losses.length > went && losses[went] < 5, `${losses}`);
    const error = async (from: string, recipe: PretrainRecipe) =>
      await assertRejects(() => pretrain(gpu, { out: `${out}/none`, from, monitor }, recipe), UserError);
    assertStringIncludes((await error(out, recipe)).message, "begins afresh");
    assertStringIncludes(
      (await error(out, { ...more, kind: "text" })).message,
      "not a model of the text recipe",
    );

    const policy = await Policy.load(gpu, out, {
      trainable: false,
      prompts: {
        format_prompt: null,
        system_prompt: null,
        max_prompt_length: 96,
        max_response_length: 128,
      },
      micro_batch_tokens: 512,
      recompute: false,
      max_num_seqs: 8,
      block_size: 16,
      chunk: 16,
    });
    const families = RECIPE.phases[0].families!;
    const rows = [...microRows({ seed: 1, count: families.length, split: "heldout", families })];
    const { problems, leftOut } = await policy.writer.problems(rows);
    assertEquals([problems.length, leftOut], [families.length, []]);
    const seen = problems.filter((p) => p.images);
    assertEquals(seen.map((p) => p.row.source), ["tally", "grid", "chart", "odd"]);
    for (const { prompt, pictures } of seen) {
      const imageToken = policy.model.config.vision!.image_token_id;
      assertEquals(4 * prompt.filter((id) => id === imageToken).length, patchCount(pictures));
    }
    policy.free();

    // The shipped folder is this recipe's.
    const shipped = await CausalLM.load(gpu, new URL("../../models/micro", import.meta.url).pathname, {});
    const made = await CausalLM.load(gpu, out, {});
    assertEquals(shipped.config, made.config);
    shipped.parameters.free();
    made.parameters.free();
    await Deno.remove(out, { recursive: true });
  },
);
