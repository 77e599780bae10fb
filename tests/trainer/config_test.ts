import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parse } from "yaml";
import { UserError } from "../../gpu/errors.ts";
import {
  batchArithmetic,
  configTable,
  iterationCount,
  loadConfig,
  miniBatchCount,
  toYaml,
} from "../../trainer/config.ts";
import { LEAVES } from "../../trainer/config_fields.ts";
import { PRESETS } from "../../trainer/presets.ts";
import { rulesOf } from "../../trainer/rules.ts";

function withFile<T>(text: string, use: (file: string) => T): T {
  const file = Deno.makeTempFileSync({ suffix: ".yaml" });
  try {
    Deno.writeTextFileSync(file, text);
    return use(file);
  } finally {
    Deno.removeSync(file);
  }
}

function refusal(...overrides: string[]): string {
  return assertThrows(() => loadConfig({ overrides }), UserError).message;
}

Deno.test("config: no source at all gives the micro-world's settings", () => {
  const { config, ignored } = loadConfig();
  assertEquals(ignored, []);
  assertEquals(config.data.rollout_batch_size, 16);
  assertEquals(config.worker.rollout.n, 8);
  assertEquals(config.worker.actor.optim, {
    lr: 1.2e-4,
    betas: [0.9, 0.99],
    weight_decay: 0.01,
    lr_warmup_steps: 5,
    lr_scheduler_type: "linear",
    min_lr_ratio: 0.1,
  });
  assertEquals(config.aepo.kappa, { init: 1, alpha: 0.1, delta: 0.005, min: 0.5, max: 10 });
  assertEquals(iterationCount(config, config.data.micro.train_count), 60);
});

Deno.test("config: two loads share nothing", () => {
  loadConfig().config.worker.actor.optim.betas[0] = 0.5;
  assertEquals(loadConfig().config.worker.actor.optim.betas, [0.9, 0.99]);
});

Deno.test("config: every field's default lies in its own range and has one sentence", () => {
  for (const [key, field] of LEAVES) {
    assert(field.schema.safeParse(field.default).success, key);
    assert(field.doc.endsWith(".") && field.range.length > 0, key);
  }
});

Deno.test("config: a file over a preset, overrides over the file, later overrides over earlier ones", () => {
  withFile("trainer:\n  max_steps: 7\n  seed: 3\nworker:\n  rollout:\n    n: 2\n", (file) => {
    const { config } = loadConfig({ file, preset: "smoke", overrides: ["trainer.seed=4", "trainer.seed=5"] });
    assertEquals(config.trainer.max_steps, 7);
    assertEquals(config.trainer.seed, 5);
    assertEquals(config.worker.rollout.n, 2);
    assertEquals(config.data.rollout_batch_size, 6);
  });
});

Deno.test("config: families are chosen by name, and an unknown name is answered with the known ones", () => {
  assertEquals(loadConfig().config.data.micro.families, null);
  const { config } = loadConfig({ overrides: ["data.micro.families=[tally, sum]"] });
  assertEquals(config.data.micro.families, ["tally", "sum"]);
  for (const wrong of ["[tally, sums]", "[]", "tally"]) {
    assertStringIncludes(
      refusal(`data.micro.families=${wrong}`),
      "give null or a list of names among sum, word, count, gap, pair, tally, grid, chart, odd.",
    );
  }
});

Deno.test("config: override values are YAML", () => {
  const { config } = loadConfig({
    overrides: [
      "worker.actor.optim.betas=[0.8, 0.9]",
      "worker.actor.optim.lr=1e-6",
      "adacs.max_tokens=null",
      "data.shuffle=False",
      "data.format_prompt=a = b",
    ],
  });
  assertEquals(config.worker.actor.optim.betas, [0.8, 0.9]);
  assertEquals(config.worker.actor.optim.lr, 1e-6);
  assertEquals(config.adacs.max_tokens, null);
  assertEquals(config.data.shuffle, false);
  assertEquals(config.data.format_prompt, "a = b");
});

Deno.test("config: the YAML of a configuration reads back to the same configuration", () => {
  const { config } = loadConfig({ preset: "dapo", overrides: ["data.system_prompt='be: \"brief\"'"] });
  withFile(toYaml(config), (file) => assertEquals(loadConfig({ file }), { config, ignored: [] }));
});

