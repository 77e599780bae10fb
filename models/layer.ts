/**
 * One block: RMSNorm, grouped-query attention with RoPE, residual, RMSNorm, SwiGLU, residual; forward and its hand-written
 * backward, recorded into programs. The decoder's, and without the causal mask the vision tower's.
 * @module
 */
import type { Gpu } from "../gpu/device.ts";
import type { Dim, Program } from "../gpu/program.ts";
import type { Tensor } from "../gpu/tensor.ts";
import {
  attentionBackwardKeyValue,
  attentionBackwardQuery,
  attentionDelta,
  attentionForward,
} from "../shaders/attention.ts";
import { columnSum, columnSumFinish } from "../shaders/column_sum.ts";
import { addLinear, addLinearBackwardInput, addLinearBackwardWeight } from "../shaders/linear.ts";
import { addNormGated, addNormLinear } from "../shaders/linear_fused.ts";
import { rmsnormBackward, rmsnormBackwardWeight } from "../shaders/rmsnorm.ts";
import { rope } from "../shaders/rope.ts";
import { swigluBackward } from "../shaders/swiglu.ts";
import type { BlockConfig } from "./block_config.ts";
import type { Parameter, Parameters } from "./parameters.ts";

/** Tokens summed into one partial row of a parameter gradient before the rows are added up. */
export const PARTIAL_TOKENS = 64;

/** What a block needs besides its weights; T = capacity in tokens. */
export interface SequenceContext {
  readonly config: BlockConfig;
  /** Tokens of the batch at hand, asked for at every run. */
  readonly tokens: () => number;
  /** [T] row of the rotary tables for every token: its position in its sequence, where the tables are by position. */
  readonly positions: Tensor;
  /** [T, 2] first token and end of the segment that a token belongs to. */
  readonly segments: Tensor;
  /** [rows, head_dim / 2] */
  readonly cos: Tensor;
  /** [rows, head_dim / 2] */
  readonly sin: Tensor;
}

/** Activations of one block that its backward reads; T tokens, H hidden, S = (heads + 2 kv heads) · head_dim, I inner. */
export interface LayerActivations {
  /** [T, H] */ readonly normed1: Tensor;
  /** [T] */ readonly rstd1: Tensor;
  /** [T, S] after RoPE */ readonly qkv: Tensor;
  /** [T, heads · head_dim] */ readonly attended: Tensor;
  /** [T, heads] */ readonly lse: Tensor;
  /** [T, H] after attention's residual */ readonly middle: Tensor;
  /** [T, H] */ readonly normed2: Tensor;
  /** [T] */ readonly rstd2: Tensor;
  /** [T, 2 I] */ readonly gateUp: Tensor;
  /** [T, I] */ readonly inner: Tensor;
}

/** Scratch that all blocks share in the backward pass. */
export interface LayerScratch {
  /** [T, I] */ readonly dinner: Tensor;
  /** [T, 2 I] */ readonly dgateUp: Tensor;
  /** [T, H] */ readonly dnormed: Tensor;
  /** [T, heads · head_dim] */ readonly dattended: Tensor;
  /** [T, heads] */ readonly delta: Tensor;
  /** [T, S] */ readonly dqkv: Tensor;
  /** [⌈T / PARTIAL_TOKENS⌉, widest bias or norm] */ readonly partial: Tensor;
}

