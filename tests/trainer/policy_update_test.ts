import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { Rng } from "../../data/random.ts";
import { CausalLM } from "../../models/causal_lm.ts";
import { loadModelConfig } from "../../models/config.ts";
import { scoreTokens } from "../../models/scoring.ts";
import { loadConfig } from "../../trainer/config.ts";
import { perBucket } from "../../trainer/difficulty.ts";
import { ValueHead } from "../../models/value_head.ts";
import { estimateAdvantages } from "../../trainer/estimator.ts";
import { AdamW } from "../../trainer/optimizer.ts";
import { Policy } from "../../trainer/policy.ts";
import { PolicyUpdate, type UpdateReport, type UpdateSettings } from "../../trainer/policy_update.ts";
import { initialWeights } from "../../trainer/pretrain.ts";
import { groupsOf } from "../../trainer/shape_batch.ts";
import type { ShapedTrajectory } from "../../trainer/trajectory.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
const MICRO = new URL("../../models/micro", import.meta.url).pathname;
const KL = { outside: 0.05, inside: 0.02 };
const SETTINGS = {
  klBudget: { weights: () => perBucket(() => KL), readsSequences: false, afterStep: () => {} },
  threshold: 0.5,
  lr: 1e-3,
};

/** First weights whose small embeddings leave all tokens nearly equally likely, so that entropies are far above τ. */
function nearlyEven(name: string, shape: readonly number[]): Float32Array {
  const values = initialWeights(2)(name, shape);
  return name.endsWith("embed_tokens.weight") ? values.map((v) => v / 5) : values;
}

/** A made-up rollout, and where it branched off. */
type MadeUp = Pick<ShapedTrajectory, "group" | "sample" | "branch" | "advantage" | "lambda"> & {
  readonly prompt: number[];
  readonly ids: number[];
};

/** Gives made-up rollouts the log-probabilities of the model, so that the first ratio is 1; by group. */
async function shaped(model: CausalLM, list: readonly MadeUp[]): Promise<ShapedTrajectory[][]> {
  const scores = await scoreTokens(
    model,
    list.map((r) => ({ ids: [...r.prompt, ...r.ids], scoreFrom: r.prompt.length })),
  );
  const all = list.map(({ prompt, ids, ...r }, i): ShapedTrajectory => ({
    ...r,
    problem: { row: { id: `${r.group}`, problem: "", answer: "", source: "" }, prompt, candidates: [] },
    tokens: Uint32Array.from(ids),
    logps: scores[i].logp,
    entropies: scores[i].entropy,
    text: "",
    finish: "stop",
    accuracy: r.sample % 2,
    format: 0,
    bucket: (["easy", "medium", "hard"] as const)[r.group % 3],
    windows: scores[i].entropy,
    mask: Float32Array.from(ids, (_, t) => t % 3 === 0 ? 1 : 0),
    highEntropy: 1,
    reward: { overall: r.sample % 2, shaping: 0, format: 0, overlong: 0 },
  }));
  return [...groupsOf(all).values()].map((members) => members.map((i) => all[i]));
}

const rng = () => new Rng("policy update test");
const someIds = (random: Rng, n: number) => Array.from({ length: n }, () => random.below(256));

/** Four groups of three. */
function fourGroups(): MadeUp[] {
  const random = rng();
  return Array.from({ length: 12 }, (_, i): MadeUp => {
    const [group, sample] = [Math.floor(i / 3), i % 3];
    const prompt = someIds(random, 3 + group);
    const ids = someIds(random, 2 + random.below(20));
    return { group, sample, prompt, ids, advantage: sample - 1, lambda: 0.1 };
  });
}

const rollouts = (model: CausalLM) => shaped(model, fourGroups());

/** One group: two of equal length and advantage that share seven of twelve tokens, and one alone. */
function tree(model: CausalLM): Promise<ShapedTrajectory[][]> {
  const random = rng();
  const prompt = someIds(random, 4);
  const parent = someIds(random, 12);
  const common = { group: 0, prompt, lambda: 0 };
  return shaped(model, [
    { ...common, sample: 0, ids: parent, advantage: 1 },
    { ...common, sample: 1, ids: someIds(random, 9), advantage: -2 },
    {
      ...common,
      sample: 2,
      ids: [...parent.slice(0, 7), ...someIds(random, 5)],
      advantage: 1,
      branch: { parent: 0, step: 7, entropy: 1 },
    },
  ]);
}

/** One update from fresh weights under these settings; the report and the weights after it. */
function update(folder: string, ...changes: (string | Partial<UpdateSettings>)[]) {
  return updateOn(rollouts, folder, ...changes);
}

