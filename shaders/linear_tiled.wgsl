// Linear layer for GPUs with fast workgroup memory: the formulas, entry points and bindings of linear.wgsl.
//   X [tokens, in]  W [out, in]  bias [out]  residual, Y, dY [tokens, stride]; `in` and `stride` are multiples of 4; W is stored as it
//   stands in workgroup memory
// A workgroup owns a tile of M rows x N columns of the output and walks the contraction K at a time: both operands' slices
// go through workgroup memory, the next ones are fetched while the present ones are multiplied. Each of X · Y threads adds
// up ROWS x 4 VECS elements that lie Y rows and X columns apart, so that neighbours read and write neighbouring places.
//   X = N / (4 VECS)  Y = M / ROWS  QUADS = K / 4  SPAN = QUADS + 1  MS, NS = M / 4, N / 4
// With SINGLE = 1 a slice replaces the one before: one barrier for all threads to be done with that, one for all of it to
// stand there. With DOUBLE = 1 slices take turns in two buffers, LEFT_PART and RIGHT_PART apart, and one barrier does: who
// writes slice s + 2 has passed the barrier of s + 1, to which everyone comes after multiplying slice s.
//   PAIRS = 2 VECS  THREADS = X · Y   LEFT_LOADS, RIGHT_LOADS = M · K, N · K / (4 THREADS)   ROW_QUADS = ROWS / 4
// Prelude (operands_*.wgsl): Half, as which W is stored and operands stand in workgroup memory; Sum, in which they are multiplied and a
// slice's products added up; narrow, narrow_gradient, gradient. With DIRECT = 1 a slice is added to the f32 sums step by
// step (Sum is f32), with SLICED = 1 as a whole.
// Fused (linear_fused_variants.ts): with NORMS = 1, else PLAIN = 1, rows of x are normalised by rmsnorm.wgsl's formula, the
// factor of a row last, since its squares are added up beside the products; with GATED = 1, else UNGATED = 1, W is
// (gate | up), [2 out, in], and forward_gated writes silu(gate) up.

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  // Elements from one row to the next of y, residual and dy.
  stride: u32,
  // backward_input: 1 adds to dx, 0 overwrites it.
  accumulate: u32,
  //# for norm in NORMS
  eps: f32,
  //# end
}

@group(0) @binding(0) var<uniform> d: Dims;

// A slice whose rows are contiguous along the contraction stands as row i, step k at i * SPAN + k: a span of QUADS would
// put all rows into one bank. One that is contiguous along the output stands as step k, column i at k * MS (NS) + i.
var<workgroup> left: array<vec4<Half>, LEFT>;
var<workgroup> right: array<vec4<Half>, RIGHT>;

alias Tile = array<array<vec4f, VECS>, ROWS>;
// Written as Slice() where a slice begins: a variable declared in a loop keeps its values on some drivers.
alias Slice = array<array<vec4<Sum>, VECS>, ROWS>;
alias Factor = vec4<Sum>;

// Adds a row's four steps: a · b, b holding a step's columns in each of its columns.
fn step4(a: Factor, b: mat4x4<Sum>, sum: Factor) -> Factor {
  return fma(Factor(a.w), b[3], fma(Factor(a.z), b[2], fma(Factor(a.y), b[1], fma(Factor(a.x), b[0], sum))));
}

fn add_slice(acc: ptr<function, Tile>, slice: ptr<function, Slice>) {
  //# for r in ROWS
  //# for v in VECS
  (*acc)[$r][$v] += vec4f((*slice)[$r][$v]);
  //# end
  //# end
}

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

fn norm_at(k: u32, width: u32) -> vec4f { return norm[min(k, width - 1u)]; }
//# end

fn x_at(m: u32, k: u32, width: u32) -> vec4f {
  if (m < d.tokens && k < width) { return x[m * width + k]; }
  return vec4f();
}

// Of column c of the tile at n. A gated tile's first half are columns of the gate, its second half the same ones of up.
fn w_at(n: u32, c: u32, k: u32, width: u32) -> vec4<Half> {
  //# for ungated in UNGATED
  let column = n + c;
  let row = column;
  //# end
  //# for gate in GATED
  let column = n + c % (N / 2u);
  let row = column + c / (N / 2u) * d.outputs;
  //# end
  if (column < d.outputs && k < width) { return w[row * width + k]; }
  return vec4<Half>();
}

