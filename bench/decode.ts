/** What only a decode step has: slots, the paged cache, attention over it, sampling. @module */
import { attentionDecode, attentionDecodeStorage } from "../shaders/attention_decode.ts";
import { kvCopyRows, kvCopyRowsHalf, kvWrite, kvWriteHalf } from "../shaders/kv_cache.ts";
import { ropeTables } from "../shaders/rope.ts";
import { ropeCache, ropeCacheHalf } from "../shaders/rope_cache.ts";
import { filteredProbabilities, sample } from "../shaders/sample.ts";
import { beginStep, QUEUE_WORDS, refillSlots, SLOT_WORDS } from "../shaders/slots.ts";
import { topToken } from "../shaders/top_token.ts";
import type { Traits } from "./linear.ts";
import type { ModelShape } from "./shapes.ts";
import { spread, type Workload, workload } from "./workload.ts";

/** Slots [slots, 8] that are all alive at `position` and stay so. */
export function liveSlots(slots: number, position: number): Uint32Array<ArrayBuffer> {
  const table = new Uint32Array(slots * SLOT_WORDS);
  for (let s = 0; s < slots; s++) table.set([s + 1, position, 1, 1e9, s, 1, 1, 0], s * SLOT_WORDS);
  return table;
}

/** Sizes, bit sets and outputs of a draw with top-p from a vocabulary. */
function draw(slots: number, vocabulary: number, state: Uint32Array<ArrayBuffer>) {
  const words = Math.ceil(vocabulary / 32);
  const choice = {
    slots,
    vocab: vocabulary,
    stride: vocabulary,
    stop_count: 1,
    temperature: 1,
    top_p: 0.99,
    top_k: 0,
    min_p: 0,
    repetition_penalty: 1,
  };
  const bits = { slots: state, seen: new Uint32Array(slots * words), banned: new Uint32Array(words) };
  // 0xffffffff is no token: the slots never stop.
  const output = {
    stops: Uint32Array.of(0xffffffff),
    out_tokens: new Uint32Array(slots),
    tick: new Uint32Array(1),
  };
  return { choice, bits, output };
}

/** What the models here do not have: Qwen2.5's vocabulary, and heads that only a fallback of software adapters serves. */
export function rareDecodeWorkloads({ software, subgroups }: Traits): Workload[] {
  const adapter = { software, subgroup: 0, subgroups };
  const slots = 8;
  const { choice, bits, output } = draw(slots, 151_936, liveSlots(slots, 95));
  const list = [
    workload(sample.fit!(choice, adapter, {}), `${slots} slots, vocabulary 151936, top-p 0.99`, choice, {
      ...bits,
      ...output,
    }),
  ];
  if (!software) return list;
  const attention = {
    slots,
    heads: 2,
    kv_heads: 1,
    max_blocks: 6,
    block_size: 16,
    rows: 96 * slots,
    scale: 1 / 16,
  };
  const table = Uint32Array.from({ length: 6 * slots }, (_, i) => i);
  const state = { slots: liveSlots(slots, 95), table };
  list.push(workload(attentionDecodeStorage(256), `${slots} slots, context 96`, attention, state));
  return list;
}

/** The kernels of a model's decode step at its full context, in the variant that the adapter gets. */
export function decodeWorkloads(s: ModelShape, { software, subgroups, precision }: Traits): Workload[] {
  const half = precision === "float16" && !software;
  const { config: c, slots, blockSize, context } = s;
  const max_blocks = context / blockSize;
  const heads = { heads: c.num_attention_heads, kv_heads: c.num_key_value_heads };
  const width = c.num_key_value_heads * c.head_dim;
  const cache = () => spread(slots * context * width);
  const state = liveSlots(slots, context - 1);
  // Blocks of different sequences lie interleaved, as they do when sequences grow together.
  const table = Uint32Array.from(
    { length: slots * max_blocks },
    (_, i) => i % max_blocks * slots + Math.floor(i / max_blocks),
  );
  const rows = Uint32Array.from({ length: slots }, (_, slot) => slot * context);
  const copies = slots * (blockSize - 1);
  const pairs = Uint32Array.from({ length: 2 * copies }, (_, i) => i % 2 * copies + (i >> 1));
  const paged = { slots, max_blocks, block_size: blockSize };
  const { choice, bits, output } = draw(slots, c.vocab_size, state);
  const batch = `${s.name} ${slots} slots`;
  const adapter = { software, subgroup: 0, subgroups };
  const refill = refillSlots.fit!({ lanes: slots, ring: slots }, adapter, {
    table: 2 * slots * max_blocks,
    seen: 1,
  });
  const attention = { ...paged, ...heads, rows: slots * context, scale: 1 / Math.sqrt(c.head_dim) };
  return [
    workload(beginStep, batch, paged, { slots: state, table, offsets: new Uint32Array(slots) }),
    workload(refill, `${batch}, all live`, {
      lanes: slots,
      used: slots,
      ring: slots,
      max_blocks,
      seen_words: 0,
    }, {
      slots: liveSlots(2 * slots, context - 1),
      table: new Uint32Array(2 * slots * max_blocks),
      offsets: new Uint32Array(2 * slots),
      seen: new Uint32Array(1),
      owners: new Uint32Array(2 * slots),
      queue: new Uint32Array(QUEUE_WORDS + 2 * slots),
      tick: new Uint32Array(1),
      out_owners: new Uint32Array(slots),
    }),
    workload(half ? kvWriteHalf : kvWrite, `${s.name} ${s.tokens} tokens`, {
      tokens: s.tokens,
      ...heads,
      head_dim: c.head_dim,
    }, {
      rows: Uint32Array.from({ length: s.tokens }, (_, t) => t),
      k_cache: cache(),
      v_cache: cache(),
    }),
    workload(half ? ropeCacheHalf : ropeCache.fit!({ head_dim: c.head_dim }, adapter, {}), batch, {
      tokens: slots,
      ...heads,
      head_dim: c.head_dim,
    }, {
      positions: new Uint32Array(slots).fill(context - 1),
      ...ropeTables(context, c.head_dim, 10000),
      rows,
      k_cache: cache(),
      v_cache: cache(),
    }),
    workload(half ? kvCopyRowsHalf : kvCopyRows, `${s.name} ${copies} x ${width}`, { count: copies, width }, {
      pairs,
      k_cache: cache(),
      v_cache: cache(),
    }),
    workload(
      attentionDecode(c.head_dim, half).fit!(attention, adapter, {}),
      `${batch}, context ${context}`,
      attention,
      { slots: state, table, k_cache: cache(), v_cache: cache() },
    ),
    workload(sample.fit!(choice, adapter, {}), `${batch}, vocabulary ${c.vocab_size}, top-p 0.99`, choice, {
      ...bits,
      ...output,
    }),
    workload(topToken.fit!({}, adapter, {}), `${batch}, vocabulary ${c.vocab_size}`, {
      slots,
      vocab: c.vocab_size,
      stride: c.vocab_size,
    }, { slots: state, tick: new Uint32Array(1), out: new Uint32Array(slots) }),
    workload(
      filteredProbabilities.fit!(choice, adapter, {}),
      `${batch}, vocabulary ${c.vocab_size}, top-p 0.99`,
      choice,
      bits,
    ),
  ];
}
