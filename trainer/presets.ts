/**
 * Presets: named settings by configuration alone. They are laid over the defaults (the micro-world's
 * measured settings), in the order given, and under the file and the overrides.
 * @module
 */

/** Dotted keys and their values. */
export type Preset = Readonly<Record<string, unknown>>;

/** No shaping, no branching: what GRPO and DAPO leave out of AEPO. */
const PLAIN: Preset = {
  "aepo.entropy_shaping": false,
  "aepo.kl_shaping": false,
  "aepo.branching.enabled": false,
};

/** The presets by name. */
export const PRESETS: Readonly<Record<string, Preset>> = {
  /** The built-in demo: all defaults. */
  default: {},
  /** The same way as `default`, through every stage, with as little of everything as shows that it works. */
  smoke: {
    "data.micro.train_count": 54,
    "data.micro.val_count": 54,
    "data.rollout_batch_size": 6,
    "worker.rollout.n": 4,
    "worker.rollout.val_override_config.n": 1,
    "adacs.samples": 2,
    "adacs.problems": 54,
    "adacs.min_bracket": 2,
    "adacs.max_tokens": 3000,
    "adacs.batch_size": 16,
    "adacs.lr_warmup_steps": 1,
    "worker.actor.optim.lr_warmup_steps": 0,
    "trainer.max_steps": 2,
    "trainer.save_freq": 1,
    "trainer.experiment_name": "smoke",
  },
  /** The paper's own scale and rates (section 3 and appendices), for pretrained models on real data. */
  aepo: {
    "data.max_prompt_length": 4096,
    "data.max_response_length": 8192,
    "data.rollout_batch_size": 512,
    "algorithm.norm_adv_by_std_in_grpo": false,
    "algorithm.filter_key": "overall",
    "algorithm.max_try_make_batch": 20,
    "worker.actor.model.enable_gradient_checkpointing": true,
    "worker.actor.optim.lr": 1e-6,
    "worker.actor.optim.betas": [0.9, 0.999],
    "worker.actor.optim.weight_decay": 0.01,
    "worker.actor.optim.lr_warmup_steps": 0,
    "worker.actor.optim.lr_scheduler_type": "constant",
    "worker.actor.global_batch_size": 128,
    "worker.rollout.top_p": 0.99,
    "adacs.problems": null,
    "adacs.epochs": 2,
    "adacs.max_tokens": null,
    "adacs.batch_size": 256,
    "adacs.lr": 2e-5,
    "trainer.experiment_name": "aepo",
  },
  /**
   * AEPO as the authors' release does it: all components of recipe `reference`, its averaging and KL weight, no branching.
   * At the scale of what it is laid over: `aepo,aepo-reference` is the paper's.
   */
  "aepo-reference": {
    "algorithm.recipe": "reference",
    "aepo.branching.enabled": false,
    "algorithm.norm_adv_by_std_in_grpo": true,
    "algorithm.filter_key": "overall",
    "algorithm.kl_penalty": "low_var_kl",
    "algorithm.kl_coef": 0.01,
    "worker.actor.clip_ratio_low": 0.2,
    "worker.actor.clip_ratio_high": 0.3,
    "worker.actor.clip_ratio_dual": 3,
    "worker.actor.loss_avg_mode": "token",
    "trainer.experiment_name": "aepo-reference",
  },
  /** AEPO without KL shaping (Figure 6, Table 5): a fixed KL in place of the budget. */
  "aepo-no-kl": { "aepo.kl_shaping": false, "trainer.experiment_name": "aepo-no-kl" },
  /** AEPO without entropy shaping (Figure 6, Table 5): no entropy reward and no bonus, the KL budget stays. */
  "aepo-no-entropy": { "aepo.entropy_shaping": false, "trainer.experiment_name": "aepo-no-entropy" },
  /** AEPO whose rollouts all start at their prompts. */
  "aepo-no-branch": { "aepo.branching.enabled": false, "trainer.experiment_name": "aepo-no-branch" },
  /** Group-relative policy optimization: symmetric clip, fixed KL, no shaping, no filtering. */
  grpo: {
    ...PLAIN,
    "algorithm.online_filtering": false,
    "worker.actor.clip_ratio_low": 0.2,
    "worker.actor.clip_ratio_high": 0.2,
    "worker.actor.mini_batches": 2,
    "trainer.experiment_name": "grpo",
  },
  /** DAPO: higher upper clip, no KL, token averaging, filtering with refill, overlong shaping. */
  dapo: {
    ...PLAIN,
    "algorithm.disable_kl": true,
    "algorithm.online_filtering": true,
    "algorithm.max_try_make_batch": 20,
    "worker.actor.clip_ratio_low": 0.2,
    "worker.actor.clip_ratio_high": 0.28,
    "worker.actor.loss_avg_mode": "token",
    "worker.reward.overlong_buffer_length": 32,
    "trainer.experiment_name": "dapo",
  },
};
