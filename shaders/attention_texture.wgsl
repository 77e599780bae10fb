// Attention of attention.wgsl for software adapters: the same formulas, bindings and results, with qkv, dout and out read
// through textures and every sum in registers until its one store.
// A thread owns one row of one side (a query, or a key with its value) and meets the other side's rows COLUMNS at a time.
// The GROUP threads of a workgroup own neighbouring rows and walk one range, the union of what their rows see. SHARE
// threads run as one vector: each loads another texel of the rows they meet, and a broadcast hands it to all. A load costs
// some 150 instructions whether its lanes want one texel or 16 different ones, a broadcast 3 (tiny model, SHARE 16 against
// 1: 3 to 5 times as fast). More rows to a thread were no faster: they compile longer and meet more that they do not see.
// No thread of a workgroup leaves early, since a broadcast takes whatever its lane holds.
// HEAD = D; VECTORS = D / 4; LOADS = COLUMNS * VECTORS / SHARE, a whole number; SINGLES = COLUMNS / SHARE, at least 1.

struct Dims { tokens: u32, heads: u32, kv_heads: u32, causal: u32, scale: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var qkv: Mirror;
@group(0) @binding(2) var<storage, read> segments: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

struct DeltaDims { tokens: u32, heads: u32 }
@group(0) @binding(0) var<uniform> delta_dims: DeltaDims;
@group(0) @binding(1) var delta_dout: Mirror;
@group(0) @binding(2) var delta_out: Mirror;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

@group(0) @binding(3) var dout: Mirror;
@group(0) @binding(4) var<storage, read> backward_lse: array<f32>;
@group(0) @binding(5) var<storage, read> backward_delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4f>;

const NOTHING = -1e30;

alias Row = array<vec4f, VECTORS>;
// What a thread loads of COLUMNS rows.
alias Part = array<vec4f, LOADS>;
alias Scores = array<f32, COLUMNS>;

// Where a head, counted over q, k and v heads, starts in qkv.
fn place(token: u32, head: u32) -> u32 { return (token * (dims.heads + 2u * dims.kv_heads) + head) * VECTORS; }

// A query row of a k, v head is one of its query heads at a token.
fn query_token(row: u32) -> u32 { return row / (dims.heads / dims.kv_heads); }
fn query_head(r: u32, kv_head: u32) -> u32 {
  let shared_by = dims.heads / dims.kv_heads;
  let head = kv_head * shared_by + r % shared_by;
  return head;
}

// The keys x..y-1 that a token sees.
fn firsts(token: u32) -> u32 { return segments[token].x; }
fn seen(token: u32) -> vec2u {
  var end = token + 1u;
  if (dims.causal == 0u) { end = segments[token].y; }
  return vec2u(firsts(token), end);
}
// The tokens x..y-1 that see a key.
fn seers(key: u32) -> vec2u {
  var range = segments[key];
  if (dims.causal == 1u) { range.x = key; }
  return range;
}

// sum + a . b
fn dot_onto(sum: f32, a: vec4f, b: vec4f) -> f32 { return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum)))); }

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = wid.y * groups.x + wid.x;
  let rows = dims.tokens * (dims.heads / dims.kv_heads);
  let kv_head = i % dims.kv_heads;
  let block = i / dims.kv_heads * GROUP;
  if (block >= rows) { return; }
  // A row beyond the last repeats it and stores equal values.
  let row = min(block + lane, rows - 1u);
  let token = query_token(row);
  let head = query_head(row, kv_head);
  let own = seen(token);
  let from_q = place(token, head);
  var q: Row;
  var o: Row;
  //# for d in VECTORS
  q[$d] = texel(qkv, from_q + $d) * dims.scale;
  //# end
  var top = NOTHING;
  var sum = 0.0;
  let share = lane % SHARE;
  let end = seen(query_token(min(block + GROUP, rows) - 1u)).y;
  for (var key = seen(query_token(block)).x; key < end; key += COLUMNS) {
    var k: Part;
    var v: Part;
    //# for l in LOADS
    {
      let n = $l * SHARE + share;
      let at = place(min(key + n / VECTORS, end - 1u), dims.heads + kv_head) + n % VECTORS;
      k[$l] = texel(qkv, at);
      v[$l] = texel(qkv, at + dims.kv_heads * VECTORS);
    }
    //# end
    // The zeros are written out: without them a variable keeps what it had in the round before.
    var s = Scores();
    var now = top;
    //# for c in COLUMNS
    //# for d in VECTORS
    s[$c] = dot_onto(s[$c], q[$d], subgroupBroadcast(k[($c * VECTORS + $d) / SHARE], ($c * VECTORS + $d) % SHARE));
    //# end
    if (key + $c < own.x || key + $c >= own.y) { s[$c] = 2.0 * NOTHING; }
    now = max(now, s[$c]);
    //# end
    let shrink = exp(top - now);
    top = now;
    sum *= shrink;
    //# for c in COLUMNS
    s[$c] = exp(s[$c] - now);
    sum += s[$c];
    //# end
    //# for d in VECTORS
    o[$d] *= shrink;
    //# for c in COLUMNS
    o[$d] = fma(vec4f(s[$c]), subgroupBroadcast(v[($c * VECTORS + $d) / SHARE], ($c * VECTORS + $d) % SHARE), o[$d]);
    //# end
    //# end
  }
  let at = token * dims.heads + head;
  lse[at] = top + log(sum);
  //# for d in VECTORS
  out[at * VECTORS + $d] = o[$d] / sum;
  //# end
}

