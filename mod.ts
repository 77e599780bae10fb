/**
 * Trains reasoning language models on any GPU with WebGPU, from Deno, without Python: AdaCS (an adaptive cold start)
 * and AEPO (adaptive entropy policy optimization), the two stages of ARES (arXiv 2510.08457). GRPO and DAPO are
 * settings of the same stages. The command line is made of what is exported here.
 *
 * Models are Hugging Face folders (Qwen2 and Llama), parameters have their Hugging Face names, configuration keys and
 * metrics those of EasyR1 and TRL. Errors that the caller can mend are {@link UserError}s.
 *
 * A model from nothing, two steps of fine-tuning on the built-in micro-world, and an answer:
 *
 * ```ts
 * import { AdamW, Gpu, loadConfig, microRows, Policy, pretrain, SftTrainer, silent } from "@ares-webgpu/trainer";
 *
 * const gpu = await Gpu.open();
 * const folder = await Deno.makeTempDir(); // or a Hugging Face folder, and no pretraining
 * await pretrain(gpu, { out: folder, tokens: 4000, monitor: silent });
 * const sizes = { micro_batch_tokens: 4096, recompute: false, max_num_seqs: 8, block_size: 16, chunk: 16 };
 * const { data } = loadConfig().config;
 * const policy = await Policy.load(gpu, folder, { trainable: true, prompts: data, ...sizes });
 * const settings = { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.01, max_grad_norm: 1 } as const;
 * const sft = new SftTrainer(policy.graph, new AdamW(gpu, policy.model.parameters, { lr: 3e-4, ...settings }));
 * const { problems } = await policy.writer.problems([...microRows({ seed: 1, count: 16, split: "train" })]);
 * const batch = problems.map((p) => ({ ids: [...p.prompt, ...p.candidates[0]], scoreFrom: p.prompt.length }));
 * for (let step = 1; step <= 2; step++) console.log(step, (await sft.step(batch)).loss);
 * const sampling = { temperature: 1, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1, seed: 1 };
 * const how = { ...sampling, max_tokens: 32, stop: policy.generation.eos_token_id };
 * const [answer] = await policy.engine.generate([policy.writer.prompt("3 + 4 - 2 = ?")], how);
 * console.log(policy.writer.text(answer.tokens));
 * gpu.close();
 * ```
 *
 * Everything at once, as `./ares train` does it: sample, curate, fine-tune, reinforce, evaluate. The run folder holds
 * configuration, metrics, generations, checkpoints and the trained model.
 *
 * ```ts ignore
 * const { config } = loadConfig({ preset: "smoke", overrides: [`worker.actor.model.model_path=${folder}`] });
 * const summary = await train(gpu, { config, monitor: silent });
 * console.log(summary.evaluations.aepo.all.accuracy, summary.model);
 * ```
 *
 * The formulas alone, for a trainer of one's own: which tokens lie in high-entropy windows, and what a group's rewards
 * are worth.
 *
 * ```ts
 * import { batchThreshold, groupAdvantages, windowEntropy, windowMask } from "@ares-webgpu/trainer";
 *
 * const entropies = [[0.1, 0.2, 1.9, 2.3, 1.8, 0.1], [0.3, 0.1, 0.2, 0.1]]; // nats, by response and token
 * const windows = entropies.map((h) => windowEntropy(h, 4));
 * const threshold = batchThreshold(windows, 0.95);
 * console.log(windows.map((w) => windowMask(w, threshold)), groupAdvantages([1, 0, 0, 1], [0, 0, 0, 0]));
 * ```
 *
 * A kernel of one's own: checked against its shapes, then timed.
 *
 * ```ts
 * import { defineKernel, Gpu, linearGrid, Program } from "@ares-webgpu/trainer";
 *
 * const double = defineKernel({
 *   name: "double",
 *   source: `struct Dims { n: u32 }
 *     @group(0) @binding(0) var<uniform> d: Dims;
 *     @group(0) @binding(1) var<storage, read_write> x: array<f32>;
 *     @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
 *       if (id.x < d.n) { x[id.x] *= 2.0; }
 *     }`,
 *   entry: "main",
 *   bindings: { x: "inout" },
 *   dims: { n: "u32" },
 *   sizes: ({ n }) => ({ x: n }),
 *   grid: ({ n }) => linearGrid(n, 64),
 *   cost: ({ n }) => ({ flops: n, bytes: 8 * n }),
 * });
 * const gpu = await Gpu.open();
 * const x = gpu.tensor("x", [3], Float32Array.of(1, 2, 3));
 * const program = new Program(gpu, "example").add(double, { x }, { n: 3 });
 * await program.run();
 * console.log(await gpu.readF32(x)); // 2, 4, 6
 * if (gpu.facts.features.includes("timestamp-query")) console.log(await program.profile());
 * gpu.close();
 * ```
 *
 * Where to look: {@link train} runs everything from one configuration ({@link loadConfig}); {@link scoreTokens} and
 * {@link lossAndGradients} look into a model; {@link Policy}, {@link RolloutEngine}, {@link evaluate}, {@link curate}
 * and {@link SftTrainer} are the parts of a run; {@link windowEntropy} to {@link groupAdvantages} are the method's
 * formulas as pure functions; {@link defineKernel} and {@link Program} run and time a WGSL kernel of your own.
 * @module
 */

