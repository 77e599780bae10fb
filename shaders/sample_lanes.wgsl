// Prelude of sample.wgsl: the lanes of a workgroup add up through workgroup memory, team after team, since all their
// values at once would not fit every adapter's.
struct Lanes { @builtin(local_invocation_index) lane: u32 }

var<workgroup> parts: array<vec4f, 256>;
var<workgroup> rows_of_parts: array<vec4f, 32>;
var<workgroup> whole: array<vec4f, 4>;

// To be called first.
fn enter(lanes: Lanes) {}

// Sums of the lanes' values, to all lanes; the order is fixed.
fn sum_lanes(lane: u32, value: mat4x4f) -> mat4x4f {
  let at = lane % LANES * 4u;
  for (var team = 0u; team < TEAMS; team++) {
    if (lane / LANES == team) {
      var before = mat4x4f();
      if (team > 0u) { before = mat4x4f(parts[at], parts[at + 1u], parts[at + 2u], parts[at + 3u]); }
      parts[at] = before[0] + value[0];
      parts[at + 1u] = before[1] + value[1];
      parts[at + 2u] = before[2] + value[2];
      parts[at + 3u] = before[3] + value[3];
    }
    workgroupBarrier();
  }
  if (lane < 32u) {
    var sum = parts[lane];
    for (var i = 1u; i < 8u; i++) { sum += parts[lane + 32u * i]; }
    rows_of_parts[lane] = sum;
  }
  workgroupBarrier();
  if (lane < 4u) {
    var sum = rows_of_parts[lane];
    for (var i = 1u; i < 8u; i++) { sum += rows_of_parts[lane + 4u * i]; }
    whole[lane] = sum;
  }
  workgroupBarrier();
  return mat4x4f(whole[0], whole[1], whole[2], whole[3]);
}

// Largest of each component, to all lanes.
fn max_lanes(lane: u32, value: vec4f) -> vec4f {
  parts[lane] = value;
  workgroupBarrier();
  if (lane < 8u) {
    var top = parts[lane];
    for (var i = 1u; i < GROUP / 8u; i++) { top = max(top, parts[lane + 8u * i]); }
    rows_of_parts[lane] = top;
  }
  workgroupBarrier();
  var top = rows_of_parts[0];
  for (var i = 1u; i < 8u; i++) { top = max(top, rows_of_parts[i]); }
  // The next call writes where slower lanes still read.
  workgroupBarrier();
  return top;
}
