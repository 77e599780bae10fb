// AdamW on bf16 parameters with Kahan summation: p, g, m, v and the compensation c are bf16, two to a u32 (the even
// index in the low half), all arithmetic is f32 and r() rounds a result to bf16 (nearest, ties to even):
//   g <- r(clip g);  p <- r(p (1 - lr wd));  m <- r(r(b1 m) + (1 - b1) g);  v <- r(r(b2 v) + (1 - b2) g g)
//   d = r(r(r(sqrt v) / sqrt(c2)) + eps);  c <- r(c - lr / c1 * m / d);  q = p;  p <- r(p + c);  c <- r(c + r(q - p))
// c carries what p's 8 bits cannot hold: p + c is the parameter (Zamirai et al. 2020, Revisiting BFloat16 Training).
// norm as in adamw.wgsl; where finite is 0, nothing is written. One thread a pair; the second half of an odd last
// pair stays as it is.

struct Dims {
  n: u32, lr: f32, one_minus_beta1: f32, one_minus_beta2: f32, eps: f32, weight_decay: f32,
  correction1: f32, correction2: f32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> p: array<u32>;
@group(0) @binding(2) var<storage, read> g: array<u32>;
@group(0) @binding(3) var<storage, read_write> m: array<u32>;
@group(0) @binding(4) var<storage, read_write> v: array<u32>;
@group(0) @binding(5) var<storage, read_write> c: array<u32>;
@group(0) @binding(6) var<storage, read> norm: array<f32>;

fn unpack(word: u32) -> vec2f { return bitcast<vec2f>(vec2u(word << 16u, word & 0xffff0000u)); }

// Rounded to bf16, still as f32.
fn r(x: vec2f) -> vec2f {
  let bits = bitcast<vec2u>(x);
  return bitcast<vec2f>((bits + 0x7fffu + ((bits >> vec2u(16u)) & vec2u(1u))) & vec2u(0xffff0000u));
}

// The pair's word; `before` keeps its second half where the pair has only one value.
fn pack(x: vec2f, before: u32, both: bool) -> u32 {
  let bits = bitcast<vec2u>(x);
  return (bits.x >> 16u) | select(before & 0xffff0000u, bits.y, both);
}

@compute @workgroup_size(GROUP)
fn adamw_bf16_kahan(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) groups: vec3u,
                    @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * GROUP + lane;
  if (2u * i >= dims.n || norm[2] == 0.0) { return; }
  let both = 2u * i + 1u < dims.n;
  let slope = r(unpack(g[i]) * norm[1]);
  let mean = r(r((1.0 - dims.one_minus_beta1) * unpack(m[i])) + dims.one_minus_beta1 * slope);
  let square = r(r((1.0 - dims.one_minus_beta2) * unpack(v[i])) + dims.one_minus_beta2 * slope * slope);
  let root = r(r(r(sqrt(square)) / sqrt(dims.correction2)) + dims.eps);
  let decayed = r(unpack(p[i]) * (1.0 - dims.lr * dims.weight_decay));
  let owed = r(unpack(c[i]) - dims.lr / dims.correction1 * (mean / root));
  let moved = r(decayed + owed);
  p[i] = pack(moved, p[i], both);
  m[i] = pack(mean, m[i], both);
  v[i] = pack(square, v[i], both);
  c[i] = pack(r(owed + r(decayed - moved)), c[i], both);
}
