// Prelude of sample.wgsl: as sample_lanes.wgsl, but the lanes add up within their subgroups, of whatever size, first.
struct Lanes {
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) id: u32,
  @builtin(num_subgroups) count: u32,
  @builtin(subgroup_invocation_id) member: u32,
}

// Four of each subgroup, of which the smallest have four threads.
var<workgroup> parts: array<vec4f, 256>;
var<private> own_id: u32;
var<private> subgroups: u32;
var<private> first_member: bool;

// To be called first.
fn enter(lanes: Lanes) {
  own_id = lanes.id;
  subgroups = lanes.count;
  first_member = lanes.member == 0u;
}

// Sums of the lanes' values, to all lanes; the order is fixed.
fn sum_lanes(lane: u32, value: mat4x4f) -> mat4x4f {
  let own = mat4x4f(subgroupAdd(value[0]), subgroupAdd(value[1]), subgroupAdd(value[2]), subgroupAdd(value[3]));
  if (first_member) {
    parts[own_id * 4u] = own[0];
    parts[own_id * 4u + 1u] = own[1];
    parts[own_id * 4u + 2u] = own[2];
    parts[own_id * 4u + 3u] = own[3];
  }
  workgroupBarrier();
  var sum = mat4x4f();
  for (var i = 0u; i < subgroups; i++) {
    sum += mat4x4f(parts[i * 4u], parts[i * 4u + 1u], parts[i * 4u + 2u], parts[i * 4u + 3u]);
  }
  // The next call writes where slower lanes still read.
  workgroupBarrier();
  return sum;
}

// Largest of each component, to all lanes.
fn max_lanes(lane: u32, value: vec4f) -> vec4f {
  let own = subgroupMax(value);
  if (first_member) { parts[own_id] = own; }
  workgroupBarrier();
  var top = parts[0];
  for (var i = 1u; i < subgroups; i++) { top = max(top, parts[i]); }
  workgroupBarrier();
  return top;
}
