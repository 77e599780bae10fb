/** The AEPO gradient and what it is shaped by, on the responses of an iteration. @module */
import { hweMask, meanThreshold, spanQuantile, windowMean } from "../shaders/entropy_window.ts";
import { KL_KINDS, policyLoss, tokenAdvantage } from "../shaders/policy_loss.ts";
import { valueLoss } from "../shaders/value_loss.ts";
import type { ModelShape } from "./shapes.ts";
import { spread, type Workload, workload } from "./workload.ts";

/** The kernels on one response for every slot. */
export function policyWorkloads(s: ModelShape): Workload[] {
  const sequences = s.slots;
  const length = s.context - s.prompt;
  const tokens = sequences * length;
  const shape = `${sequences} x ${length} tokens`;
  const spans = Uint32Array.from({ length: 2 * sequences }, (_, i) => i % 2 ? length : (i >> 1) * length);
  const windows = { sequences, window: 3, kind: 0, q: 0.95 };
  const entropy = spread(tokens).map((x) => x + 0.5);
  const out = new Float32Array(tokens);
  const settings = {
    tokens,
    sequences,
    length_normalise: 0,
    clip_low: 0.2,
    clip_high: 0.28,
    clip_dual: 3,
    kl_kind: KL_KINDS.low_var_kl,
  };
  const sequence_of = Uint32Array.from({ length: tokens }, (_, t) => Math.floor(t / length));
  // Every token's entropy is read and its result written; the mask is read back to be counted.
  const pass = { flops: tokens, bytes: 8 * tokens };
  return [
    workload(windowMean, shape, windows, { entropy, spans, out }, { ...pass, flops: 4 * tokens }),
    workload(spanQuantile, shape, windows, { values: entropy, spans }, { bytes: 4 * tokens }),
    workload(meanThreshold, shape, windows, {}, { flops: sequences, bytes: 4 * sequences }),
    workload(hweMask, shape, windows, { window_mean: entropy, spans, mask: out }, pass),
    workload(tokenAdvantage, shape, settings, { spans }),
    workload(policyLoss, shape, settings, { sequence_of }),
    workload(valueLoss, shape, { tokens, clip: 0.5, coefficient: 0.1 }, {}),
  ];
}