// The device, and kernels of one's own.
export { type AdapterFacts, Gpu, type HostArray } from "./gpu/device.ts";
export { GpuError, UserError } from "./gpu/errors.ts";
export {
  type Access,
  type AdapterTraits,
  type Candidates,
  defineKernel,
  type DimValues,
  type Grid,
  KernelCache,
  type KernelSpec,
  kernelText,
  linearGrid,
  type Precision,
} from "./gpu/kernel.ts";
export { KERNEL_PRESETS, type KernelOptions, type KernelPreset, PRECISIONS } from "./gpu/kernel_options.ts";
export { type MemoryReport, Pool } from "./gpu/pool.ts";
export {
  type Dim,
  type EncodedAhead,
  type Extent,
  type KernelTime,
  Program,
  type ProgramOptions,
} from "./gpu/program.ts";
export { Textures } from "./gpu/textures.ts";
export {
  type DType,
  elements,
  type MemoryClass,
  type RowWindow,
  rowWindows,
  type Tensor,
  view,
} from "./gpu/tensor.ts";

export type { Choice, Choices, KernelChoices, KernelChooser } from "./gpu/kernel_choices.ts";
export { type TuneOptions, Tuner } from "./gpu/tuner.ts";

// Models.
export { CausalLM, type Initializer } from "./models/causal_lm.ts";
export {
  ChatTemplate,
  type ContentPart,
  type Message,
  plainPrompt,
  type RenderOptions,
} from "./models/chat.ts";
export type { BlockConfig } from "./models/block_config.ts";
export type { CheckpointDtype } from "./models/checkpoint_folder.ts";
export { loadModelConfig, type ModelConfig, parameterShapes, parseModelConfig } from "./models/config.ts";
export type { DecodeGraph, DecodeOptions, PlacedSequence, SamplingOptions } from "./models/decode_graph.ts";
export { type GenerationConfig, loadGenerationConfig } from "./models/generation_config.ts";
export { decodeImage, type DecodeOptions as ImageDecodeOptions, type RgbImage } from "./models/image.ts";
export {
  type ImageGrid,
  type ImagePatches,
  type ImageProcessor,
  loadImageProcessor,
  patchesOf,
  processImage,
} from "./models/image_processor.ts";
export { KvCache } from "./models/kv_cache.ts";
export { groupByTokens, type PackedBatch, packSequences, type Sequence } from "./models/packed_batch.ts";
export {
  type ModelPart,
  type NamedArray,
  type Parameter,
  Parameters,
  type Slice,
  type Stored,
} from "./models/parameters.ts";
export {
  type GradientArray,
  type LossAndGradients,
  lossAndGradients,
  scoreTokens,
  type ScoringOptions,
  type TokenScores,
} from "./models/scoring.ts";
export { type GraphOptions, SequenceGraph } from "./models/sequence_graph.ts";
export { ValueHead } from "./models/value_head.ts";
export type { VisionConfig } from "./models/vision_config.ts";
export { type VisionOptions, VisionTower } from "./models/vision_tower.ts";
export { checkVocabulary, type NamedTokens, TextStream, Tokenizer } from "./models/tokenizer.ts";

// Problems.
export { modelFiles } from "./data/micro/model_files.ts";
export type { DecisionKind, Difficulty, Level } from "./data/micro/problem.ts";
export type { PretrainPhase, PretrainRecipe } from "./data/micro/recipe.ts";
export type { Decision, ErrorModel, Style, Trace } from "./data/micro/trace.ts";
export {
  type BaseKind,
  type MicroRow,
  type MicroRowOptions,
  microRows,
  type PretrainMixture,
} from "./data/micro/world.ts";
export { type EncodedImage, isPicture, type Picture, type RowImage } from "./data/picture.ts";
export {
  candidatesOf,
  type Columns,
  type ReadOptions,
  type ReadResult,
  readRows,
  type Row,
  type RowOutcome,
  type Skipped,
  streamRows,
} from "./data/rows.ts";
export type { Column } from "./data/row_record.ts";
export { BadRow } from "./data/bad_row.ts";
export type { Split } from "./data/split.ts";
export { Cursor, type LeftOut, type Problem, type PromptStyle, PromptWriter } from "./trainer/problems.ts";

// Configuration.
export {
  type ActorConfig,
  type AdacsConfig,
  type AepoConfig,
  type AlgorithmConfig,
  batchArithmetic,
  type BranchingConfig,
  type Config,
  type ConfigSources,
  configTable,
  type CriticConfig,
  type DataConfig,
  loadConfig,
  type LoadedConfig,
  type LrScheduler,
  type MicroConfig,
  type ReferenceConfig,
  type RewardConfig,
  type RolloutConfig,
  type RulesConfig,
  toYaml,
  type TrainerConfig,
} from "./trainer/config.ts";

