/**
 * Logits of a sequence, which the product never stores, for comparison.
 * @module
 */
import { Program } from "../../gpu/program.ts";
import { recordLogits } from "../../models/logits.ts";
import type { SequenceGraph } from "../../models/sequence_graph.ts";

/** [tokens, vocabulary] of the batch whose forward pass was the graph's last. */
export async function logitsOf(graph: SequenceGraph): Promise<Float32Array> {
  const { model, size } = graph;
  const out = model.gpu.alloc("logits", [size.tokens, model.config.vocab_size], "scratch");
  const program = new Program(model.gpu, "logits");
  recordLogits(program, model, graph.normed, out, size.tokens);
  await program.run();
  const logits = await model.gpu.readF32(out);
  program.destroy();
  model.gpu.pool.free(out);
  return logits;
}