/** Width of a fused query-key-value row. */
export function qkvWidth(c: BlockConfig): number {
  return (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim;
}

/** Allocates the activations of one block. */
export function allocActivations(gpu: Gpu, c: BlockConfig, tokens: number): LayerActivations {
  const a = (name: string, width: number) => gpu.alloc(`activation ${name}`, [tokens, width], "activation");
  return {
    normed1: a("normed1", c.hidden_size),
    rstd1: a("rstd1", 1),
    qkv: a("qkv", qkvWidth(c)),
    attended: a("attended", c.num_attention_heads * c.head_dim),
    lse: a("lse", c.num_attention_heads),
    middle: a("middle", c.hidden_size),
    normed2: a("normed2", c.hidden_size),
    rstd2: a("rstd2", 1),
    gateUp: a("gate_up", 2 * c.intermediate_size),
    inner: a("inner", c.intermediate_size),
  };
}

/** Allocates the backward scratch. */
export function allocScratch(gpu: Gpu, c: BlockConfig, tokens: number): LayerScratch {
  const a = (name: string, width: number) => gpu.alloc(`scratch ${name}`, [tokens, width], "scratch");
  const widest = Math.max(c.hidden_size, qkvWidth(c), 2 * c.intermediate_size);
  return {
    dinner: a("dinner", c.intermediate_size),
    dgateUp: a("dgate_up", 2 * c.intermediate_size),
    dnormed: a("dnormed", c.hidden_size),
    dattended: a("dattended", c.num_attention_heads * c.head_dim),
    delta: a("delta", c.num_attention_heads),
    dqkv: a("dqkv", qkvWidth(c)),
    partial: gpu.alloc("scratch partial", [Math.ceil(tokens / PARTIAL_TOKENS), widest], "scratch"),
  };
}

/** What a checkpoint calls the parts of a block. */
export interface BlockNames {
  /** Stands before the block's number. */
  readonly blocks: string;
  readonly norm1: string;
  readonly qkv: string;
  readonly out: string;
  readonly norm2: string;
  readonly gateUp: string;
  readonly down: string;
}

const DECODER: BlockNames = {
  blocks: "model.layers",
  norm1: "input_layernorm",
  qkv: "self_attn.qkv_proj",
  out: "self_attn.o_proj",
  norm2: "post_attention_layernorm",
  gateUp: "mlp.gate_up_proj",
  down: "mlp.down_proj",
};

/** The stored parameters of block `index`: of the language model, or of what `names` says. */
export class LayerWeights {
  readonly norm1: Parameter;
  readonly qkv: Parameter;
  readonly qkvBias?: Parameter;
  readonly out: Parameter;
  readonly outBias?: Parameter;
  readonly norm2: Parameter;
  readonly gateUp: Parameter;
  readonly gateUpBias?: Parameter;
  readonly down: Parameter;
  readonly downBias?: Parameter;

  constructor(parameters: Parameters, index: number, names: BlockNames = DECODER) {
    const weight = (part: string) => parameters.get(`${names.blocks}.${index}.${part}.weight`);
    const bias = (part: string) => parameters.find(`${names.blocks}.${index}.${part}.bias`);
    this.norm1 = weight(names.norm1);
    this.qkv = weight(names.qkv);
    this.qkvBias = bias(names.qkv);
    this.out = weight(names.out);
    this.outBias = bias(names.out);
    this.norm2 = weight(names.norm2);
    this.gateUp = weight(names.gateUp);
    this.gateUpBias = bias(names.gateUp);
    this.down = weight(names.down);
    this.downBias = bias(names.down);
  }
}

/** Sizes of a block's products. */
export function layerShapes(c: BlockConfig, tokens: Dim) {
  const attended = c.num_attention_heads * c.head_dim;
  return {
    qkv: { tokens, inputs: c.hidden_size, outputs: qkvWidth(c) },
    out: { tokens, inputs: attended, outputs: c.hidden_size },
    gateUp: { tokens, inputs: c.hidden_size, outputs: 2 * c.intermediate_size },
    down: { tokens, inputs: c.intermediate_size, outputs: c.hidden_size },
  };
}

/** Dims of the packed attention kernels. */
function attentionDims(c: BlockConfig, tokens: Dim) {
  return {
    tokens,
    heads: c.num_attention_heads,
    kv_heads: c.num_key_value_heads,
    causal: c.causal === false ? 0 : 1,
    scale: 1 / Math.sqrt(c.head_dim),
  };
}

/** Dims of the rotation; sign −1 turns back. */
export function ropeDims(c: BlockConfig, tokens: Dim, sign: 1 | -1) {
  return {
    tokens,
    heads: c.num_attention_heads + c.num_key_value_heads,
    stride: qkvWidth(c),
    head_dim: c.head_dim,
    sign,
  };
}

/** Records rotation and attention: `attended` [T, heads · head_dim] from `qkv` [T, S]. */
export type RecordAttention = (program: Program, qkv: Tensor, attended: Tensor) => void;

/**
 * Records `y [T, H] = block(x [T, H])` around any attention. Without `y` the last product is left out: what recomputation
 * before a backward pass needs.
 * @param fused without what only a backward pass reads: of `a` qkv, attended, middle and inner hold what they are called
 */
export function recordBlock(
  program: Program,
  ctx: Pick<SequenceContext, "config" | "tokens">,
  w: LayerWeights,
  x: Tensor,
  a: LayerActivations,
  y: Tensor | undefined,
  attend: RecordAttention,
  fused = false,
): void {
  const { config: c, tokens } = ctx;
  const shapes = layerShapes(c, tokens);
  const norms = { eps: c.rms_norm_eps, kept: !fused };
  const qkv = { weight: w.qkv.operand, bias: w.qkvBias?.weight, y: a.qkv };
  addNormLinear(
    program,
    { x, norm: w.norm1.weight, normed: a.normed1, rstd: a.rstd1, ...qkv },
    shapes.qkv,
    norms,
  );
  attend(program, a.qkv, a.attended);
  addLinear(
    program,
    { x: a.attended, weight: w.out.operand, bias: w.outBias?.weight, residual: x, y: a.middle },
    shapes.out,
  );
  const gated = { weight: w.gateUp.operand, bias: w.gateUpBias?.weight, gateUp: a.gateUp, y: a.inner };
  addNormGated(
    program,
    { x: a.middle, norm: w.norm2.weight, normed: a.normed2, rstd: a.rstd2, ...gated },
    shapes.gateUp,
    norms,
  );
  if (y) {
    addLinear(
      program,
      { x: a.inner, weight: w.down.operand, bias: w.downBias?.weight, residual: a.middle, y },
      shapes.down,
    );
  }
}

/** {@link recordBlock} with attention over packed segments, causal unless the config says otherwise, whose log-sum-exp is kept for the backward pass. */
export function recordLayerForward(
  program: Program,
  ctx: SequenceContext,
  w: LayerWeights,
  x: Tensor,
  a: LayerActivations,
  y: Tensor | undefined,
  fused = false,
): void {
  const { config: c, tokens, segments } = ctx;
  recordBlock(program, ctx, w, x, a, y, (program, qkv, out) => {
    program.add(rope, { qkv, positions: ctx.positions, cos: ctx.cos, sin: ctx.sin }, ropeDims(c, tokens, 1));
    program.add(attentionForward(c.head_dim), { qkv, segments, out, lse: a.lse }, attentionDims(c, tokens));
  }, fused);
}

/** Records `bias.gradient += Σ_t dy [T, width]`. */
export function recordBias(
  program: Program,
  tokens: () => number,
  dy: Tensor,
  bias: Parameter | undefined,
  partial: Tensor,
): void {
  if (!bias?.gradient) return;
  const width = bias.weight.size;
  program.add(columnSum, { dy, partial }, { tokens, width, chunk: PARTIAL_TOKENS });
  program.add(columnSumFinish, { partial, out: bias.gradient }, {
    rows: () => Math.ceil(tokens() / PARTIAL_TOKENS),
    width,
  });
}

/** Records the backward of `y = norm(x) · weight`: adds to `dx` where it is wanted, and to the weight's gradient. */
export function recordNormBackward(
  program: Program,
  ctx: Pick<SequenceContext, "config" | "tokens">,
  t: { dy: Tensor; x: Tensor; rstd: Tensor; dx: Tensor | undefined; partial: Tensor },
  weight: Parameter,
): void {
  const { tokens } = ctx;
  const width = ctx.config.hidden_size;
  if (t.dx) {
    program.add(rmsnormBackward, { dy: t.dy, x: t.x, weight: weight.weight, rstd: t.rstd, dx: t.dx }, {
      tokens,
      width,
    });
  }
  if (!weight.gradient) return;
  program.add(rmsnormBackwardWeight, { dy: t.dy, x: t.x, rstd: t.rstd, partial: t.partial }, {
    tokens,
    width,
    chunk: PARTIAL_TOKENS,
  });
  program.add(columnSumFinish, { partial: t.partial, out: weight.gradient }, {
    rows: () => Math.ceil(tokens() / PARTIAL_TOKENS),
    width,
  });
}

/** Records the block's backward: `dx` [T, H] holds ∂L/∂y before it and ∂L/∂x after it; parameter gradients accumulate. */
export function recordLayerBackward(
  program: Program,
  ctx: SequenceContext,
  w: LayerWeights,
  x: Tensor,
  a: LayerActivations,
  s: LayerScratch,
  dx: Tensor,
): void {
  const { config: c, tokens } = ctx;
  const shapes = layerShapes(c, tokens);
  const weightGradient = (dy: Tensor, input: Tensor, p: Parameter, shape: typeof shapes.qkv) => {
    if (p.gradient) addLinearBackwardWeight(program, { dy, x: input, dweight: p.gradient }, shape);
  };

  weightGradient(dx, a.inner, w.down, shapes.down);
  recordBias(program, tokens, dx, w.downBias, s.partial);
  addLinearBackwardInput(program, { dy: dx, weight: w.down.operand, dx: s.dinner }, shapes.down);
  program.add(swigluBackward, { gate_up: a.gateUp, dy: s.dinner, dgate_up: s.dgateUp }, {
    tokens,
    width: c.intermediate_size,
  });
  weightGradient(s.dgateUp, a.normed2, w.gateUp, shapes.gateUp);
  recordBias(program, tokens, s.dgateUp, w.gateUpBias, s.partial);
  addLinearBackwardInput(program, { dy: s.dgateUp, weight: w.gateUp.operand, dx: s.dnormed }, shapes.gateUp);
  recordNormBackward(
    program,
    ctx,
    { dy: s.dnormed, x: a.middle, rstd: a.rstd2, dx, partial: s.partial },
    w.norm2,
  );

  weightGradient(dx, a.attended, w.out, shapes.out);
  recordBias(program, tokens, dx, w.outBias, s.partial);
  addLinearBackwardInput(program, { dy: dx, weight: w.out.operand, dx: s.dattended }, shapes.out);
  const attention = {
    qkv: a.qkv,
    segments: ctx.segments,
    dout: s.dattended,
    lse: a.lse,
    delta: s.delta,
    dqkv: s.dqkv,
  };
  program.add(attentionDelta(c.head_dim), { dout: s.dattended, out: a.attended, delta: s.delta }, {
    tokens,
    heads: c.num_attention_heads,
  });
  program.add(attentionBackwardQuery(c.head_dim), attention, attentionDims(c, tokens));
  program.add(attentionBackwardKeyValue(c.head_dim), attention, attentionDims(c, tokens));
  program.add(
    rope,
    { qkv: s.dqkv, positions: ctx.positions, cos: ctx.cos, sin: ctx.sin },
    ropeDims(c, tokens, -1),
  );
  weightGradient(s.dqkv, a.normed1, w.qkv, shapes.qkv);
  recordBias(program, tokens, s.dqkv, w.qkvBias, s.partial);
  addLinearBackwardInput(program, { dy: s.dqkv, weight: w.qkv.operand, dx: s.dnormed }, shapes.qkv);
  recordNormBackward(program, ctx, { dy: s.dnormed, x, rstd: a.rstd1, dx, partial: s.partial }, w.norm1);
}
