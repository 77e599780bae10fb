// Exact GELU (Hendrycks & Gimpel 2016; torch.nn.GELU without approximation, as in the merger of Qwen2.5-VL):
//   y = x P(x),   P(x) = erfc(-x / sqrt 2) / 2, the normal distribution function                     x, y [T, W]
// forward   writes y.
// backward  dx = dy (P(x) + x p(x)) with p(x) = exp(-x^2 / 2) / sqrt(2 pi); written whole. Keeps x only.
// WGSL has no erf: erfc(z) for z >= 0 is the rational-exponential fit of Press et al., Numerical Recipes, section 6.2,
// whose relative error is below 1.2e-7 everywhere. Prelude: Value, LANES. One thread a Value.

struct Dims { tokens: u32, width: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;

@group(0) @binding(2) var<storage, read> dy: array<Value>;
@group(0) @binding(3) var<storage, read_write> dx: array<Value>;

// Where the square would overflow f32 the exponential has long been 0.
fn bell(v: Value) -> Value {
  let z = min(abs(v), Value(20.0));
  return exp(-0.5 * z * z);
}

fn normal(v: Value) -> Value {
  let z = min(abs(v), Value(20.0)) * 0.70710678;
  let t = 1.0 / (1.0 + 0.5 * z);
  let fit = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806 +
    t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  let tail = 0.5 * t * exp(fit) * bell(v);
  return select(1.0 - tail, tail, v < Value(0.0));
}

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (i >= dims.tokens * (dims.width / LANES)) { return; }
  let v = x[i];
  y[i] = v * normal(v);
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (i >= dims.tokens * (dims.width / LANES)) { return; }
  let v = x[i];
  dx[i] = dy[i] * (normal(v) + v * 0.39894228 * bell(v));
}