Deno.test("config: an EasyR1 file is accepted as it is, foreign keys named once with a reason", () => {
  const easyR1 = `
data: { train_files: a.jsonl, val_files: b.jsonl, prompt_key: problem, max_pixels: 4194304, rollout_batch_size: 512 }
algorithm: { adv_estimator: grpo, disable_kl: false, use_kl_loss: true, kl_penalty: low_var_kl, kl_coef: 1.0e-2 }
worker:
  actor:
    global_batch_size: 128
    micro_batch_size_per_device_for_update: 4
    model: { model_path: Qwen/Qwen2.5-7B-Instruct, trust_remote_code: false }
    optim: { lr: 1.0e-6, strategy: adamw, warmup_style: cosine }
    fsdp: { enable_full_shard: true, enable_cpu_offload: false }
    dynamic_kl_loss: true
  rollout: { n: 8, tensor_parallel_size: 2, gpu_memory_utilization: 0.6, window_size: 8, val_override_config: { n: 1 } }
  ref:
  reward: { reward_type: batch, reward_function: "./math.py:compute_score" }
trainer: { total_epochs: 2, logger: ["console", "wandb"], nnodes: 1, max_try_make_batch: 20, max_steps: null }
`;
  withFile(easyR1, (file) => {
    const { config, ignored } = loadConfig({ file, overrides: ["trainer.nnodes=2"] });
    assertEquals(config.worker.actor.optim.lr, 1e-6);
    assertEquals(config.worker.actor.optim.lr_scheduler_type, "cosine");
    assertEquals(config.aepo.window, 8);
    assertEquals(config.algorithm.max_try_make_batch, 20);
    assertEquals(config.worker.rollout.val_override_config, { n: 1, temperature: 1, top_p: 1 });
    assertEquals(ignored.map((line) => line.split(" ")[0]), [
      "data.max_pixels",
      "worker.actor.model.trust_remote_code",
      "worker.actor.optim.strategy",
      "worker.actor.fsdp.enable_full_shard",
      "worker.actor.fsdp.enable_cpu_offload",
      "worker.rollout.tensor_parallel_size",
      "worker.rollout.gpu_memory_utilization",
      "worker.ref",
      "worker.reward.reward_type",
      "worker.reward.reward_function",
      "trainer.logger",
      "trainer.nnodes",
    ]);
    assertStringIncludes(ignored[11], "one process trains on one device");
    assertStringIncludes(batchArithmetic(config, 1024), "4 mini-batches of 1024");
    assertStringIncludes(batchArithmetic(config, 1024), "16 in 4 iterations");
  });
});

Deno.test("config: an unknown key is refused with the nearest known one", () => {
  assertStringIncludes(
    refusal("trainer.max_step=3"),
    "no key trainer.max_step; did you mean trainer.max_steps?",
  );
  assertStringIncludes(refusal("worker.actor.lr=3"), "did you mean worker.actor.optim.lr?");
  assertStringIncludes(refusal("aepo.kappa=3"), "aepo.kappa is a group of fields");
  assertStringIncludes(refusal("data.seed.x=3"), "no key data.seed.x");
  withFile("trainr: { seed: 1 }", (file) => {
    const message = assertThrows(() => loadConfig({ file }), UserError).message;
    assertStringIncludes(message, `${file}: there is no key trainr.seed; did you mean trainer.seed?`);
  });
});

Deno.test("config: a value out of range is refused with the value, the range and the field's sentence", () => {
  const message = refusal("worker.actor.optim.lr=5", "worker.rollout.n=2.5", "aepo.branching.credit=twice");
  assertStringIncludes(
    message,
    "worker.actor.optim.lr = 5 is not accepted: give a number from 0 to 1. Peak learning rate",
  );
  assertStringIncludes(
    message,
    "worker.rollout.n = 2.5 is not accepted: give an integer from 1 to 1024. Rollouts of",
  );
  assertStringIncludes(
    message,
    'aepo.branching.credit = "twice" is not accepted: give one of weighted, once, full.',
  );
  assertStringIncludes(refusal("trainer.save_freq=0"), "give -1 or an integer from 1");
  assertStringIncludes(refusal("trainer.seed=.nan"), "give an integer");
  assertStringIncludes(
    refusal("algorithm.adv_estimator=opo"),
    "one of grpo, rloo, reinforce_plus_plus, remax, gae",
  );
});

