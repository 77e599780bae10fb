/**
 * A plain Qwen2 in jax-js: forward over whole sequences, the training step, sampling with a cache. Written as its
 * documentation teaches: `jit` around everything, `.ref` wherever an array is used again.
 * @module
 */
import { blockUntilReady, jit, lax, nn, numpy as np, random, tree, valueAndGrad } from "@jax-js/jax";
import {
  ADAMW,
  configOf,
  type GenerateWork,
  type PeerModel,
  TOP_P,
  type TrainWork,
  weights,
} from "./work.ts";
import { parameterShapes } from "../../models/config.ts";
import { ropeTables } from "../../shaders/rope.ts";
import { tokenIds } from "../workload.ts";

type Params = Record<string, np.Array>;

/** The model's weights on the default device. */
export function parameters(c: PeerModel): Params {
  return Object.fromEntries(
    [...parameterShapes(configOf(c))].map((
      [name, shape],
    ) => [name, np.array(weights(name, shape)).reshape(shape)]),
  );
}

/** x Wᵀ (+ b) */
function linear(x: np.Array, weight: np.Array, bias?: np.Array): np.Array {
  const y = np.matmul(x, weight.transpose());
  return bias ? y.add(bias) : y;
}

function rmsnorm(x: np.Array, weight: np.Array, eps: number): np.Array {
  const scale = np.reciprocal(
    np.sqrt(np.square(x.ref).mean(-1, { keepdims: true }).add(eps)),
  );
  return x.mul(scale).mul(weight);
}

/** Rotates [batch, length, heads, head_dim] by tables [length, 1, head_dim / 2]. */
function rotate(x: np.Array, cos: np.Array, sin: np.Array): np.Array {
  const [a, b] = np.split(x, 2, -1);
  return np.concatenate([
    a.ref.mul(cos.ref).sub(b.ref.mul(sin.ref)),
    b.mul(cos).add(a.mul(sin)),
  ], -1);
}

/** What a block does between its projections; takes q, k, v as [batch, length, heads, head_dim]. */
type Attention = (
  layer: number,
  q: np.Array,
  k: np.Array,
  v: np.Array,
) => np.Array;

/** Hidden states [batch, length, width] from embeddings, consumed; `p` stays. */
function blocks(
  c: PeerModel,
  p: Params,
  x: np.Array,
  [cos, sin]: readonly [np.Array, np.Array],
  attention: Attention,
): np.Array {
  const [batch, length] = x.shape;
  for (let layer = 0; layer < c.num_hidden_layers; layer++) {
    const get = (name: string) => p[`model.layers.${layer}.${name}`].ref;
    const h = rmsnorm(x.ref, get("input_layernorm.weight"), c.rms_norm_eps);
    const project = (name: string, heads: number, input: np.Array) =>
      linear(
        input,
        get(`self_attn.${name}_proj.weight`),
        get(`self_attn.${name}_proj.bias`),
      )
        .reshape([batch, length, heads, c.head_dim]);
    const q = rotate(
      project("q", c.num_attention_heads, h.ref),
      cos.ref,
      sin.ref,
    );
    const k = rotate(
      project("k", c.num_key_value_heads, h.ref),
      cos.ref,
      sin.ref,
    );
    const v = project("v", c.num_key_value_heads, h);
    const mixed = attention(layer, q, k, v).reshape([
      batch,
      length,
      c.num_attention_heads * c.head_dim,
    ]);
    x = x.add(linear(mixed, get("self_attn.o_proj.weight")));
    const g = rmsnorm(
      x.ref,
      get("post_attention_layernorm.weight"),
      c.rms_norm_eps,
    );
    const inner = nn.silu(linear(g.ref, get("mlp.gate_proj.weight"))).mul(
      linear(g, get("mlp.up_proj.weight")),
    );
    x = x.add(linear(inner, get("mlp.down_proj.weight")));
  }
  cos.dispose();
  sin.dispose();
  return rmsnorm(x, p["model.norm.weight"].ref, c.rms_norm_eps);
}

function tables(c: PeerModel, length: number): [np.Array, np.Array] {
  const { cos, sin } = ropeTables(length, c.head_dim, c.rope_theta);
  const shape = [length, 1, c.head_dim / 2];
  return [
    np.array(cos).reshape(shape),
    np.array(sin).reshape(shape),
  ];
}

/**
 * The training step; returns the loss of `repeats` steps' last.
 * @param oneHot looks embeddings up by a product: the gradient of a gather is a shader that WebGPU in Deno refuses (it
 * hands a storage pointer to a function)
 */