fn forward_tile(m: u32, n: u32, thread: u32) -> Tile {
  var acc: Tile;
  let width = d.inputs / 4u;
  let tx = thread % X;
  let ty = thread / X;
  let i = thread / QUADS;
  let q = thread % QUADS;
  //# for l in LEFT_LOADS
  var a$l = x_at(m + i + THREADS / QUADS * $l, q, width);
  //# end
  //# for l in RIGHT_LOADS
  var b$l = w_at(n, i + THREADS / QUADS * $l, q, width);
  //# end
  //# for norm in NORMS
  var factor = norm_at(q, width);
  //# for l in LEFT_LOADS
  var squares$l = vec4f();
  //# end
  //# end
  //# for single in SINGLE
  let left_at = 0u;
  let right_at = 0u;
  //# end
  //# for double in DOUBLE
  var left_at = 0u;
  var right_at = 0u;
  //# end
  for (var step = 0u; step < width; step += QUADS) {
    //# for single in SINGLE
    workgroupBarrier();
    //# end
    //# for norm in NORMS
    //# for l in LEFT_LOADS
    squares$l += a$l * a$l;
    a$l *= factor;
    //# end
    factor = norm_at(step + QUADS + q, width);
    //# end
    //# for l in LEFT_LOADS
    left[left_at + (i + THREADS / QUADS * $l) * SPAN + q] = narrow(a$l);
    //# end
    //# for l in RIGHT_LOADS
    right[right_at + (i + THREADS / QUADS * $l) * SPAN + q] = b$l;
    //# end
    workgroupBarrier();
    let next = step + QUADS + q;
    //# for l in LEFT_LOADS
    a$l = x_at(m + i + THREADS / QUADS * $l, next, width);
    //# end
    //# for l in RIGHT_LOADS
    b$l = w_at(n, i + THREADS / QUADS * $l, next, width);
    //# end
    //# for direct in DIRECT
    let sums = &acc;
    //# end
    //# for sliced in SLICED
    var slice = Slice();
    let sums = &slice;
    //# end
    for (var k = 0u; k < QUADS; k++) {
      //# for v in VECS
      let c$v = transpose(mat4x4<Sum>(
        Factor(right[right_at + (tx + X * (4u * $v)) * SPAN + k]),
        Factor(right[right_at + (tx + X * (4u * $v + 1u)) * SPAN + k]),
        Factor(right[right_at + (tx + X * (4u * $v + 2u)) * SPAN + k]),
        Factor(right[right_at + (tx + X * (4u * $v + 3u)) * SPAN + k]),
      ));
      //# end
      //# for r in ROWS
      {
      let v = Factor(left[left_at + (ty + Y * $r) * SPAN + k]);
      //# for v in VECS
      (*sums)[$r][$v] = step4(v, c$v, (*sums)[$r][$v]);
      //# end
      }
      //# end
    }
    //# for sliced in SLICED
    add_slice(&acc, &slice);
    //# end
    //# for double in DOUBLE
    left_at = LEFT_PART - left_at;
    right_at = RIGHT_PART - right_at;
    //# end
  }
  //# for norm in NORMS
  // QUADS threads have loaded a row: their sums of its squares go where its slice stood.
  workgroupBarrier();
  //# for l in LEFT_LOADS
  left[(i + THREADS / QUADS * $l) * SPAN + q] = squares$l;
  //# end
  workgroupBarrier();
  //# for r in ROWS
  var total$r = vec4f();
  for (var k = 0u; k < QUADS; k++) { total$r += left[(ty + Y * $r) * SPAN + k]; }
  let rstd$r = 1.0 / sqrt(dot(total$r, vec4f(1.0)) / f32(d.inputs) + d.eps);
  //# for v in VECS
  acc[$r][$v] *= rstd$r;
  //# end
  //# end
  //# end
  return acc;
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let acc = forward_tile(group.y * M, group.x * N, thread);
  let m = group.y * M + thread / X;
  let n = group.x * N + thread % X;
  //# for r in ROWS
  if (m + Y * $r < d.tokens) {
    let row = (m + Y * $r) * d.stride;
    //# for v in VECS
    //# for j in 4
    if (n + X * (4u * $v + $j) < d.outputs) { y[row + n + X * (4u * $v + $j)] = acc[$r][$v][$j]; }
    //# end
    //# end
  }
  //# end
}

