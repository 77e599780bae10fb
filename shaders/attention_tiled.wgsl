// Packed attention with grouped queries for GPUs with fast workgroup memory: the formulas, bindings and dims of
// attention.wgsl; forward, backward_query and backward_key_value (FlashAttention-2: Dao 2023, algorithms 1 and 2).
// A workgroup owns M rows and walks N rows of the other side at a time: query rows and keys (backward_key_value: keys and
// query rows). The query rows of a k, v head are its query heads at every token, so that grouped heads share k and v.
// Segments lie one after the other, so that a tile's first and last rows bound what it can see: other tiles are not met.
//   scores   both sides pass through workgroup memory SLICE vec4 of the head at a time; each of X · Y threads multiplies
//            4 x 4 of the M x N scores: own rows ty + Y r, others tx + X c, so that neighbours read neighbouring places
//   sums     the weights of the other rows (probabilities, or slopes of the scores) pass through workgroup memory CHUNK
//            rows at a time beside those rows; a thread adds up own rows ty + Y r, vec4 tx + X v of the head, in registers
// What stands in workgroup memory is replaced between two barriers; what comes next is loaded while the present is in use.
// Constants (attention_variants.ts): HEAD = D, a multiple of 4   VECTORS = D / 4   X = N / 4   Y = M / 4   THREADS = X · Y
//   VECS = PART / X rounded up   SLICES · SLICE >= VECTORS   SPAN = SLICE or SLICE + 1, odd: rows begin in other banks
//   OWN_LOADS, OTHER_LOADS, CHUNK_LOADS: vec4 that a thread loads of a slice of either side and of a chunk
//   PARTS workgroups share a tile of keys of wide heads, each with PART = VECTORS / PARTS vec4 of the sums; 1 elsewhere
//   CHUNKS = N / CHUNK   COLUMNS = CHUNK / X   WEIGHTS = Y + 1: threads of a chunk's weights write to different banks

