// Who decodes where, before every step: the live sequences move together, and sequences that stand by take the lanes that
// are left.
//   slots, table, offsets, seen and owners have L rows for the lanes and R rows behind them for those that stand by, a
//   ring; queue = taken, placed (both count on from 0; entry i of the ring is row L + i % R), then L pairs of room.
//   Of the lanes below `used`, n live ones come to stand first: n = min(used, live lanes + taken .. placed). The
//   k-th dead lane below n gets the k-th that stands by; where none is left, the live lane that is k-th from the end.
//   out_owners[tick + s] = owners[s], 0xffffffff for a lane without a sequence; tick [1] = step of the chunk * used.
// One workgroup of THREADS, declared in front of this text. No row is both read and written. seen_words = 0
// leaves `seen` as it is.

struct RefillDims {
  lanes: u32,
  used: u32,
  ring: u32,
  max_blocks: u32,
  seen_words: u32,
}

const NO_OWNER = 0xffffffffu;

@group(0) @binding(0) var<uniform> rd: RefillDims;
@group(0) @binding(1) var<storage, read_write> states: array<u32>;
@group(0) @binding(2) var<storage, read_write> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> turns: array<u32>;
@group(0) @binding(4) var<storage, read_write> seen: array<u32>;
@group(0) @binding(5) var<storage, read_write> owners: array<u32>;
@group(0) @binding(6) var<storage, read_write> queue: array<u32>;
@group(0) @binding(7) var<storage, read> tick: array<u32>;
@group(0) @binding(8) var<storage, read_write> out_owners: array<u32>;

// Live lanes before every thread's own.
var<workgroup> before: array<u32, THREADS>;
var<workgroup> live: u32;
var<workgroup> head: u32;
var<workgroup> take: u32;
var<workgroup> moves: atomic<u32>;

fn move_word(word: u32, dest: u32, source: u32) {
  if (word < 8u) {
    states[dest * 8u + word] = states[source * 8u + word];
    // A lane that is left is dead.
    if (word == 2u && source < rd.lanes) { states[source * 8u + 2u] = 0u; }
  } else if (word == 8u) {
    turns[dest] = turns[source];
  } else if (word == 9u) {
    owners[dest] = owners[source];
  } else if (word < 10u + rd.max_blocks) {
    tables[dest * rd.max_blocks + word - 10u] = tables[source * rd.max_blocks + word - 10u];
  } else {
    let at = word - 10u - rd.max_blocks;
    seen[dest * rd.seen_words + at] = seen[source * rd.seen_words + at];
  }
}

@compute @workgroup_size(THREADS)
fn refill(@builtin(local_invocation_id) lid: vec3u) {
  let thread = lid.x;
  let each = (rd.lanes + THREADS - 1u) / THREADS;
  let start = min(thread * each, rd.lanes);
  let end = min(start + each, rd.lanes);
  var own = 0u;
  for (var s = start; s < end; s++) { own += select(0u, 1u, states[s * 8u + 2u] == 1u); }
  before[thread] = own;
  workgroupBarrier();
  if (thread == 0u) {
    var sum = 0u;
    for (var i = 0u; i < THREADS; i++) {
      let count = before[i];
      before[i] = sum;
      sum += count;
    }
    live = sum;
    head = queue[0];
    take = min(queue[1] - head, max(rd.used, sum) - sum);
    queue[0] = head + take;
  }
  workgroupBarrier();
  let goal = live + take;
  var passed = before[thread];
  for (var s = start; s < end; s++) {
    let lives = states[s * 8u + 2u] == 1u;
    if (!lives && s < goal) {
      let k = s - passed;
      queue[2u + 2u * k] = s;
      if (k < take) { queue[3u + 2u * k] = rd.lanes + (head + k) % rd.ring; }
      atomicAdd(&moves, 1u);
    }
    if (lives && s >= goal) { queue[3u + 2u * (take + live - 1u - passed)] = s; }
    passed += select(0u, 1u, lives);
  }
  storageBarrier();
  workgroupBarrier();
  let words = 10u + rd.max_blocks + rd.seen_words;
  let count = atomicLoad(&moves);
  for (var i = 0u; i < count; i++) {
    let dest = queue[2u + 2u * i];
    let source = queue[3u + 2u * i];
    for (var word = thread; word < words; word += THREADS) { move_word(word, dest, source); }
  }
  storageBarrier();
  workgroupBarrier();
  let room = arrayLength(&out_owners);
  for (var s = thread; s < rd.used; s += THREADS) {
    let at = tick[0] + s;
    if (at < room) { out_owners[at] = select(NO_OWNER, owners[s], states[s * 8u + 2u] == 1u); }
  }
}
