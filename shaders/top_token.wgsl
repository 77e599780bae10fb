// The most likely token of every live slot, before `sample` draws one: out[tick + s] = the first v with the largest logit.
//   logits [S, stride], slots [S, 8] (word 2: alive), tick [1] = workgroups of `sample` so far, S a step: the row to write;
//   out [ticks, S]: 0xffffffff for dead slots; rows past the end are not written.
// One workgroup a slot, a lane every LANES-th token (a power of two that stands in front), four of them at a time. Source: the release looks for trigger words in the arg-max token.

struct Dims {
  slots: u32,
  vocab: u32,
  stride: u32,
}

const LOWEST = -3.4e38;
const NONE = 0xffffffffu;

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read> tick: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;

var<workgroup> top: array<f32, LANES>;
var<workgroup> token: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn top_token(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let s = group.x;
  if (s >= d.slots) { return; }
  let i = lane.x;
  var best = LOWEST;
  var first = NONE;
  for (var v = i; v < d.vocab; v += 4u * LANES) {
    //# for j in 4
    let y$j = select(LOWEST, logits[s * d.stride + v + $j * LANES], v + $j * LANES < d.vocab);
    //# end
    //# for j in 4
    if (y$j > best) {
      best = y$j;
      first = v + $j * LANES;
    }
    //# end
  }
  top[i] = best;
  token[i] = first;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (i < step) {
      let better = top[i + step] > top[i] || (top[i + step] == top[i] && token[i + step] < token[i]);
      if (better) {
        top[i] = top[i + step];
        token[i] = token[i + step];
      }
    }
    workgroupBarrier();
  }
  let at = tick[0] + s;
  if (i == 0u && at < arrayLength(&out)) { out[at] = select(NONE, token[0], slots[s * 8u + 2u] == 1u); }
}