struct Dims { tokens: u32, heads: u32, kv_heads: u32, causal: u32, scale: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> segments: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

@group(0) @binding(3) var<storage, read> dout: array<vec4f>;
@group(0) @binding(4) var<storage, read> backward_lse: array<f32>;
@group(0) @binding(5) var<storage, read> backward_delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4f>;

const NOTHING = vec4f(-1e30);

// Slices of the own rows from 0, of the others from OTHER; or a chunk's weights from 0 and its rows from ROWS. Numbers that
// the threads of a row exchange stand at SHARED.
var<workgroup> memory: array<vec4f, MEMORY>;

// 4 x 4 scores: vec4 r holds those of own row ty + Y r with the others tx + X c.
alias Block = array<vec4f, 4>;
alias Sums = array<array<vec4f, VECS>, 4>;
// Of a thread's loads: where they begin, and what was loaded.
alias OwnPlaces = array<u32, OWN_LOADS>;
alias OtherPlaces = array<u32, OTHER_LOADS>;
alias OwnPart = array<vec4f, OWN_LOADS>;
alias OtherPart = array<vec4f, OTHER_LOADS>;
alias ChunkPart = array<vec4f, CHUNK_LOADS>;

// Where a head, counted over q, k and v heads, starts in qkv.
fn place(token: u32, head: u32) -> u32 { return (token * (dims.heads + 2u * dims.kv_heads) + head) * VECTORS; }
fn key_place(token: u32, kv_head: u32) -> u32 { return place(token, dims.heads + kv_head); }
fn value_place(token: u32, kv_head: u32) -> u32 { return place(token, dims.heads + dims.kv_heads + kv_head); }

// A query row of a k, v head: its token and query head.
struct Query { token: u32, head: u32 }
fn query(row: u32, kv_head: u32) -> Query {
  let shared_by = dims.heads / dims.kv_heads;
  return Query(row / shared_by, kv_head * shared_by + row % shared_by);
}
fn query_place(row: u32, kv_head: u32) -> u32 {
  let q = query(row, kv_head);
  return place(q.token, q.head);
}
// In [T, Hq].
fn row_place(row: u32, kv_head: u32) -> u32 {
  let q = query(row, kv_head);
  return q.token * dims.heads + q.head;
}

// Keys that a query token sees, and query tokens that see a key: from x, before y.
fn keys_of(token: u32) -> vec2u {
  let segment = segments[token];
  if (dims.causal == 1u) { return vec2u(segment.x, token + 1u); }
  return segment;
}
fn queries_of(token: u32) -> vec2u {
  let segment = segments[token];
  if (dims.causal == 1u) { return vec2u(token, segment.y); }
  return segment;
}

fn inside(at: vec4u, range: vec2u) -> vec4<bool> { return (at >= vec4u(range.x)) & (at < vec4u(range.y)); }

// Values q of a row that starts at `at`; 0 behind the head's last.
fn qkv_values(at: u32, q: u32) -> vec4f {
  if (q < VECTORS) { return qkv[at + q]; }
  return vec4f();
}
fn dout_values(at: u32, q: u32) -> vec4f {
  if (q < VECTORS) { return dout[at + q]; }
  return vec4f();
}

fn own_qkv(rows: OwnPlaces, slice: u32, thread: u32) -> OwnPart {
  var part: OwnPart;
  //# for l in OWN_LOADS
  part[$l] = qkv_values(rows[$l], slice * SLICE + (thread + THREADS * $l) % SLICE);
  //# end
  return part;
}
fn other_qkv(rows: OtherPlaces, slice: u32, thread: u32) -> OtherPart {
  var part: OtherPart;
  //# for l in OTHER_LOADS
  part[$l] = qkv_values(rows[$l], slice * SLICE + (thread + THREADS * $l) % SLICE);
  //# end
  return part;
}
fn own_dout(rows: OwnPlaces, slice: u32, thread: u32) -> OwnPart {
  var part: OwnPart;
  //# for l in OWN_LOADS
  part[$l] = dout_values(rows[$l], slice * SLICE + (thread + THREADS * $l) % SLICE);
  //# end
  return part;
}
fn other_dout(rows: OtherPlaces, slice: u32, thread: u32) -> OtherPart {
  var part: OtherPart;
  //# for l in OTHER_LOADS
  part[$l] = dout_values(rows[$l], slice * SLICE + (thread + THREADS * $l) % SLICE);
  //# end
  return part;
}

// Puts a slice of both sides where the one before stood.
fn store_slices(own: OwnPart, other: OtherPart, thread: u32) {
  workgroupBarrier();
  //# for l in OWN_LOADS
  {
    let n = thread + THREADS * $l;
    if (n < M * SLICE) { memory[n / SLICE * SPAN + n % SLICE] = own[$l]; }
  }
  //# end
  //# for l in OTHER_LOADS
  {
    let n = thread + THREADS * $l;
    if (n < N * SLICE) { memory[OTHER + n / SLICE * SPAN + n % SLICE] = other[$l]; }
  }
  //# end
  workgroupBarrier();
}

// Adds a row's four steps: a · b, b holding a step's columns in each of its columns.
fn step4(a: vec4f, b: mat4x4f, sum: vec4f) -> vec4f {
  return fma(vec4f(a.w), b[3], fma(vec4f(a.z), b[2], fma(vec4f(a.y), b[1], fma(vec4f(a.x), b[0], sum))));
}

fn multiply_slices(block: ptr<function, Block>, thread: u32) {
  let other = OTHER + thread % X * SPAN;
  let own = thread / X * SPAN;
  for (var k = 0u; k < SLICE; k++) {
    let b = transpose(mat4x4f(memory[other + k], memory[other + X * SPAN + k], memory[other + 2u * X * SPAN + k],
      memory[other + 3u * X * SPAN + k]));
    //# for r in 4
    (*block)[$r] = step4(memory[own + Y * $r * SPAN + k], b, (*block)[$r]);
    //# end
  }
}

// Products of the own rows with the others, of q with k.
fn qkv_products(own: OwnPlaces, other: OtherPlaces, thread: u32) -> Block {
  var block: Block;
  var a = own_qkv(own, 0u, thread);
  var b = other_qkv(other, 0u, thread);
  for (var slice = 1u; slice <= SLICES; slice++) {
    store_slices(a, b, thread);
    if (slice < SLICES) {
      a = own_qkv(own, slice, thread);
      b = other_qkv(other, slice, thread);
    }
    multiply_slices(&block, thread);
  }
  return block;
}
// Of the own rows of dout with values.
fn own_dout_products(own: OwnPlaces, other: OtherPlaces, thread: u32) -> Block {
  var block: Block;
  var a = own_dout(own, 0u, thread);
  var b = other_qkv(other, 0u, thread);
  for (var slice = 1u; slice <= SLICES; slice++) {
    store_slices(a, b, thread);
    if (slice < SLICES) {
      a = own_dout(own, slice, thread);
      b = other_qkv(other, slice, thread);
    }
    multiply_slices(&block, thread);
  }
  return block;
}
// Of the own values with rows of dout.
fn other_dout_products(own: OwnPlaces, other: OtherPlaces, thread: u32) -> Block {
  var block: Block;
  var a = own_qkv(own, 0u, thread);
  var b = other_dout(other, 0u, thread);
  for (var slice = 1u; slice <= SLICES; slice++) {
    store_slices(a, b, thread);
    if (slice < SLICES) {
      a = own_qkv(own, slice, thread);
      b = other_dout(other, slice, thread);
    }
    multiply_slices(&block, thread);
  }
  return block;
}

// Rows of a chunk, from vec4 `offset` of the head on: of keys or values, where the head starts in a token's; of queries and of dout. Rows
// past `last` repeat it.
fn chunk_keys(first: u32, last: u32, head: u32, thread: u32) -> ChunkPart {
  var part: ChunkPart;
  //# for l in CHUNK_LOADS
  part[$l] = qkv[place(min(first + (thread + THREADS * $l) / PART, last), head) + (thread + THREADS * $l) % PART];
  //# end
  return part;
}
fn chunk_queries(first: u32, last: u32, kv_head: u32, thread: u32, offset: u32) -> ChunkPart {
  var part: ChunkPart;
  //# for l in CHUNK_LOADS
  part[$l] = qkv[query_place(min(first + (thread + THREADS * $l) / PART, last), kv_head) + offset +
    (thread + THREADS * $l) % PART];
  //# end
  return part;
}
fn chunk_dout(first: u32, last: u32, kv_head: u32, thread: u32, offset: u32) -> ChunkPart {
  var part: ChunkPart;
  //# for l in CHUNK_LOADS
  part[$l] = dout[row_place(min(first + (thread + THREADS * $l) / PART, last), kv_head) * VECTORS + offset +
    (thread + THREADS * $l) % PART];
  //# end
  return part;
}

// Puts chunk n of the weights, COLUMNS of a thread's columns, and of the other rows where the one before stood.
fn store_chunk(n: u32, weights: mat4x4f, rows: ChunkPart, thread: u32) {
  workgroupBarrier();
  //# for c in COLUMNS
  memory[(thread % X + X * $c) * WEIGHTS + thread / X] = column(weights, n * COLUMNS + $c);
  //# end
  //# for l in CHUNK_LOADS
  if (thread + THREADS * $l < CHUNK * PART) { memory[ROWS + thread + THREADS * $l] = rows[$l]; }
  //# end
  workgroupBarrier();
}

// Where PART is no multiple of X, the last columns take other rows' values: their sums are not stored.
fn add_chunk(sums: ptr<function, Sums>, thread: u32) {
  let tx = thread % X;
  let ty = thread / X;
  for (var k = 0u; k < CHUNK; k++) {
    let weight = memory[k * WEIGHTS + ty];
    //# for v in VECS
    {
      let values = memory[ROWS + k * PART + tx + X * $v];
      //# for r in 4
      (*sums)[$r][$v] = fma(vec4f(weight[$r]), values, (*sums)[$r][$v]);
      //# end
    }
    //# end
  }
}

// Chosen by comparing: a matrix that is indexed by a variable would not stay in registers.
fn column(m: mat4x4f, n: u32) -> vec4f { return select(select(m[0], m[1], n == 1u), select(m[2], m[3], n == 3u), n > 1u); }
// Of a block: what the own rows have in common with one other is a column.
fn by_column(block: Block) -> mat4x4f { return transpose(mat4x4f(block[0], block[1], block[2], block[3])); }
// The thread's own rows, of which the first is `first`; those past `last` repeat it.
fn own_rows(first: u32, last: u32, thread: u32) -> vec4u {
  return min(first + thread / X + Y * vec4u(0u, 1u, 2u, 3u), vec4u(last));
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) thread: u32) {
  let group = wid.y * groups.x + wid.x;
  let shared_by = dims.heads / dims.kv_heads;
  let rows = dims.tokens * shared_by;
  let tiles = (rows + M - 1u) / M;
  if (group >= tiles * dims.kv_heads) { return; }
  let kv_head = group % dims.kv_heads;
  // The last rows of a causal segment see most keys: theirs begin first.
  let first = (tiles - 1u - group / dims.kv_heads) * M;
  let last = min(first + M, rows) - 1u;
  let start = keys_of(first / shared_by).x;
  let end = keys_of(last / shared_by).y;
  let tx = thread % X;
  let ty = thread / X;
  let own = own_rows(first, last, thread);
  //# for r in 4
  let sees$r = keys_of(own[$r] / shared_by);
  //# end
  var queries: OwnPlaces;
  //# for l in OWN_LOADS
  queries[$l] = query_place(min(first + (thread + THREADS * $l) / SLICE, last), kv_head);
  //# end
  var sums: Sums;
  var top = NOTHING;
  // Of the thread's own columns.
  var total = vec4f();
  for (var key = start; key < end; key += N) {
    var keys = OtherPlaces();
    //# for l in OTHER_LOADS
    keys[$l] = key_place(min(key + (thread + THREADS * $l) / SLICE, end - 1u), kv_head);
    //# end
    var block = qkv_products(queries, keys, thread);
    let values = dims.heads + dims.kv_heads + kv_head;
    var rows = chunk_keys(key, end - 1u, values, thread);
    let columns = key + tx + X * vec4u(0u, 1u, 2u, 3u);
    var highest = NOTHING;
    //# for r in 4
    let valid$r = inside(columns, sees$r);
    block[$r] = select(NOTHING, block[$r] * dims.scale, valid$r);
    highest[$r] = max(max(block[$r].x, block[$r].y), max(block[$r].z, block[$r].w));
    //# end
    memory[SHARED + tx * Y + ty] = highest;
    workgroupBarrier();
    var now = top;
    for (var x = 0u; x < X; x++) { now = max(now, memory[SHARED + x * Y + ty]); }
    let shrink = exp(top - now);
    top = now;
    total *= shrink;
    //# for r in 4
    // A row may have seen no key yet: then exp(0) stands for nothing.
    block[$r] = select(vec4f(), exp(block[$r] - now[$r]), valid$r);
    total[$r] += dot(block[$r], vec4f(1.0));
    //# for v in VECS
    sums[$r][$v] *= shrink[$r];
    //# end
    //# end
    let weights = by_column(block);
    for (var n = 0u; n < CHUNKS; n++) {
      store_chunk(n, weights, rows, thread);
      if (n + 1u < CHUNKS) { rows = chunk_keys(key + CHUNK * (n + 1u), end - 1u, values, thread); }
      add_chunk(&sums, thread);
    }
  }
  memory[SHARED + tx * Y + ty] = total;
  workgroupBarrier();
  total = vec4f();
  for (var x = 0u; x < X; x++) { total += memory[SHARED + x * Y + ty]; }
  let logs = top + log(total);
  //# for r in 4
  if (first + ty + Y * $r <= last) {
    let at = row_place(own[$r], kv_head);
    //# for v in VECS
    if (tx + X * $v < VECTORS) { out[at * VECTORS + tx + X * $v] = sums[$r][$v] / total[$r]; }
    //# end
    if (tx == 0u) { lse[at] = logs[$r]; }
  }
  //# end
}

