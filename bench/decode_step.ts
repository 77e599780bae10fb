/** One decode step of many sequences at once, in chunks between two reads as in a rollout. @module */
import type { Gpu } from "../gpu/device.ts";
import { CausalLM } from "../models/causal_lm.ts";
import { attentionDecode } from "../shaders/attention_decode.ts";
import { initialWeights } from "../trainer/pretrain.ts";
import { RolloutEngine } from "../trainer/rollout.ts";
import { type Clock, wallTime } from "./clock.ts";
import { liveSlots } from "./decode.ts";
import type { ModelShape } from "./shapes.ts";
import { type StepTime, timeStep } from "./step.ts";
import { tokenIds } from "./workload.ts";

/** Steps between two reads. */
const CHUNK = 16;

/** Times a model's decode step near its full context; one wait a chunk is part of it. */
export async function decodeStep(gpu: Gpu, s: ModelShape, rounds: number, clock: Clock): Promise<StepTime> {
  const { config: c, slots, context } = s;
  const model = await CausalLM.create(gpu, c, initialWeights(0));
  const engine = new RolloutEngine(model, {
    slots,
    blockSize: s.blockSize,
    chunk: CHUNK,
    maxLength: context,
  });
  const ids = tokenIds(slots * s.prompt, c.vocab_size);
  const prompts = Array.from(
    { length: slots },
    (_, i) => [...ids.subarray(i * s.prompt, (i + 1) * s.prompt)],
  );
  // A generation fills the cache and leaves every slot its own blocks; the slots are then set back again and again.
  await engine.generate(prompts, {
    temperature: 1,
    top_p: 0.99,
    top_k: 0,
    min_p: 0,
    repetition_penalty: 1,
    max_tokens: context - s.prompt,
    stop: [],
    seed: 0,
  });
  const { decode } = engine;
  const rewind = (position: number) => gpu.write(decode.slots, liveSlots(slots, position));
  const middle = context - CHUNK / 2;
  const dims = {
    slots,
    heads: c.num_attention_heads,
    kv_heads: c.num_key_value_heads,
    max_blocks: context / s.blockSize,
    block_size: s.blockSize,
    rows: slots * context,
    scale: 1,
  };
  const kernel = attentionDecode(c.head_dim).fit!(dims, gpu.traits, {});
  const full = kernel.cost(dims);
  const seen = middle / context;
  const result = await timeStep(
    {
      name: `decode_step.${s.name}`,
      what: `${slots} sequences, context ${
        context - CHUNK + 1
      } to ${context}, top-p 0.99, ${CHUNK} steps a wait`,
      tokens: slots,
      time: async () => {
        rewind(context - CHUNK);
        return await wallTime(gpu, () => decode.run(CHUNK)) / CHUNK;
      },
      prepare: () => rewind(middle - 1),
      programs: [decode.step],
      costs: { [kernel.name]: { flops: full.flops * seen, bytes: full.bytes * seen } },
    },
    rounds,
    clock,
  );
  engine.free();
  model.free();
  return result;
}
