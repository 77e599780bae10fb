// What both variants of sample.wgsl share, as their prelude: sizes and settings, all bindings but the logits, the draw's
// random number, and the slot's next state. Formulas and shapes stand in sample.wgsl.

struct Dims {
  slots: u32, vocab: u32, stride: u32, stop_count: u32,
  temperature: f32, top_p: f32, top_k: u32, min_p: f32, repetition_penalty: f32,
}
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(2) var<storage, read_write> slots: array<u32>;
@group(0) @binding(3) var<storage, read_write> seen: array<u32>;
@group(0) @binding(4) var<storage, read> banned: array<u32>;
// sample
@group(0) @binding(5) var<storage, read> stops: array<u32>;
@group(0) @binding(6) var<storage, read_write> out_tokens: array<u32>;
@group(0) @binding(7) var<storage, read_write> out_values: array<vec2f>;
@group(0) @binding(8) var<storage, read_write> tick: array<atomic<u32>>;
// filtered
@group(0) @binding(5) var<storage, read_write> probabilities: array<f32>;

const LOWEST = -3e38;
const NONE = 0xffffffffu;

// u of the slot's next token.
fn random_of(s: u32) -> f32 {
  let counter = vec4u(slots[s * 8u + 1u] + 1u, 0u, 0u, 0u);
  let bits = philox(counter, vec2u(slots[s * 8u + 4u], slots[s * 8u + 5u])).x;
  return f32(bits >> 8u) * 0x1p-24;
}

// The new state of the slot, by one lane.
fn carry_on(s: u32, token: u32) {
  let at = s * 8u;
  if (token == NONE) {
    slots[at + 2u] = 0u;
    slots[at + 7u] = 3u;
    return;
  }
  let position = slots[at + 1u] + 1u;
  slots[at] = token;
  slots[at + 1u] = position;
  slots[at + 6u] += 1u;
  seen[s * ((d.vocab + 31u) / 32u) + token / 32u] |= 1u << (token & 31u);
  var finish = select(0u, 2u, position > slots[at + 3u]);
  for (var i = 0u; i < d.stop_count; i++) {
    if (stops[i] == token) { finish = 1u; }
  }
  if (finish != 0u) {
    slots[at + 2u] = 0u;
    slots[at + 7u] = finish;
  }
}
