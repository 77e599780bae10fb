/**
 * One decoder block over packed sequences in plain f64 loops, projection by projection under Hugging Face's names: the
 * specification of models/layer.ts.
 * @module
 */

/** Parameters by Hugging Face name, row-major. */
export type Weights = ReadonlyMap<string, Float64Array>;

/** Sizes and constants of a block, as `config.json` names them. */
export interface BlockSizes {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
}

/** Where the tokens of a packed batch stand: position in the sequence, [T, 2] first token and end of the sequence. */
export interface Places {
  /** [T], or [axes, T] with `sections`. */
  readonly positions: ArrayLike<number>;
  /** How many pairs of a head turn by each axis of `positions`, in this order; all by the only one when left out. */
  readonly sections?: readonly number[];
  readonly segments: ArrayLike<number>;
}

/** y [T, W]: every row of x divided by its root mean square, times weight [W]. */
export function normalize(x: Float64Array, weight: Float64Array, eps: number): Float64Array {
  const width = weight.length;
  const y = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += width) {
    let squares = 0;
    for (let j = 0; j < width; j++) squares += x[row + j] * x[row + j];
    const scale = 1 / Math.sqrt(squares / width + eps);
    for (let j = 0; j < width; j++) y[row + j] = x[row + j] * scale * weight[j];
  }
  return y;
}

/** y [T, out] = x [T, in] · weight [out, in]ᵀ + `name.bias` where there is one. */
export function project(x: Float64Array, inputs: number, weights: Weights, name: string): Float64Array {
  const weight = weights.get(`${name}.weight`)!;
  const bias = weights.get(`${name}.bias`);
  const outputs = weight.length / inputs;
  const tokens = x.length / inputs;
  const y = new Float64Array(tokens * outputs);
  for (let t = 0; t < tokens; t++) {
    for (let n = 0; n < outputs; n++) {
      let sum = bias ? bias[n] : 0;
      for (let k = 0; k < inputs; k++) sum += x[t * inputs + k] * weight[n * inputs + k];
      y[t * outputs + n] = sum;
    }
  }
  return y;
}

/** Rotates the pairs (i, i + head_dim / 2) of every head of x [T, heads · head_dim] by position · theta^(−2i / head_dim). */
function rotate(x: Float64Array, heads: number, s: BlockSizes, { positions, sections }: Places): void {
  const half = s.head_dim / 2;
  const tokens = x.length / s.head_dim / heads;
  const axes = (sections ?? [half]).flatMap((pairs, axis) => Array<number>(pairs).fill(axis));
  for (let i = 0; i < half; i++) {
    const frequency = s.rope_theta ** (-i / half);
    for (let head = 0; head < x.length / s.head_dim; head++) {
      const angle = positions[axes[i] * tokens + Math.floor(head / heads)] * frequency;
      const at = head * s.head_dim + i;
      const [a, b] = [x[at], x[at + half]];
      x[at] = a * Math.cos(angle) - b * Math.sin(angle);
      x[at + half] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
}

/** Causal attention within every segment; query head h reads key and value head ⌊h · kv heads / heads⌋. [T, heads · head_dim] */
function attend(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  s: BlockSizes,
  segments: ArrayLike<number>,
): Float64Array {
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: width } = s;
  const tokens = q.length / (heads * width);
  const out = new Float64Array(q.length);
  for (let t = 0; t < tokens; t++) {
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h * kvHeads / heads);
      const at = (t * heads + h) * width;
      const place = (j: number) => (j * kvHeads + kvHead) * width;
      const first = segments[2 * t];
      const scores = new Float64Array(t + 1 - first);
      let top = -Infinity;
      for (let j = first; j <= t; j++) {
        let dot = 0;
        for (let d = 0; d < width; d++) dot += q[at + d] * k[place(j) + d];
        scores[j - first] = dot / Math.sqrt(width);
        top = Math.max(top, scores[j - first]);
      }
      let total = 0;
      for (let j = 0; j < scores.length; j++) total += scores[j] = Math.exp(scores[j] - top);
      for (let j = first; j <= t; j++) {
        for (let d = 0; d < width; d++) out[at + d] += scores[j - first] / total * v[place(j) + d];
      }
    }
  }
  return out;
}

/** y [T, hidden] = block(x [T, hidden]); `prefix` is `model.layers.N`. */
export function layerForward(
  x: Float64Array,
  weights: Weights,
  prefix: string,
  s: BlockSizes,
  places: Places,
): Float64Array {
  const linear = (input: Float64Array, inputs: number, name: string) =>
    project(input, inputs, weights, `${prefix}.${name}`);
  const normed = normalize(x, weights.get(`${prefix}.input_layernorm.weight`)!, s.rms_norm_eps);
  const q = linear(normed, s.hidden_size, "self_attn.q_proj");
  const k = linear(normed, s.hidden_size, "self_attn.k_proj");
  const v = linear(normed, s.hidden_size, "self_attn.v_proj");
  rotate(q, s.num_attention_heads, s, places);
  rotate(k, s.num_key_value_heads, s, places);
  const attended = attend(q, k, v, s, places.segments);
  const middle = linear(attended, s.num_attention_heads * s.head_dim, "self_attn.o_proj");
  for (let i = 0; i < x.length; i++) middle[i] += x[i];
  const normed2 = normalize(
    middle,
    weights.get(`${prefix}.post_attention_layernorm.weight`)!,
    s.rms_norm_eps,
  );
  const inner = linear(normed2, s.hidden_size, "mlp.gate_proj");
  const up = linear(normed2, s.hidden_size, "mlp.up_proj");
  for (let i = 0; i < inner.length; i++) inner[i] *= up[i] / (1 + Math.exp(-inner[i]));
  const y = linear(inner, s.intermediate_size, "mlp.down_proj");
  for (let i = 0; i < y.length; i++) y[i] += middle[i];
  return y;
}