export function trainingSteps(
  w: TrainWork,
  oneHot: boolean,
): (repeats: number) => Promise<number> {
  const { model: c, sequences, length } = w;
  const ids = Int32Array.from(tokenIds(sequences * length, c.vocab_size));
  const inputs = np.array(ids).reshape([sequences, length]);
  // Row t of a sequence is scored with token t + 1; the last one has none.
  const next = Int32Array.from(
    ids,
    (_, i) => (i + 1) % length === 0 ? 0 : ids[i + 1],
  );
  const counted = Float32Array.from(
    ids,
    (_, i) => (i + 1) % length === 0 ? 0 : 1,
  );
  const targets = np.array(next);
  const mask = np.array(counted);
  const [cos, sin] = tables(c, length);
  const scored = sequences * (length - 1);
  const loss = (
    p: Params,
    x: np.Array,
    y: np.Array,
    m: np.Array,
    cos: np.Array,
    sin: np.Array,
  ): np.Array => {
    const embedding = p["model.embed_tokens.weight"];
    const h = blocks(
      c,
      p,
      oneHot ? np.matmul(nn.oneHot(x, c.vocab_size), embedding.ref) : np.take(embedding.ref, x, 0),
      [cos, sin],
      (_, q, k, v) => nn.dotProductAttention(q, k, v, { isCausal: true }),
    ).reshape([sequences * length, c.hidden_size]);
    const logits = np.matmul(h, embedding.ref.transpose());
    const chosen = logits.ref.mul(nn.oneHot(y, c.vocab_size)).sum(-1);
    const result = nn.logsumexp(logits, -1).sub(chosen).mul(m).sum().div(
      scored,
    );
    for (const array of Object.values(p)) array.dispose();
    return result;
  };
  const step = jit((
    p: Params,
    mean: Params,
    square: Params,
    /** [2]: 1 − β₁ᵗ, 1 − β₂ᵗ */
    correction: np.Array,
    x: np.Array,
    y: np.Array,
    m: np.Array,
    cos: np.Array,
    sin: np.Array,
  ) => {
    const [value, gradient] = valueAndGrad(loss)(
      tree.ref(p),
      x,
      y,
      m,
      cos,
      sin,
    ) as [np.Array, Params];
    const norm = np.sqrt(
      Object.values(gradient).map((g) => np.square(g.ref).sum()).reduce((
        a,
        b,
      ) => a.add(b)),
    );
    const clip = np.minimum(
      1,
      np.reciprocal(norm.add(1e-6)).mul(ADAMW.maxNorm),
    );
    const [first, second] = np.split(correction, 2);
    const out = { p: {} as Params, mean: {} as Params, square: {} as Params };
    for (const name of Object.keys(p)) {
      const g = gradient[name].mul(clip.ref);
      const mu = mean[name].mul(ADAMW.beta1).add(g.ref.mul(1 - ADAMW.beta1));
      const nu = square[name].mul(ADAMW.beta2).add(
        np.square(g).mul(1 - ADAMW.beta2),
      );
      const move = mu.ref.div(first.ref).div(
        np.sqrt(nu.ref.div(second.ref)).add(ADAMW.eps),
      );
      out.p[name] = p[name].mul(1 - ADAMW.lr * ADAMW.weightDecay).sub(
        move.mul(ADAMW.lr),
      );
      out.mean[name] = mu;
      out.square[name] = nu;
    }
    for (const array of [clip, first, second]) array.dispose();
    return { value, ...out };
  });
  let p = parameters(c);
  const zeros = () =>
    Object.fromEntries(
      [...parameterShapes(configOf(c))].map(([name, shape]) => [name, np.zeros(shape)]),
    );
  let mean: Params = zeros();
  let square: Params = zeros();
  let t = 0;
  return async (repeats) => {
    let value = NaN;
    for (let i = 0; i < repeats; i++) {
      t++;
      const correction = np.array(
        Float32Array.of(1 - ADAMW.beta1 ** t, 1 - ADAMW.beta2 ** t),
      );
      const out = step(
        p,
        mean,
        square,
        correction,
        inputs.ref,
        targets.ref,
        mask.ref,
        cos.ref,
        sin.ref,
      ) as { value: np.Array; p: Params; mean: Params; square: Params };
      ({ p, mean, square } = out);
      [value] = await out.value.data();
    }
    // The loss is there before the gradients: without this the update ran on beside whoever came next.
    await blockUntilReady([p, mean, square]);
    return value;
  };
}

