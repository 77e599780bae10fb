/**
 * Keys of EasyR1 and ARES files that are spelled otherwise here, or have no meaning here.
 * @module
 */

/** Another spelling (older EasyR1, the ARES release, verl) → our key. */
export const ALIASES: ReadonlyMap<string, string> = new Map([
  ["trainer.max_try_make_batch", "algorithm.max_try_make_batch"],
  ["trainer.total_episodes", "trainer.total_epochs"],
  ["worker.actor.optim.warmup_style", "worker.actor.optim.lr_scheduler_type"],
  ["worker.actor.optim.lr_scheduler", "worker.actor.optim.lr_scheduler_type"],
  ["worker.actor.dynamic_kl_loss", "aepo.kl_shaping"],
  ["worker.rollout.window_size", "aepo.window"],
  ["worker.reward.reward_function_kwargs.overlong_buffer_length", "worker.reward.overlong_buffer_length"],
  ["worker.reward.reward_function_kwargs.overlong_penalty_factor", "worker.reward.overlong_penalty_factor"],
  ["worker.reward.reward_function_kwargs.format_weight", "worker.reward.format_weight"],
]);

const ONE_DEVICE = "one process trains on one device";
const ENGINE = "sampling shares the trainer's own kernels and memory";
const NO_CRITIC = "the estimators offered need no critic";
const GRADER = "answers are graded by the built-in grader";

/** Keys, or whole groups, of EasyR1 and ARES files that change nothing here → why. */
const IGNORED: ReadonlyMap<string, string> = new Map([
  ["data.video_key", "videos are not read"],
  ["data.video_fps", "videos are not read"],
  ["data.mini_rollout_batch_size", "a filtered batch is refilled by whole batches"],
  ["data.val_batch_size", "evaluation decodes in `worker.rollout.max_num_seqs` slots"],
  ["data.format_prompt_path", "`data.format_prompt` takes the path"],
  ["data.override_chat_template", "the model folder's chat template is used"],
  ["data.min_pixels", "the model folder's preprocessor_config.json decides"],
  ["data.max_pixels", "the model folder's preprocessor_config.json decides"],
  ["data.filter_overlong_prompts", "prompts over `max_prompt_length` are always skipped and counted"],
  ["data.filter_overlong_prompts_workers", ONE_DEVICE],
  ["data.bootstrap", "AdaCS samples the pass rates itself"],
  ["algorithm.gamma", NO_CRITIC],
  ["algorithm.lam", NO_CRITIC],
  ["algorithm.kl_type", "`aepo.kl_shaping` chooses between the fixed and the steered KL"],
  ["algorithm.kl_horizon", "it steers a KL in the reward, which is not offered"],
  ["algorithm.kl_target", "`aepo.kappa.delta` is the KL target"],
  ["algorithm.difficulty_aware_kl_penalty", "it steers a KL in the reward, which is not offered"],
  ["worker.hybrid_engine", ONE_DEVICE],
  ["worker.critic", NO_CRITIC],
  ["worker.ref", "the reference is a frozen copy of the model at the start of AEPO"],
  ["worker.actor.strategy", ONE_DEVICE],
  ["worker.actor.micro_batch_size_per_device_for_experience", "`micro_batch_tokens` bounds these passes too"],
  ["worker.actor.loss_type", "only the default clipped loss is offered"],
  ["worker.actor.padding_free", "training is always padding-free"],
  ["worker.actor.dynamic_batching", "micro-batches are always packed by tokens"],
  ["worker.actor.ulysses_size", ONE_DEVICE],
  ["worker.actor.ulysses_sequence_parallel_size", ONE_DEVICE],
  ["worker.actor.use_torch_compile", "there is no PyTorch here"],
  ["worker.actor.enable_second_chance_kl", "it never fires in the release"],
  ["worker.actor.second_chance_easy_only", "it never fires in the release"],
  ["worker.actor.second_chance_incorrect_only", "it never fires in the release"],
  ["worker.actor.second_chance_soft_cost_min", "it never fires in the release"],
  ["worker.actor.second_chance_kl_relax", "it never fires in the release"],
  ["worker.actor.fsdp", ONE_DEVICE],
  ["worker.actor.offload", ONE_DEVICE],
  ["worker.actor.model.tokenizer_path", "the tokenizer is read from `model_path`"],
  ["worker.actor.model.override_config", "the model folder's config.json decides"],
  ["worker.actor.model.trust_remote_code", "no code is loaded from a model folder"],
  ["worker.actor.model.freeze_vision_tower", "only the language model is trained"],
  ["worker.actor.model.lora", "all parameters are trained"],
  ["worker.actor.optim.strategy", "the optimizer is AdamW"],
  ["worker.actor.optim.lr_warmup_ratio", "`lr_warmup_steps` counts iterations"],
  ["worker.rollout.name", ENGINE],
  ["worker.rollout.seed", "`trainer.seed` is the seed of all sampling"],
  ["worker.rollout.limit_images", ENGINE],
  ["worker.rollout.dtype", ENGINE],
  ["worker.rollout.gpu_memory_utilization", ENGINE],
  ["worker.rollout.ignore_eos", ENGINE],
  ["worker.rollout.enforce_eager", ENGINE],
  ["worker.rollout.enable_chunked_prefill", ENGINE],
  ["worker.rollout.tensor_parallel_size", ONE_DEVICE],
  ["worker.rollout.max_model_len", "the model folder's config.json decides"],
  ["worker.rollout.max_num_batched_tokens", ENGINE],
  ["worker.rollout.disable_log_stats", ENGINE],
  ["worker.rollout.disable_tqdm", "progress is plain where the output is no terminal"],
  ["worker.reward.reward_type", GRADER],
  ["worker.reward.reward_function", GRADER],
  ["worker.reward.reward_function_kwargs", GRADER],
  ["worker.reward.score_function", GRADER],
  ["worker.reward.compute_score", GRADER],
  ["worker.reward.skip_special_tokens", GRADER],
  ["worker.reward.num_cpus", ONE_DEVICE],
  ["trainer.logger", "metrics go to metrics.jsonl in the run folder"],
  ["trainer.nnodes", ONE_DEVICE],
  ["trainer.n_gpus_per_node", ONE_DEVICE],
  ["trainer.critic_warmup", NO_CRITIC],
  ["trainer.val_only", "the eval command evaluates without training"],
  ["trainer.val_generations_to_log", "generations go to generations.jsonl, see trainer.rollouts_to_log"],
  ["trainer.save_model_only", "a checkpoint always holds what resuming needs"],
  ["trainer.ray_timeline", ONE_DEVICE],
  ["trainer.wandb_run_id", "metrics go to metrics.jsonl in the run folder"],
]);

/** Why `key` changes nothing here, or undefined if it is not one of EasyR1's or ARES's other keys. */
export function ignoredBecause(key: string): string | undefined {
  for (let end = key.length; end > 0; end = key.lastIndexOf(".", end - 1)) {
    const reason = IGNORED.get(key.slice(0, end));
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** The spelling among `known` that is nearest to `key`: fewest edits, a right last part counting for much. */
export function nearestKey(key: string, known: Iterable<string>): string {
  const last = key.slice(key.lastIndexOf(".") + 1);
  let best = "";
  let bestCost = Infinity;
  for (const candidate of known) {
    const candidateLast = candidate.slice(candidate.lastIndexOf(".") + 1);
    const cost = edits(key, candidate) + 3 * edits(last, candidateLast);
    if (cost < bestCost) [best, bestCost] = [candidate, cost];
  }
  return best;
}

/** Levenshtein distance: insertions, deletions and replacements that turn `a` into `b`. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