@compute @workgroup_size(GROUP)
fn delta_of(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (i >= delta_dims.tokens * delta_dims.heads) { return; }
  var sum = 0.0;
  for (var d = i * VECTORS; d < (i + 1u) * VECTORS; d++) {
    sum = dot_onto(sum, texel(delta_dout, d), texel(delta_out, d));
  }
  delta[i] = sum;
}

@compute @workgroup_size(GROUP)
fn backward_query(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) lane: u32) {
  let i = wid.y * groups.x + wid.x;
  let rows = dims.tokens * (dims.heads / dims.kv_heads);
  let kv_head = i % dims.kv_heads;
  let block = i / dims.kv_heads * GROUP;
  if (block >= rows) { return; }
  let row = min(block + lane, rows - 1u);
  let token = query_token(row);
  let head = query_head(row, kv_head);
  let own = seen(token);
  let from_q = place(token, head);
  let at = token * dims.heads + head;
  let log_sum = backward_lse[at];
  let own_delta = backward_delta[at];
  var q: Row;
  var g: Row;
  var dq: Row;
  //# for d in VECTORS
  q[$d] = texel(qkv, from_q + $d) * dims.scale;
  g[$d] = texel(dout, at * VECTORS + $d);
  //# end
  let share = lane % SHARE;
  let end = seen(query_token(min(block + GROUP, rows) - 1u)).y;
  for (var key = seen(query_token(block)).x; key < end; key += COLUMNS) {
    var k: Part;
    var v: Part;
    //# for l in LOADS
    {
      let n = $l * SHARE + share;
      let from_k = place(min(key + n / VECTORS, end - 1u), dims.heads + kv_head) + n % VECTORS;
      k[$l] = texel(qkv, from_k);
      v[$l] = texel(qkv, from_k + dims.kv_heads * VECTORS);
    }
    //# end
    var s = Scores();
    var ds = Scores();
    //# for c in COLUMNS
    //# for d in VECTORS
    s[$c] = dot_onto(s[$c], q[$d], subgroupBroadcast(k[($c * VECTORS + $d) / SHARE], ($c * VECTORS + $d) % SHARE));
    ds[$c] = dot_onto(ds[$c], g[$d], subgroupBroadcast(v[($c * VECTORS + $d) / SHARE], ($c * VECTORS + $d) % SHARE));
    //# end
    s[$c] = select(0.0, exp(s[$c] - log_sum), key + $c >= own.x && key + $c < own.y);
    ds[$c] = s[$c] * (ds[$c] - own_delta);
    //# end
    //# for d in VECTORS
    //# for c in COLUMNS
    dq[$d] = fma(vec4f(ds[$c]), subgroupBroadcast(k[($c * VECTORS + $d) / SHARE], ($c * VECTORS + $d) % SHARE), dq[$d]);
    //# end
    //# end
  }
  //# for d in VECTORS
  dqkv[from_q + $d] = dq[$d] * dims.scale;
  //# end
}

