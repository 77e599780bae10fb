// The linear layer of linear.wgsl for software adapters, whose loads from a storage buffer go lane by lane and whose loads
// from a texture go by whole vectors: both operands of every product are textures. Where subgroups are the LANES
// invocations of a workgroup (SHARE = LANES), what all lanes read is loaded once by one of them and passed on, so that a
// load serves ROWS · VECS vec4 of the output; elsewhere (SHARE = 1) the broadcast of no_subgroups.wgsl keeps what it has.
//   `in`, `out` and `stride` must be multiples of 4; no lane may leave before the last broadcast.
// Each invocation owns a register tile of ROWS rows x VECS vec4 of the output, lanes along its contiguous axis. Four
// products at a time: v * mat4x4(w0, w1, w2, w3) is (v·w0, v·w1, v·w2, v·w3). GROUPS = ROWS / SHARE, QUADS = ROWS / 4.
// A trip of a loop takes DEEP such fours (backward_weight STEPS tokens, whose QUADS · STEPS quads of rows are LOADS =
// QUADS · STEPS / SHARE a lane): the driver merges every sum with the one before the trip, lane by lane, and has registers
// for few sums, so that each sum takes all of a trip's products before the next sum has its first.
// Fused (linear_fused_variants.ts): with NORMS = 1, else PLAIN = 1, rows of x are normalised by rmsnorm.wgsl's formula, the
// factor of a row last, since its squares are added up beside the products; with GATED = 1, else UNGATED = 1, W is
// (gate | up), [2 out, in], and forward_gated writes silu(gate) up.

const LANES = 16u;

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  // Elements from one row to the next of y, residual and dy.
  stride: u32,
  // backward_input: 1 adds to dx (ADDS = 1), 0 overwrites it (SETS = 1). The text of either alone, since the driver goes
  // through what a branch does not take too, a load or a store for lane after lane.
  accumulate: u32,
  //# for norm in NORMS
  eps: f32,
  //# end
}

@group(0) @binding(0) var<uniform> d: Dims;

@group(0) @binding(1) var x: Mirror;
@group(0) @binding(2) var w: Mirror;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
//# for plain in PLAIN
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var residual: Mirror;
//# end
//# for norm in NORMS
@group(0) @binding(4) var norm: Mirror;
@group(0) @binding(5) var<storage, read> bias: array<vec4f>;
@group(0) @binding(5) var residual: Mirror;
//# end

alias Tile = array<array<vec4f, VECS>, ROWS>;

// Column n is in units of vec4; a tile's vec4 lie next to each other. Lane i holds rows i, SHARE + i, … of x.
fn forward_tile(m: u32, n: u32, lane: u32) -> Tile {
  let width = d.inputs / 4u;
  let columns = d.outputs / 4u;
  //# for g in GROUPS
  let x$g = min(m + SHARE * $g + lane % SHARE, d.tokens - 1u) * width;
  //# end
  //# for c in VECS
  //# for ungated in UNGATED
  let w$c = min(n + $c, columns - 1u) * 4u * width;
  //# end
  //# for gate in GATED
  let w$c = ($c * d.outputs + min(n, columns - 1u) * 4u) * width;
  //# end
  //# end
  //# for norm in NORMS
  //# for g in GROUPS
  var squares$g = vec4f();
  //# end
  //# end
  var acc: Tile;
  for (var k = 0u; k < width; k += DEEP) {
    var b: array<array<mat4x4f, VECS>, DEEP>;
    var rows: array<array<vec4f, GROUPS>, DEEP>;
    //# for s in DEEP
    let k$s = min(k + $s, width - 1u);
    //# for c in VECS
    b[$s][$c] = mat4x4f(
      texel(w, w$c + k$s),
      texel(w, w$c + width + k$s),
      texel(w, w$c + 2u * width + k$s),
      texel(w, w$c + 3u * width + k$s),
    );
    //# end
    //# for g in GROUPS
    rows[$s][$g] = select(vec4f(), texel(x, x$g + k$s), k + $s < width);
    //# end
    //# end
    //# for norm in NORMS
    // One load a lane for all steps of the trip; where nothing is shared a trip has one step.
    let ahead = texel(norm, min(k + lane % DEEP, width - 1u));
    //# for s in DEEP
    let factor$s = subgroupBroadcast(ahead, u32($s));
    //# for g in GROUPS
    squares$g += rows[$s][$g] * rows[$s][$g];
    rows[$s][$g] *= factor$s;
    //# end
    //# end
    //# end
    //# for g in GROUPS
    //# for r in SHARE
    //# for s in DEEP
    {
    let v = subgroupBroadcast(rows[$s][$g], u32($r));
    //# for c in VECS
    acc[SHARE * $g + $r][$c] += v * b[$s][$c];
    //# end
    }
    //# end
    //# end
    //# end
  }
  //# for norm in NORMS
  //# for g in GROUPS
  let rstd$g = vec4f(1.0 / sqrt(dot(squares$g, vec4f(1.0)) / f32(d.inputs) + d.eps));
  //# for r in SHARE
  {
  let factor = subgroupBroadcast(rstd$g, u32($r));
  //# for c in VECS
  acc[SHARE * $g + $r][$c] *= factor;
  //# end
  }
  //# end
  //# end
  //# end
  return acc;
}