@compute @workgroup_size(THREADS)
fn backward_query(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) thread: u32) {
  let group = wid.y * groups.x + wid.x;
  let shared_by = dims.heads / dims.kv_heads;
  let rows = dims.tokens * shared_by;
  let tiles = (rows + M - 1u) / M;
  if (group >= tiles * dims.kv_heads) { return; }
  let kv_head = group % dims.kv_heads;
  // The last rows of a causal segment see most keys: theirs begin first.
  let first = (tiles - 1u - group / dims.kv_heads) * M;
  let last = min(first + M, rows) - 1u;
  let start = keys_of(first / shared_by).x;
  let end = keys_of(last / shared_by).y;
  let tx = thread % X;
  let own = own_rows(first, last, thread);
  //# for r in 4
  let sees$r = keys_of(own[$r] / shared_by);
  let at$r = row_place(own[$r], kv_head);
  let own_lse$r = backward_lse[at$r];
  let own_delta$r = backward_delta[at$r];
  //# end
  var queries: OwnPlaces;
  var slopes: OwnPlaces;
  //# for l in OWN_LOADS
  queries[$l] = query_place(min(first + (thread + THREADS * $l) / SLICE, last), kv_head);
  slopes[$l] = row_place(min(first + (thread + THREADS * $l) / SLICE, last), kv_head) * VECTORS;
  //# end
  var sums: Sums;
  for (var key = start; key < end; key += N) {
    var keys = OtherPlaces();
    var values = OtherPlaces();
    //# for l in OTHER_LOADS
    keys[$l] = key_place(min(key + (thread + THREADS * $l) / SLICE, end - 1u), kv_head);
    values[$l] = value_place(min(key + (thread + THREADS * $l) / SLICE, end - 1u), kv_head);
    //# end
    var block = qkv_products(queries, keys, thread);
    let dp = own_dout_products(slopes, values, thread);
    var rows = chunk_keys(key, end - 1u, dims.heads + kv_head, thread);
    let columns = key + tx + X * vec4u(0u, 1u, 2u, 3u);
    //# for r in 4
    block[$r] = select(vec4f(), exp(block[$r] * dims.scale - own_lse$r), inside(columns, sees$r)) *
      (dp[$r] - own_delta$r) * dims.scale;
    //# end
    let weights = by_column(block);
    for (var n = 0u; n < CHUNKS; n++) {
      store_chunk(n, weights, rows, thread);
      if (n + 1u < CHUNKS) { rows = chunk_keys(key + CHUNK * (n + 1u), end - 1u, dims.heads + kv_head, thread); }
      add_chunk(&sums, thread);
    }
  }
  //# for r in 4
  if (first + thread / X + Y * $r <= last) {
    let at = query_place(own[$r], kv_head);
    //# for v in VECS
    if (tx + X * $v < VECTORS) { dqkv[at + tx + X * $v] = sums[$r][$v]; }
    //# end
  }
  //# end
}