@compute @workgroup_size(THREADS)
fn forward_bias(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let acc = forward_tile(group.y * M, group.x * N, thread);
  let m = group.y * M + thread / X;
  let n = group.x * N + thread % X;
  let last = d.outputs - 1u;
  //# for v in VECS
  let bias$v = vec4f(
    addend[min(n + X * (4u * $v), last)],
    addend[min(n + X * (4u * $v + 1u), last)],
    addend[min(n + X * (4u * $v + 2u), last)],
    addend[min(n + X * (4u * $v + 3u), last)],
  );
  //# end
  //# for r in ROWS
  if (m + Y * $r < d.tokens) {
    let row = (m + Y * $r) * d.stride;
    //# for v in VECS
    //# for j in 4
    if (n + X * (4u * $v + $j) < d.outputs) { y[row + n + X * (4u * $v + $j)] = acc[$r][$v][$j] + bias$v[$j]; }
    //# end
    //# end
  }
  //# end
}

@compute @workgroup_size(THREADS)
fn forward_residual(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let acc = forward_tile(group.y * M, group.x * N, thread);
  let m = group.y * M + thread / X;
  let n = group.x * N + thread % X;
  //# for r in ROWS
  if (m + Y * $r < d.tokens) {
    let row = (m + Y * $r) * d.stride;
    //# for v in VECS
    //# for j in 4
    if (n + X * (4u * $v + $j) < d.outputs) {
      let at = row + n + X * (4u * $v + $j);
      y[at] = residual[at] + acc[$r][$v][$j];
    }
    //# end
    //# end
  }
  //# end
}

//# for gate in GATED
// A thread's first 2 VECS columns are the gate's, the others up's, N / 2 columns further.
@compute @workgroup_size(THREADS)
fn forward_gated(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let n = group.x * (N / 2u) + thread % X;
  let acc = forward_tile(group.y * M, group.x * (N / 2u), thread);
  let m = group.y * M + thread / X;
  //# for r in ROWS
  if (m + Y * $r < d.tokens) {
    let gates = silu(acc[$r][0]);
    let ups = acc[$r][VECS - 1u];
    //# for j in PAIRS
    if (n + X * $j < d.outputs) {
      y[(m + Y * $r) * d.stride + n + X * $j] = gates[$j] * ups[$j + 4u - PAIRS];
    }
    //# end
  }
  //# end
}
//# end

@group(0) @binding(1) var<storage, read> input_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> input_w: array<vec4<Half>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

fn input_dy_at(m: u32, n: u32, steps: u32) -> vec4f {
  if (m < d.tokens && n < steps) { return input_dy[m * steps + n]; }
  return vec4f();
}

fn input_w_at(n: u32, k: u32, width: u32) -> vec4<Half> {
  if (n < d.outputs && k < width) { return input_w[n * width + k]; }
  return vec4<Half>();
}

@compute @workgroup_size(THREADS)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  var acc: Tile;
  let steps = d.stride / 4u;
  let width = d.inputs / 4u;
  let m = group.y * M;
  let column = group.x * NS;
  let tx = thread % X;
  let ty = thread / X;
  let i = thread / QUADS;
  let q = thread % QUADS;
  //# for l in LEFT_LOADS
  var a$l = input_dy_at(m + i + THREADS / QUADS * $l, q, steps);
  //# end
  //# for l in RIGHT_LOADS
  var b$l = input_w_at((thread + THREADS * $l) / NS, column + (thread + THREADS * $l) % NS, width);
  //# end
  //# for single in SINGLE
  let left_at = 0u;
  let right_at = 0u;
  //# end
  //# for double in DOUBLE
  var left_at = 0u;
  var right_at = 0u;
  //# end
  for (var step = 0u; step < steps; step += QUADS) {
    //# for single in SINGLE
    workgroupBarrier();
    //# end
    //# for l in LEFT_LOADS
    left[left_at + (i + THREADS / QUADS * $l) * SPAN + q] = narrow_gradient(a$l);
    //# end
    //# for l in RIGHT_LOADS
    right[right_at + thread + THREADS * $l] = b$l;
    //# end
    workgroupBarrier();
    let next = step + QUADS;
    //# for l in LEFT_LOADS
    a$l = input_dy_at(m + i + THREADS / QUADS * $l, next + q, steps);
    //# end
    //# for l in RIGHT_LOADS
    b$l = input_w_at(4u * next + (thread + THREADS * $l) / NS, column + (thread + THREADS * $l) % NS, width);
    //# end
    //# for direct in DIRECT
    let sums = &acc;
    //# end
    //# for sliced in SLICED
    var slice = Slice();
    let sums = &slice;
    //# end
    for (var k = 0u; k < QUADS; k++) {
      //# for v in VECS
      let c$v = mat4x4<Sum>(
        Factor(right[right_at + 4u * k * NS + tx + X * $v]),
        Factor(right[right_at + (4u * k + 1u) * NS + tx + X * $v]),
        Factor(right[right_at + (4u * k + 2u) * NS + tx + X * $v]),
        Factor(right[right_at + (4u * k + 3u) * NS + tx + X * $v]),
      );
      //# end
      //# for r in ROWS
      {
      let v = Factor(left[left_at + (ty + Y * $r) * SPAN + k]);
      //# for v in VECS
      (*sums)[$r][$v] = step4(v, c$v, (*sums)[$r][$v]);
      //# end
      }
      //# end
    }
    //# for sliced in SLICED
    add_slice(&acc, &slice);
    //# end
    //# for double in DOUBLE
    left_at = LEFT_PART - left_at;
    right_at = RIGHT_PART - right_at;
    //# end
  }
  //# for r in ROWS
  if (m + ty + Y * $r < d.tokens) {
    let row = (m + ty + Y * $r) * width;
    //# for v in VECS
    if (column + tx + X * $v < width) {
      let at = row + column + tx + X * $v;
      if (d.accumulate == 1u) { dx[at] += gradient(acc[$r][$v]); } else { dx[at] = gradient(acc[$r][$v]); }
    }
    //# end
  }
  //# end
}

