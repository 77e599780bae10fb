// Prelude of fused products: silu(g) = g / (1 + exp(-g)) as in swiglu.wgsl. Beyond 80 the exponential could overflow f32.
fn silu(g: vec4f) -> vec4f { return g / (1.0 + exp(min(-g, vec4f(80.0)))); }
