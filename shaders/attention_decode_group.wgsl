// Attention of one query token per slot over that slot's cached positions, softmax computed online.
//
//   out[s, h] = Σ_t softmax_t(scale · q[s, h] · k[row(t), h']) v[row(t), h'],  t = 0 … position[s], h' = h / (Hq / Hkv)
//   row(t) = table[s, t / block_size] · block_size + t % block_size
//
// qkv [S, (Hq + 2·Hkv)·D] rotated; k_cache, v_cache [rows, Hkv·D] of Cached, a prelude's; slots [S, 8] = token, position,
// alive, …; out [S, Hq·D]. A dead slot gets zeros. In front of this text stand
//   D4 = D / 4; HEADS; TEAM, a power of two that divides D4, at most 8; THREADS = TEAMS · TEAM; STEP divides D4 / TEAM;
//   PARTS = ⌊THREADS / D4⌋, at most TEAMS; DEEP: 2 where 2 · PARTS divides TEAMS, else 1;
//   ROUND divides TEAM; ROUNDS = ⌈HEADS / ROUND⌉; ITEMS = ⌈HEADS / TEAM⌉; EXCHANGE, the larger of ROUND · THREADS and
//   HEADS · TEAMS.
//
// The caches' bytes are what costs: a workgroup serves a slot and HEADS query heads that share a kv head (those that are
// missing repeat the last one), so every row of k and of v is loaded once for all of them, neighbours in a workgroup
// loading neighbours of a row. A chunk of CHUNK positions goes through four stages:
//   1. a team of TEAM threads makes the scores of a quad of positions, each thread over its columns of the rows, HEADS
//      queries to a load; the loads of v of DEEP quads start here too, to arrive while 2 and 3 go on;
//   2. scores are added up over the team through workgroup memory, ROUND heads at a time, by a thread for every head and
//      quad;
//   3. which turns them into weights e^(score − maximum so far); `keeps` rescales older sums;
//   4. a thread owns a column, a vec4 of the head, for all HEADS, and adds up weights · v of every PARTS-th quad.
// At the end the parts are added up; they share their maximum. Loop trips of one invocation: at most 100 in a chunk (of them
// 8 · ITEMS for maxima, TEAM · ROUNDS for sums over teams). Forward only. Source: online softmax of arXiv 1805.02867.