/**
 * Sampling with a cache of fixed length, one jitted step a token: positions past the present one are masked, so that
 * all steps are one program. Tokens stay on the device until the end.
 */
export function generation(w: GenerateWork): (repeats: number) => Promise<number> {
  const { model: c, sequences: n, prompt, fresh } = w;
  const length = prompt + fresh;
  const ids = np.array(Int32Array.from(tokenIds(n * prompt, c.vocab_size))).reshape([n, prompt]);
  const [cos, sin] = tables(c, length);
  const p = parameters(c);

  /** Keys and values of all layers, [batch, length, kv heads, head_dim] each. */
  type Cache = np.Array[];

  const choose = (logits: np.Array, key: np.Array): np.Array => {
    // The nucleus: tokens before which less than top-p of the probability lies.
    const [top, order] = lax.topK(nn.softmax(logits, -1), c.vocab_size);
    const before = np.cumsum(top.ref, -1).sub(top.ref);
    const kept = np.where(np.less(before, TOP_P), np.log(top), -1e30);
    const place = random.categorical(key, kept, { axis: -1 });
    return np.takeAlongAxis(order, place.reshape([n, 1]), -1).astype(np.int32);
  };
  /** Logits of the last position, consumed: h [n, length, width]. */
  const head = (p: Params, h: np.Array): np.Array => linear(h, p["model.embed_tokens.weight"].ref);

  const prefill = jit((p: Params, x: np.Array, cos: np.Array, sin: np.Array, key: np.Array) => {
    const cache: Cache = [];
    const h = blocks(c, p, np.take(p["model.embed_tokens.weight"].ref, x, 0), [cos, sin], (_, q, k, v) => {
      const pad: [number, number][] = [[0, 0], [0, fresh], [0, 0], [0, 0]];
      cache.push(np.pad(k.ref, pad), np.pad(v.ref, pad));
      return nn.dotProductAttention(q, k, v, { isCausal: true });
    });
    const [, last] = np.split(h, [prompt - 1], 1);
    const token = choose(head(p, last.reshape([n, c.hidden_size])), key);
    tree.dispose(p);
    return { token, cache };
  });

  const step = jit((
    p: Params,
    cache: Cache,
    token: np.Array,
    /** [1] */
    position: np.Array,
    cos: np.Array,
    sin: np.Array,
    key: np.Array,
  ) => {
    const next: Cache = [];
    const places = np.arange(length);
    const here = np.equal(places.ref, position.ref).reshape([1, length, 1, 1]);
    const seen = np.lessEqual(places, position.ref).reshape([1, 1, 1, length]);
    const row = (table: np.Array) => np.take(table, position.ref, 0);
    const angles = [row(cos), row(sin)] as const;
    position.dispose();
    const h = blocks(
      c,
      p,
      np.take(p["model.embed_tokens.weight"].ref, token, 0),
      angles,
      (layer, q, k, v) => {
        const keys = np.where(here.ref, k, cache[2 * layer]);
        const values = np.where(here.ref, v, cache[2 * layer + 1]);
        next.push(keys.ref, values.ref);
        return nn.dotProductAttention(q, keys, values, { mask: seen.ref });
      },
    );
    here.dispose();
    seen.dispose();
    const chosen = choose(head(p, h.reshape([n, c.hidden_size])), key);
    tree.dispose(p);
    return { token: chosen, cache: next };
  });

  let seed = 0;
  return async (repeats) => {
    let count = 0;
    for (let i = 0; i < repeats; i++) {
      const keys = np.split(random.split(random.key(seed++), fresh), fresh, 0).map((key) => key.reshape([2]));
      let { token, cache } = prefill(tree.ref(p), ids.ref, promptRows(cos), promptRows(sin), keys[0]) as {
        token: np.Array;
        cache: Cache;
      };
      const made = [token.ref];
      for (let t = 1; t < fresh; t++) {
        const position = np.array(Int32Array.of(prompt + t - 1));
        ({ token, cache } = step(tree.ref(p), cache, token, position, cos.ref, sin.ref, keys[t]) as {
          token: np.Array;
          cache: Cache;
        });
        made.push(token.ref);
      }
      token.dispose();
      tree.dispose(cache);
      const tokens = await np.concatenate(made, 1).data();
      count = tokens.filter((id) => id >= 0 && id < c.vocab_size).length;
    }
    return count;
  };

  /** The tables' rows of the prompt. */
  function promptRows(table: np.Array): np.Array {
    const [first, rest] = np.split(table.ref, [prompt], 0);
    rest.dispose();
    return first;
  }
}
