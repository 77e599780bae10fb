// The key/value cache of one layer: two arrays [rows, Hkv·D] of vec4s of Cached, a prelude's; a row is one position of one
// sequence. qkv is f32.
//
// write:     k_cache[rows[t]] = the k part of qkv row t, v_cache[rows[t]] = its v part; rows[t] = 0xffffffff: nothing.
//            qkv [T, (Hq + 2·Hkv)·D], each row q heads | k heads | v heads, q and k already rotated.
// copy_rows: row pairs[i].y = row pairs[i].x in both caches: a partly filled block gets an owner of its own when a
//            rollout or a branch goes on from a shared prefix.
// Forward only. Source: the block tables of vLLM (arXiv 2309.06180), with our own layout.

struct WriteDims { tokens: u32, heads: u32, kv_heads: u32, head_dim: u32 }
@group(0) @binding(0) var<uniform> wd: WriteDims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec4<Cached>>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec4<Cached>>;

@compute @workgroup_size(64)
fn write(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) lid: vec3u,
) {
  let i = (wid.y * groups.x + wid.x) * 64u + lid.x;
  let width = wd.kv_heads * wd.head_dim / 4u;
  let t = i / width;
  if (t >= wd.tokens) { return; }
  let row = rows[t];
  if (row == 0xffffffffu) { return; }
  let c = i % width;
  let q_width = wd.heads * wd.head_dim / 4u;
  let source = t * (q_width + 2u * width) + q_width + c;
  let dest = row * width + c;
  k_cache[dest] = vec4<Cached>(qkv[source]);
  v_cache[dest] = vec4<Cached>(qkv[source + width]);
}

struct CopyDims { count: u32, width: u32 }
@group(0) @binding(0) var<uniform> cd: CopyDims;
@group(0) @binding(1) var<storage, read> pairs: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> k_rows: array<vec4<Cached>>;
@group(0) @binding(3) var<storage, read_write> v_rows: array<vec4<Cached>>;

@compute @workgroup_size(64)
fn copy_rows(
  @builtin(workgroup_id) wid: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) lid: vec3u,
) {
  let i = (wid.y * groups.x + wid.x) * 64u + lid.x;
  let width = cd.width / 4u;
  let n = i / width;
  if (n >= cd.count) { return; }
  let source = pairs[n].x * width + i % width;
  let dest = pairs[n].y * width + i % width;
  k_rows[dest] = k_rows[source];
  v_rows[dest] = v_rows[source];
}
