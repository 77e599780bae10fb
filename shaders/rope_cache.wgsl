// What a decode step does to its rows of qkv before attention: rope.wgsl's rotation, and kv_cache.wgsl's `write`, so that
// keys go to the cache as they are turned.
//   qkv [T, (Hq + 2 Hkv) D]: q heads are rotated in place, k and v heads stay; positions [T]; cosine, sine [P, D / 2]
//   k_cache[rows[t]] = the rotated k part of row t, v_cache[rows[t]] = its v part, [rows, Hkv D] of vec4s of Cached, a
//   prelude's; rows[t] = 0xffffffff: neither
// D is a multiple of 8. A thread has two vec4s of a head, D / 2 apart; with WHOLE = 1 those of all heads, whose angles are
// the same. With KEPT = 1 (software adapters, whose decode attention reads the caches through textures) every row goes into
// the cache's texture too, which nobody has to fill again: element 4i is texel (i & 1023, i >> 10).

struct Dims { tokens: u32, heads: u32, kv_heads: u32, head_dim: u32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> cosine: array<vec4f>;
@group(0) @binding(4) var<storage, read> sine: array<vec4f>;
@group(0) @binding(5) var<storage, read> rows: array<u32>;
@group(0) @binding(6) var<storage, read_write> k_cache: array<vec4<Cached>>;
@group(0) @binding(7) var<storage, read_write> v_cache: array<vec4<Cached>>;
//# for kept in KEPT
@group(0) @binding(22) var k_texture: texture_storage_2d<rgba32float, write>;
@group(0) @binding(23) var v_texture: texture_storage_2d<rgba32float, write>;
//# end

fn keep_key(at: u32, k: vec4f) {
  k_cache[at] = vec4<Cached>(k);
  //# for kept in KEPT
  textureStore(k_texture, vec2u(at & 1023u, at >> 10u), k);
  //# end
}

fn keep_value(at: u32, v: vec4f) {
  v_cache[at] = vec4<Cached>(v);
  //# for kept in KEPT
  textureStore(v_texture, vec2u(at & 1023u, at >> 10u), v);
  //# end
}

@compute @workgroup_size(GROUP)
fn rope_cache(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) lane: u32) {
  let half = d.head_dim / 8u;
  let heads = d.heads + 2u * d.kv_heads;
  let shared_by = select(heads, 1u, WHOLE == 1u);
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let t = i / (shared_by * half);
  if (t >= d.tokens) { return; }
  let pair = i % half;
  let row = rows[t];
  let turn = positions[t] * half + pair;
  let c = cosine[turn];
  let s = sine[turn];
  for (var head = i / half % shared_by; head < heads; head += shared_by) {
    let at = (t * heads + head) * 2u * half + pair;
    let a = qkv[at];
    let b = qkv[at + half];
    let x = a * c - b * s;
    let y = b * c + a * s;
    if (head < d.heads) {
      qkv[at] = x;
      qkv[at + half] = y;
    } else if (row != 0xffffffffu) {
      let dest = (row * d.kv_heads + (head - d.heads) % d.kv_heads) * 2u * half + pair;
      if (head < d.heads + d.kv_heads) {
        keep_key(dest, x);
        keep_key(dest + half, y);
      } else {
        keep_value(dest, a);
        keep_value(dest + half, b);
      }
    }
  }
}