@compute @workgroup_size(LANES)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let n = id.x * VECS;
  let columns = d.outputs / 4u;
  let acc = forward_tile(m, n, lane);
  let at = m * (d.stride / 4u) + n;
  //# for r in ROWS
  if (m + $r < d.tokens) {
    //# for c in VECS
    if (n + $c < columns) { y[at + $r * (d.stride / 4u) + $c] = acc[$r][$c]; }
    //# end
  }
  //# end
}

@compute @workgroup_size(LANES)
fn forward_bias(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let n = id.x * VECS;
  let columns = d.outputs / 4u;
  let acc = forward_tile(m, n, lane);
  let at = m * (d.stride / 4u) + n;
  //# for c in VECS
  let bias$c = bias[min(n + $c, columns - 1u)];
  //# end
  //# for r in ROWS
  if (m + $r < d.tokens) {
    //# for c in VECS
    if (n + $c < columns) { y[at + $r * (d.stride / 4u) + $c] = acc[$r][$c] + bias$c; }
    //# end
  }
  //# end
}

@compute @workgroup_size(LANES)
fn forward_residual(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let n = id.x * VECS;
  let columns = d.outputs / 4u;
  let acc = forward_tile(m, n, lane);
  let at = m * (d.stride / 4u) + n;
  //# for r in ROWS
  if (m + $r < d.tokens) {
    let row$r = at + $r * (d.stride / 4u);
    //# for c in VECS
    if (n + $c < columns) { y[row$r + $c] = texel(residual, row$r + $c) + acc[$r][$c]; }
    //# end
  }
  //# end
}

//# for gate in GATED
@compute @workgroup_size(LANES)
fn forward_gated(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let n = id.x;
  let acc = forward_tile(m, n, lane);
  let at = m * (d.stride / 4u) + n;
  //# for r in ROWS
  if (m + $r < d.tokens && n < d.outputs / 4u) { y[at + $r * (d.stride / 4u)] = silu(acc[$r][0]) * acc[$r][1]; }
  //# end
}
//# end

