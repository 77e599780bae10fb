// attention_decode.wgsl for software adapters, which read k and v through textures; formula, shapes and bindings stand
// there.
//
// One invocation serves a slot and HEADS query heads that share a kv head (those that are missing repeat the last one), and
// walks the slot's blocks, four positions at a time: what costs is the loads of k and v, so every one serves all HEADS, and
// queries and sums stay in registers. Nothing passes between invocations. HEAD_DIM, D4 = HEAD_DIM / 4 and HEADS stand in
// front of this text. Loop trips of one invocation: positions / 4 and one or two more a block.

struct Dims { slots: u32, heads: u32, kv_heads: u32, max_blocks: u32, block_size: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var k_cache: Mirror;
@group(0) @binding(3) var v_cache: Mirror;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> slots: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;

const LOWEST = -3e38;

fn highest(v: vec4f) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }

@compute @workgroup_size(16)
fn decode(@builtin(global_invocation_id) id: vec3u) {
  let group = d.heads / d.kv_heads;
  let sets = (group + HEADS - 1u) / HEADS;
  let s = id.x / (d.kv_heads * sets);
  if (s >= d.slots) { return; }
  let part = id.x % (d.kv_heads * sets);
  let kv_head = part / sets;
  let head = kv_head * group + part % sets * HEADS;
  let last = (kv_head + 1u) * group - 1u;
  var n = 0u;
  if (slots[s * 8u + 2u] == 1u) { n = slots[s * 8u + 1u] + 1u; }
  var q: array<array<vec4f, D4>, HEADS>;
  var sum: array<array<vec4f, D4>, HEADS>;
  //# for h in HEADS
  let q$h = (s * (d.heads + 2u * d.kv_heads) + min(head + $h, last)) * D4;
  //# for c in D4
  q[$h][$c] = qkv[q$h + $c] * d.scale;
  //# end
  var top$h = LOWEST;
  var total$h = 0.0;
  //# end
  let stride = d.kv_heads * D4;
  var entry = s * d.max_blocks;
  for (var start = 0u; start < n; start += d.block_size) {
    let base = table[entry] * d.block_size * stride + kv_head * D4;
    entry++;
    let held = min(n - start, d.block_size);
    for (var i = 0u; i < held; i += 4u) {
      // Positions past the end repeat the last one, with a score that counts nothing.
      //# for j in 4
      let at$j = base + min(i + $j, held - 1u) * stride;
      //# end
      let valid = vec4u(i) + vec4u(0u, 1u, 2u, 3u) < vec4u(held);
      //# for h in HEADS
      var score$h = vec4f();
      //# end
      //# for c in D4
      let k$c = mat4x4f(
        texel(k_cache, at0 + $c), texel(k_cache, at1 + $c), texel(k_cache, at2 + $c), texel(k_cache, at3 + $c));
      //# for h in HEADS
      score$h += q[$h][$c] * k$c;
      //# end
      //# end
      //# for h in HEADS
      score$h = select(vec4f(LOWEST), score$h, valid);
      let highest$h = max(top$h, highest(score$h));
      let keep$h = exp(top$h - highest$h);
      let p$h = exp(score$h - highest$h);
      top$h = highest$h;
      total$h = total$h * keep$h + dot(p$h, vec4f(1.0));
      //# end
      //# for c in D4
      let v$c = mat4x4f(
        texel(v_cache, at0 + $c), texel(v_cache, at1 + $c), texel(v_cache, at2 + $c), texel(v_cache, at3 + $c));
      //# for h in HEADS
      sum[$h][$c] = sum[$h][$c] * keep$h + v$c * p$h;
      //# end
      //# end
    }
  }
  //# for h in HEADS
  // A dead slot has sums of zero.
  let inverse$h = select(1.0 / total$h, 0.0, n == 0u);
  if (head + $h <= last) {
    let out$h = (s * d.heads + head + $h) * D4;
    //# for c in D4
    out[out$h + $c] = sum[$h][$c] * inverse$h;
    //# end
  }
  //# end
}