struct Dims { slots: u32, heads: u32, kv_heads: u32, max_blocks: u32, block_size: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> k_cache: array<vec4<Cached>>;
@group(0) @binding(3) var<storage, read> v_cache: array<vec4<Cached>>;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> slots: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;

// Quads of a chunk.
const TEAMS = 32u;
const CHUNK = 4u * TEAMS;
const LOWEST = -3e38;

var<workgroup> q: array<vec4f, HEADS * D4>;
var<workgroup> bases: array<u32, CHUNK>;
// Of a head: by what its older sums are to be multiplied; at the end, one over its total.
var<workgroup> keeps: array<f32, HEADS>;
// What members of a team add up, ROUND heads at a time; then scores, then weights, of head h and quad i at h · TEAMS + i.
var<workgroup> exchange: array<vec4f, EXCHANGE>;

// First vec4 of position t's row of kv head `head`; positions past the last repeat it, with a weight of 0.
fn base_of(s: u32, t: u32, n: u32, head: u32) -> u32 {
  let at = min(t, n - 1u);
  let row = table[s * d.max_blocks + at / d.block_size] * d.block_size + at % d.block_size;
  return (row * d.kv_heads + head) * D4;
}

fn key(quad: u32, column: u32) -> mat4x4f {
  return mat4x4f(vec4f(k_cache[bases[4u * quad] + column]), vec4f(k_cache[bases[4u * quad + 1u] + column]),
    vec4f(k_cache[bases[4u * quad + 2u] + column]), vec4f(k_cache[bases[4u * quad + 3u] + column]));
}

fn value(quad: u32, column: u32) -> mat4x4f {
  return mat4x4f(vec4f(v_cache[bases[4u * quad] + column]), vec4f(v_cache[bases[4u * quad + 1u] + column]),
    vec4f(v_cache[bases[4u * quad + 2u] + column]), vec4f(v_cache[bases[4u * quad + 3u] + column]));
}

@compute @workgroup_size(THREADS)
fn decode(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let s = wid.y;
  if (s >= d.slots) { return; }
  let group = d.heads / d.kv_heads;
  let sets = (group + HEADS - 1u) / HEADS;
  let kv_head = wid.x / sets;
  let head = kv_head * group + wid.x % sets * HEADS;
  // Heads that are there.
  let held = min(HEADS, (kv_head + 1u) * group - head);
  let first_out = (s * d.heads + head) * D4;
  if (slots[s * 8u + 2u] != 1u) {
    for (var i = lane; i < held * D4; i += THREADS) { out[first_out + i] = vec4f(); }
    return;
  }
  let n = slots[s * 8u + 1u] + 1u;
  let first_q = (s * (d.heads + 2u * d.kv_heads) + head) * D4;
  for (var i = lane; i < HEADS * D4; i += THREADS) {
    q[i] = qkv[first_q + min(i / D4, held - 1u) * D4 + i % D4] * d.scale;
  }
  let team = lane / TEAM;
  let member = lane % TEAM;
  // Threads past the last part repeat it; nobody reads their sums.
  let part = min(lane / D4, PARTS - 1u);
  let column = lane % D4;
  var sum = array<vec4f, ROUND * ROUNDS>();
  //# for j in ITEMS
  let item$j = lane + $j * THREADS;
  var top$j = LOWEST;
  var total$j = vec4f();
  //# end
  for (var chunk = 0u; chunk < n; chunk += CHUNK) {
    let quads = min(TEAMS, (n - chunk + 3u) / 4u);
    workgroupBarrier();
    for (var i = lane; i < CHUNK; i += THREADS) { bases[i] = base_of(s, chunk + i, n, kv_head); }
    workgroupBarrier();
    var score = array<vec4f, ROUND * ROUNDS>();
    if (team < quads) {
      for (var c = member; c < D4; c += STEP * TEAM) {
        //# for c in STEP
        let k$c = key(team, c + $c * TEAM);
        //# end
        //# for h in HEADS
        //# for c in STEP
        score[$h] += q[$h * D4 + c + $c * TEAM] * k$c;
        //# end
        //# end
      }
    }
    //# for a in DEEP
    let ahead$a = value(part + $a * PARTS, column);
    //# end
    var own = array<vec4f, ITEMS>();
    //# for r in ROUNDS
    // A quad's place is turned by the member, which spreads writes and reads over the banks.
    //# for i in ROUND
    exchange[$i * THREADS + member * TEAMS + (team ^ member)] = score[$r * ROUND + $i];
    //# end
    workgroupBarrier();
    // Wraps around below the first thread of these heads.
    let turn$r = lane - $r * ROUND * TEAMS % THREADS;
    if (turn$r < ROUND * TEAMS) {
      let at = turn$r / TEAMS * THREADS;
      let quad = turn$r % TEAMS;
      var added = vec4f();
      for (var m = 0u; m < TEAM; m++) { added += exchange[at + m * TEAMS + (quad ^ m)]; }
      own[$r * ROUND / TEAM] = added;
    }
    workgroupBarrier();
    //# end
    let valid = vec4u(chunk + lane % TEAMS * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(n);
    //# for j in ITEMS
    own[$j] = select(vec4f(LOWEST), own[$j], valid);
    if (item$j < HEADS * TEAMS) { exchange[item$j] = own[$j]; }
    //# end
    workgroupBarrier();
    //# for j in ITEMS
    if (item$j < HEADS * TEAMS) {
      let first = item$j / TEAMS * TEAMS;
      var most = vec4f(LOWEST);
      for (var i = first; i < first + TEAMS; i += 4u) {
        most = max(max(max(most, exchange[i]), exchange[i + 1u]), max(exchange[i + 2u], exchange[i + 3u]));
      }
      let highest = max(max(top$j, max(most.x, most.y)), max(most.z, most.w));
      let keep = exp(top$j - highest);
      own[$j] = exp(own[$j] - highest);
      top$j = highest;
      total$j = total$j * keep + own[$j];
      if (item$j == first) { keeps[item$j / TEAMS] = keep; }
    }
    //# end
    workgroupBarrier();
    //# for j in ITEMS
    if (item$j < HEADS * TEAMS) { exchange[item$j] = own[$j]; }
    //# end
    workgroupBarrier();
    //# for h in HEADS
    sum[$h] *= keeps[$h];
    //# for a in DEEP
    sum[$h] += ahead$a * exchange[$h * TEAMS + part + $a * PARTS];
    //# end
    //# end
    for (var i = part + DEEP * PARTS; i < quads; i += DEEP * PARTS) {
      //# for a in DEEP
      let v$a = value(i + $a * PARTS, column);
      //# end
      //# for h in HEADS
      //# for a in DEEP
      sum[$h] += v$a * exchange[$h * TEAMS + i + $a * PARTS];
      //# end
      //# end
    }
  }
  workgroupBarrier();
  //# for j in ITEMS
  if (item$j < HEADS * TEAMS) { exchange[item$j] = total$j; }
  //# end
  workgroupBarrier();
  if (lane < HEADS) {
    var total = vec4f();
    for (var i = lane * TEAMS; i < (lane + 1u) * TEAMS; i++) { total += exchange[i]; }
    keeps[lane] = 1.0 / dot(total, vec4f(1.0));
  }
  //# for r in ROUNDS
  workgroupBarrier();
  //# for i in ROUND
  exchange[$i * THREADS + lane] = sum[$r * ROUND + $i];
  //# end
  workgroupBarrier();
  for (var i = lane; i < min(ROUND, held - min(held, $r * ROUND)) * D4; i += THREADS) {
    let of_head = i / D4;
    var added = vec4f();
    for (var p = 0u; p < PARTS; p++) { added += exchange[of_head * THREADS + p * D4 + i % D4]; }
    let h = $r * ROUND + of_head;
    out[first_out + h * D4 + i % D4] = added * keeps[h];
  }
  //# end
}
