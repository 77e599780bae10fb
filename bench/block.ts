/** Norms, rotation, gated activation, biases' gradients: what stands between a block's products. @module */
import { PARTIAL_TOKENS, qkvWidth, ropeDims } from "../models/layer.ts";
import { columnSum, columnSumFinish } from "../shaders/column_sum.ts";
import { rmsnormBackward, rmsnormBackwardWeight, rmsnormForward } from "../shaders/rmsnorm.ts";
import { rope, ropeTables } from "../shaders/rope.ts";
import { swigluBackward, swigluForward } from "../shaders/swiglu.ts";
import type { ModelShape } from "./shapes.ts";
import { type Workload, workload } from "./workload.ts";

/** The kernels of a model's blocks, at the training and the decode batch. */
export function blockWorkloads(s: ModelShape): Workload[] {
  const { config: c, tokens } = s;
  const hidden = c.hidden_size;
  const inner = c.intermediate_size;
  const qkv = qkvWidth(c);
  const label = (rows: number, width: number) => `${s.name} ${rows} x ${width}`;
  const eps = c.rms_norm_eps;
  const { cos, sin } = ropeTables(c.max_position_embeddings, c.head_dim, c.rope_theta);
  const rotate = (rows: number, sign: 1 | -1) => {
    const positions = Uint32Array.from({ length: rows }, (_, t) => t % s.length);
    const dims = { ...ropeDims(c, rows, sign), tokens: rows };
    return workload(rope, label(rows, qkv), dims, { positions, cos, sin });
  };
  const partial = { tokens, width: hidden, chunk: PARTIAL_TOKENS };
  const chunks = Math.ceil(tokens / PARTIAL_TOKENS);
  return [
    workload(rmsnormForward, label(tokens, hidden), { tokens, width: hidden, eps }),
    workload(rmsnormForward, label(s.slots, hidden), { tokens: s.slots, width: hidden, eps }),
    workload(rmsnormBackward, label(tokens, hidden), { tokens, width: hidden }),
    workload(rmsnormBackwardWeight, label(tokens, hidden), partial),
    workload(columnSum, label(tokens, qkv), { ...partial, width: qkv }),
    workload(columnSumFinish, label(chunks, qkv), { rows: chunks, width: qkv }),
    rotate(tokens, 1),
    rotate(s.slots, 1),
    workload(swigluForward, label(tokens, inner), { tokens, width: inner }),
    workload(swigluForward, label(s.slots, inner), { tokens: s.slots, width: inner }),
    workload(swigluBackward, label(tokens, inner), { tokens, width: inner }),
  ];
}
