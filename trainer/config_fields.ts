/**
 * Every configuration field: default, range and one sentence. The documentation table, `--help-config`
 * and the error messages are made from this list; the type `Fields` makes it as complete as `Config`.
 * @module
 */
import { z } from "zod";
import { FAMILY_NAMES } from "../data/micro/world.ts";
import { KERNEL_PRESETS, PRECISIONS } from "../gpu/kernel_options.ts";
import type { Config, LrScheduler } from "./config_types.ts";

/** One leaf of the configuration. */
export interface Field<T = unknown> {
  /** Value where neither preset, file nor override gives one. */
  default: T;
  /** What is accepted, in words, for messages and the table. */
  range: string;
  /** One sentence. */
  doc: string;
  /** Accepts exactly what `range` says. */
  schema: z.ZodType<T>;
}

/** A tree of fields with the same branches as `T`. */
export type Fields<T> = {
  [K in keyof T]: T[K] extends Record<string, unknown> ? Fields<T[K]> : Field<T[K]>;
};

function int(value: number, min: number, max: number, doc: string): Field<number> {
  return {
    default: value,
    range: `an integer from ${min} to ${max}`,
    doc,
    schema: z.int().min(min).max(max),
  };
}

/** −1 switches the thing off (EasyR1's convention); 0 would be ambiguous and is refused. */
function countOrOff(value: number, max: number, doc: string): Field<number> {
  return {
    default: value,
    range: `-1 or an integer from 1 to ${max}`,
    doc,
    schema: z.union([z.literal(-1), z.int().min(1).max(max)]),
  };
}

function num(value: number, min: number, max: number, doc: string): Field<number> {
  return {
    default: value,
    range: `a number from ${min} to ${max}`,
    doc,
    schema: z.number().min(min).max(max),
  };
}

function flag(value: boolean, doc: string): Field<boolean> {
  return { default: value, range: "true or false", doc, schema: z.boolean() };
}

function text(value: string, doc: string): Field<string> {
  return { default: value, range: "a non-empty text", doc, schema: z.string().min(1) };
}

function choice<const T extends string>(value: T, all: readonly T[], doc: string): Field<T> {
  return { default: value, range: `one of ${all.join(", ")}`, doc, schema: z.enum(all) as z.ZodType<T> };
}

function names(all: readonly string[], doc: string): Field<string[]> {
  return {
    default: [...all],
    range: `a list of names among ${all.join(", ")}`,
    doc,
    schema: z.array(z.enum(all)).min(1),
  };
}

function optional<T>(field: Field<T>, value: T | null = null): Field<T | null> {
  return { ...field, default: value, range: `null or ${field.range}`, schema: field.schema.nullable() };
}

/** A component's recipe. */
function rule(doc: string): Field<"paper" | "reference" | null> {
  return optional(
    choice<"paper" | "reference">(
      "paper",
      ["paper", "reference"],
      `${doc.slice(0, -1)}; null: \`algorithm.recipe\` decides.`,
    ),
  );
}

const SCHEDULERS: readonly LrScheduler[] = ["constant", "linear", "cosine"];
const BIG = 1_000_000_000;

