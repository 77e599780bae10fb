// Backward of attention.wgsl with rows and sums in registers, for head sizes whose Head is written out
// (attention_head_*.wgsl); same bindings, formulas and results as attention_backward.wgsl, whose functions it uses.
// A thread owns 4 rows and meets the other side 4 at a time, so that each load serves both products. Measured at
// D = 32 on a software adapter: 0.7 (queries) and 0.35 (keys, values) of the time, for 2 to 3 times that of compiling.

@compute @workgroup_size(GROUP)
fn backward_query_registers(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let blocks = (dims.tokens * (dims.heads / dims.kv_heads) + 3u) / 4u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let x = queries(i % blocks * 4u + LOW, kv_head);
  let l = load_lse(x.at);
  let own_delta = load_delta(x.at);
  var q = head_qkv(x.q);
  var d = head_dout(x.at * VECTORS);
  var dq = Head();
  let last = largest(x.end) - 1u;
  for (var key = smallest(x.first); key <= last; key += 4u) {
    let at = key_place(min(key + LOW, vec4u(last)), kv_head);
    var k = head_qkv(at);
    var v = head_qkv(at + dims.kv_heads * VECTORS);
    let s = product(&k, &q) * dims.scale;
    accumulate(&dq, &k, query_slopes(s, product(&v, &d), key + LOW, x, l, own_delta));
  }
  write_dqkv(x.q, &dq);
}

@compute @workgroup_size(GROUP)
fn backward_key_value_registers(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                                @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  let blocks = (dims.tokens + 3u) / 4u;
  let kv_head = i / blocks;
  if (kv_head >= dims.kv_heads) { return; }
  let shared_by = dims.heads / dims.kv_heads;
  let x = keys(i % blocks * 4u + LOW, kv_head);
  var k = head_qkv(x.k);
  var v = head_qkv(x.v);
  var dk = Head();
  var dv = Head();
  let last = largest(x.end) * shared_by - 1u;
  for (var row = smallest(x.first) * shared_by; row <= last; row += 4u) {
    let a = queries(min(row + LOW, vec4u(last)), kv_head);
    var q = head_qkv(a.q);
    var d = head_dout(a.at * VECTORS);
    let p = key_chances(product(&q, &k) * dims.scale, (row + LOW) / shared_by, x, load_lse(a.at));
    accumulate(&dv, &d, p);
    accumulate(&dk, &q, key_slopes(p, product(&d, &v), load_delta(a.at)));
  }
  write_dqkv(x.k, &dk);
  write_dqkv(x.v, &dv);
}