@group(0) @binding(1) var input_dy: Mirror;
@group(0) @binding(2) var input_w: Mirror;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(LANES)
fn backward_input(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let m = id.y * ROWS;
  let k = id.x * VECS;
  let width = d.inputs / 4u;
  let steps = d.outputs / 4u;
  //# for g in GROUPS
  let y$g = min(m + SHARE * $g + lane % SHARE, d.tokens - 1u) * (d.stride / 4u);
  //# end
  //# for c in VECS
  let k$c = min(k + $c, width - 1u);
  //# end
  var acc: Tile;
  for (var n = 0u; n < steps; n += DEEP) {
    var b: array<array<mat4x4f, VECS>, DEEP>;
    var rows: array<array<vec4f, GROUPS>, DEEP>;
    //# for s in DEEP
    let n$s = min(n + $s, steps - 1u);
    let w$s = n$s * 4u * width;
    //# for c in VECS
    b[$s][$c] = mat4x4f(
      texel(input_w, w$s + k$c),
      texel(input_w, w$s + width + k$c),
      texel(input_w, w$s + 2u * width + k$c),
      texel(input_w, w$s + 3u * width + k$c),
    );
    //# end
    //# for g in GROUPS
    rows[$s][$g] = select(vec4f(), texel(input_dy, y$g + n$s), n + $s < steps);
    //# end
    //# end
    //# for g in GROUPS
    //# for r in SHARE
    //# for s in DEEP
    {
    let v = subgroupBroadcast(rows[$s][$g], u32($r));
    //# for c in VECS
    acc[SHARE * $g + $r][$c] += b[$s][$c] * v;
    //# end
    }
    //# end
    //# end
    //# end
  }
  //# for r in ROWS
  if (m + $r < d.tokens) {
    let row$r = (m + $r) * width + k;
    //# for c in VECS
    if (k + $c < width) {
      //# for add in ADDS
      dx[row$r + $c] += acc[$r][$c];
      //# end
      //# for set in SETS
      dx[row$r + $c] = acc[$r][$c];
      //# end
    }
    //# end
  }
  //# end
}

@group(0) @binding(1) var weight_dy: Mirror;
@group(0) @binding(2) var weight_x: Mirror;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4f>;

// The tile is ROWS rows of w x VECS vec4 along k. Of a trip's quads of dy, four rows at one token each, lane i holds
// quads i, SHARE + i, …: quad q of token s is number STEPS q + s, so that a sum is fetched once for all its tokens.
@compute @workgroup_size(LANES)
fn backward_weight(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
  let n = id.y * ROWS;
  let k = id.x * VECS;
  let width = d.inputs / 4u;
  let last = d.tokens - 1u;
  let last_quad = d.outputs / 4u - 1u;
  //# for l in LOADS
  let ahead$l = (SHARE * $l + lane % SHARE) % STEPS;
  let quad$l = min(n / 4u + (SHARE * $l + lane % SHARE) / STEPS, last_quad);
  //# end
  //# for c in VECS
  let k$c = min(k + $c, width - 1u);
  //# end
  var acc: Tile;
  for (var t = 0u; t < d.tokens; t += STEPS) {
    var x: array<array<vec4f, VECS>, STEPS>;
    //# for s in STEPS
    //# for c in VECS
    x[$s][$c] = texel(weight_x, min(t + $s, last) * width + k$c);
    //# end
    //# end
    var rows: array<vec4f, LOADS>;
    //# for l in LOADS
    let loaded$l = texel(weight_dy, min(t + ahead$l, last) * (d.stride / 4u) + quad$l);
    rows[$l] = select(vec4f(), loaded$l, t + ahead$l < d.tokens);
    //# end
    //# for q in QUADS
    {
    //# for s in STEPS
    let v$s = subgroupBroadcast(rows[(STEPS * $q + $s) / SHARE], (STEPS * $q + $s) % SHARE);
    //# end
    //# for i in 4
    //# for s in STEPS
    //# for c in VECS
    acc[4u * $q + $i][$c] += v$s[$i] * x[$s][$c];
    //# end
    //# end
    //# end
    }
    //# end
  }
  //# for r in ROWS
  if (n + $r < d.outputs) {
    let row$r = (n + $r) * width + k;
    //# for c in VECS
    if (k + $c < width) { dw[row$r + $c] += acc[$r][$c]; }
    //# end
  }
  //# end
}
