// Backward of attention.wgsl, which stands in front of it, says the formulas and the way of working in tiles of 8 x 8.

// exp(s - lse) where valid, else 0: the probabilities of a column of scores.
fn chance(s: vec4f, valid: vec4<bool>, log_sum: vec4f) -> vec4f { return select(vec4f(0.0), exp(s - log_sum), valid); }

// ds [keys, queries] of four keys and four query rows.
fn query_slopes(s: mat4x4f, dp: mat4x4f, key: vec4u, rows: Queries, l: vec4f, delta: vec4f) -> mat4x4f {
  return mat4x4f(
    chance(s[0], inside(key, rows.first.x, rows.end.x), vec4f(l.x)) * (dp[0] - delta.x),
    chance(s[1], inside(key, rows.first.y, rows.end.y), vec4f(l.y)) * (dp[1] - delta.y),
    chance(s[2], inside(key, rows.first.z, rows.end.z), vec4f(l.z)) * (dp[2] - delta.z),
    chance(s[3], inside(key, rows.first.w, rows.end.w), vec4f(l.w)) * (dp[3] - delta.w)) * dims.scale;
}

// Four keys: places of k and v, and the query tokens first..end-1 that see them.
struct Keys { k: vec4u, v: vec4u, first: vec4u, end: vec4u }

fn keys(token: vec4u, kv_head: u32) -> Keys {
  let t = min(token, vec4u(dims.tokens - 1u));
  let k = key_place(t, kv_head);
  var first = t;
  if (dims.causal == 0u) { first = firsts(t); }
  return Keys(k, k + dims.kv_heads * VECTORS, first, ends(t));
}

// p [queries, keys] of four query rows at tokens `token` and four keys.
fn key_chances(s: mat4x4f, token: vec4u, k: Keys, l: vec4f) -> mat4x4f {
  return mat4x4f(
    chance(s[0], inside(token, k.first.x, k.end.x), l),
    chance(s[1], inside(token, k.first.y, k.end.y), l),
    chance(s[2], inside(token, k.first.z, k.end.z), l),
    chance(s[3], inside(token, k.first.w, k.end.w), l));
}

// ds [queries, keys].
fn key_slopes(p: mat4x4f, dp: mat4x4f, delta: vec4f) -> mat4x4f {
  return mat4x4f(p[0] * (dp[0] - delta), p[1] * (dp[1] - delta), p[2] * (dp[2] - delta), p[3] * (dp[3] - delta)) *
    dims.scale;
}

@compute @workgroup_size(GROUP)
fn backward_query(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let blocks = (dims.tokens * (dims.heads / dims.kv_heads) + 7u) / 8u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let x = queries(i % blocks * 8u + LOW, kv_head);
  let y = queries(i % blocks * 8u + HIGH, kv_head);
  let out_x = x.at * VECTORS;
  let out_y = y.at * VECTORS;
  let lse_x = load_lse(x.at);
  let lse_y = load_lse(y.at);
  let delta_x = load_delta(x.at);
  let delta_y = load_delta(y.at);
  for (var d = 0u; d < VECTORS; d++) {
    store_dqkv(x.q + d, mat4x4f());
    store_dqkv(y.q + d, mat4x4f());
  }
  let last = largest(max(x.end, y.end)) - 1u;
  for (var key = smallest(min(x.first, y.first)); key <= last; key += 8u) {
    let ka = key_place(min(key + LOW, vec4u(last)), kv_head);
    let kb = key_place(min(key + HIGH, vec4u(last)), kv_head);
    let va = ka + dims.kv_heads * VECTORS;
    let vb = kb + dims.kv_heads * VECTORS;
    var ax = mat4x4f();
    var ay = mat4x4f();
    var bx = mat4x4f();
    var by = mat4x4f();
    var dax = mat4x4f();
    var day = mat4x4f();
    var dbx = mat4x4f();
    var dby = mat4x4f();
    for (var d = 0u; d < VECTORS; d++) {
      let qx = load_qkv(x.q + d);
      let qy = load_qkv(y.q + d);
      let k_a = transpose(load_qkv(ka + d));
      let k_b = transpose(load_qkv(kb + d));
      ax += k_a * qx;
      ay += k_a * qy;
      bx += k_b * qx;
      by += k_b * qy;
      let dx = load_dout(out_x + d);
      let dy = load_dout(out_y + d);
      let v_a = transpose(load_qkv(va + d));
      let v_b = transpose(load_qkv(vb + d));
      dax += v_a * dx;
      day += v_a * dy;
      dbx += v_b * dx;
      dby += v_b * dy;
    }
    let sax = query_slopes(ax * dims.scale, dax, key + LOW, x, lse_x, delta_x);
    let say = query_slopes(ay * dims.scale, day, key + LOW, y, lse_y, delta_y);
    let sbx = query_slopes(bx * dims.scale, dbx, key + HIGH, x, lse_x, delta_x);
    let sby = query_slopes(by * dims.scale, dby, key + HIGH, y, lse_y, delta_y);
    for (var d = 0u; d < VECTORS; d++) {
      let a = load_qkv(ka + d);
      let b = load_qkv(kb + d);
      let dx = load_dqkv(x.q + d) + a * sax + b * sbx;
      let dy = load_dqkv(y.q + d) + a * say + b * sby;
      store_dqkv(x.q + d, dx);
      store_dqkv(y.q + d, dy);
    }
  }
}