@group(0) @binding(1) var<storage, read> weight_dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight_x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4f>;

fn weight_dy_at(t: u32, n: u32, steps: u32) -> vec4f {
  if (t < d.tokens && n < steps) { return weight_dy[t * steps + n]; }
  return vec4f();
}

fn weight_x_at(t: u32, k: u32, width: u32) -> vec4f {
  if (t < d.tokens && k < width) { return weight_x[t * width + k]; }
  return vec4f();
}

// Rows of the tile are taken four by four: ROW_QUADS of them, Y apart.
@compute @workgroup_size(THREADS)
fn backward_weight(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  var acc: Tile;
  let steps = d.stride / 4u;
  let width = d.inputs / 4u;
  let row = group.y * MS;
  let column = group.x * NS;
  let tx = thread % X;
  let ty = thread / X;
  //# for l in LEFT_LOADS
  var a$l = weight_dy_at((thread + THREADS * $l) / MS, row + (thread + THREADS * $l) % MS, steps);
  //# end
  //# for l in RIGHT_LOADS
  var b$l = weight_x_at((thread + THREADS * $l) / NS, column + (thread + THREADS * $l) % NS, width);
  //# end
  //# for single in SINGLE
  let left_at = 0u;
  let right_at = 0u;
  //# end
  //# for double in DOUBLE
  var left_at = 0u;
  var right_at = 0u;
  //# end
  for (var t = 0u; t < d.tokens; t += K) {
    //# for single in SINGLE
    workgroupBarrier();
    //# end
    //# for l in LEFT_LOADS
    left[left_at + thread + THREADS * $l] = narrow_gradient(a$l);
    //# end
    //# for l in RIGHT_LOADS
    right[right_at + thread + THREADS * $l] = narrow(b$l);
    //# end
    workgroupBarrier();
    //# for l in LEFT_LOADS
    a$l = weight_dy_at(t + K + (thread + THREADS * $l) / MS, row + (thread + THREADS * $l) % MS, steps);
    //# end
    //# for l in RIGHT_LOADS
    b$l = weight_x_at(t + K + (thread + THREADS * $l) / NS, column + (thread + THREADS * $l) % NS, width);
    //# end
    //# for direct in DIRECT
    let sums = &acc;
    //# end
    //# for sliced in SLICED
    var slice = Slice();
    let sums = &slice;
    //# end
    for (var k = 0u; k < K; k++) {
      //# for v in VECS
      let c$v = Factor(right[right_at + k * NS + tx + X * $v]);
      //# end
      //# for r in ROW_QUADS
      {
      let v = Factor(left[left_at + k * MS + ty + Y * $r]);
      //# for j in 4
      //# for v in VECS
      (*sums)[4 * $r + $j][$v] = fma(Factor(v[$j]), c$v, (*sums)[4 * $r + $j][$v]);
      //# end
      //# end
      }
      //# end
    }
    //# for sliced in SLICED
    add_slice(&acc, &slice);
    //# end
    //# for double in DOUBLE
    left_at = LEFT_PART - left_at;
    right_at = RIGHT_PART - right_at;
    //# end
  }
  //# for r in ROW_QUADS
  //# for j in 4
  if (4u * (row + ty + Y * $r) + $j < d.outputs) {
    let at = (4u * (row + ty + Y * $r) + $j) * width + column + tx;
    //# for v in VECS
    if (column + tx + X * $v < width) { dw[at + X * $v] += gradient(acc[4 * $r + $j][$v]); }
    //# end
  }
  //# end
  //# end
}
