enable f16;
// Operands of products rounded to f16 (values of at least 65,520 become infinite) and weights stored so, for
// linear_tiled.wgsl and linear_rows.wgsl. Gradients are multiplied by 2^10 before (narrow_gradient), as loss scaling does, and the sums divided
// by it (gradient): powers of two round nothing, f16's smallest normal value stands for 6e-8, and its largest for 64.
alias Half = f16;
const SCALE = 1024.0;
fn narrow(v: vec4f) -> vec4<f16> { return vec4<f16>(v); }
fn narrow_gradient(v: vec4f) -> vec4<f16> { return vec4<f16>(v * SCALE); }
fn gradient(v: vec4f) -> vec4f { return v * (1.0 / SCALE); }
