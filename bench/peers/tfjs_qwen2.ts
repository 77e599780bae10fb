/**
 * The training step of a plain Qwen2 in TensorFlow.js, written as its documentation teaches: variables, `variableGrads`
 * in a `tidy`, the library's own loss and Adam. What it lacks is added by its operations: the clipped norm and the
 * decay of the weights.
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import { parameterShapes } from "../../models/config.ts";
import { ropeTables } from "../../shaders/rope.ts";
import { tokenIds } from "../workload.ts";
import { ADAMW, configOf, type PeerModel, type TrainWork, weights } from "./work.ts";

type Variables = Record<string, tf.Variable>;

function variables(c: PeerModel): Variables {
  return Object.fromEntries(
    [...parameterShapes(configOf(c))].map((
      [name, shape],
    ) => [name, tf.variable(tf.tensor(weights(name, shape), [...shape]), true, name)]),
  );
}

/** x Wᵀ (+ b), x [tokens, inputs] */
function linear(x: tf.Tensor, weight: tf.Tensor, bias?: tf.Tensor): tf.Tensor {
  const y = tf.matMul(x, weight, false, true);
  return bias ? tf.add(y, bias) : y;
}

function rmsnorm(x: tf.Tensor, weight: tf.Tensor, eps: number): tf.Tensor {
  return tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), eps))), weight);
}

/** Rotates [batch, length, heads, head_dim] by tables [length, 1, head_dim / 2]. */
function rotate(x: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor): tf.Tensor {
  const [a, b] = tf.split(x, 2, -1);
  return tf.concat([tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin))], -1);
}

/**
 * The training step; returns the loss of `repeats` steps' last.
 * @param oneHot looks embeddings up by a product: the gradient of a gather has no kernel in WebAssembly
 */
export function trainingSteps(w: TrainWork, oneHot: boolean): (repeats: number) => Promise<number> {
  const { model: c, sequences, length } = w;
  const { num_attention_heads: heads, num_key_value_heads: kv, head_dim: size } = c;
  const tokens = sequences * length;
  const group = heads / kv;
  const ids = tokenIds(tokens, c.vocab_size);
  const inputs = tf.tensor1d(Int32Array.from(ids), "int32");
  const hot = oneHot ? tf.oneHot(inputs, c.vocab_size) as tf.Tensor2D : undefined;
  // Row t of a sequence is scored with token t + 1; the last one has none.
  const isLast = (i: number) => (i + 1) % length === 0;
  const next = tf.tensor1d(Int32Array.from(ids, (_, i) => isLast(i) ? 0 : ids[i + 1]), "int32");
  const labels = tf.oneHot(next, c.vocab_size);
  const counted = tf.tensor1d(Float32Array.from(ids, (_, i) => isLast(i) ? 0 : 1));
  const rope = ropeTables(length, size, c.rope_theta);
  const cos = tf.tensor(rope.cos, [length, 1, size / 2]);
  const sin = tf.tensor(rope.sin, [length, 1, size / 2]);
  // The heads of a group lie below one another, as more rows for their one key: nothing is repeated.
  const future = (i: number) => i % length > Math.floor(i / length) % length;
  const mask = tf.tensor(
    Float32Array.from({ length: group * length * length }, (_, i) => future(i) ? -1e9 : 0),
    [group * length, length],
  );
  const p = variables(c);

  const attention = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor): tf.Tensor => {
    const byHead = (x: tf.Tensor) => tf.transpose(x, [0, 2, 1, 3]);
    const rows = tf.reshape(byHead(q), [sequences, kv, group * length, size]);
    const scores = tf.mul(tf.matMul(rows, byHead(k), false, true), 1 / Math.sqrt(size));
    const mixed = tf.matMul(tf.softmax(tf.add(scores, mask)), byHead(v));
    return tf.reshape(byHead(tf.reshape(mixed, [sequences, heads, length, size])), [tokens, heads * size]);
  };

  const loss = (): tf.Scalar => {
    const embedding = p["model.embed_tokens.weight"] as unknown as tf.Tensor2D;
    let x: tf.Tensor = hot ? tf.matMul(hot, embedding) : tf.gather(embedding, inputs);
    for (let layer = 0; layer < c.num_hidden_layers; layer++) {
      const get = (name: string) => p[`model.layers.${layer}.${name}`];
      const h = rmsnorm(x, get("input_layernorm.weight"), c.rms_norm_eps);
      const project = (name: string, count: number) =>
        tf.reshape(
          linear(h, get(`self_attn.${name}_proj.weight`), get(`self_attn.${name}_proj.bias`)),
          [sequences, length, count, size],
        );
      const mixed = attention(
        rotate(project("q", heads), cos, sin),
        rotate(project("k", kv), cos, sin),
        project("v", kv),
      );
      x = tf.add(x, linear(mixed, get("self_attn.o_proj.weight")));
      const g = rmsnorm(x, get("post_attention_layernorm.weight"), c.rms_norm_eps);
      const gate = linear(g, get("mlp.gate_proj.weight"));
      const inner = tf.mul(tf.mul(gate, tf.sigmoid(gate)), linear(g, get("mlp.up_proj.weight")));
      x = tf.add(x, linear(inner, get("mlp.down_proj.weight")));
    }
    const h = rmsnorm(x, p["model.norm.weight"], c.rms_norm_eps);
    // The mean over rows of weight 1.
    return tf.losses.softmaxCrossEntropy(labels, linear(h, embedding), counted) as tf.Scalar;
  };

  const optimizer = tf.train.adam(ADAMW.lr, ADAMW.beta1, ADAMW.beta2, ADAMW.eps);
  const step = (): tf.Scalar =>
    tf.tidy(() => {
      const { value, grads } = tf.variableGrads(loss);
      const names = Object.keys(grads);
      // Two at a time: `addN` binds all of its inputs at once, more than WebGPU allows, and fails without a word.
      const norm = tf.sqrt(
        names.map((name) => tf.sum(tf.square(grads[name]))).reduce((a, b) => tf.add(a, b)),
      );
      const clip = tf.minimum(1, tf.div(ADAMW.maxNorm, tf.add(norm, 1e-6)));
      for (const variable of Object.values(p)) {
        variable.assign(tf.mul(variable, 1 - ADAMW.lr * ADAMW.weightDecay));
      }
      optimizer.applyGradients(Object.fromEntries(names.map((name) => [name, tf.mul(grads[name], clip)])));
      return value;
    });
  return async (repeats) => {
    let value = NaN;
    for (let i = 0; i < repeats; i++) {
      const mean = step();
      [value] = await mean.data();
      mean.dispose();
      // The loss is there before the weights are: a number of the one written last ends the step.
      const last = tf.tidy(() => tf.slice(tf.reshape(Object.values(p).at(-1)!, [-1]), 0, 1));
      await last.data();
      last.dispose();
    }
    return value;
  };
}
