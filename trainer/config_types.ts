/**
 * The shape of a resolved configuration. Defaults, ranges and sentences stand in `config_fields.ts`.
 * @module
 */

import type { Precision } from "../gpu/kernel.ts";
import type { KernelPreset } from "../gpu/kernel_options.ts";

/** A learning-rate schedule after the warm-up: flat, or falling to `min_lr_ratio` of the peak. */
export type LrScheduler = "constant" | "linear" | "cosine";

/** Where problems come from and how they become prompts. */
export type DataConfig = {
  train_files: string | null;
  val_files: string | null;
  prompt_key: string | null;
  answer_key: string | null;
  solution_key: string | null;
  image_key: string | null;
  choices_key: string | null;
  image_dir: string | null;
  max_prompt_length: number;
  max_response_length: number;
  rollout_batch_size: number;
  format_prompt: string | null;
  system_prompt: string | null;
  seed: number;
  shuffle: boolean;
  micro: MicroConfig;
};

/** The built-in problems. */
export type MicroConfig = { families: string[] | null; train_count: number; val_count: number };

/** Advantages, KL and filtering: what ARES, GRPO and DAPO share. */
export type AlgorithmConfig = {
  recipe: "paper" | "reference";
  adv_estimator: "grpo" | "rloo" | "reinforce_plus_plus" | "remax" | "gae";
  gamma: number;
  lam: number;
  norm_adv_by_std_in_grpo: boolean;
  length_normalise: boolean;
  disable_kl: boolean;
  use_kl_loss: boolean;
  kl_penalty: "kl" | "abs" | "mse" | "low_var_kl" | "k3" | "full";
  kl_coef: number;
  online_filtering: boolean;
  filter_key: "overall" | "accuracy" | "format";
  filter_low: number;
  filter_high: number;
  max_try_make_batch: number;
  refill_within_budget: boolean;
};

/** The policy: its weights, its optimizer and its clipped loss. */
export type ActorConfig = {
  model: { model_path: string; enable_gradient_checkpointing: boolean; freeze_vision_tower: boolean };
  optim: {
    lr: number;
    betas: [number, number];
    weight_decay: number;
    lr_warmup_steps: number;
    lr_scheduler_type: LrScheduler;
    min_lr_ratio: number;
  };
  clip_ratio_low: number;
  clip_ratio_high: number;
  clip_ratio_dual: number | null;
  loss_avg_mode: "seq" | "token";
  max_grad_norm: number;
  global_batch_size: number | null;
  mini_batches: number;
  micro_batch_size_per_device_for_update: number | null;
  micro_batch_tokens: number;
  micro_batch_patches: number;
  ppo_epochs: number;
};

/** The value head of GAE. */
export type CriticConfig = { optim: { lr: number }; cliprange_value: number; vf_coef: number };

/** Sampling: how many rollouts, from which distribution, in which slots. */
export type RolloutConfig = {
  n: number;
  temperature: number;
  top_p: number;
  top_k: number;
  max_num_seqs: number;
  block_size: number;
  chunk: number;
  val_override_config: { n: number; temperature: number; top_p: number };
};

/** The reward beside accuracy. */
export type RewardConfig = {
  format_weight: number;
  overlong_buffer_length: number;
  overlong_penalty_factor: number;
};

/** How long to train, what to save, when to evaluate. */
export type TrainerConfig = {
  max_steps: number | null;
  total_epochs: number;
  project_name: string;
  experiment_name: string;
  save_freq: number;
  save_limit: number;
  save_checkpoint_path: string | null;
  load_checkpoint_path: string | null;
  find_last_checkpoint: boolean;
  val_freq: number;
  val_before_train: boolean;
  val_blind: boolean;
  rollouts_to_log: number;
  tune_kernels: boolean;
  kernels: KernelPreset;
  precision: Precision;
  seed: number;
};

/** Stage one: the adaptive cold start. */
export type AdacsConfig = {
  enabled: boolean;
  samples: number;
  problems: number | null;
  min_bracket: number;
  selection: "adaptive" | "uniform";
  epochs: number;
  max_tokens: number | null;
  batch_size: number;
  lr: number;
  weight_decay: number;
  lr_warmup_steps: number;
  lr_scheduler_type: LrScheduler;
  min_lr_ratio: number;
};

/** Stage two: adaptive entropy policy optimization. */
export type AepoConfig = {
  enabled: boolean;
  entropy_shaping: boolean;
  kl_shaping: boolean;
  window: number;
  quantile: number;
  rho: number;
  lambda_cap: number;
  literal_lambda: boolean;
  penalty_cap: number;
  entropy_bonus: number;
  target_decay: number;
  kappa: { init: number; alpha: number; delta: number; min: number; max: number };
  beta: { easy: number; medium: number; hard: number };
  branching: BranchingConfig;
  rules: RulesConfig;
  trigger_words: string[] | null;
};

/** Rollouts that branch inside high-entropy windows. */
export type BranchingConfig = {
  enabled: boolean;
  share: number;
  max_per_trajectory: number;
  refractory: number;
  credit: "weighted" | "once" | "full";
};

/** Whose rule each component of AEPO follows; null: `algorithm.recipe` decides. */
export type RulesConfig = {
  difficulty: "paper" | "reference" | null;
  window: "paper" | "reference" | null;
  threshold: "paper" | "reference" | null;
  mask: "window" | "trigger" | "semantic" | null;
  reward: "paper" | "reference" | null;
  advantage: "paper" | "reference" | null;
  kl: "paper" | "reference" | null;
};

/** Constants of recipe `reference`, under the release's names. */
export type ReferenceConfig = {
  filter_first: boolean;
  alpha_entropy_init: { easy: number; medium: number; hard: number };
  alpha_entropy_lr: number;
  alpha_entropy_min: number;
  alpha_entropy_max: number;
  kl_beta_init: number;
  kl_target: { easy: number; medium: number; hard: number };
  kl_beta_min: number;
  kl_beta_max: number;
  kl_ema_decay: number;
  kl_beta_lr: number;
  kl_beta_clip: number;
  kl_update_interval: number;
  kl_deadzone: number;
};

/** Everything a run is made of; each key has a default, so `{}` is a complete file. */
export type Config = {
  data: DataConfig;
  algorithm: AlgorithmConfig;
  worker: { actor: ActorConfig; critic: CriticConfig; rollout: RolloutConfig; reward: RewardConfig };
  trainer: TrainerConfig;
  adacs: AdacsConfig;
  aepo: AepoConfig;
  reference: ReferenceConfig;
};