Deno.test("config: contradictions stop before any work, with the numbers", () => {
  assertStringIncludes(refusal("worker.actor.global_batch_size=5"), "16 prompts cannot be split");
  assertStringIncludes(
    refusal("worker.actor.global_batch_size=8", "worker.actor.micro_batch_size_per_device_for_update=3"),
    "8 × 8 rollouts is no multiple of",
  );
  assertStringIncludes(refusal("worker.actor.mini_batches=129"), "more than the 16 × 8 rollouts");
  assertStringIncludes(refusal("worker.rollout.n=1"), "nothing to compare");
  assertStringIncludes(refusal("algorithm.use_kl_loss=false"), "KL in the reward");
  assertEquals(
    loadConfig({ overrides: ["algorithm.use_kl_loss=false", "algorithm.disable_kl=true"] }).config.algorithm
      .disable_kl,
    true,
  );
  assertStringIncludes(refusal("algorithm.filter_low=0.99"), "must be below");
  assertStringIncludes(refusal("worker.reward.overlong_buffer_length=129"), "longer than");
  assertStringIncludes(refusal("aepo.kappa.init=11"), "must lie within");
  assertStringIncludes(refusal("aepo.kappa.min=0"), "give a number above 0");
  assertStringIncludes(
    refusal("reference.kl_beta_init=1000"),
    "reference.kl_beta_init = 1000 must lie within",
  );
  assertStringIncludes(
    refusal("reference.alpha_entropy_init.hard=3"),
    "reference.alpha_entropy_init.hard = 3 must lie within the bounds beside it, 0 and 2",
  );
  assertStringIncludes(refusal("reference.filter_first=true"), "set algorithm.online_filtering to true and");
  assertStringIncludes(refusal("aepo.rules.mask=words"), "give null or one of window, trigger, semantic");
  assertStringIncludes(refusal("aepo.trigger_words=[]"), "give null or a list of words");
  loadConfig({ preset: "aepo-reference", overrides: ["reference.filter_first=true"] });
});

Deno.test("config: files and overrides that cannot be read say so", () => {
  assertThrows(() => loadConfig({ file: "/nonexistent/x.yaml" }), UserError, "/nonexistent/x.yaml");
  assertThrows(
    () => loadConfig({ preset: "toString" }),
    UserError,
    "there are default, smoke, aepo, aepo-reference, aepo-no-kl, aepo-no-entropy, aepo-no-branch, grpo, dapo",
  );
  assertStringIncludes(refusal("trainer.seed"), "write key=value");
  assertStringIncludes(refusal("trainer.seed=[1"), "not YAML");
  withFile("a: [", (file) => assertThrows(() => loadConfig({ file }), UserError, "is not YAML"));
  withFile("- 1", (file) => assertThrows(() => loadConfig({ file }), UserError, "expected groups"));
  withFile("", (file) => assertEquals(loadConfig({ file }).config, loadConfig().config));
});

Deno.test("config: batch arithmetic", () => {
  const { config } = loadConfig();
  assertEquals(miniBatchCount(config), 3);
  assertEquals(
    batchArithmetic(config, 640),
    "16 prompts × 8 rollouts = 128 → 3 mini-batches of 42–43 × micro-batches of at most 4096 tokens → 3 optimizer " +
      "steps an iteration, 120 in 40 iterations (filtering makes them smaller, not fewer)",
  );
  const whole = loadConfig({
    overrides: [
      "worker.actor.global_batch_size=8",
      "worker.actor.micro_batch_size_per_device_for_update=4",
      "worker.actor.ppo_epochs=2",
      "trainer.total_epochs=3",
      "algorithm.online_filtering=false",
    ],
  }).config;
  assertEquals(
    batchArithmetic(whole, 40),
    "16 prompts × 8 rollouts = 128 → 2 mini-batches of 64 × micro-batches of at most 4 rollouts and at most 4096 " +
      "tokens × 2 epochs → 4 optimizer steps an iteration, 24 in 6 iterations",
  );
  assertThrows(() => iterationCount(config, 15), UserError, "15 training problems do not fill one batch");
});

Deno.test("config: GRPO, DAPO and the paper's scale by configuration alone", () => {
  const grpo = loadConfig({ preset: "grpo" }).config;
  assertEquals([grpo.worker.actor.clip_ratio_low, grpo.worker.actor.clip_ratio_high], [0.2, 0.2]);
  assertEquals([grpo.aepo.entropy_shaping, grpo.aepo.kl_shaping, grpo.algorithm.disable_kl], [
    false,
    false,
    false,
  ]);
  const dapo = loadConfig({ preset: "dapo" }).config;
  assertEquals([dapo.worker.actor.clip_ratio_high, dapo.worker.actor.loss_avg_mode], [0.28, "token"]);
  assertEquals([dapo.algorithm.disable_kl, dapo.algorithm.online_filtering], [true, true]);
  assert(dapo.worker.reward.overlong_buffer_length > 0);
  const both = loadConfig({ preset: "smoke,grpo" }).config;
  assertEquals([both.data.rollout_batch_size, both.aepo.kl_shaping], [6, false]);
  assertEquals(miniBatchCount(loadConfig({ preset: "aepo" }).config), 4);
  for (const preset of Object.keys(PRESETS)) loadConfig({ preset });
});