// The parts of a run.
export {
  curate,
  type CurationOptions,
  type Curriculum,
  curriculumBatches,
  type CurriculumExample,
  type LazySequence,
  withPictures,
} from "./trainer/adacs.ts";
export {
  type AdacsChoice,
  type AdacsOptions,
  type AdacsProblem,
  type AdacsSelection,
  selectAdacs,
  type TargetEnds,
} from "./trainer/adacs_selection.ts";
export {
  evaluate,
  type Evaluation,
  type EvaluationOptions,
  type GroupFigures,
  type JudgedResponse,
  type ResponseTokens,
} from "./trainer/evaluate.ts";
export {
  extractBoxed,
  formatReward,
  gradeAll,
  type GradeItem,
  sameAnswer,
  type Verdict,
} from "./trainer/grade.ts";
export { type Monitor, type MonitorPhase, silent } from "./trainer/monitor.ts";
export { AdamW, type AdamWOptions, type StepResult } from "./trainer/optimizer.ts";
export { type Companions, Policy, type PolicyOptions } from "./trainer/policy.ts";
export { initialWeights, pretrain, type PretrainOptions } from "./trainer/pretrain.ts";
export type { BranchOptions, BranchOrigin } from "./trainer/branching.ts";
export {
  type ChunkProgress,
  type GenerateOptions,
  type Rollout,
  RolloutEngine,
  type RolloutEngineOptions,
  type RolloutPrompt,
} from "./trainer/rollout.ts";
export type { BlindRecord, EvaluationRecord } from "./trainer/run_state.ts";
export { writeReport } from "./trainer/report/write_report.ts";
export { learningRate, type ScheduleOptions } from "./trainer/schedule.ts";
export { train, type TrainOptions, type TrainSummary } from "./trainer/scheduler.ts";
export { type SftStep, SftTrainer } from "./trainer/sft.ts";

// The method's formulas, pure.
export {
  type AdvantagesAndReturns,
  gae,
  groupAdvantages,
  type GroupScale,
  maskedMean,
  maskedVariance,
  maskedWhiten,
  referenceGroupAdvantages,
  reinforcePlusPlus,
  remaxAdvantages,
  responseMask,
  rlooAdvantages,
  type Rows,
  sequenceRewards,
  spreadOverTokens,
  tokenAdvantages,
} from "./trainer/advantage.ts";
export { type Bucket, bucketOf, BUCKETS, type Recipe } from "./trainer/difficulty.ts";
export {
  batchThreshold,
  countHighEntropy,
  entropyOf,
  logSoftmax,
  quantile,
  semanticMask,
  windowEntropy,
  windowMask,
} from "./trainer/entropy.ts";
export {
  fullKl,
  fullKlGrad,
  type KlKind,
  klPerToken,
  klWeights,
  rewardsWithKl,
  type SampledKlKind,
  type ValueAndGrad,
} from "./trainer/kl.ts";
export {
  AdaptiveKl,
  BetaBuckets,
  type BetaOptions,
  type BetaState,
  DEFAULT_BETA,
  KappaController,
  type KappaOptions,
  kappaStep,
  TokenLevelAdaptiveKl,
  type TokenLevelKlState,
} from "./trainer/kl_controller.ts";
export {
  averageOverTokens,
  type KlTerm,
  logitGradient,
  type LogitScalars,
  type LossAverage,
  type Objective,
  type PolicyLoss,
  policyLoss,
  type PolicyMetrics,
  policyObjective,
  type PolicyOptions as PolicyLossOptions,
  type TokenBatch,
  tokenWeights,
  type ValueLoss,
  valueLoss,
} from "./trainer/policy_objective.ts";
export {
  countTriggers,
  normaliseToken,
  percentileThreshold,
  REASONING_TRIGGERS,
  topEntropy,
  topEntropyWithTail,
  type TopPairs,
  topToken,
  type TriggerCounts,
} from "./trainer/reference_entropy.ts";
export { referenceBoxed, referenceSameAnswer } from "./trainer/reference_grader.ts";
export {
  deadBand,
  EntropyThresholdEma,
  huberPenalty,
  type LambdaAscentState,
  LambdaDualAscent,
  type ReferenceReward,
  referenceReward,
  type ReferenceRewardInput,
  referenceShaping,
  type ReferenceTargetOptions,
  ReferenceTargets,
  type ReferenceTargetState,
  saturation,
  tightenTags,
} from "./trainer/reference_recipe.ts";
export { type MaskRule, type Rules, rulesOf } from "./trainer/rules.ts";
export {
  type BucketShaping,
  EntropyTargets,
  type EntropyTargetsState,
  keepGroup,
  lambdaClosedForm,
  type LambdaOptions,
  type Moments,
  moments,
  overlongPenalty,
  paperReward,
  shapingDistance,
  tokenBonus,
} from "./trainer/shaping.ts";
