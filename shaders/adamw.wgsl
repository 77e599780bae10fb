// AdamW with decoupled weight decay (Loshchilov and Hutter 2019; torch.optim.AdamW), in place over n values:
//   g <- clip g;  p <- p (1 - lr wd);  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
//   p <- p - lr / c1 * m / (sqrt(v) / sqrt(c2) + eps),   c1 = 1 - b1^t, c2 = 1 - b2^t
// norm [4] = [norm, clip, finite, 0] of grad_norm.wgsl: where finite is 0, nothing is written.
// 1 - b comes from outside and b = 1 - (1 - b): f32 keeps 0.001 to 1e-11, but 1 - 0.999 only to 5e-8.
// Prelude: Value, LANES. One thread a Value. With HALF = 1, of vec4s, half <- p rounded to f16: what the model reads.

struct Dims {
  n: u32, lr: f32, one_minus_beta1: f32, one_minus_beta2: f32, eps: f32, weight_decay: f32,
  correction1: f32, correction2: f32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> p: array<Value>;
@group(0) @binding(2) var<storage, read> g: array<Value>;
@group(0) @binding(3) var<storage, read_write> m: array<Value>;
@group(0) @binding(4) var<storage, read_write> v: array<Value>;
@group(0) @binding(5) var<storage, read> norm: array<vec4f>;
//# for half in HALF
@group(0) @binding(6) var<storage, read_write> half: array<vec4<f16>>;
//# end

@compute @workgroup_size(GROUP)
fn adamw(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (i >= dims.n / LANES) { return; }
  let scale = norm[0];
  if (scale.z == 0.0) { return; }
  let slope = g[i] * scale.y;
  let mean = (1.0 - dims.one_minus_beta1) * m[i] + dims.one_minus_beta1 * slope;
  let square = (1.0 - dims.one_minus_beta2) * v[i] + dims.one_minus_beta2 * slope * slope;
  m[i] = mean;
  v[i] = square;
  let next = p[i] * (1.0 - dims.lr * dims.weight_decay) -
    dims.lr / dims.correction1 * mean / (sqrt(square) / sqrt(dims.correction2) + dims.eps);
  p[i] = next;
  //# for half in HALF
  half[i] = vec4<f16>(next);
  //# end
}
