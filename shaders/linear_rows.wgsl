// The forward products of linear.wgsl for few rows, as in decoding, where reading the weights is all the work: a workgroup
// of LANES threads owns ROWS rows x 4 columns of y, its threads take turns along the contraction and then add up.
//   X [tokens, in]  W [out, in]  bias [out]  residual, Y [tokens, stride]; `in` is a multiple of 4
// Prelude (operands_*.wgsl): Half, as which W is stored; narrow, which rounds operands to it.
// With SUBGROUP = 1 the workgroup is one subgroup and adds up without memory; with WORKGROUP = 1 it uses workgroup memory.
// Fused (linear_fused_variants.ts): with NORMS = 1, else PLAIN = 1, rows of x are normalised by rmsnorm.wgsl's formula, the
// factor of a row last, since its squares are added up beside the products; with GATED = 1, else UNGATED = 1, W is
// (gate | up), [2 out, in], and forward_gated writes silu(gate) up.

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  // Elements from one row to the next of y and residual.
  stride: u32,
  accumulate: u32,
  //# for norm in NORMS
  eps: f32,
  //# end
}

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4<Half>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
//# for plain in PLAIN
@group(0) @binding(4) var<storage, read> addend: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
//# end
//# for norm in NORMS
@group(0) @binding(4) var<storage, read> norm: array<vec4f>;
@group(0) @binding(5) var<storage, read> addend: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
//# end

//# for workgroup in WORKGROUP
// Row r of thread i at r * LANES + i.
var<workgroup> sums: array<vec4f, SUMS>;
//# for norm in NORMS
var<workgroup> squares: array<f32, SUMS>;
//# end
//# end

// An operand as linear_tiled.wgsl has it.
fn as_half(v: vec4f) -> vec4f { return vec4f(narrow(v)); }

//# for norm in NORMS
// Of a row whose squares add up to so much.
fn rstd(squares: f32) -> f32 { return 1.0 / sqrt(squares / f32(d.inputs) + d.eps); }
//# end

// Of row m + lane, for lanes below ROWS, columns n to n + 3; with GATED = 1 columns n and n + 1 of the gate, then of up.
fn products(m: u32, n: u32, lane: u32) -> vec4f {
  let width = d.inputs / 4u;
  let last_column = d.outputs - 1u;
  //# for c in 4
  //# for ungated in UNGATED
  let w$c = min(n + $c, last_column) * width;
  //# end
  //# for gate in GATED
  let w$c = (min(n + $c % 2u, last_column) + $c / 2u * d.outputs) * width;
  //# end
  //# end
  //# for r in ROWS
  let x$r = min(m + $r, d.tokens - 1u) * width;
  var sum$r = vec4f();
  //# for norm in NORMS
  var square$r = 0.0;
  //# end
  //# end
  for (var k = lane; k < width; k += LANES) {
    let b = mat4x4f(vec4f(w[w0 + k]), vec4f(w[w1 + k]), vec4f(w[w2 + k]), vec4f(w[w3 + k]));
    //# for plain in PLAIN
    //# for r in ROWS
    sum$r += as_half(x[x$r + k]) * b;
    //# end
    //# end
    //# for norm in NORMS
    let factor = norm[k];
    //# for r in ROWS
    {
    let v = x[x$r + k];
    square$r += dot(v, v);
    sum$r += v * factor * b;
    }
    //# end
    //# end
  }
  //# for subgroup in SUBGROUP
  var own = vec4f();
  //# for r in ROWS
  let total$r = subgroupAdd(sum$r);
  //# for plain in PLAIN
  if (lane == $r) { own = total$r; }
  //# end
  //# for norm in NORMS
  let squares$r = subgroupAdd(square$r);
  if (lane == $r) { own = total$r * rstd(squares$r); }
  //# end
  //# end
  return own;
  //# end
  //# for workgroup in WORKGROUP
  //# for r in ROWS
  sums[$r * LANES + lane] = sum$r;
  //# for norm in NORMS
  squares[$r * LANES + lane] = square$r;
  //# end
  //# end
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      //# for r in ROWS
      sums[$r * LANES + lane] += sums[$r * LANES + lane + half];
      //# for norm in NORMS
      squares[$r * LANES + lane] += squares[$r * LANES + lane + half];
      //# end
      //# end
    }
    workgroupBarrier();
  }
  let first = min(lane, ROWS - 1u) * LANES;
  //# for plain in PLAIN
  return sums[first];
  //# end
  //# for norm in NORMS
  return sums[first] * rstd(squares[first]);
  //# end
  //# end
}

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = group.x * 4u;
  let v = products(group.y * ROWS, n, lane);
  let m = group.y * ROWS + lane;
  if (lane >= ROWS || m >= d.tokens) { return; }
  let at = m * d.stride + n;
  //# for c in 4
  if (n + $c < d.outputs) { y[at + $c] = v[$c]; }
  //# end
}

@compute @workgroup_size(LANES)
fn forward_bias(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = group.x * 4u;
  let v = products(group.y * ROWS, n, lane);
  let m = group.y * ROWS + lane;
  if (lane >= ROWS || m >= d.tokens) { return; }
  let at = m * d.stride + n;
  //# for c in 4
  if (n + $c < d.outputs) { y[at + $c] = v[$c] + addend[n + $c]; }
  //# end
}

@compute @workgroup_size(LANES)
fn forward_residual(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = group.x * 4u;
  let v = products(group.y * ROWS, n, lane);
  let m = group.y * ROWS + lane;
  if (lane >= ROWS || m >= d.tokens) { return; }
  let at = m * d.stride + n;
  //# for c in 4
  if (n + $c < d.outputs) { y[at + $c] = residual[at + $c] + v[$c]; }
  //# end
}

//# for gate in GATED
@compute @workgroup_size(LANES)
fn forward_gated(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = group.x * 2u;
  let v = products(group.y * ROWS, n, lane);
  let m = group.y * ROWS + lane;
  if (lane >= ROWS || m >= d.tokens) { return; }
  let at = m * d.stride + n;
  let gates = silu(v);
  //# for c in 2
  if (n + $c < d.outputs) { y[at + $c] = gates[$c] * v[$c + 2]; }
  //# end
}
//# end