async function updateOn(
  groups: (model: CausalLM) => Promise<ShapedTrajectory[][]>,
  folder: string,
  ...changes: (string | Partial<UpdateSettings>)[]
): Promise<{ report: UpdateReport; weights: Float32Array }> {
  const gpu = await oneGpu();
  const overrides = changes.filter((c) => typeof c === "string");
  const settings = Object.assign({ ...SETTINGS }, ...changes.filter((c) => typeof c === "object"));
  const { config } = loadConfig({
    overrides: ["data.max_prompt_length=16", "data.max_response_length=24", ...overrides],
  });
  const { actor, rollout } = config.worker;
  const policy = await Policy.load(gpu, folder, {
    trainable: true,
    prompts: config.data,
    micro_batch_tokens: actor.micro_batch_tokens,
    recompute: actor.model.enable_gradient_checkpointing,
    max_num_seqs: 2,
    block_size: rollout.block_size,
    chunk: rollout.chunk,
  });
  const { parameters, config: { hidden_size } } = policy.model;
  const gae = config.algorithm.adv_estimator === "gae";
  const valueHead = gae ? await ValueHead.create(gpu, hidden_size) : undefined;
  const optimizer = new AdamW(gpu, valueHead ? parameters.with(valueHead.parameters) : parameters, {
    lr: 0,
    betas: [0.9, 0.99],
    eps: 1e-8,
    weight_decay: 0,
    max_grad_norm: 1,
    own: valueHead && { parameters: valueHead.parameters, lr: 0 },
  });
  const stage = new PolicyUpdate(
    policy,
    config.algorithm.disable_kl ? undefined : policy.model.frozenCopy(),
    optimizer,
    config,
    valueHead,
  );
  let list = await groups(policy.model);
  if (gae) {
    const all = list.flat();
    const ids = new Set(all.map((t) => t.group));
    const estimated = estimateAdvantages(all, ids, config, await stage.values(all));
    list = list.map((members) => members.map((t) => estimated[all.indexOf(t)]));
  }
  const report = await stage.run(list, settings, { lap: () => {} });
  const all: Float32Array[] = [];
  for await (const p of policy.model.parameters.weights()) all.push(p.data);
  for await (const p of valueHead?.parameters.weights() ?? []) all.push(p.data);
  stage.free();
  optimizer.free();
  valueHead?.parameters.free();
  policy.free();
  return { report, weights: Float32Array.from(all.flatMap((a) => [...a])) };
}

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const model = await CausalLM.create(await oneGpu(), await loadModelConfig(MICRO), nearlyEven);
  await model.save(`${folder}/model`, { copyFrom: MICRO });
  model.parameters.free();
  await body(`${folder}/model`);
  await Deno.remove(folder, { recursive: true });
}

const meanDifference = (a: Float32Array, b: Float32Array) =>
  a.reduce((s, x, i) => s + Math.abs(x - b[i]), 0) / a.length;

Deno.test({
  name: "policy update: many small passes, recomputation and one large pass are the same update",
  ...options,
  fn: () =>
    withFolder(async (folder) => {
      const one = await update(folder);
      assert(one.report.steps.length === 3 && one.report.steps.every((s) => s.applied));
      assert(one.report.metrics["actor/logp_gap_max"] < 1e-5);
      for (
        const other of [
          ["worker.actor.micro_batch_tokens=40"],
          ["worker.actor.micro_batch_size_per_device_for_update=1"],
          ["worker.actor.model.enable_gradient_checkpointing=true"],
        ]
      ) {
        const many = await update(folder, ...other);
        assert(meanDifference(one.weights, many.weights) < 1e-6, other[0]);
        for (
          const key of ["actor/pg_loss", "actor/kl_loss", "actor/kl", "actor/grad_norm", "actor/entropy"]
        ) {
          const scale = Math.max(1e-3, Math.abs(one.report.metrics[key]));
          assertAlmostEquals(
            many.report.metrics[key],
            one.report.metrics[key],
            1e-3 * scale,
            `${other[0]} ${key}`,
          );
        }
      }
    }),
});

Deno.test({
  name: "policy update: the exact KL, in many small passes as in one; its weight pulls the policy back",
  ...options,
  fn: () =>
    withFolder(async (folder) => {
      const exact = await update(folder, "algorithm.kl_penalty=full");
      const { metrics } = exact.report;
      assert(exact.report.steps.every((s) => s.applied) && metrics["actor/logp_gap_max"] < 1e-5);
      const many = await update(folder, "algorithm.kl_penalty=full", "worker.actor.micro_batch_tokens=40");
      assert(meanDifference(exact.weights, many.weights) < 1e-6);
      assertAlmostEquals(many.report.metrics["actor/kl"], metrics["actor/kl"], 1e-3 * metrics["actor/kl"]);
      // The sampled estimate is unbiased, so both see the same move; they are not the same number.
      const sampled = (await update(folder)).report.metrics["actor/kl"];
      assert(metrics["actor/kl"] > sampled / 3 && metrics["actor/kl"] < sampled * 3);
      assert(Math.abs(metrics["actor/kl"] - sampled) > 1e-3 * sampled);
      const heavy = { outside: 50, inside: 50 };
      const klBudget = { ...SETTINGS.klBudget, weights: () => perBucket(() => heavy) };
      const held = await update(folder, { klBudget }, "algorithm.kl_penalty=full");
      assert(held.report.metrics["actor/kl"] < metrics["actor/kl"]);
    }),
});

