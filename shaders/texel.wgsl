// A tensor that the program mirrors in a texture: four f32 values to a texel, 1024 texels to a row.
fn texel(t: texture_2d<f32>, i: u32) -> vec4f { return textureLoad(t, vec2u(i & 1023u, i >> 10u), 0); }