Deno.test("config: a recipe sets every component, and each can be set alone", () => {
  const rules = (preset: string, ...overrides: string[]) => rulesOf(loadConfig({ preset, overrides }).config);
  const of = (recipe: "paper" | "reference", mask: string) => ({
    difficulty: recipe,
    window: recipe,
    threshold: recipe,
    mask,
    reward: recipe,
    advantage: recipe,
    kl: recipe,
  });
  assertEquals(rules("default"), of("paper", "window"));
  assertEquals(rules("aepo-reference"), of("reference", "trigger"));
  for (const name of ["difficulty", "window", "threshold", "reward", "advantage", "kl"]) {
    assertEquals(rules("default", `aepo.rules.${name}=reference`), {
      ...of("paper", "window"),
      [name]: "reference",
    });
    assertEquals(rules("aepo-reference", `aepo.rules.${name}=paper`), {
      ...of("reference", "trigger"),
      [name]: "paper",
    });
  }
  assertEquals(rules("aepo-reference", "aepo.rules.mask=semantic").mask, "semantic");
});

Deno.test("config: the release's keys are read where the meaning is the same", () => {
  const { config, ignored } = loadConfig({
    overrides: [
      "worker.actor.kl_beta_lr=0.1",
      "worker.actor.kl_target_hard=0.02",
      "worker.actor.kl_update_interval=7",
      "alpha_entropy_init_easy=0.75",
      "alpha_entropy_max=1",
      "algorithm.gamma=0.5",
    ],
  });
  assertEquals(ignored, []);
  const { reference } = config;
  assertEquals([reference.kl_beta_lr, reference.kl_target.hard, reference.kl_update_interval], [
    0.1,
    0.02,
    7,
  ]);
  assertEquals([reference.alpha_entropy_init.easy, reference.alpha_entropy_max], [0.75, 1]);
  assertEquals(config.algorithm.gamma, 0.5);
});

Deno.test("config: the ablations differ from AEPO by one component each", () => {
  const plain = loadConfig().config.aepo;
  const { aepo: noKl } = loadConfig({ preset: "aepo-no-kl" }).config;
  assertEquals(noKl, { ...plain, kl_shaping: false });
  const { aepo: noEntropy } = loadConfig({ preset: "aepo-no-entropy" }).config;
  assertEquals(noEntropy, { ...plain, entropy_shaping: false });
  const { aepo: noBranch } = loadConfig({ preset: "aepo-no-branch" }).config;
  assertEquals(noBranch, { ...plain, branching: { ...plain.branching, enabled: false } });
  // The dual clip is the release's: off as the paper has it, on where the release is laid over that.
  const dual = (preset: string) => loadConfig({ preset }).config.worker.actor.clip_ratio_dual;
  assertEquals(["aepo", "aepo,aepo-reference", "default"].map(dual), [null, 3, null]);
  const paperScale = loadConfig({ preset: "aepo,aepo-reference" }).config;
  assertEquals([paperScale.data.rollout_batch_size, paperScale.algorithm.recipe], [512, "reference"]);
});

Deno.test("config: AEPO and its ablations branch; the release, GRPO and DAPO do not, whatever they are laid over", () => {
  const branches = (preset: string) => loadConfig({ preset }).config.aepo.branching.enabled;
  for (const preset of ["default", "aepo", "smoke,aepo-no-kl", "aepo,aepo-no-entropy"]) {
    assertEquals(branches(preset), true, preset);
  }
  for (const preset of ["aepo,aepo-no-branch", "aepo,aepo-reference", "aepo,grpo", "smoke,dapo"]) {
    assertEquals(branches(preset), false, preset);
  }
});

Deno.test("config: the table has one row for each field", () => {
  const rows = configTable().trimEnd().split("\n").slice(2);
  assertEquals(rows.length, LEAVES.size);
  assert(rows.every((row) => row.split(/(?<!\\)\|/).length === 6));
  const { config } = loadConfig();
  assertEquals(parse(toYaml(config)), config as unknown);
});