@compute @workgroup_size(GROUP)
fn backward_key_value(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) lane: u32) {
  let i = wid.y * groups.x + wid.x;
  let shared_by = dims.heads / dims.kv_heads;
  let kv_head = i % dims.kv_heads;
  let block = i / dims.kv_heads * GROUP;
  if (block >= dims.tokens) { return; }
  let key = min(block + lane, dims.tokens - 1u);
  let own = seers(key);
  let from_k = place(key, dims.heads + kv_head);
  let from_v = from_k + dims.kv_heads * VECTORS;
  var k: Row;
  var v: Row;
  var dk: Row;
  var dv: Row;
  //# for d in VECTORS
  k[$d] = texel(qkv, from_k + $d) * dims.scale;
  v[$d] = texel(qkv, from_v + $d);
  //# end
  let share = lane % SHARE;
  let end = seers(min(block + GROUP, dims.tokens) - 1u).y * shared_by;
  for (var row = seers(block).x * shared_by; row < end; row += COLUMNS) {
    var q: Part;
    var g: Part;
    //# for l in LOADS
    {
      let n = $l * SHARE + share;
      let met = min(row + n / VECTORS, end - 1u);
      let token = query_token(met);
      let head = query_head(met, kv_head);
      q[$l] = texel(qkv, place(token, head) + n % VECTORS);
      g[$l] = texel(dout, (token * dims.heads + head) * VECTORS + n % VECTORS);
    }
    //# end
    // lse and delta of the rows.
    var numbers: array<vec4f, SINGLES>;
    //# for l in SINGLES
    {
      let met = min(row + $l * SHARE + share % COLUMNS, end - 1u);
      let at = query_token(met) * dims.heads + query_head(met, kv_head);
      numbers[$l] = vec4f(backward_lse[at], backward_delta[at], 0.0, 0.0);
    }
    //# end
    var s = Scores();
    var ds = Scores();
    //# for c in COLUMNS
    //# for d in VECTORS
    s[$c] = dot_onto(s[$c], k[$d], subgroupBroadcast(q[($c * VECTORS + $d) / SHARE], ($c * VECTORS + $d) % SHARE));
    ds[$c] = dot_onto(ds[$c], v[$d], subgroupBroadcast(g[($c * VECTORS + $d) / SHARE], ($c * VECTORS + $d) % SHARE));
    //# end
    {
      let token = query_token(row + $c);
      let number = subgroupBroadcast(numbers[$c / SHARE], $c % SHARE);
      s[$c] = select(0.0, exp(s[$c] - number.x), token >= own.x && token < own.y);
      ds[$c] = s[$c] * (ds[$c] - number.y);
    }
    //# end
    //# for d in VECTORS
    //# for c in COLUMNS
    dk[$d] = fma(vec4f(ds[$c]), subgroupBroadcast(q[($c * VECTORS + $d) / SHARE], ($c * VECTORS + $d) % SHARE), dk[$d]);
    dv[$d] = fma(vec4f(s[$c]), subgroupBroadcast(g[($c * VECTORS + $d) / SHARE], ($c * VECTORS + $d) % SHARE), dv[$d]);
    //# end
    //# end
  }
  //# for d in VECTORS
  dqkv[from_k + $d] = dk[$d] * dims.scale;
  dqkv[from_v + $d] = dv[$d];
  //# end
}