/** The whole configuration, in the order of the documentation. */
export const FIELDS: Fields<Config> = {
  data: {
    train_files: optional(
      text("", "JSONL or Parquet file of training problems; null makes micro-world problems instead."),
    ),
    val_files: optional(
      text("", "JSONL or Parquet file of held-out problems; null takes the micro-world's own."),
    ),
    prompt_key: optional(
      text("", "Column with the problem's text; null: `problem`, `question` or `prompt`."),
    ),
    answer_key: optional(text("", "Column with the verifiable answer; null: the usual names.")),
    solution_key: optional(text("", "Column with a teacher's response for AdaCS; null: `solution`.")),
    image_key: optional(text("", "Column with the problem's images; null: `images` or `image`.")),
    choices_key: optional(text("", "Column with the choices of a multiple-choice problem; null: `choices`.")),
    image_dir: optional(
      text("", "Folder that relative image paths start from; null: the data file's folder."),
    ),
    max_prompt_length: int(256, 1, 1 << 20, "Longest prompt in tokens; a longer one is skipped and counted."),
    max_response_length: int(128, 1, 1 << 20, "Longest response in tokens; generation is cut there."),
    rollout_batch_size: int(16, 1, 1 << 20, "Prompts of one iteration."),
    format_prompt: optional(
      text("", "Jinja text, or path of a .jinja file, around the problem (`{{ content | trim }}`)."),
    ),
    system_prompt: optional(text("", "System turn in front of each problem; null: none.")),
    seed: int(1, 0, 2 ** 31 - 1, "Seed of the order of problems and of the micro-world."),
    shuffle: flag(true, "Shuffle the training problems, anew for every epoch."),
    micro: {
      families: optional(
        names(
          FAMILY_NAMES,
          "Families of micro-world problems, evenly; null: all for a model that sees pictures, else those of text alone.",
        ),
      ),
      train_count: int(960, 1, 1_000_000, "Micro-world training problems; AEPO takes each once by default."),
      val_count: int(288, 1, 1_000_000, "Micro-world held-out problems; none occurs in training."),
    },
  },
  algorithm: {
    recipe: choice(
      "paper",
      ["paper", "reference"],
      "Which reading of ARES is run: the paper's formulas or the authors' release; `aepo.rules` chooses by component.",
    ),
    adv_estimator: choice(
      "grpo",
      ["grpo", "rloo", "reinforce_plus_plus", "remax", "gae"],
      "How rewards become advantages; `remax` also decodes every prompt greedily, for its baseline, `gae` trains a value head on the policy's last hidden states.",
    ),
    gamma: num(1, 0, 1, "Discount of later rewards in a response, for `reinforce_plus_plus` and `gae`."),
    lam: num(1, 0, 1, "λ of `gae`: 1 takes whole returns, 0 only the next value."),
    norm_adv_by_std_in_grpo: flag(true, "Divide group advantages by the group's standard deviation."),
    length_normalise: flag(
      false,
      "Divide an advantage by its response's length, as Algorithm 1 prints; the loss averages over tokens again.",
    ),
    disable_kl: flag(false, "Train without a reference model and without a KL term."),
    use_kl_loss: flag(true, "KL as a term of the loss; the KL as part of the reward is not offered."),
    kl_penalty: choice(
      "low_var_kl",
      ["kl", "abs", "mse", "low_var_kl", "k3", "full"],
      "Estimator of the KL to the reference from the sampled tokens; `low_var_kl` is `k3` with the release's clamps, `full` is exact over the vocabulary, at the price of the reference's pass beside every training pass.",
    ),
    kl_coef: num(0.05, 0, 100, "Weight of the KL term where `aepo.kl_shaping` is off."),
    online_filtering: flag(
      true,
      "Drop groups whose mean `filter_key` is at most `filter_low` or at least `filter_high`.",
    ),
    filter_key: choice("accuracy", ["overall", "accuracy", "format"], "The reward that filtering looks at."),
    filter_low: num(0.01, -100, 100, "Groups at or below this mean are dropped."),
    filter_high: num(0.99, -100, 100, "Groups at or above this mean are dropped."),
    max_try_make_batch: countOrOff(
      1,
      10_000,
      "How often prompts are sampled to fill a filtered batch: 1 never refills, -1 never gives up.",
    ),
    refill_within_budget: flag(
      false,
      "Count refills as iterations: the stage ends after `max_steps` × `rollout_batch_size` prompts, so that a run that refills samples as many rollouts as one that does not.",
    ),
  },
  worker: {
    actor: {
      model: {
        model_path: text("models/micro", "Hugging Face folder of the model to train."),
        enable_gradient_checkpointing: flag(
          false,
          "Keep only each block's input for backward and compute the rest again: less memory, a third more work.",
        ),
        freeze_vision_tower: flag(
          false,
          "Leave the vision tower and its merger as they are (the paper's cold start does): no memory and time for their gradients.",
        ),
      },
      optim: {
        lr: num(1.2e-4, 0, 1, "Peak learning rate of the AEPO stage."),
        betas: {
          default: [0.9, 0.99],
          range: "two numbers from 0 to below 1",
          doc: "AdamW's decay of the first and second moment, in both stages.",
          schema: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]),
        },
        weight_decay: num(0.01, 0, 10, "AdamW's decoupled weight decay in the AEPO stage."),
        lr_warmup_steps: int(
          5,
          0,
          BIG,
          "Iterations over which the learning rate rises from 0; at most a third of all.",
        ),
        lr_scheduler_type: choice("linear", SCHEDULERS, "Course of the learning rate after the warm-up."),
        min_lr_ratio: num(0.1, 0, 1, "Where a falling schedule ends, as a share of `lr`."),
      },
      clip_ratio_low: num(0.2, 0, 1, "The probability ratio is clipped at 1 minus this."),
      clip_ratio_high: num(0.3, 0, 10, "The probability ratio is clipped at 1 plus this."),
      clip_ratio_dual: optional(
        num(
          3,
          1,
          1000,
          "Bound of the dual clip: loss of a negative advantage is at most this times it, 3 in the release; null: off, as in the paper.",
        ),
      ),
      loss_avg_mode: choice(
        "seq",
        ["seq", "token"],
        "`seq`: mean over a response's tokens, then over responses; `token`: every token counts the same.",
      ),
      max_grad_norm: num(1, 0, 1e6, "Gradients are scaled down to this global norm."),
      global_batch_size: optional(
        int(
          8,
          1,
          1 << 20,
          "Prompts (each with its n rollouts) of one optimizer step; null: see `mini_batches`.",
        ),
      ),
      mini_batches: int(
        3,
        1,
        10_000,
        "Optimizer steps an iteration is split into, as evenly as it goes; read where `global_batch_size` is null.",
      ),
      micro_batch_size_per_device_for_update: optional(
        int(
          8,
          1,
          1 << 20,
          "Most responses of one forward and backward pass; null: only `micro_batch_tokens` counts.",
        ),
      ),
      micro_batch_tokens: int(4096, 16, 1 << 24, "Most packed tokens of one forward and backward pass."),
      micro_batch_patches: int(
        4096,
        16,
        1 << 24,
        "Most patches of pictures of one pass, and so of one problem; one with more is left out and counted.",
      ),
      ppo_epochs: int(1, 1, 100, "Passes over the rollouts of an iteration."),
    },
    critic: {
      optim: {
        lr: num(
          1e-3,
          0,
          1,
          "Peak learning rate of the value head, on the actor's schedule; read with `gae`.",
        ),
      },
      cliprange_value: num(
        0.5,
        0,
        1e6,
        "The value loss takes values clipped to within this of the old ones.",
      ),
      vf_coef: num(
        0.1,
        0,
        100,
        "Weight of the value loss beside the policy's; it trains the policy's weights too.",
      ),
    },
    rollout: {
      n: int(8, 1, 1024, "Rollouts of each prompt."),
      temperature: num(1, 0.01, 10, "Sampling temperature; entropies and log-probabilities are taken at it."),
      top_p: num(1, 0.01, 1, "Sample from the smallest set of tokens with at least this probability."),
      top_k: countOrOff(-1, 1 << 20, "Sample from this many most likely tokens; -1: all."),
      max_num_seqs: int(
        64,
        1,
        65_536,
        "Sequences decoded at once (slots); waiting ones take a slot as it falls free.",
      ),
      block_size: int(16, 1, 1024, "Tokens of one block of the paged KV cache."),
      chunk: int(
        16,
        1,
        1024,
        "Tokens decoded between two reads from the GPU, 16 to 64; short responses want few.",
      ),
      val_override_config: {
        n: int(2, 1, 1024, "Samples of each problem in evaluation."),
        temperature: num(1, 0, 10, "Temperature in evaluation; 0 is greedy."),
        top_p: num(1, 0.01, 1, "`top_p` in evaluation."),
      },
    },
    reward: {
      format_weight: num(
        0,
        0,
        1,
        "Weight of the format reward (`<think>…</think>`, then `\\boxed{}`); it is logged anyway.",
      ),
      overlong_buffer_length: int(
        0,
        0,
        1 << 20,
        "DAPO: the reward falls linearly over the last so many tokens before `max_response_length`; 0: off.",
      ),
      overlong_penalty_factor: num(1, 0, 100, "DAPO: what a response of full length loses."),
    },
  },
  trainer: {
    max_steps: optional(int(1, 1, BIG, "Iterations of the AEPO stage; null: `total_epochs` decides.")),
    total_epochs: int(1, 1, 1_000_000, "Passes of the AEPO stage over the training problems."),
    project_name: text("ares", "Name of the project, kept in the run's summary."),
    experiment_name: text("micro", "Name of the run folder: `runs/<experiment_name>`."),
    save_freq: countOrOff(10, BIG, "Iterations between two checkpoints; -1: only at the end of a stage."),
    save_limit: countOrOff(2, BIG, "Checkpoints kept; -1: all."),
    save_checkpoint_path: optional(text("", "The run folder itself, in place of `runs/<experiment_name>`.")),
    load_checkpoint_path: optional(text("", "Run or checkpoint folder to resume from.")),
    find_last_checkpoint: flag(false, "Resume from the run folder's newest sound checkpoint, if it has one."),
    val_freq: countOrOff(-1, BIG, "Iterations between two evaluations; -1: only after each stage."),
    val_before_train: flag(true, "Evaluate the model as it was before training."),
    val_blind: flag(
      true,
      "After the last evaluation, the held-out problems with pictures once more, with gray in place of their pictures.",
    ),
    rollouts_to_log: countOrOff(
      128,
      BIG,
      "Rollouts of an iteration (in whole groups) and responses of an evaluation that are logged with their tokens; -1: all.",
    ),
    tune_kernels: flag(
      true,
      "Choose among kernels by measuring them once on this adapter, where the command opens the device; false: by rule.",
    ),
    kernels: choice(
      "auto",
      KERNEL_PRESETS,
      "Variants of kernels: `auto` by adapter, `gpu` or `software` whatever the adapter says of itself, `portable` what needs no optional feature and is never measured; results agree but for the rounding of sums.",
    ),
    precision: choice(
      "float32",
      PRECISIONS,
      "`float16`: mixed precision, the linear layers multiply operands rounded to f16 and add up in f32 (adapters with shader-f16; loss scale 1,024, an overflow is a skipped update); weights are read in f16, a trained model's from copies of its f32 values, and so is the KV cache on GPUs; gradients and moments stay in f32.",
    ),
    seed: int(0, 0, 2 ** 31 - 1, "Seed of all sampling."),
  },
  adacs: {
    enabled: flag(true, "Run the adaptive cold start."),
    samples: int(8, 1, 1024, "Responses sampled of each problem to find its pass rate (K)."),
    problems: optional(int(1, 1, BIG, "Training problems looked at; null: all."), 216),
    min_bracket: int(
      8,
      1,
      BIG,
      "Fewest problems of a source that give L(0) or L(1); neighbouring pass rates are joined until there are so many.",
    ),
    selection: choice(
      "adaptive",
      ["adaptive", "uniform"],
      "`adaptive`: uniform over pass rates, lengths nearest to the target; `uniform`: problems and their responses at random (the paper's ablation).",
    ),
    epochs: int(2, 1, 10_000, "Most passes over the chosen responses."),
    max_tokens: optional(
      int(1, 1, BIG, "Fine-tuning stops after this many tokens; null: `epochs` decides."),
      40_000,
    ),
    batch_size: int(32, 1, 1 << 20, "Responses of one optimizer step."),
    lr: num(3e-4, 0, 1, "Peak learning rate of the fine-tuning."),
    weight_decay: num(0.01, 0, 10, "AdamW's decoupled weight decay in the fine-tuning."),
    lr_warmup_steps: int(
      10,
      0,
      BIG,
      "Optimizer steps over which the learning rate rises from 0; at most a third of all.",
    ),
    lr_scheduler_type: choice("linear", SCHEDULERS, "Course of the learning rate after the warm-up."),
    min_lr_ratio: num(0, 0, 1, "Where a falling schedule ends, as a share of `lr`."),
  },
  aepo: {
    enabled: flag(true, "Run the reinforcement stage."),
    entropy_shaping: flag(true, "Hierarchical entropy reward and the entropy bonus inside windows."),
    kl_shaping: flag(
      true,
      "KL budget per difficulty, relaxed inside windows, steered by κ; off: `algorithm.kl_coef`.",
    ),
    window: int(4, 1, 1024, "Tokens w of an entropy window."),
    quantile: num(0.95, 0, 1, "Quantile of a response's token entropies whose mean is the threshold τ."),
    rho: num(0.5, 0, 1, "Factor ρ on the KL weight of tokens inside high-entropy windows."),
    lambda_cap: num(0.1, 0, 100, "Highest λ_d."),
    literal_lambda: flag(false, "Take N_target from the same batch, as printed: λ_d is then always 0."),
    penalty_cap: num(1, 0, 100, "Highest penalty λ_d · g_d of a wrong answer."),
    entropy_bonus: num(1, 0, 100, "Factor on ψ, the token-level entropy bonus inside windows."),
    target_decay: num(0.9, 0, 1, "Share of the old value in the running target N_target(d)."),
    kappa: {
      init: num(1, 0, 1e6, "First value of the KL controller κ_d."),
      alpha: num(0.1, 0, 100, "Step of the KL controller."),
      delta: num(0.005, 1e-9, 100, "KL per token outside windows that the controller steers to, in nats."),
      min: num(0.5, 0, 1e6, "Lowest κ_d."),
      max: num(10, 0, 1e6, "Highest κ_d."),
    },
    beta: {
      easy: num(0.05, 0, 100, "KL weight β_d of easy problems."),
      medium: num(0.05, 0, 100, "KL weight β_d of medium problems."),
      hard: num(0.05, 0, 100, "KL weight β_d of hard problems."),
    },
    branching: {
      enabled: flag(
        true,
        "Branch rollouts where the entropy of the window that begins with a token exceeds the τ of the iteration before; the first has none and does not branch.",
      ),
      share: num(
        0.5,
        0,
        1,
        "Share of a prompt's `worker.rollout.n` rollouts reserved for branches; those not spent are ordinary rollouts.",
      ),
      max_per_trajectory: int(2, 1, 1024, "Most branches of one rollout."),
      refractory: int(
        8,
        1,
        1 << 20,
        "Fewest tokens between two branch points of a rollout, never below `aepo.window`: one window branches once.",
      ),
      credit: choice(
        "weighted",
        ["weighted", "once", "full"],
        "How the k rollouts that share a token train it: each with 1/k of its loss, the first alone, or all in full.",
      ),
    },
    rules: {
      difficulty: rule("Bounds of the difficulty buckets: paper 6/8 and 3/8, reference 2/3 and 1/3."),
      window: rule(
        "Where a token's window lies: paper from the token on, reference the w tokens after it. For masks and τ: rollouts branch by the paper's windows under either, for the release has no branching.",
      ),
      threshold: rule(
        "τ: paper the batch's mean of the responses' quantiles, reference a running mean of the batch's median of them.",
      ),
      mask: optional(
        choice(
          "window",
          ["window", "trigger", "semantic"],
          "Which tokens count as high-entropy: a window that reaches τ (paper); the same where the most likely token is a trigger word (reference); a sampled trigger word whose own entropy reaches the batch's quantile; null: `algorithm.recipe` decides.",
        ),
      ),
      reward: rule(
        "Entropy reward: paper λ_d · g_d on wrong answers, reference the release's curves with α_d.",
      ),
      advantage: rule("paper: with the entropy bonus ψ; reference: without it, in the release's arithmetic."),
      kl: rule(
        "KL budget: paper κ_d β_d with ρ inside windows, reference `algorithm.kl_coef` times the release's β per bucket.",
      ),
    },
    trigger_words: optional({
      default: [],
      range: "a list of words",
      doc: "Words that open a step of reasoning, for the masks trigger and semantic; null: a built-in list.",
      schema: z.array(z.string().min(1)).min(1),
    }),
  },
  reference: {
    filter_first: flag(
      false,
      "As the release with online filtering: rewards before buckets, so all are shaped as easy with target 0 and the first α.",
    ),
    alpha_entropy_init: {
      easy: num(0.5, 0, 100, "First α of easy problems, the height of the entropy reward."),
      medium: num(0.5, 0, 100, "First α of medium problems."),
      hard: num(0.5, 0, 100, "First α of hard problems."),
    },
    alpha_entropy_lr: num(0.05, 0, 100, "Step of α_d."),
    alpha_entropy_min: num(0, 0, 100, "Lowest α_d."),
    alpha_entropy_max: num(2, 0, 100, "Highest α_d."),
    kl_beta_init: num(1, 1e-9, 1e6, "First β_d of the release's KL budget."),
    kl_target: {
      easy: num(0.01, 1e-9, 100, "KL per token that β of easy problems steers to, in nats."),
      medium: num(0.01, 1e-9, 100, "KL per token that β of medium problems steers to, in nats."),
      hard: num(0.01, 1e-9, 100, "KL per token that β of hard problems steers to, in nats."),
    },
    kl_beta_min: num(1e-4, 1e-9, 1e6, "Lowest β_d."),
    kl_beta_max: num(100, 1e-9, 1e6, "Highest β_d."),
    kl_ema_decay: num(0.97, 0, 1, "Share of the old value in the running means of KL and error."),
    kl_beta_lr: num(0.05, 0, 100, "Step in log β_d."),
    kl_beta_clip: num(0.2, 0, 100, "Bound of the running error."),
    kl_update_interval: int(100, 1, BIG, "Micro-batches from one change of β_d to the next."),
    kl_deadzone: num(0.02, 0, 100, "Relative errors below this change nothing."),
  },
};

/** Every leaf by its dotted key, in the order of {@link FIELDS}. */
export const LEAVES: ReadonlyMap<string, Field> = leaves(FIELDS);

/** `group` has fields below it. */
export function isGroup(group: string): boolean {
  return [...LEAVES.keys()].some((key) => key.startsWith(`${group}.`));
}

function leaves(tree: object, prefix = ""): Map<string, Field> {
  const found = new Map<string, Field>();
  for (const [name, node] of Object.entries(tree)) {
    const key = prefix ? `${prefix}.${name}` : name;
    if (isField(node)) found.set(key, node);
    else for (const [k, v] of leaves(node, key)) found.set(k, v);
  }
  return found;
}

function isField(node: object): node is Field {
  return "schema" in node && "doc" in node;
}