@compute @workgroup_size(THREADS)
fn backward_key_value(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) thread: u32) {
  let group = wid.y * groups.x + wid.x;
  let shared_by = dims.heads / dims.kv_heads;
  let tiles = (dims.tokens + M - 1u) / M;
  if (group >= tiles * dims.kv_heads * PARTS) { return; }
  let offset = group % PARTS * PART;
  let kv_head = group / PARTS % dims.kv_heads;
  let first = group / PARTS / dims.kv_heads * M;
  let last = min(first + M, dims.tokens) - 1u;
  let start = queries_of(first).x * shared_by;
  let end = queries_of(last).y * shared_by;
  let tx = thread % X;
  let own = own_rows(first, last, thread);
  //# for r in 4
  let seen$r = queries_of(own[$r]);
  //# end
  var keys: OwnPlaces;
  var values: OwnPlaces;
  //# for l in OWN_LOADS
  keys[$l] = key_place(min(first + (thread + THREADS * $l) / SLICE, last), kv_head);
  values[$l] = value_place(min(first + (thread + THREADS * $l) / SLICE, last), kv_head);
  //# end
  var dk: Sums;
  var dv: Sums;
  for (var row = start; row < end; row += N) {
    var queries = OtherPlaces();
    var slopes = OtherPlaces();
    //# for l in OTHER_LOADS
    queries[$l] = query_place(min(row + (thread + THREADS * $l) / SLICE, end - 1u), kv_head);
    slopes[$l] = row_place(min(row + (thread + THREADS * $l) / SLICE, end - 1u), kv_head) * VECTORS;
    //# end
    // Rows past the end are of tokens past the end: no key is seen by them.
    let columns = row + tx + X * vec4u(0u, 1u, 2u, 3u);
    let tokens = columns / shared_by;
    var logs = vec4f();
    var deltas = vec4f();
    //# for c in 4
    let at$c = row_place(min(columns[$c], end - 1u), kv_head);
    logs[$c] = backward_lse[at$c];
    deltas[$c] = backward_delta[at$c];
    //# end
    var p = qkv_products(keys, queries, thread);
    var ds = other_dout_products(values, slopes, thread);
    var rows = chunk_dout(row, end - 1u, kv_head, thread, offset);
    //# for r in 4
    p[$r] = select(vec4f(), exp(p[$r] * dims.scale - logs), inside(tokens, seen$r));
    ds[$r] = p[$r] * (ds[$r] - deltas) * dims.scale;
    //# end
    let p_weights = by_column(p);
    let ds_weights = by_column(ds);
    for (var n = 0u; n < CHUNKS; n++) {
      store_chunk(n, p_weights, rows, thread);
      rows = chunk_queries(row + CHUNK * n, end - 1u, kv_head, thread, offset);
      add_chunk(&dv, thread);
      store_chunk(n, ds_weights, rows, thread);
      if (n + 1u < CHUNKS) { rows = chunk_dout(row + CHUNK * (n + 1u), end - 1u, kv_head, thread, offset); }
      add_chunk(&dk, thread);
    }
  }
  //# for r in 4
  if (first + thread / X + Y * $r <= last) {
    let key_at = key_place(own[$r], kv_head) + offset;
    let value_at = value_place(own[$r], kv_head) + offset;
    //# for v in VECS
    if (tx + X * $v < PART) {
      dqkv[key_at + tx + X * $v] = dk[$r][$v];
      dqkv[value_at + tx + X * $v] = dv[$r][$v];
    }
    //# end
  }
  //# end
}
