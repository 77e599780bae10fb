/**
 * Filters, draw and slot state of sampling, in plain f64 loops with sorting. The generator is written with BigInt, apart
 * from the shipped one.
 * @module
 */

/** Settings of {@link sampleSlot}; Hugging Face's names. */
export interface SampleShape {
  slots: number;
  vocab: number;
  stride: number;
  stop_count: number;
  temperature: number;
  top_p: number;
  top_k: number;
  min_p: number;
  repetition_penalty: number;
}

/** Bit v of a bit set that starts at word `base`. */
function has(bits: ArrayLike<number>, v: number, base = 0): boolean {
  return ((bits[base + (v >> 5)] >>> (v & 31)) & 1) === 1;
}

/** Philox4x32-10, first word. */
export function philoxWord(counter: number[], key: number[]): number {
  const mask = 0xffffffffn;
  let c = counter.map(BigInt), k = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const p = 0xd2511f53n * c[0], q = 0xcd9e8d57n * c[2];
    c = [(q >> 32n) ^ c[1] ^ k[0], q & mask, (p >> 32n) ^ c[3] ^ k[1], p & mask];
    k = [(k[0] + 0x9e3779b9n) & mask, (k[1] + 0xbb67ae85n) & mask];
  }
  return Number(c[0]);
}

/** Probabilities of one row after repetition penalty, bans, temperature, top-k, top-p, min-p; [vocab], zeros if none. */
export interface Filtered {
  probabilities: Float64Array;
  /** how far the nearest running sum of the sorted probabilities is from top_p */
  margin: number;
}

/** The filters of one row, in the order of transformers' logits processors. Greedy puts all weight on the first largest. */
export function filter(
  row: ArrayLike<number>,
  o: SampleShape,
  seen: (v: number) => boolean,
  banned: (v: number) => boolean,
): Filtered {
  const y = Float64Array.from({ length: o.vocab }, (_, v) => {
    if (banned(v)) return -Infinity;
    const x = row[v];
    if (!seen(v) || o.repetition_penalty === 1) return x;
    return x > 0 ? x / o.repetition_penalty : x * o.repetition_penalty;
  });
  const none = { probabilities: new Float64Array(o.vocab), margin: 1 };
  let order = Array.from(y, (_, v) => v).filter((v) => y[v] > -Infinity).sort((a, b) => y[b] - y[a] || a - b);
  if (order.length === 0) return none;
  if (o.temperature === 0) {
    none.probabilities[order[0]] = 1;
    return none;
  }
  const weight = (v: number) => Math.exp((y[v] - y[order[0]]) / o.temperature);
  if (o.top_k > 0 && o.top_k < order.length) {
    const kth = y[order[o.top_k - 1]];
    order = order.filter((v) => y[v] >= kth);
  }
  let margin = 1;
  if (o.top_p < 1) {
    const total = order.reduce((sum, v) => sum + weight(v), 0);
    let before = 0, count = 0;
    for (const v of order) {
      margin = Math.min(margin, Math.abs(before / total - o.top_p));
      if (count > 0 && before / total >= o.top_p) break;
      before += weight(v);
      count++;
    }
    order = order.slice(0, count);
  }
  const kept = order.filter((v) => weight(v) >= o.min_p);
  const total = kept.reduce((sum, v) => sum + weight(v), 0);
  for (const v of kept) none.probabilities[v] = weight(v) / total;
  return { probabilities: none.probabilities, margin };
}

/** Everything a launch reads and carries on. */
export interface SampleState {
  logits: ArrayLike<number>;
  slots: ArrayLike<number>;
  seen: ArrayLike<number>;
  banned: ArrayLike<number>;
  stops: ArrayLike<number>;
  out_tokens: ArrayLike<number>;
  out_values: ArrayLike<number>;
  tick: ArrayLike<number>;
}

/** What a launch leaves, the probabilities it drew from, and the smallest distance of any choice to a neighbour's. */
export interface Sampled {
  slots: Uint32Array;
  seen: Uint32Array;
  out_tokens: Uint32Array;
  out_values: Float64Array;
  tick: Uint32Array;
  probabilities: Float64Array;
  margin: number;
}

/** One launch of the kernel `sample`. */
export function sampleAll(state: SampleState, o: SampleShape): Sampled {
  const slots = Uint32Array.from(state.slots), seen = Uint32Array.from(state.seen);
  const outTokens = Uint32Array.from(state.out_tokens), outValues = Float64Array.from(state.out_values);
  const probabilities = new Float64Array(o.slots * o.vocab);
  const words = Math.ceil(o.vocab / 32);
  let margin = 1;
  for (let s = 0; s < o.slots; s++) {
    const at = Math.floor(state.tick[0] / o.slots) * o.slots + s;
    outTokens[at] = 0xffffffff;
    outValues.fill(0, 2 * at, 2 * at + 2);
    if (slots[s * 8 + 2] !== 1) continue;
    const row = Array.from({ length: o.vocab }, (_, v) => state.logits[s * o.stride + v]);
    const filtered = filter(row, o, (v) => has(state.seen, v, s * words), (v) => has(state.banned, v));
    const p = row.every(Number.isFinite) ? filtered.probabilities : new Float64Array(o.vocab);
    if (p.every((x) => x === 0)) {
      slots[s * 8 + 2] = 0;
      slots[s * 8 + 7] = 3;
      continue;
    }
    probabilities.set(p, s * o.vocab);
    const position = slots[s * 8 + 1] + 1;
    const u = (philoxWord([position, 0, 0, 0], [slots[s * 8 + 4], slots[s * 8 + 5]]) >>> 8) / 2 ** 24;
    let sum = 0, token = -1;
    for (let lane = 0; lane < 64 && token < 0; lane++) {
      for (let v = lane; v < o.vocab && token < 0; v += 64) {
        sum += p[v];
        if (p[v] > 0) margin = Math.min(margin, filtered.margin, o.temperature === 0 ? 1 : Math.abs(sum - u));
        if (p[v] > 0 && sum > u) token = v;
      }
    }
    const inverse = 1 / (o.temperature || 1);
    const top = Math.max(...row);
    const z = row.reduce((a, x) => a + Math.exp((x - top) * inverse), 0);
    const logP = row.map((x) => (x - top) * inverse - Math.log(z));
    outTokens[at] = token;
    outValues[2 * at] = logP[token];
    outValues[2 * at + 1] = -logP.reduce((a, x) => a + Math.exp(x) * x, 0);
    seen[s * words + (token >> 5)] |= 1 << (token & 31);
    let finish = position > slots[s * 8 + 3] ? 2 : 0;
    for (let i = 0; i < o.stop_count; i++) if (state.stops[i] === token) finish = 1;
    slots.set([token, position, finish ? 0 : 1], s * 8);
    slots[s * 8 + 6]++;
    slots[s * 8 + 7] = finish;
  }
  return {
    slots,
    seen,
    out_tokens: outTokens,
    out_values: outValues,
    tick: Uint32Array.of(state.tick[0] + o.slots),
    probabilities,
    margin,
  };
}
