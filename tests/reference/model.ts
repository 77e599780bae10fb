/**
 * The whole model over a packed batch in plain f64 loops: the specification of models/sequence_graph.ts.
 * @module
 */
import { type BlockSizes, layerForward, normalize, type Places, type Weights } from "./layer.ts";

/** Sizes of a model. */
export interface ModelSizes extends BlockSizes {
  readonly num_hidden_layers: number;
  readonly tie_word_embeddings: boolean;
}

/** T tokens, and R rows that predict a token. */
export interface ScoredBatch extends Places {
  /** [T] */ readonly ids: ArrayLike<number>;
  /** [R] */ readonly rows: ArrayLike<number>;
  /** [R] */ readonly targets: ArrayLike<number>;
  /** Tokens whose embedding is a row of `rows` [tokens, hidden] instead of their id's. */
  readonly pictured?: { readonly tokens: readonly number[]; readonly rows: Float64Array };
}

/** [R] log-probability of every target and exact entropy (nats) of its distribution, softmax(logits / temperature). */
export interface Scores {
  readonly logp: Float64Array;
  readonly entropy: Float64Array;
  /** [T, hidden] after the final norm. */
  readonly hidden: Float64Array;
}

/** Embedding, blocks, final norm, head. */
export function modelForward(
  weights: Weights,
  s: ModelSizes,
  batch: ScoredBatch,
  temperature: number,
): Scores {
  const width = s.hidden_size;
  const embedding = weights.get("model.embed_tokens.weight")!;
  let x: Float64Array = new Float64Array(batch.ids.length * width);
  for (let t = 0; t < batch.ids.length; t++) {
    for (let j = 0; j < width; j++) x[t * width + j] = embedding[batch.ids[t] * width + j];
  }
  batch.pictured?.tokens.forEach((t, i) =>
    x.set(batch.pictured!.rows.subarray(i * width, (i + 1) * width), t * width)
  );
  for (let i = 0; i < s.num_hidden_layers; i++) x = layerForward(x, weights, `model.layers.${i}`, s, batch);
  const hidden = normalize(x, weights.get("model.norm.weight")!, s.rms_norm_eps);
  const head = s.tie_word_embeddings ? embedding : weights.get("lm_head.weight")!;
  const vocabulary = head.length / width;
  const logp = new Float64Array(batch.rows.length);
  const entropy = new Float64Array(batch.rows.length);
  const logits = new Float64Array(vocabulary);
  for (let r = 0; r < batch.rows.length; r++) {
    let top = -Infinity;
    for (let v = 0; v < vocabulary; v++) {
      let sum = 0;
      for (let j = 0; j < width; j++) sum += hidden[batch.rows[r] * width + j] * head[v * width + j];
      logits[v] = sum / temperature;
      top = Math.max(top, logits[v]);
    }
    let total = 0;
    for (let v = 0; v < vocabulary; v++) total += Math.exp(logits[v] - top);
    const lse = top + Math.log(total);
    logp[r] = logits[batch.targets[r]] - lse;
    for (let v = 0; v < vocabulary; v++) entropy[r] -= Math.exp(logits[v] - lse) * (logits[v] - lse);
  }
  return { logp, entropy, hidden };
}
