// Rotary position embedding, half-rotation order (Su et al. 2021; HF apply_rotary_pos_emb of Qwen2), in place:
//   with (a, b) the values i and i + D/2 of a head and phi = position * theta^(-2i/D),
//   a' = a cos phi - sign * b sin phi,   b' = b cos phi + sign * a sin phi.
// sign = +1 is forward; sign = -1 is the inverse rotation, which is also the gradient. Nothing is kept.
// qkv [T, stride]: the first `heads` * D values of a row are rotated (query heads, then key heads); positions [T];
// cosine, sine [P, D/2]. One thread rotates one Value of pairs: of one head, or with WHOLE = 1
// of all heads, whose angles are the same. Prelude: Value, LANES, place.

struct Dims { tokens: u32, heads: u32, stride: u32, head_dim: u32, sign: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> qkv: array<Value>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> cosine: array<Value>;
@group(0) @binding(4) var<storage, read> sine: array<Value>;

@compute @workgroup_size(GROUP)
fn rope(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let half = dims.head_dim / 2u / LANES;
  let threads = select(dims.heads, 1u, WHOLE == 1u) * half;
  let to = place((wid.y * groups.x + wid.x) * GROUP + lane, threads);
  let t = to.y;
  if (t >= dims.tokens) { return; }
  let pair = place(to.x, half).x;
  let row = positions[t] * half + pair;
  let c = cosine[row];
  let s = dims.sign * sine[row];
  let first = t * (dims.stride / LANES);
  // From one head to the next in the part of the row that this thread has.
  for (var at = first + 2u * to.x - pair; at < first + dims.heads * 2u * half; at += 2u * threads) {
    let a = qkv[at];
    let b = qkv[at + half];
    qkv[at] = a * c - b * s;
    qkv[at + half] = b * c + a * s;
  }
}
