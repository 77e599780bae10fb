// The linear layer of linear.wgsl for software adapters, whose loads from a storage buffer go lane by lane and whose loads
// from a texture go by whole vectors: both operands of every product are textures.
//   `in`, `out` and `stride` must be multiples of 4.
// Each invocation owns a register tile of ROWS rows x VECS vec4 of the output, lanes along its contiguous axis. Four
// products at a time: v * mat4x4(w0, w1, w2, w3) is (v·w0, v·w1, v·w2, v·w3).

const LANES = 16u;

struct Dims {
  tokens: u32,
  inputs: u32,
  outputs: u32,
  // Elements from one row to the next of y, residual and dy.
  stride: u32,
  // backward_input: 1 adds to dx, 0 overwrites it.
  accumulate: u32,
}

@group(0) @binding(0) var<uniform> d: Dims;

@group(0) @binding(1) var x: texture_2d<f32>;
@group(0) @binding(2) var w: texture_2d<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read> residual: array<vec4f>;

alias Tile = array<array<vec4f, VECS>, ROWS>;

// Column n is in units of vec4; a tile's vec4 lie next to each other.
fn forward_tile(m: u32, n: u32) -> Tile {
  let width = d.inputs / 4u;
  let last = d.tokens - 1u;
  let columns = d.outputs / 4u;
  //# for r in ROWS
  let x$r = min(m + $r, last) * width;
  //# end
  //# for c in VECS
  let w$c = min(n + $c, columns - 1u) * 4u * width;
  //# end
  var acc: Tile;
  for (var k = 0u; k < width; k++) {
    //# for c in VECS
    let b$c = mat4x4f(
      texel(w, w$c + k),
      texel(w, w$c + width + k),
      texel(w, w$c + 2u * width + k),
      texel(w, w$c + 3u * width + k),
    );
    //# end
    //# for r in ROWS
    let v$r = texel(x, x$r + k);
    //# for c in VECS
    acc[$r][$c] += v$r * b$c;
    //# end
    //# end
  }
  return acc;
}

@compute @workgroup_size(LANES)
fn forward(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * ROWS;
  let n = id.x * VECS;
  let columns = d.outputs / 4u;
  if (n >= columns) { return; }
  let acc = forward_tile(m, n);
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
fn forward_bias(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * ROWS;
  let n = id.x * VECS;
  let columns = d.outputs / 4u;
  if (n >= columns) { return; }
  let acc = forward_tile(m, n);
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
fn forward_residual(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * ROWS;
  let n = id.x * VECS;
  let columns = d.outputs / 4u;
  if (n >= columns) { return; }
  let acc = forward_tile(m, n);
  let at = m * (d.stride / 4u) + n;
  //# for r in ROWS
  if (m + $r < d.tokens) {
    let row$r = at + $r * (d.stride / 4u);
    //# for c in VECS
    if (n + $c < columns) { y[row$r + $c] = residual[row$r + $c] + acc[$r][$c]; }
    //# end
  }
  //# end
}

@group(0) @binding(1) var input_dy: texture_2d<f32>;
@group(0) @binding(2) var input_w: texture_2d<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(LANES)
fn backward_input(@builtin(global_invocation_id) id: vec3u) {
  let m = id.y * ROWS;
  let k = id.x * VECS;
  let width = d.inputs / 4u;
  if (k >= width) { return; }
  let steps = d.outputs / 4u;
  let last = d.tokens - 1u;
  //# for r in ROWS
  let y$r = min(m + $r, last) * (d.stride / 4u);
  //# end
  //# for c in VECS
  let k$c = min(k + $c, width - 1u);
  //# end
  var acc: Tile;
  for (var n = 0u; n < steps; n++) {
    let w = n * 4u * width;
    //# for c in VECS
    let b$c = mat4x4f(
      texel(input_w, w + k$c),
      texel(input_w, w + width + k$c),
      texel(input_w, w + 2u * width + k$c),
      texel(input_w, w + 3u * width + k$c),
    );
    //# end
    //# for r in ROWS
    let v$r = texel(input_dy, y$r + n);
    //# for c in VECS
    acc[$r][$c] += b$c * v$r;
    //# end
    //# end
  }
  //# for r in ROWS
  if (m + $r < d.tokens) {
    let row$r = (m + $r) * width + k;
    //# for c in VECS
    if (k + $c < width) {
      if (d.accumulate == 1u) { dx[row$r + $c] += acc[$r][$c]; } else { dx[row$r + $c] = acc[$r][$c]; }
    }
    //# end
  }
  //# end
}

@group(0) @binding(1) var weight_dy: texture_2d<f32>;
@group(0) @binding(2) var weight_x: texture_2d<f32>;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4f>;

// The tile is ROWS rows of w x VECS vec4 along k; ROWS is a multiple of 4.
@compute @workgroup_size(LANES)
fn backward_weight(@builtin(global_invocation_id) id: vec3u) {
  let n = id.y * ROWS;
  let k = id.x * VECS;
  let width = d.inputs / 4u;
  if (k >= width) { return; }
  let last = d.outputs / 4u - 1u;
  //# for q in QUADS
  let n$q = min(n / 4u + $q, last);
  //# end
  //# for c in VECS
  let k$c = min(k + $c, width - 1u);
  //# end
  var acc: Tile;
  let last_token = vec4u(d.tokens - 1u);
  // Four tokens at a time, so that a sum is fetched and put back once for four products.
  for (var t = 0u; t < d.tokens; t += 4u) {
    let token = t + vec4u(0u, 1u, 2u, 3u);
    let x_at = min(token, last_token) * width;
    let dy_at = min(token, last_token) * (d.stride / 4u);
    //# for c in VECS
    let x$c = mat4x4f(
      texel(weight_x, x_at.x + k$c),
      texel(weight_x, x_at.y + k$c),
      texel(weight_x, x_at.z + k$c),
      texel(weight_x, x_at.w + k$c),
    );
    //# end
    //# for q in QUADS
    {
      let rows = transpose(mat4x4f(
        texel(weight_dy, dy_at.x + n$q),
        texel(weight_dy, dy_at.y + n$q),
        texel(weight_dy, dy_at.z + n$q),
        texel(weight_dy, dy_at.w + n$q),
      ));
      //# for j in 4
      let v$j = select(vec4f(), rows[$j], token <= last_token);
      //# for c in VECS
      acc[4 * $q + $j][$c] += x$c * v$j;
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
