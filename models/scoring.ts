/**
 * Scores of given tokens: log-probabilities and exact entropies, and the cross-entropy with the gradient of every
 * parameter. Each call takes its memory and gives it back; for a loop, keep a `SequenceGraph` instead.
 * @module
 */
import { UserError } from "../gpu/errors.ts";
import type { CausalLM } from "./causal_lm.ts";
import { groupByTokens, packSequences, patchCount, type Sequence } from "./packed_batch.ts";
import { SequenceGraph } from "./sequence_graph.ts";

/** How tokens are scored. */
export interface ScoringOptions {
  /** Logits are divided by this before the softmax; default 1. */
  readonly temperature?: number;
  /** Most packed tokens of one pass; default 4096, and never less than the longest sequence. */
  readonly tokensPerPass?: number;
}

/** Scores of one sequence's R = length − scoreFrom tokens. */
export interface TokenScores {
  /** [R] log π(token | tokens before it), nats. */
  readonly logp: Float32Array;
  /** [R] entropy over the whole vocabulary of the distribution that each token was drawn from, nats. */
  readonly entropy: Float32Array;
}

/** A gradient in the host's memory. */
export interface GradientArray {
  /** Shape of the parameter in the Hugging Face folder. */
  readonly shape: readonly number[];
  /** Row-major values. */
  readonly data: Float32Array;
}

/** A loss and what it asks of each parameter. */
export interface LossAndGradients {
  /** L = −(1/N) Σ log π(token) over the N scored tokens of all sequences, nats. */
  readonly loss: number;
  /** ∂L/∂parameter by Hugging Face name; a tied head's part is in `model.embed_tokens.weight`. */
  readonly gradients: ReadonlyMap<string, GradientArray>;
}

/**
 * Log-probabilities and exact entropies of given tokens, by the kernels that train and sample.
 *
 * ```ts ignore
 * const [{ logp, entropy }] = await scoreTokens(model, [{ ids: [...prompt, ...answer], scoreFrom: prompt.length }]);
 * ```
 * @returns one entry per sequence, in order
 * @throws UserError for an id outside the vocabulary, a sequence longer than the context, or a bad `scoreFrom`
 */
export async function scoreTokens(
  model: CausalLM,
  sequences: readonly Sequence[],
  options: ScoringOptions = {},
): Promise<TokenScores[]> {
  const scores = await passes(model, sequences, options, false);
  let row = 0;
  return sequences.map((s) => {
    const first = row;
    const length = scoredTokens(s);
    row += length;
    const column = (c: number) => Float32Array.from({ length }, (_, i) => scores[4 * (first + i) + c]);
    return { logp: column(0), entropy: column(1) };
  });
}

/**
 * Mean cross-entropy of given tokens and its gradient. The weights stay as they are; gradients that the model had
 * accumulated are dropped.
 *
 * ```ts ignore
 * const { loss, gradients } = await lossAndGradients(model, sequences);
 * const { shape, data } = gradients.get("model.layers.0.self_attn.q_proj.weight")!;
 * ```
 * @throws UserError as {@link scoreTokens}, for a model that was not opened `trainable`, and when no token is scored
 */
export async function lossAndGradients(
  model: CausalLM,
  sequences: readonly Sequence[],
  options: ScoringOptions = {},
): Promise<LossAndGradients> {
  if (model.parameters.list.every((p) => !p.gradient)) {
    throw new UserError("this model has no gradients: load or create it with { trainable: true }");
  }
  model.parameters.clearGradients();
  const scores = await passes(model, sequences, options, true);
  const scored = scores.length / 4;
  if (scored === 0) throw new UserError("no token is scored: every scoreFrom is at its sequence's end");
  let sum = 0;
  for (let i = 0; i < scored; i++) sum -= scores[4 * i];
  const gradients = new Map<string, GradientArray>();
  for await (const { name, shape, data } of model.parameters.gradients()) {
    gradients.set(name, { shape, data });
  }
  model.parameters.clearGradients();
  return { loss: sum / scored, gradients };
}

function scoredTokens(s: Sequence): number {
  return Math.max(0, s.ids.length - s.scoreFrom);
}

function check(model: CausalLM, sequences: readonly Sequence[]): void {
  const { vocab_size, max_position_embeddings } = model.config;
  sequences.forEach(({ ids, scoreFrom }, i) => {
    if (!Number.isInteger(scoreFrom) || scoreFrom < 1) {
      throw new UserError(`sequence ${i}: scoreFrom = ${scoreFrom}; the first token that can be scored is 1`);
    }
    if (ids.length > max_position_embeddings) {
      throw new UserError(
        `sequence ${i} has ${ids.length} tokens, the model's max_position_embeddings is ${max_position_embeddings}`,
      );
    }
    for (let t = 0; t < ids.length; t++) {
      if (Number.isInteger(ids[t]) && ids[t] >= 0 && ids[t] < vocab_size) continue;
      throw new UserError(
        `sequence ${i}: token ${t} is ${ids[t]}, the model's vocabulary has ${vocab_size}`,
      );
    }
  });
}

/** The head's results [N, 4] of all scored tokens, in order; with `train` the gradients of the loss accumulate too. */
async function passes(
  model: CausalLM,
  sequences: readonly Sequence[],
  options: ScoringOptions,
  train: boolean,
): Promise<Float32Array> {
  check(model, sequences);
  const scored = sequences.reduce((n, s) => n + scoredTokens(s), 0);
  if (scored === 0) return new Float32Array(0);
  const { gpu } = model;
  const longest = Math.max(...sequences.map((s) => s.ids.length));
  const tokens = Math.max(longest, options.tokensPerPass ?? 4096);
  const largest = Math.max(...sequences.map((s) => patchCount(s.images)));
  // Four patches make a token: pictures take passes of about the size that text takes.
  const groups = groupByTokens(sequences, tokens, Math.max(largest, 4 * tokens)).map(packSequences);
  const graph = new SequenceGraph(model, {
    patches: Math.max(...groups.map((g) => patchCount(g.images))),
    tokens: Math.max(...groups.map((g) => g.ids.length)),
    rows: Math.max(...groups.map((g) => g.rows.length)),
    train,
  });
  graph.temperature = options.temperature ?? 1;
  const results = gpu.alloc("scores", [scored, 4], "scratch");
  try {
    let row = 0;
    for (const packed of groups) {
      graph.load(packed);
      await graph.forward();
      gpu.copyTo(graph.result, packed.rows.length * 4, results, row * 4);
      if (train) {
        gpu.write(graph.dlogp, new Float32Array(packed.rows.length).fill(-1 / scored));
        await graph.backward();
      }
      row += packed.rows.length;
    }
    return await gpu.readF32(results);
  } finally {
    graph.free();
    gpu.pool.free(results);
  }
}
