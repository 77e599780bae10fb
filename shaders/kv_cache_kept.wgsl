// kv_cache.wgsl's `write` for software adapters, whose decode attention reads the caches through textures: every row goes
// into the cache and into its texture, which nobody has to fill again before the next step. Formula and shapes stand there;
// element 4i of a cache is texel (i & 1023, i >> 10).

struct Dims { tokens: u32, heads: u32, kv_heads: u32, head_dim: u32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec4f>;
@group(0) @binding(19) var k_texture: texture_storage_2d<rgba32float, write>;
@group(0) @binding(20) var v_texture: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(64)
fn write_kept(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) lid: vec3u,
) {
  let i = (wid.y * groups.x + wid.x) * 64u + lid.x;
  let width = d.kv_heads * d.head_dim / 4u;
  let t = i / width;
  if (t >= d.tokens) { return; }
  let row = rows[t];
  if (row == 0xffffffffu) { return; }
  let c = i % width;
  let q_width = d.heads * d.head_dim / 4u;
  let source = t * (q_width + 2u * width) + q_width + c;
  let dest = row * width + c;
  let k = qkv[source];
  let v = qkv[source + width];
  k_cache[dest] = k;
  v_cache[dest] = v;
  let texel = vec2u(dest & 1023u, dest >> 10u);
  textureStore(k_texture, texel, k);
  textureStore(v_texture, texel, v);
}