Deno.test({
  name: "policy update: averaging, clipping and the KL term each change it; no KL needs no reference",
  ...options,
  fn: () =>
    withFolder(async (folder) => {
      const base = await update(folder);
      for (
        const other of [
          ["worker.actor.loss_avg_mode=token"],
          ["worker.actor.clip_ratio_high=0.0", "worker.actor.clip_ratio_low=0.0"],
          ["algorithm.disable_kl=true"],
          ["aepo.entropy_bonus=0"],
        ]
      ) {
        const changed = await update(folder, ...other);
        assert(meanDifference(base.weights, changed.weights) > 1e-8, other[0]);
        if (other[0] === "algorithm.disable_kl=true") {
          assertEquals(changed.report.metrics["actor/kl_loss"], 0);
          assertEquals(changed.report.metrics["train/easy/kl_inside"], undefined);
        }
      }
      assert(base.report.metrics["actor/kl"] > 0, "the second step has moved away from the reference");
      assert(base.report.klOutsideWindows.easy! > 0 && base.report.klOutsideWindows.hard! > 0);
      // The means by difficulty, inside and outside windows, make up the mean over all tokens.
      const { metrics, klOutsideWindows } = base.report;
      let [sum, tokens] = [0, 0];
      for (const { group, ids } of fourGroups()) {
        const bucket = (["easy", "medium", "hard"] as const)[group % 3];
        const inside = ids.filter((_, t) => t % 3 === 0).length;
        sum += inside * metrics[`train/${bucket}/kl_inside`];
        sum += (ids.length - inside) * metrics[`train/${bucket}/kl_outside`];
        tokens += ids.length;
        assertEquals(metrics[`train/${bucket}/kl_outside`], klOutsideWindows[bucket]);
      }
      assertAlmostEquals(sum / tokens, metrics["actor/kl"], 1e-4 * metrics["actor/kl"]);
    }),
});

Deno.test({
  name:
    "policy update: a shared prefix is trained once, by halves or by one alone, unless full counts it twice",
  ...options,
  fn: () =>
    withFolder(async (folder) => {
      const by = async (credit: string, ...settings: string[]) =>
        await updateOn(
          tree,
          folder,
          `aepo.branching.credit=${credit}`,
          ...settings,
          "worker.actor.ppo_epochs=2",
        );
      for (
        const settings of [
          ["worker.actor.loss_avg_mode=seq"],
          ["worker.actor.loss_avg_mode=token"],
          ["worker.actor.loss_avg_mode=token", "algorithm.kl_penalty=full"],
        ]
      ) {
        const mode = settings.join(" ");
        const weighted = await by("weighted", ...settings);
        const once = await by("once", ...settings);
        const full = await by("full", ...settings);
        // Both have the same advantage: whoever bears the prefix, its gradient is the same.
        assert(meanDifference(weighted.weights, once.weights) < 1e-6, mode);
        assert(meanDifference(weighted.weights, full.weights) > 1e-5, mode);
        const [once_, full_] = [once, full].map((u) => u.report.metrics["actor/pg_loss"]);
        assertAlmostEquals(weighted.report.metrics["actor/pg_loss"], once_, 1e-4 * Math.abs(once_));
        assert(Math.abs(full_ - once_) > 0.05, `${mode}: ${full_} against ${once_}`);
      }
    }),
});

Deno.test({
  name: "policy update: GAE's value head learns the returns, in many small passes as in one",
  ...options,
  fn: () =>
    withFolder(async (folder) => {
      const settings = ["algorithm.adv_estimator=gae", "worker.actor.ppo_epochs=4", { criticLr: 6e-3 }];
      const one = await update(folder, ...settings);
      const { metrics, steps } = one.report;
      assert(steps.length === 12 && steps.every((s) => s.applied));
      // Every third rollout is worth 1: that is the mean return at first, when all values are 0.
      assertAlmostEquals(metrics["critic/returns/mean"], 1 / 3, 0.1);
      assert(metrics["critic/vpred_mean"] > 0.05, `${metrics["critic/vpred_mean"]}`);
      assertAlmostEquals(metrics["critic/vf_explained_var"], 0, 1e-6);
      const many = await update(folder, ...settings, "worker.actor.micro_batch_tokens=40");
      assert(meanDifference(one.weights, many.weights) < 1e-5);
      assertAlmostEquals(many.report.metrics["critic/vf_loss"], metrics["critic/vf_loss"], 1e-4);
      // A value head that learns loses less than one that does not.
      const still = await update(folder, ...settings.slice(0, 2), { criticLr: 0 });
      assert(metrics["critic/vf_loss"] < 0.9 * still.report.metrics["critic/vf_loss"]);
      // With no weight its loss is still told, and the policy's weights do not hear of it.
      const deaf = await update(folder, ...settings, "worker.critic.vf_coef=0");
      assert(deaf.report.metrics["critic/vf_loss"] > 0 && deaf.report.metrics["critic/vpred_mean"] === 0);
    }),
});
