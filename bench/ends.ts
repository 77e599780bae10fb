/** Embedding, rows picked for the head, and the head's own kernels: the two ends of a model. @module */
import {
  embeddingBackward,
  embeddingForward,
  embeddingForwardHalf,
  embeddingPlan,
} from "../shaders/embedding.ts";
import { fullKlDivergence, fullKlGradient } from "../shaders/full_kl.ts";
import { headGradient, headReduce } from "../shaders/head.ts";
import { gatherRows, scatterRows } from "../shaders/rows.ts";
import type { Traits } from "./linear.ts";
import type { ModelShape } from "./shapes.ts";
import { spread, tokenIds, type Workload, workload } from "./workload.ts";

/** The kernels before the first and after the last block. */
export function endWorkloads(s: ModelShape, { precision }: Traits): Workload[] {
  const { config: c, tokens, rows } = s;
  const width = c.hidden_size;
  const vocabulary = c.vocab_size;
  const table = { width, first_row: 0, rows: vocabulary };
  const embed = (count: number) =>
    workload(
      precision === "float16" ? embeddingForwardHalf : embeddingForward,
      `${s.name} ${count} x ${width}`,
      {
        tokens: count,
        ...table,
      },
      { ids: tokenIds(count, vocabulary) },
    );
  const plan = embeddingPlan(tokenIds(tokens, vocabulary));
  const picked = `${s.name} ${rows} of ${tokens} x ${width}`;
  const index = Uint32Array.from({ length: rows }, (_, r) => r + Math.floor(r / (s.length - 1)));
  const inverse = new Uint32Array(tokens).fill(0xffffffff);
  index.forEach((token, row) => inverse[token] = row);
  const targets = tokenIds(rows, vocabulary);
  const tile = {
    rows,
    stride: vocabulary,
    first: 0,
    columns: vocabulary,
    last: 1,
    inverse_temperature: 1,
  };
  const logits = `${s.name} ${rows} x ${vocabulary}`;
  return [
    embed(tokens),
    embed(s.slots),
    workload(
      embeddingBackward,
      `${s.name} ${tokens} x ${width}`,
      { unique: plan.unique.length, ...table },
      { ...plan, dy: spread(tokens * width) },
      { flops: tokens * width, bytes: 4 * (tokens * (width + 1) + 2 * plan.unique.length * (width + 1)) },
    ),
    workload(gatherRows, picked, { rows, width }, { index, x: spread(tokens * width) }),
    workload(scatterRows, picked, { rows: tokens, width }, { inverse, dy: spread(rows * width) }),
    workload(headReduce, logits, tile, { targets }),
    workload(headGradient, logits, tile, { targets }),
    workload(fullKlDivergence, logits, tile),
    workload(fullKlGradient, logits, tile, { targets }),
  ];
}
