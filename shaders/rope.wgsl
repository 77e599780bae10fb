// Rotary position embedding, half-rotation order (Su et al. 2021; HF apply_rotary_pos_emb of Qwen2), in place:
//   with (a, b) the values i and i + D/2 of a head and phi = position * theta^(-2i/D),
//   a' = a cos phi - sign * b sin phi,   b' = b cos phi + sign * a sin phi.
// sign = +1 is forward; sign = -1 is the inverse rotation, which is also the gradient. Nothing is kept.
// qkv [T, stride]: the first `heads` * D values of a row are rotated (query heads, then key heads); positions [T];
// cosine, sine [P, D/2]. One thread rotates EACH neighbouring Values of pairs, a divisor of the D / 2 / LANES of a head: of
// one head, or with WHOLE = 1 of all heads, whose angles are the same. Prelude: Value, LANES, place.

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
  let parts = half / EACH;
  let threads = select(dims.heads, 1u, WHOLE == 1u) * parts;
  let to = place((wid.y * groups.x + wid.x) * GROUP + lane, threads);
  let t = to.y;
  if (t >= dims.tokens) { return; }
  let pair = EACH * place(to.x, parts).x;
  let row = positions[t] * half + pair;
  //# for i in EACH
  let c$i = cosine[row + $i];
  let s$i = dims.sign * sine[row + $i];
  //# end
  let first = t * (dims.stride / LANES);
  // From one head to the next in the part of the row that this thread has.
  for (var at = first + 2u * EACH * to.x - pair; at < first + dims.heads * 2u * half; at += 2u * EACH * threads) {
    //# for i in EACH
    let a$i = qkv[at + $i];
    let b$i = qkv[at + half + $i];
    qkv[at + $i] = a$i * c$i - b$i * s$i;
    qkv[at + half + $i] = b$i * c$i + a$i * s$i;
    //# end
  }
}