@compute @workgroup_size(GROUP)
fn backward_key_value(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let blocks = (dims.tokens + 7u) / 8u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let shared_by = dims.heads / dims.kv_heads;
  let x = keys(i % blocks * 8u + LOW, kv_head);
  let y = keys(i % blocks * 8u + HIGH, kv_head);
  for (var d = 0u; d < VECTORS; d++) {
    store_dqkv(x.k + d, mat4x4f());
    store_dqkv(y.k + d, mat4x4f());
    store_dqkv(x.v + d, mat4x4f());
    store_dqkv(y.v + d, mat4x4f());
  }
  let last = largest(max(x.end, y.end)) * shared_by - 1u;
  for (var row = smallest(min(x.first, y.first)) * shared_by; row <= last; row += 8u) {
    let a = queries(min(row + LOW, vec4u(last)), kv_head);
    let b = queries(min(row + HIGH, vec4u(last)), kv_head);
    let out_a = a.at * VECTORS;
    let out_b = b.at * VECTORS;
    var ax = mat4x4f();
    var ay = mat4x4f();
    var bx = mat4x4f();
    var by = mat4x4f();
    var dax = mat4x4f();
    var day = mat4x4f();
    var dbx = mat4x4f();
    var dby = mat4x4f();
    for (var d = 0u; d < VECTORS; d++) {
      let kx = load_qkv(x.k + d);
      let ky = load_qkv(y.k + d);
      let qa = transpose(load_qkv(a.q + d));
      let qb = transpose(load_qkv(b.q + d));
      ax += qa * kx;
      ay += qa * ky;
      bx += qb * kx;
      by += qb * ky;
      let vx = load_qkv(x.v + d);
      let vy = load_qkv(y.v + d);
      let da = transpose(load_dout(out_a + d));
      let db = transpose(load_dout(out_b + d));
      dax += da * vx;
      day += da * vy;
      dbx += db * vx;
      dby += db * vy;
    }
    let token_a = (row + LOW) / shared_by;
    let token_b = (row + HIGH) / shared_by;
    let lse_a = load_lse(a.at);
    let lse_b = load_lse(b.at);
    let pax = key_chances(ax * dims.scale, token_a, x, lse_a);
    let pay = key_chances(ay * dims.scale, token_a, y, lse_a);
    let pbx = key_chances(bx * dims.scale, token_b, x, lse_b);
    let pby = key_chances(by * dims.scale, token_b, y, lse_b);
    let delta_a = load_delta(a.at);
    let delta_b = load_delta(b.at);
    let sax = key_slopes(pax, dax, delta_a);
    let say = key_slopes(pay, day, delta_a);
    let sbx = key_slopes(pbx, dbx, delta_b);
    let sby = key_slopes(pby, dby, delta_b);
    for (var d = 0u; d < VECTORS; d++) {
      let qa = load_qkv(a.q + d);
      let qb = load_qkv(b.q + d);
      let dkx = load_dqkv(x.k + d) + qa * sax + qb * sbx;
      let dky = load_dqkv(y.k + d) + qa * say + qb * sby;
      let da = load_dout(out_a + d);
      let db = load_dout(out_b + d);
      let dvx = load_dqkv(x.v + d) + da * pax + db * pbx;
      let dvy = load_dqkv(y.v + d) + da * pay + db * pby;
      store_dqkv(x.k + d, dkx);
      store_dqkv(y.k + d, dky);
      store_dqkv(x.v + d, dvx);
      store_dqkv(y.v + d, dvy);
    }
  }
}
