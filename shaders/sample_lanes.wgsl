// Prelude of sample.wgsl: the 64 lanes of a workgroup add up through workgroup memory.
struct Lanes { @builtin(local_invocation_index) lane: u32 }

var<workgroup> parts: array<vec4f, 256>;
var<workgroup> rows_of_parts: array<vec4f, 32>;
var<workgroup> whole: array<vec4f, 4>;

// To be called first.
fn enter(lanes: Lanes) {}

// Sums of the lanes' values, to all lanes; the order is fixed.
fn sum_lanes(lane: u32, value: mat4x4f) -> mat4x4f {
  parts[lane * 4u] = value[0];
  parts[lane * 4u + 1u] = value[1];
  parts[lane * 4u + 2u] = value[2];
  parts[lane * 4u + 3u] = value[3];
  workgroupBarrier();
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
    for (var i = 1u; i < 8u; i++) { top = max(top, parts[lane + 8u * i]); }
    rows_of_parts[lane] = top;
  }
  workgroupBarrier();
  var top = rows_of_parts[0];
  for (var i = 1u; i < 8u; i++) { top = max(top, rows_of_parts[i]); }
  return top;
}
